//! Deterministic f32 kernels.

mod attention;
mod cross_entropy;
mod gemm;
mod level;
mod math;
mod norm;
mod optimizer;
mod parallel;
mod random;
mod reduce;
mod rope;
mod simd;
mod swiglu;

pub use attention::{
    CachedRows, Heads, LayerCache, attention, attention_backward, cached_attention,
};
pub use cross_entropy::{cross_entropy, log_likelihoods};
pub use gemm::{Lhs, Out, PackedMatrix, PackedView, Start, gemm};
pub use level::{SIMD_VARIABLE, SimdLevel};
pub use math::{EXP_MAX, EXP_MIN, exp, ln, pow, sin_cos};
pub use norm::{rms_norm, rms_norm_backward};
pub use optimizer::AdamW;
pub use parallel::{for_each, threads, with_threads};
pub use random::Random;
pub use reduce::sum_of_squares;
pub use rope::{RopeTable, Turn};
pub use swiglu::{swiglu, swiglu_backward};

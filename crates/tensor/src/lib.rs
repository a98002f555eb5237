//! The numeric kernels of the float path that decides money.
//!
//! f32 in IEEE 754 arithmetic, and nothing else: add, subtract, multiply, divide, square root and fused
//! multiply-add are correctly rounded everywhere, so a fixed order of operations gives fixed bits. Each
//! element of a product is one chain of fused multiply-adds over k in order; each reduction over a row uses
//! sixteen lanes and one fixed tree; exponential, logarithm, sine and cosine are our own. Not here: what
//! a model is, and what is in files (a map of one is only bytes). One product gives up bits for speed,
//! [`Bf16Matrix`], for jobs that ask for it; those with weights in eight and four bits, for serving, lose precision
//! but no reproducibility.
//!
//! ```text
//! one generic body over sixteen lanes ──kernel!──▶ AVX-512 │ AVX2 + FMA │ NEON │ portable Rust, chosen at run time
//!        │
//!        └─ gemm, attention, norms, RoPE, SwiGLU, GeGLU, soft caps, cross-entropy, AdamW ◀── parts of the result ── threads
//! ```
//!
//! **Invariant:** results do not depend on the processor, on the SIMD path, on the number of threads, on
//! the profile, or on what else is in the batch. (Only the payload of a NaN may: nothing may store one.)
//! [`Bf16Matrix`] alone gives this up, for speed.
//! **Invariant:** threads divide results, never sums.
//! **Invariant:** no mathematical function of the platform's library is called, only `f32::mul_add`,
//! `f32::sqrt` and rounding to an integer, which have one correct answer.
//! **Invariant:** public functions are safe and check shapes; `unsafe` is nowhere else but in the driver of `cuda`, the
//! device that the processor plays in its tests, and the settings of `allocator`.

mod ahead;
mod attention;
mod bf16_panels;
mod cross_entropy;
mod four_bit;
mod gated;
mod geglu;
mod gemm;
mod level;
mod low_rank;
mod math;
mod norm;
mod optimizer;
mod packed_bytes;
mod paged_attention;
mod paged_kv;
mod parallel;
mod quantised;
mod random;
mod reduce;
mod rope;
mod simd;
mod soft_cap;
mod softmax_blocks;
mod swiglu;

pub use ahead::Ahead;
pub use attention::{
    AttentionRule, CachedRows, Heads, LayerCache, attention, attention_backward, cached_attention,
};
pub use bf16_panels::Bf16Panels;
pub use cross_entropy::{cross_entropy, log_likelihoods};
pub use four_bit::{FOUR_BIT_GROUP, FourBitMatrix};
pub use geglu::{geglu, geglu_backward};
pub use gemm::{Bf16Matrix, Lhs, Out, PackedMatrix, PackedView, Start, gemm};
pub use level::{SIMD_VARIABLE, SimdLevel};
pub use low_rank::{
    LowRankForm, LowRankInput, LowRankRows, LowRankShape, LowRankSite, low_rank_update,
};
pub use math::{EXP_MAX, EXP_MIN, exp, ln, pow, rsqrt, sin_cos};
pub use norm::{rms_norm, rms_norm_backward};
pub use optimizer::AdamW;
pub use packed_bytes::PackedBytes;
pub use paged_attention::{PagedRows, paged_attention};
pub use paged_kv::{KvForm, PAGE_TOKENS, PagedKv};
pub use parallel::{for_each_mut, threads, with_threads};
pub use quantised::{FourBitPanels, Int8Matrix, Int8Rows};
pub use random::Random;
pub use reduce::sum_of_squares;
pub use rope::{RopeTable, Turn};
pub use soft_cap::{soft_cap, soft_cap_backward, tanh};
pub use softmax_blocks::{SOFTMAX_BLOCK, block_cut, block_maxima, block_weights};
pub use swiglu::{swiglu, swiglu_backward};

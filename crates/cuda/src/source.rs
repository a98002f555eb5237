//! The kernels' sources as one program.

/// What NVRTC compiles.
pub(crate) const SOURCE: &str = concat!(
    include_str!("../kernels/prelude.cu"),
    include_str!("../kernels/math.cu"),
    include_str!("../kernels/rows.cu"),
    include_str!("../kernels/gemm_f32.cu"),
    include_str!("../kernels/tensor_cores.cu"),
    include_str!("../kernels/gemm_bf16.cu"),
    include_str!("../kernels/low_rank.cu"),
    include_str!("../kernels/attention.cu"),
);

/// No contraction, no flushing, correctly rounded division and root: the defaults are named, since bits hang on
/// them.
pub(crate) const OPTIONS: &[&str] =
    &["--std=c++17", "--fmad=false", "--ftz=false", "--prec-div=true", "--prec-sqrt=true"];

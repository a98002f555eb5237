//! Which SIMD path runs.

use std::sync::atomic::{AtomicU8, Ordering};

/// A SIMD path. All of them give the same bits; they differ in speed only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SimdLevel {
    /// Portable Rust, `f32::mul_add`.
    Scalar = 1,
    /// x86-64 with AVX2 and FMA.
    Avx2 = 2,
    /// x86-64 with AVX-512F.
    Avx512 = 3,
}

/// Environment variable that forces a path: `scalar`, `avx2` or `avx512`.
pub const SIMD_VARIABLE: &str = "OPENLEDGER_SIMD";

static CURRENT: AtomicU8 = AtomicU8::new(0);

impl SimdLevel {
    /// The best path this machine has.
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") && Self::has_avx2() {
                return Self::Avx512;
            }
            if Self::has_avx2() {
                return Self::Avx2;
            }
        }
        Self::Scalar
    }

    /// Every path this machine can run, slowest first.
    pub fn available() -> Vec<Self> {
        let best = Self::detect();
        [Self::Scalar, Self::Avx2, Self::Avx512].into_iter().filter(|l| *l <= best).collect()
    }

    /// The path that kernels take now.
    pub fn current() -> Self {
        match CURRENT.load(Ordering::Relaxed) {
            1 => Self::Scalar,
            2 => Self::Avx2,
            3 => Self::Avx512,
            _ => {
                let level = Self::from_environment().unwrap_or_else(Self::detect);
                CURRENT.store(level as u8, Ordering::Relaxed);
                level
            }
        }
    }

    /// Makes all kernels of the process take this path, or the best below it that the machine has.
    pub fn force(self) {
        CURRENT.store(self.min(Self::detect()) as u8, Ordering::Relaxed);
    }

    fn from_environment() -> Option<Self> {
        let wanted = match std::env::var(SIMD_VARIABLE).ok()?.as_str() {
            "scalar" => Self::Scalar,
            "avx2" => Self::Avx2,
            "avx512" => Self::Avx512,
            _ => return None,
        };
        Some(wanted.min(Self::detect()))
    }

    #[cfg(target_arch = "x86_64")]
    fn has_avx2() -> bool {
        is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
    }
}

//! Which SIMD path runs.

use std::sync::atomic::{AtomicU8, Ordering};

/// A SIMD path. All of them give the same bits; they differ in speed only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SimdLevel {
    /// Portable Rust, `f32::mul_add`: the only path on other processors, WebAssembly among them.
    Scalar = 1,
    /// AArch64 with NEON.
    Neon = 2,
    /// x86-64 with AVX2 and FMA.
    Avx2 = 3,
    /// x86-64 with AVX-512F.
    Avx512 = 4,
}

/// Environment variable that forces a path: `scalar`, `neon`, `avx2` or `avx512`.
pub const SIMD_VARIABLE: &str = "OPENLEDGER_SIMD";

static CURRENT: AtomicU8 = AtomicU8::new(0);

impl SimdLevel {
    /// The best path this machine has.
    pub fn detect() -> Self {
        Self::Avx512.or_best_below()
    }

    /// Every path this machine can run, slowest first.
    pub fn available() -> Vec<Self> {
        Self::all().filter(|level| level.is_available()).collect()
    }

    /// The path that kernels take now.
    pub fn current() -> Self {
        match CURRENT.load(Ordering::Relaxed) {
            1 => Self::Scalar,
            2 => Self::Neon,
            3 => Self::Avx2,
            4 => Self::Avx512,
            _ => {
                let level = Self::from_environment().unwrap_or_else(Self::detect);
                CURRENT.store(level as u8, Ordering::Relaxed);
                level
            }
        }
    }

    /// Makes all kernels of the process take this path, or the best below it that the machine has.
    pub fn force(self) {
        CURRENT.store(self.or_best_below() as u8, Ordering::Relaxed);
    }

    fn all() -> impl DoubleEndedIterator<Item = Self> {
        [Self::Scalar, Self::Neon, Self::Avx2, Self::Avx512].into_iter()
    }

    fn or_best_below(self) -> Self {
        let mut best_first = Self::all().rev().filter(|level| *level <= self);
        best_first.find(|level| level.is_available()).unwrap_or(Self::Scalar)
    }

    fn from_environment() -> Option<Self> {
        let wanted = match std::env::var(SIMD_VARIABLE).ok()?.as_str() {
            "scalar" => Self::Scalar,
            "neon" => Self::Neon,
            "avx2" => Self::Avx2,
            "avx512" => Self::Avx512,
            _ => return None,
        };
        Some(wanted.or_best_below())
    }

    #[cfg(target_arch = "x86_64")]
    fn is_available(self) -> bool {
        let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        match self {
            Self::Scalar => true,
            Self::Neon => false,
            Self::Avx2 => avx2,
            Self::Avx512 => avx2 && is_x86_feature_detected!("avx512f"),
        }
    }

    #[cfg(target_arch = "aarch64")]
    fn is_available(self) -> bool {
        match self {
            Self::Scalar => true,
            Self::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            Self::Avx2 | Self::Avx512 => false,
        }
    }

    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    fn is_available(self) -> bool {
        self == Self::Scalar
    }
}

/// Runs a check on every path of this machine. The path is the process's, so one check at a time.
#[cfg(test)]
pub(crate) fn on_every_path(mut check: impl FnMut(SimdLevel)) {
    use std::sync::{Mutex, PoisonError};
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    for level in SimdLevel::available() {
        level.force();
        assert_eq!(SimdLevel::current(), level);
        check(level);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_the_machine_lacks_gives_way_to_one_that_it_has() {
        let available = SimdLevel::available();
        assert!(available.is_sorted() && available[0] == SimdLevel::Scalar);
        assert_eq!(SimdLevel::detect(), *available.last().expect("the scalar path"));
        for level in SimdLevel::all() {
            let taken = level.or_best_below();
            assert!(available.contains(&taken) && taken <= level);
            assert_eq!(taken == level, available.contains(&level));
        }
    }

    #[test]
    fn the_vector_path_of_the_architecture_is_taken() {
        if cfg!(target_arch = "aarch64") {
            assert_eq!(SimdLevel::detect(), SimdLevel::Neon);
        } else if cfg!(not(target_arch = "x86_64")) {
            assert_eq!(SimdLevel::available(), [SimdLevel::Scalar]);
        }
    }
}

//! Sixteen f32 lanes, the one vector type every kernel is written in.
//!
//! A kernel is one generic body over [`Simd`], compiled once per [`SimdLevel`](crate::SimdLevel) by the
//! `kernel!` macro. Every operation here is correctly rounded by IEEE 754 (add, subtract, multiply,
//! divide, square root, fused multiply-add) or exact (minimum, maximum, compare, rounding to an
//! integer), so the paths cannot differ.

mod avx2;
mod avx512;
mod scalar;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Avx512;
pub(crate) use scalar::Scalar;

use crate::gemm::Tile;

/// Lanes of a vector, and columns of a packed panel.
pub(crate) const LANES: usize = 16;

/// Operations on sixteen lanes.
///
/// # Safety
/// Callers make sure that the processor has the instructions of the implementor (the `kernel!` macro
/// does) and that pointers are valid for the lanes named.
pub(crate) trait Simd: Copy {
    type V: Copy;
    /// Rows of the largest matrix tile.
    const ROWS: usize;

    unsafe fn load(p: *const f32) -> Self::V;
    unsafe fn store(p: *mut f32, v: Self::V);
    unsafe fn splat(x: f32) -> Self::V;
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V;
    /// a · b + c, rounded once.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `if a > b { a } else { b }`.
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    /// `if a < b { a } else { b }`.
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V;
    /// Nearest integer, ties to even.
    unsafe fn round(a: Self::V) -> Self::V;
    /// 2^n for integral n in −126..=127.
    unsafe fn pow2(n: Self::V) -> Self::V;
    /// `if a < b { x } else { y }`.
    unsafe fn select_less(a: Self::V, b: Self::V, x: Self::V, y: Self::V) -> Self::V;

    /// Panels of sixteen columns in a tile of so many rows.
    fn panels(rows: usize) -> usize;
    /// Runs one tile of `rows` ≤ [`Self::ROWS`] and `panels` ≤ [`Self::panels`], which is 1, 2, 4 or 8.
    unsafe fn tile(rows: usize, panels: usize, tile: &Tile);

    /// The first `n` < 16 lanes from memory, zero in the rest.
    #[inline(always)]
    unsafe fn load_first(p: *const f32, n: usize) -> Self::V {
        let mut lanes = [0.0f32; LANES];
        // SAFETY: n lanes are readable by the caller's promise, and n < 16.
        unsafe {
            std::ptr::copy_nonoverlapping(p, lanes.as_mut_ptr(), n);
            Self::load(lanes.as_ptr())
        }
    }

    /// The first `n` < 16 lanes to memory.
    #[inline(always)]
    unsafe fn store_first(p: *mut f32, n: usize, v: Self::V) {
        // SAFETY: n lanes are writable by the caller's promise, and n < 16.
        unsafe { std::ptr::copy_nonoverlapping(Self::lanes(v).as_ptr(), p, n) }
    }

    #[inline(always)]
    unsafe fn lanes(v: Self::V) -> [f32; LANES] {
        let mut lanes = [0.0f32; LANES];
        // SAFETY: the array holds sixteen lanes.
        unsafe { Self::store(lanes.as_mut_ptr(), v) };
        lanes
    }

    /// Sum of the lanes in the one fixed order: halves folded onto each other, 8, 4, 2, 1.
    #[inline(always)]
    unsafe fn sum(v: Self::V) -> f32 {
        // SAFETY: as for the whole trait.
        let l = unsafe { Self::lanes(v) };
        let a: [f32; 8] = std::array::from_fn(|i| l[i] + l[i + 8]);
        let b: [f32; 4] = std::array::from_fn(|i| a[i] + a[i + 4]);
        (b[0] + b[2]) + (b[1] + b[3])
    }

    /// Largest lane. Exact, so the order does not matter.
    #[inline(always)]
    unsafe fn largest(v: Self::V) -> f32 {
        // SAFETY: as for the whole trait.
        let lanes = unsafe { Self::lanes(v) };
        lanes.into_iter().fold(f32::NEG_INFINITY, |a, b| if a > b { a } else { b })
    }
}

/// Compiles one generic body for every SIMD path and picks one at run time.
///
/// The body is a function over `S: Simd`; it is inlined into a function with the instructions of that
/// path switched on, so the vector operations become single instructions.
macro_rules! kernel {
    ($(#[$meta:meta])* $vis:vis fn $name:ident<$S:ident>($($arg:ident : $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            #[allow(clippy::too_many_arguments)]
            fn body<$S: $crate::simd::Simd>($($arg: $ty),*) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx2,fma")]
            #[allow(clippy::too_many_arguments)]
            fn avx512($($arg: $ty),*) $(-> $ret)? {
                body::<$crate::simd::Avx512>($($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            #[allow(clippy::too_many_arguments)]
            fn avx2($($arg: $ty),*) $(-> $ret)? {
                body::<$crate::simd::Avx2>($($arg),*)
            }
            match $crate::level::SimdLevel::current() {
                // SAFETY: `current` never names a path that the processor lacks.
                #[cfg(target_arch = "x86_64")]
                $crate::level::SimdLevel::Avx512 => unsafe { avx512($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::level::SimdLevel::Avx2 => unsafe { avx2($($arg),*) },
                _ => body::<$crate::simd::Scalar>($($arg),*),
            }
        }
    };
}
pub(crate) use kernel;

/// The arms of [`Simd::tile`]: one compiled tile per shape.
macro_rules! tile_shapes {
    ($S:ty, $tile:expr, $rows:expr, $panels:expr; $($r:literal x $p:literal),* $(,)?) => {
        match ($rows, $panels) {
            // SAFETY: the shape is the caller's, see `Tile`.
            $(($r, $p) => unsafe { $crate::gemm::run_tile::<$S, $r, $p>($tile) },)*
            _ => unreachable!("tile {} x {}", $rows, $panels),
        }
    };
}
pub(crate) use tile_shapes;

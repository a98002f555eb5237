//! Sixteen f32 lanes, the one vector type every kernel is written in.
//!
//! A kernel is one generic body over [`Simd`], compiled once per [`SimdLevel`](crate::SimdLevel) by the
//! `kernel!` macro. Every operation here is correctly rounded by IEEE 754 (add, subtract, multiply,
//! divide, square root, fused multiply-add) or exact (minimum, maximum, compare, rounding to an
//! integer), so the paths cannot differ.

mod avx2;
mod avx512;
mod neon;
mod scalar;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Avx512;
#[cfg(target_arch = "aarch64")]
pub(crate) use neon::Neon;
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

    /// Sixteen bf16 from memory, widened, which is exact.
    #[inline(always)]
    unsafe fn load_bf16(p: *const u16) -> Self::V {
        // SAFETY: sixteen values are readable by the caller's promise; arrays need no more alignment.
        unsafe {
            let wide = p
                .cast::<[u16; LANES]>()
                .read_unaligned()
                .map(|x| f32::from_bits(u32::from(x) << 16));
            Self::load(wide.as_ptr())
        }
    }

    /// Sixteen signed bytes from memory as f32, which is exact.
    #[inline(always)]
    unsafe fn load_i8(p: *const i8) -> Self::V {
        // SAFETY: as above.
        unsafe {
            let wide = p.cast::<[i8; LANES]>().read_unaligned().map(f32::from);
            Self::load(wide.as_ptr())
        }
    }

    /// Sixteen integral lanes in −128..=127 to memory as signed bytes; NaN as zero.
    #[inline(always)]
    unsafe fn store_i8(p: *mut i8, v: Self::V) {
        // SAFETY: sixteen bytes are writable by the caller's promise.
        unsafe { p.cast::<[i8; LANES]>().write_unaligned(Self::lanes(v).map(|x| x as i8)) }
    }

    /// Sum of 32 signed bytes.
    #[inline(always)]
    unsafe fn sum_i8(p: *const i8) -> i32 {
        // SAFETY: 32 bytes are readable by the caller's promise.
        unsafe { p.cast::<[i8; 2 * LANES]>().read_unaligned().into_iter().map(i32::from).sum() }
    }

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
            #[cfg(target_arch = "aarch64")]
            #[target_feature(enable = "neon")]
            #[allow(clippy::too_many_arguments)]
            fn neon($($arg: $ty),*) $(-> $ret)? {
                body::<$crate::simd::Neon>($($arg),*)
            }
            match $crate::level::SimdLevel::current() {
                // SAFETY: `current` never names a path that the processor lacks.
                #[cfg(target_arch = "x86_64")]
                $crate::level::SimdLevel::Avx512 => unsafe { avx512($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::level::SimdLevel::Avx2 => unsafe { avx2($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "aarch64")]
                $crate::level::SimdLevel::Neon => unsafe { neon($($arg),*) },
                _ => body::<$crate::simd::Scalar>($($arg),*),
            }
        }
    };
}
pub(crate) use kernel;

/// Sum of 32 signed bytes.
///
/// # Safety
/// The processor has AVX2; 32 bytes are readable.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn sum_i8_avx2(p: *const i8) -> i32 {
    use std::arch::x86_64::*;
    // SAFETY: by the caller's promise.
    unsafe {
        // Made unsigned, so that distances from zero are the bytes themselves.
        let bytes = _mm256_xor_si256(_mm256_loadu_si256(p.cast()), _mm256_set1_epi8(i8::MIN));
        let sums = _mm256_sad_epu8(bytes, _mm256_setzero_si256());
        let half = _mm_add_epi64(_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums));
        let sum = _mm_add_epi64(half, _mm_unpackhi_epi64(half, half));
        _mm_cvtsi128_si32(sum) - 128 * 32
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level::on_every_path;
    use crate::random::Random;
    use dashu_float::FBig;
    use dashu_float::round::mode::HalfEven;

    type Exact = FBig<HalfEven, 2>;
    type Lanes = [f32; LANES];

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Operation {
        Add,
        Sub,
        Mul,
        Div,
        Fma,
        Max,
        Min,
        Round,
        Less,
    }
    use Operation::{Add, Div, Fma, Less, Max, Min, Mul, Round, Sub};

    kernel! {
        fn apply<S>(operation: Operation, a: &Lanes, b: &Lanes, c: &Lanes) -> Lanes {
            // SAFETY: arrays of sixteen lanes, inside a kernel.
            unsafe {
                let [a, b, c] = [a, b, c].map(|x| S::load(x.as_ptr()));
                S::lanes(match operation {
                    Add => S::add(a, b),
                    Sub => S::sub(a, b),
                    Mul => S::mul(a, b),
                    Div => S::div(a, b),
                    Fma => S::fma(a, b, c),
                    Max => S::max(a, b),
                    Min => S::min(a, b),
                    Round => S::round(a),
                    Less => S::select_less(a, b, c, S::splat(7.0)),
                })
            }
        }
    }

    /// 700 bits hold every sum of a product and an f32: exponents span 149 + 149 + 128.
    fn exact(x: f32) -> Exact {
        Exact::try_from(x).expect("not NaN").with_precision(700).value()
    }

    /// Whether y is the f32 nearest to the truth, the even one of two.
    fn is_nearest(y: f32, truth: &Exact) -> bool {
        let distance = |y: f32| {
            let difference = exact(y) - truth;
            if difference < Exact::ZERO { -difference } else { difference }
        };
        let ours = distance(y);
        let even = y.to_bits() & 1 == 0;
        [y.next_up(), y.next_down()].map(distance).iter().all(|d| ours < *d || even && ours == *d)
    }

    fn is_right(operation: Operation, [a, b, c]: [f32; 3], y: f32) -> bool {
        let [x, z, w] = [a, b, c].map(exact);
        match operation {
            Add => is_nearest(y, &(x + z)),
            Sub => is_nearest(y, &(x - z)),
            Mul => is_nearest(y, &(x * z)),
            Div => is_nearest(y, &(x / z)),
            Fma => is_nearest(y, &(x * z + w)),
            Max => y == if a > b { a } else { b },
            Min => y == if a < b { a } else { b },
            Round => y == a.round_ties_even(),
            Less => y == if a < b { c } else { 7.0 },
        }
    }

    /// Operands where a result that is rounded twice, or a subnormal that is flushed, shows.
    fn operands(random: &mut Random) -> [f32; 3] {
        let mut spread = |width: usize, middle: i32| {
            let exponent = middle + random.below(width) as i32 - width as i32 / 2;
            let bits = random.next();
            let mantissa = match bits & 3 {
                // Few bits set: sums and products that are ties.
                0 => 1 << (bits >> 8).rem_euclid(23),
                1 => 0x7f_ffff ^ (1 << (bits >> 8).rem_euclid(23)),
                _ => (bits >> 32) as u32 & 0x7f_ffff,
            };
            let sign = ((bits >> 40) as u32 & 1) << 31;
            f32::from_bits(sign | ((exponent.clamp(0, 253) as u32) << 23) | mantissa)
        };
        let (a, b) = match spread(4, 127).to_bits() & 7 {
            // A product near the subnormal numbers.
            0 => (spread(60, 64), spread(60, 50)),
            // Subnormal operands.
            1 => (spread(2, 0), spread(40, 127)),
            _ => (spread(40, 127), spread(40, 127)),
        };
        // An addend about as large as the product, or so small that it only breaks a tie.
        let product = (f64::from(a) * f64::from(b)).abs().log2() as i32 + 127;
        let c = match spread(4, 127).to_bits() & 3 {
            0 => spread(8, 4),
            1 => spread(8, product - 26),
            _ => spread(50, product),
        };
        [a, b, c]
    }

    #[test]
    fn every_operation_is_rounded_once_on_every_path() {
        let mut random = Random::new(17, 0);
        let rounds = if cfg!(debug_assertions) { 40 } else { 1_000 };
        let mut twice = 0;
        for _ in 0..rounds {
            let triples: [[f32; 3]; LANES] = std::array::from_fn(|_| operands(&mut random));
            let [a, b, c] = std::array::from_fn(|i| triples.map(|t| t[i]));
            for operation in [Add, Sub, Mul, Div, Fma, Max, Min, Round, Less] {
                let mut first: Option<Lanes> = None;
                on_every_path(|level| {
                    let result = apply(operation, &a, &b, &c);
                    let bits = |x: Lanes| x.map(f32::to_bits);
                    let first = *first.get_or_insert(result);
                    assert!(bits(first) == bits(result), "{level:?} differs in {operation:?}");
                });
                for (operands, y) in triples.iter().zip(first.expect("at least the scalar path")) {
                    assert!(
                        is_right(operation, *operands, y),
                        "{operation:?} {operands:?} = {y:e}"
                    );
                }
            }
            twice += triples.iter().filter(|[a, b, c]| a.mul_add(*b, *c) != a * b + c).count();
        }
        assert!(twice > 10, "the operands do not tell one rounding from two");
    }

    kernel! {
        fn bytes<S>(x: &Lanes, to: &mut [i8; 32]) -> i32 {
            // SAFETY: sixteen lanes and 32 bytes, inside a kernel.
            unsafe {
                S::store_i8(to.as_mut_ptr().add(16), S::load(x.as_ptr()));
                S::sum_i8(to.as_ptr())
            }
        }
    }

    #[test]
    fn bytes_are_stored_and_summed_alike_on_every_path() {
        let mut random = Random::new(19, 0);
        for _ in 0..200 {
            let mut x: Lanes = std::array::from_fn(|_| random.below(256) as f32 - 128.0);
            x[random.below(16)] = f32::NAN;
            let before: [i8; 32] = std::array::from_fn(|_| random.below(256) as u8 as i8);
            on_every_path(|level| {
                let mut to = before;
                let sum = bytes(&x, &mut to);
                let stored: [i8; 16] = std::array::from_fn(|i| to[16 + i]);
                assert_eq!(stored, x.map(|x| x as i8), "{level:?}");
                assert_eq!(to[..16], before[..16], "{level:?}");
                assert_eq!(sum, to.iter().map(|x| i32::from(*x)).sum::<i32>(), "{level:?}");
            });
        }
    }

    #[test]
    fn a_square_root_is_rounded_once() {
        let mut random = Random::new(18, 0);
        for _ in 0..if cfg!(debug_assertions) { 500 } else { 10_000 } {
            let x = f32::from_bits((random.next() >> 33) as u32 % f32::INFINITY.to_bits());
            assert!(is_nearest(x.sqrt(), &exact(x).sqrt()), "{x:e}");
        }
    }

    #[test]
    fn an_addend_far_below_decides_a_tie_on_every_path() {
        // (1 + 2⁻¹²)² = 1 + 2⁻¹¹ + 2⁻²⁴ lies exactly between two floats. What is added is too small for
        // an f64 to hold beside it.
        let a = [1.0 + 2.0f32.powi(-12); LANES];
        let below = 1.0 + 2.0f32.powi(-11);
        on_every_path(|level| {
            let rounded = |c: f32| apply(Fma, &a, &a, &[c; LANES]);
            assert_eq!(rounded(0.0), [below; LANES], "{level:?}: ties go to even");
            assert_eq!(rounded(-f32::from_bits(1)), [below; LANES], "{level:?}");
            assert_eq!(rounded(f32::from_bits(1)), [below.next_up(); LANES], "{level:?}");
        });
    }
}

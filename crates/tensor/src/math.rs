//! Elementary functions of our own, from correctly rounded operations only.
//!
//! The vector [`exp_lanes`] and the scalar [`exp`] are the same sequence of operations. Errors are in
//! units in the last place (ULP) of the exact result, against arithmetic in 160 bits in
//! `tests/accuracy.rs`, and for every argument against f64 in the ignored tests below.

use crate::simd::Simd;

/// Largest argument of [`exp`] that is not clamped.
pub const EXP_MAX: f32 = 88.0;
/// Below this argument [`exp`] is zero.
pub const EXP_MIN: f32 = -87.0;
/// Largest angle of [`sin_cos`]: up to here the multiple of π/2 is subtracted exactly.
const ANGLE_MAX: f64 = (1u64 << 30) as f64;
/// Largest |ln| of a result of [`pow`].
const POW_LN_MAX: f64 = 700.0;

const LOG2_E: f32 = std::f32::consts::LOG2_E;
/// ln 2 in two parts; the first has 9 significant bits, so n · LN2_HIGH is exact.
const LN2_HIGH: f32 = 0.693_359_4;
const LN2_LOW: f32 = -2.121_944_4e-4;
/// Taylor coefficients 1/k!, from k = 7 down to 2. The remainder on |r| ≤ ln2/2 is below 2⁻²⁷.
const EXP_TERMS: [f32; 6] = [1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5];

/// 2^n for integral n in −126..=127.
#[inline(always)]
pub(crate) fn pow2(n: f32) -> f32 {
    f32::from_bits((n as i32).wrapping_add(127).wrapping_shl(23) as u32)
}

/// e^x in every lane, as [`exp`].
#[inline(always)]
pub(crate) unsafe fn exp_lanes<S: Simd>(x: S::V) -> S::V {
    // SAFETY: arithmetic only; the caller runs in a `kernel!`.
    unsafe {
        let inside = S::max(S::splat(EXP_MIN), S::min(S::splat(EXP_MAX), x));
        let n = S::round(S::mul(inside, S::splat(LOG2_E)));
        let r = S::fma(n, S::splat(-LN2_LOW), S::fma(n, S::splat(-LN2_HIGH), inside));
        let mut p = S::splat(EXP_TERMS[0]);
        for term in &EXP_TERMS[1..] {
            p = S::fma(p, r, S::splat(*term));
        }
        let p = S::fma(S::mul(p, r), r, S::add(r, S::splat(1.0)));
        let y = S::mul(p, S::pow2(n));
        S::select_less(x, S::splat(EXP_MIN), S::splat(0.0), y)
    }
}

/// e^x, error below 1.5 ULP on [[`EXP_MIN`], [`EXP_MAX`]]; zero below, e^[`EXP_MAX`] above.
pub fn exp(x: f32) -> f32 {
    // SAFETY: the scalar path has no requirements.
    unsafe { exp_lanes::<crate::simd::Scalar>([x; 16])[0] }
}

/// Natural logarithm of a positive, finite, normal x, error below 2 ULP. NaN for everything else.
///
/// x = 2^e · m with m in [√½, √2); ln m = 2 artanh(s), s = (m − 1)/(m + 1), by its odd series.
pub fn ln(x: f32) -> f32 {
    if !(x.is_normal() && x > 0.0) {
        return f32::NAN;
    }
    let bits = x.to_bits();
    // Shift the exponent so that the mantissa lies in [√½, √2).
    const SQRT_HALF: u32 = 0x3f35_04f3;
    let e = (bits.wrapping_sub(SQRT_HALF) as i32) >> 23;
    let m = f32::from_bits(bits.wrapping_sub((e as u32) << 23));
    let e = e as f32;
    let s = (m - 1.0) / (m + 1.0);
    let z = s * s;
    // 2/9, 2/7, 2/5, 2/3; |s| ≤ 0.1716, so the first dropped term is below 2⁻²⁸.
    let p = (2.0f32 / 9.0).mul_add(z, 2.0 / 7.0).mul_add(z, 2.0 / 5.0).mul_add(z, 2.0 / 3.0);
    let tail = e.mul_add(LN2_LOW, p * z * s);
    e.mul_add(LN2_HIGH, s.mul_add(2.0, tail))
}

/// 1/√x, error below 1.5 ULP: two correctly rounded operations, never a processor's approximation.
#[inline]
pub fn rsqrt(x: f32) -> f32 {
    1.0 / x.sqrt()
}

/// (sin x, cos x) for |x| ≤ 2³⁰, absolute error below 2⁻⁵²; NaN for every other x. For tables and
/// schedules, so in f64 and not vectorised.
pub fn sin_cos(x: f64) -> (f64, f64) {
    if x.is_nan() || x.abs() > ANGLE_MAX {
        return (f64::NAN, f64::NAN);
    }
    // π/2 in two parts, together 86 bits. The first has 33, so x − n · PI_2_HIGH is a multiple of 2⁻³²
    // below 2, which the fused operation gives exactly.
    const PI_2_HIGH: f64 = 1.570_796_326_734_125_6;
    const PI_2_LOW: f64 = 6.077_100_506_506_192e-11;
    let n = (x * std::f64::consts::FRAC_2_PI).round_ties_even();
    let r = n.mul_add(-PI_2_LOW, n.mul_add(-PI_2_HIGH, x));
    let z = r * r;
    let mut sin = 0.0f64;
    let mut cos = 0.0f64;
    // Taylor to r²⁰: on |r| ≤ π/4 the remainder is below 1e-19.
    for k in (1..=10u32).rev() {
        let k = f64::from(k);
        sin = -z / (2.0 * k * (2.0 * k + 1.0)) * (1.0 + sin);
        cos = -z / (2.0 * k * (2.0 * k - 1.0)) * (1.0 + cos);
    }
    let (sin, cos) = (r.mul_add(sin, r), 1.0 + cos);
    match (n as i64).rem_euclid(4) {
        0 => (sin, cos),
        1 => (cos, -sin),
        2 => (-sin, -cos),
        _ => (-cos, sin),
    }
}

/// base^exponent in f64, relative error below 2⁻⁵¹ · (1 + |exponent · ln base|). For tables and
/// schedules. NaN unless base is positive, finite and normal and |exponent · ln base| ≤ 700.
pub fn pow(base: f64, exponent: f64) -> f64 {
    if !(base.is_normal() && base > 0.0) {
        return f64::NAN;
    }
    let bits = base.to_bits();
    const SQRT_HALF: u64 = 0x3fe6_a09e_667f_3bcd;
    let e = (bits.wrapping_sub(SQRT_HALF) as i64) >> 52;
    let m = f64::from_bits(bits.wrapping_sub((e as u64) << 52));
    let s = (m - 1.0) / (m + 1.0);
    let z = s * s;
    let mut series = 0.0f64;
    for k in (0..=12u32).rev() {
        series = series.mul_add(z, 2.0 / f64::from(2 * k + 1));
    }
    let ln = (e as f64).mul_add(std::f64::consts::LN_2, series * s);
    let ln = ln * exponent;
    if ln.abs() <= POW_LN_MAX { exp_f64(ln) } else { f64::NAN }
}

/// e^x in f64 for |x| ≤ [`POW_LN_MAX`].
fn exp_f64(x: f64) -> f64 {
    const HIGH: f64 = 0.693_147_180_369_123_8;
    const LOW: f64 = 1.908_214_929_270_587_7e-10;
    let n = (x * std::f64::consts::LOG2_E).round_ties_even();
    let r = n.mul_add(-LOW, n.mul_add(-HIGH, x));
    let mut p = 1.0f64;
    for k in (1..=15u32).rev() {
        p = (p * r / f64::from(k)) + 1.0;
    }
    p * f64::from_bits((((n as i64) + 1023) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level::on_every_path;
    use crate::simd::{LANES, kernel};
    use rayon::prelude::*;

    /// Arguments in a part of a sweep over all of them.
    const PART: u32 = 1 << 22;

    kernel! {
        fn exp_all<S>(x: &mut [f32]) {
            for x in x.chunks_exact_mut(LANES) {
                // SAFETY: sixteen lanes, inside a kernel.
                unsafe { S::store(x.as_mut_ptr(), exp_lanes::<S>(S::load(x.as_ptr()))) };
            }
        }
    }

    /// Every f32 there is, in parts.
    fn all_arguments() -> impl Iterator<Item = Vec<f32>> {
        let part = |first: u32| (0..PART).into_par_iter().map(move |i| f32::from_bits(first + i));
        (0..=u32::MAX).step_by(PART as usize).map(move |first| part(first).collect())
    }

    /// Distance in units of the last place of an f32 at the truth, a normal number.
    fn ulps(y: f32, truth: f64) -> f64 {
        let unit = f64::from_bits((truth.to_bits() & (0x7ff << 52)) - (23 << 52));
        if y.is_finite() { ((f64::from(y) - truth) / unit).abs() } else { f64::INFINITY }
    }

    /// The error of a special value.
    fn must(holds: bool) -> f64 {
        if holds { 0.0 } else { f64::INFINITY }
    }

    fn bits(x: f32) -> u32 {
        // A NaN stays a NaN, but its payload is the processor's affair.
        if x.is_nan() { u32::MAX } else { x.to_bits() }
    }

    fn exp_on_every_path(x: &[f32]) -> Vec<f32> {
        let mut first: Option<Vec<f32>> = None;
        on_every_path(|level| {
            let mut y = x.to_vec();
            y.par_chunks_mut(1 << 12).for_each(exp_all);
            match &first {
                None => first = Some(y),
                Some(first) => {
                    let same = first.iter().zip(&y).all(|(a, b)| bits(*a) == bits(*b));
                    assert!(same, "{level:?} differs between {:e} and {:e}", x[0], x[x.len() - 1]);
                }
            }
        });
        first.expect("at least the scalar path")
    }

    #[test]
    fn exp_has_the_same_bits_on_every_path_and_alone() {
        // 65,521 is prime: the steps meet every exponent, both signs, infinities and NaN.
        let x: Vec<f32> = (0..1u32 << 16).map(|i| f32::from_bits(i * 65_521)).collect();
        let y = exp_on_every_path(&x);
        for (x, y) in x.iter().zip(&y).step_by(64) {
            assert_eq!(bits(exp(*x)), bits(*y), "{x:e}");
        }
    }

    #[test]
    #[ignore = "all 2³² arguments on every path: minutes"]
    fn exp_is_within_its_bound_for_every_argument() {
        let error = |x: f32, y: f32| match x {
            x if x.is_nan() => must(y.is_nan()),
            x if x < EXP_MIN => must(y.to_bits() == 0),
            x => ulps(y, f64::from(x.min(EXP_MAX)).exp()),
        };
        let worst = all_arguments().map(|x| {
            let y = exp_on_every_path(&x);
            x.par_iter().zip(&y).map(|(x, y)| error(*x, *y)).reduce(|| 0.0, f64::max)
        });
        let worst = worst.fold(0.0, f64::max);
        println!("exp: {worst} ULP");
        assert!(worst < 1.5, "{worst}");
    }

    #[test]
    #[ignore = "all 2³² arguments: minutes"]
    fn ln_is_within_its_bound_for_every_argument() {
        let error = |x: f32| match ln(x) {
            y if !x.is_normal() || x < 0.0 => must(y.is_nan()),
            y if x == 1.0 => must(y.to_bits() == 0),
            y => ulps(y, f64::from(x).ln()),
        };
        let worst = all_arguments()
            .map(|x| x.par_iter().map(|x| error(*x)).reduce(|| 0.0, f64::max))
            .fold(0.0, f64::max);
        println!("ln: {worst} ULP");
        assert!(worst < 2.0, "{worst}");
    }

    #[test]
    #[ignore = "all 2³² arguments: minutes"]
    fn rsqrt_is_within_its_bound_for_every_argument() {
        let error = |x: f32| match rsqrt(x) {
            y if x == 0.0 => must(y == f32::INFINITY.copysign(x)),
            y if x.is_nan() || x < 0.0 => must(y.is_nan()),
            y if x == f32::INFINITY => must(y == 0.0),
            y => ulps(y, 1.0 / f64::from(x).sqrt()),
        };
        let worst = all_arguments()
            .map(|x| x.par_iter().map(|x| error(*x)).reduce(|| 0.0, f64::max))
            .fold(0.0, f64::max);
        println!("rsqrt: {worst} ULP");
        assert!(worst < 1.5, "{worst}");
    }
}

//! Elementary functions of our own, from correctly rounded operations only.
//!
//! The vector [`exp_lanes`] and the scalar [`exp`] are the same sequence of operations. Error bounds
//! are measured against f64 in the tests below.

use crate::simd::Simd;

/// Largest argument of [`exp`] that is not clamped.
pub const EXP_MAX: f32 = 88.0;
/// Below this argument [`exp`] is zero.
pub const EXP_MIN: f32 = -87.0;

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

/// e^x. Relative error below 2⁻²² on [[`EXP_MIN`], [`EXP_MAX`]]; zero below, e^[`EXP_MAX`] above.
pub fn exp(x: f32) -> f32 {
    // SAFETY: the scalar path has no requirements.
    unsafe { exp_lanes::<crate::simd::Scalar>([x; 16])[0] }
}

/// Natural logarithm of a positive, finite, normal x. Absolute error below 2⁻²² · max(1, |ln x|).
/// NaN for everything else.
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

/// (sin x, cos x) for |x| ≤ 2³⁰, absolute error below 1e-9 (1e-15 for small x). For tables and
/// schedules, so in f64 and not vectorised.
pub fn sin_cos(x: f64) -> (f64, f64) {
    // π/2 in two parts, the first with 33 bits, so that n · PI_2_HIGH is exact for n < 2²⁰.
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

/// base^exponent for base > 0 in f64, relative error below 1e-13. For tables and schedules.
pub fn pow(base: f64, exponent: f64) -> f64 {
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
    exp_f64(ln * exponent)
}

/// e^x in f64 for |x| ≤ 700, relative error below 1e-13.
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

    #[test]
    fn exp_is_within_its_bound() {
        let mut worst = 0.0f64;
        for i in 0..=200_000 {
            let x = EXP_MIN + (EXP_MAX - EXP_MIN) * (i as f32 / 200_000.0);
            let truth = f64::from(x).exp();
            worst = worst.max(((f64::from(exp(x)) - truth) / truth).abs());
        }
        assert!(worst < 2f64.powi(-22), "{worst:e}");
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-1000.0), 0.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn ln_is_within_its_bound() {
        let mut worst = 0.0f64;
        for i in 0..=100_000u32 {
            // Dense near 1, where cancellation would show, and over all exponents.
            for x in [0.5 + 1.5 * (i as f32 / 100_000.0), f32::from_bits(0x0080_0000 + i * 21_000)]
            {
                let truth = f64::from(x).ln();
                worst = worst.max((f64::from(ln(x)) - truth).abs() / truth.abs().max(1.0));
            }
        }
        assert!(worst < 2f64.powi(-22), "{worst:e}");
        assert_eq!(ln(1.0), 0.0);
        assert!(ln(0.0).is_nan() && ln(-1.0).is_nan() && ln(f32::INFINITY).is_nan());
    }

    #[test]
    fn sin_cos_is_within_its_bound() {
        for i in 0..100_000 {
            let x = f64::from(i) * 0.617 - 3000.0;
            let (s, c) = sin_cos(x);
            assert!((s - x.sin()).abs() < 1e-9 && (c - x.cos()).abs() < 1e-9, "{x}");
        }
        let (s, c) = sin_cos(0.3);
        assert!((s - 0.3f64.sin()).abs() < 1e-15 && (c - 0.3f64.cos()).abs() < 1e-15);
        assert_eq!(sin_cos(0.0), (0.0, 1.0));
    }

    #[test]
    fn pow_is_within_its_bound() {
        for i in 0..2_000 {
            let (b, e) = (1.0 + f64::from(i) * 500.0, -f64::from(i % 64) / 64.0);
            assert!((pow(b, e) / b.powf(e) - 1.0).abs() < 1e-13, "{b}^{e}");
        }
        assert_eq!(pow(1.0, 0.5), 1.0);
    }
}

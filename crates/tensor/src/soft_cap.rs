//! Soft caps: numbers kept within ±cap without a corner.

use crate::math::exp_lanes;
use crate::parallel::{Shared, for_rows};
use crate::simd::{LANES, Simd, kernel};
use std::ops::Range;

/// Below this |x| tanh is its odd polynomial, from here on it comes from the exponential.
const SMALL: f32 = 0.625;

/// tanh x = x + x³ · Q(x²); Chebyshev fit of Q on [0, `SMALL`²], highest power first. Relative error of the
/// result below 2⁻²⁵ before rounding.
const TANH_TERMS: [f32; 5] =
    [-6.096_714e-3, 2.099_718e-2, -5.385_090_8e-2, 1.333_277e-1, -3.333_332_8e-1];

/// Elements of one task of [`soft_cap`].
const CHUNK: usize = 1 << 12;

/// tanh in every lane, as [`tanh`].
#[inline(always)]
pub(crate) unsafe fn tanh_lanes<S: Simd>(x: S::V) -> S::V {
    // SAFETY: arithmetic only; the caller runs in a `kernel!`.
    unsafe {
        let zero = S::splat(0.0);
        let size = S::max(x, S::sub(zero, x));
        let z = S::mul(size, size);
        let mut q = S::splat(TANH_TERMS[0]);
        for term in &TANH_TERMS[1..] {
            q = S::fma(q, z, S::splat(*term));
        }
        let small = S::fma(S::mul(size, z), q, size);
        let e = exp_lanes::<S>(S::add(size, size));
        let one = S::splat(1.0);
        let large = S::sub(one, S::div(S::splat(2.0), S::add(e, one)));
        let y = S::select_less(size, S::splat(SMALL), small, large);
        S::select_less(x, zero, S::sub(zero, y), y)
    }
}

/// Hyperbolic tangent, error below 3 ULP; NaN of NaN.
pub fn tanh(x: f32) -> f32 {
    // SAFETY: the scalar path has no requirements.
    unsafe { tanh_lanes::<crate::simd::Scalar>([x; 16])[0] }
}

/// Replaces xᵢ by cap · tanh(xᵢ / cap).
#[inline(always)]
pub(crate) unsafe fn cap_lanes<S: Simd>(x: &mut [f32], cap: f32) {
    // SAFETY: full chunks hold sixteen elements, the remainder its length.
    unsafe {
        let cap = S::splat(cap);
        let capped = |x| S::mul(cap, tanh_lanes::<S>(S::div(x, cap)));
        let mut chunks = x.chunks_exact_mut(LANES);
        for x in &mut chunks {
            S::store(x.as_mut_ptr(), capped(S::load(x.as_ptr())));
        }
        let rest = chunks.into_remainder();
        if !rest.is_empty() {
            let n = rest.len();
            let y = capped(S::load_first(rest.as_ptr(), n));
            S::store_first(rest.as_mut_ptr(), n, y);
        }
    }
}

/// Replaces every xᵢ by cap · tanh(xᵢ / cap). Source: 2408.00118, section 2.
pub fn soft_cap(x: &mut [f32], cap: f32) {
    let n = x.len();
    let x = Shared::new(x);
    for_rows(n.div_ceil(CHUNK), 1, |chunks| cap_chunks(&x, n, cap, chunks));
}

/// Gradient of [`soft_cap`]: dy becomes dx, from the capped values y: dx = dy · (1 − (y / cap)²).
pub fn soft_cap_backward(dy: &mut [f32], y: &[f32], cap: f32) {
    assert!(dy.len() == y.len(), "shapes of the soft cap differ");
    for (dy, y) in dy.iter_mut().zip(y) {
        let t = y / cap;
        *dy *= (-t).mul_add(t, 1.0);
    }
}

kernel! {
    fn cap_chunks<S>(x: &Shared<'_>, n: usize, cap: f32, chunks: Range<usize>) {
        for chunk in chunks {
            let start = chunk * CHUNK;
            // SAFETY: every chunk belongs to one task; inside a kernel.
            unsafe { cap_lanes::<S>(x.slice(start, CHUNK.min(n - start)), cap) };
        }
    }
}

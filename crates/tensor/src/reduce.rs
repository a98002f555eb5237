//! Reductions over a row in the one fixed scheme.
//!
//! Sixteen partial results, element i in lane i mod 16, then a fixed tree. Missing elements of the last
//! vector count as zero.

use crate::simd::{LANES, Simd, kernel};

/// Σ aᵢ·bᵢ by fused multiply-add.
#[inline(always)]
pub(crate) unsafe fn dot_lanes<S: Simd>(a: &[f32], b: &[f32]) -> f32 {
    // SAFETY: full chunks hold sixteen elements, remainders their length.
    unsafe {
        let mut acc = S::splat(0.0);
        let (a, b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
        let (ra, rb) = (a.remainder(), b.remainder());
        for (a, b) in a.zip(b) {
            acc = S::fma(S::load(a.as_ptr()), S::load(b.as_ptr()), acc);
        }
        if !ra.is_empty() {
            let n = ra.len().min(rb.len());
            acc = S::fma(S::load_first(ra.as_ptr(), n), S::load_first(rb.as_ptr(), n), acc);
        }
        S::sum(acc)
    }
}

/// Largest element; −∞ for an empty row.
#[inline(always)]
pub(crate) unsafe fn max_lanes<S: Simd>(x: &[f32]) -> f32 {
    // SAFETY: full chunks hold sixteen elements.
    unsafe {
        let mut acc = S::splat(f32::NEG_INFINITY);
        let chunks = x.chunks_exact(LANES);
        let rest = chunks.remainder();
        for x in chunks {
            acc = S::max(S::load(x.as_ptr()), acc);
        }
        rest.iter().fold(S::largest(acc), |a, b| if *b > a { *b } else { a })
    }
}

/// Replaces xᵢ by e^(xᵢ − shift) and returns the sum.
#[inline(always)]
pub(crate) unsafe fn exp_sum_lanes<S: Simd>(x: &mut [f32], shift: f32) -> f32 {
    // SAFETY: full chunks hold sixteen elements, the remainder its length.
    unsafe {
        let shift = S::splat(shift);
        let mut acc = S::splat(0.0);
        let mut chunks = x.chunks_exact_mut(LANES);
        for x in &mut chunks {
            let e = crate::math::exp_lanes::<S>(S::sub(S::load(x.as_ptr()), shift));
            S::store(x.as_mut_ptr(), e);
            acc = S::add(acc, e);
        }
        let rest = chunks.into_remainder();
        if !rest.is_empty() {
            let n = rest.len();
            let e = crate::math::exp_lanes::<S>(S::sub(S::load_first(rest.as_ptr(), n), shift));
            S::store_first(rest.as_mut_ptr(), n, e);
            acc = S::add(acc, S::load_first(rest.as_ptr(), n));
        }
        S::sum(acc)
    }
}

kernel! {
    /// Σ xᵢ², in chunks of 4,096 by the fixed scheme, the chunks added in f64 in order.
    pub fn sum_of_squares<S>(x: &[f32]) -> f64 {
        let mut total = 0.0f64;
        for chunk in x.chunks(4096) {
            // SAFETY: inside a kernel.
            total += f64::from(unsafe { dot_lanes::<S>(chunk, chunk) });
        }
        total
    }
}

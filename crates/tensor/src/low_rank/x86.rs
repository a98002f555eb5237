//! The integer sums of [`int8`](super::int8) in AVX-512 VNNI and in AVX2.

use super::int8::{Low, SHIFT};
use super::shape::{OFFSET, QUAD, get_f32};
use crate::Int8Rows;
use crate::quantised::GROUP;
use crate::simd::LANES;
use std::arch::x86_64::*;

/// Bytes of a vector, and of sixteen outputs of four ranks.
const LINE: usize = 64;
/// Rows of A that are summed at once.
const TOGETHER: usize = 8;

/// # Safety
/// The processor has AVX-512F, BW and VNNI; A holds as many rows of `x.stride()` bytes as there are ranks.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx2,fma")]
pub(super) unsafe fn shrink_vnni(a: &[u8], x: &Int8Rows, row: usize, sums: &mut [i32]) {
    let (stride, groups) = (x.stride(), x.groups());
    let codes = x.codes(row);
    let ranks = sums.len() / groups;
    assert!(a.len() >= ranks * stride, "rows of A");
    for first in (0..ranks).step_by(TOGETHER) {
        let count = TOGETHER.min(ranks - first);
        for group in 0..groups {
            let range = group * GROUP..stride.min((group + 1) * GROUP);
            let mut acc = [_mm512_setzero_si512(); TOGETHER];
            // SAFETY: `count` rows of A and the codes are `stride` bytes long, a multiple of a vector.
            unsafe {
                let from = a.as_ptr().add(first * stride);
                if count == TOGETHER {
                    for k in range.step_by(LINE) {
                        let x = _mm512_loadu_si512(codes.as_ptr().add(k).cast());
                        for (r, acc) in acc.iter_mut().enumerate() {
                            let at = from.wrapping_add(r.wrapping_mul(stride)).wrapping_add(k);
                            *acc = _mm512_dpbusd_epi32(*acc, _mm512_loadu_si512(at.cast()), x);
                        }
                    }
                } else {
                    for k in range.step_by(LINE) {
                        let x = _mm512_loadu_si512(codes.as_ptr().add(k).cast());
                        for (r, acc) in acc[..count].iter_mut().enumerate() {
                            let at = from.wrapping_add(r.wrapping_mul(stride)).wrapping_add(k);
                            *acc = _mm512_dpbusd_epi32(*acc, _mm512_loadu_si512(at.cast()), x);
                        }
                    }
                }
            }
            let offset = OFFSET * x.sum(row, group);
            for (r, acc) in acc[..count].iter().enumerate() {
                sums[(first + r) * groups + group] = _mm512_reduce_add_epi32(*acc) - offset;
            }
        }
    }
}

/// # Safety
/// The processor has AVX-512F, BW and VNNI; B and its scales cover y.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx2,fma")]
pub(super) unsafe fn expand_vnni(low: &Low, b: &[u8], scales: &[u8], y: &mut [f32]) {
    let quads = low.high.len() / QUAD;
    let blocks = y.len().div_ceil(LANES);
    assert!(b.len() >= blocks * quads * LINE && scales.len() >= 4 * blocks, "B is too short");
    let (start, step) = (_mm512_set1_epi32(-low.offset), _mm512_set1_ps(low.step));
    let (high, small) = (low.high.as_ptr().cast::<i32>(), low.low.as_ptr().cast::<i32>());
    let mut b = b.as_ptr();
    for (block, y) in y.chunks_mut(LANES).enumerate() {
        // SAFETY: measured above; quads of u are four bytes each.
        unsafe {
            let (mut upper, mut lower) = (_mm512_setzero_si512(), start);
            for quad in 0..quads {
                let codes = _mm512_loadu_si512(b.cast());
                let u =
                    [high, small].map(|u| _mm512_set1_epi32(u.wrapping_add(quad).read_unaligned()));
                upper = _mm512_dpbusd_epi32(upper, codes, u[0]);
                lower = _mm512_dpbusd_epi32(lower, codes, u[1]);
                b = b.wrapping_add(LINE);
            }
            let sum = _mm512_add_epi32(_mm512_slli_epi32::<SHIFT>(upper), lower);
            let scale = scales.as_ptr().wrapping_add(block.wrapping_mul(4)).cast::<f32>();
            let scale = _mm512_set1_ps(scale.read_unaligned());
            let product = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), scale);
            let mask = ((1u32 << y.len()) - 1) as u16;
            let before = _mm512_maskz_loadu_ps(mask, y.as_ptr());
            _mm512_mask_storeu_ps(y.as_mut_ptr(), mask, _mm512_fmadd_ps(product, step, before));
        }
    }
}

/// Signed weights (offset removed) times codes, in sums of four.
#[inline(always)]
unsafe fn dot_avx2(sum: __m256i, weights: __m256i, codes: __m256i) -> __m256i {
    // SAFETY: arithmetic only, inside functions with AVX2. Pairs of products of magnitudes up to 127 fit
    // sixteen bits.
    unsafe {
        let weights = _mm256_xor_si256(weights, _mm256_set1_epi8(OFFSET as u8 as i8));
        let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(codes), _mm256_sign_epi8(weights, codes));
        _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
    }
}

/// # Safety
/// The processor has AVX2; A holds as many rows of `x.stride()` bytes as there are ranks.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn shrink_avx2(a: &[u8], x: &Int8Rows, row: usize, sums: &mut [i32]) {
    let codes = x.codes(row);
    for (a, sums) in a.chunks_exact(x.stride()).zip(sums.chunks_exact_mut(x.groups())) {
        for ((a, codes), sum) in a.chunks(GROUP).zip(codes.chunks(GROUP)).zip(sums) {
            // SAFETY: chunks are multiples of 32 bytes, since rows are padded to 64.
            unsafe {
                let mut acc = _mm256_setzero_si256();
                for k in (0..a.len()).step_by(32) {
                    let weights = _mm256_loadu_si256(a.as_ptr().add(k).cast());
                    acc = dot_avx2(acc, weights, _mm256_loadu_si256(codes.as_ptr().add(k).cast()));
                }
                let mut lanes = [0i32; 8];
                _mm256_storeu_si256(lanes.as_mut_ptr().cast(), acc);
                *sum = lanes.iter().sum();
            }
        }
    }
}

/// # Safety
/// The processor has AVX2 and FMA; B and its scales cover y.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn expand_avx2(low: &Low, b: &[u8], scales: &[u8], y: &mut [f32]) {
    let quads = low.high.len() / QUAD;
    for (block, y) in y.chunks_mut(LANES).enumerate() {
        let b = &b[block * quads * LINE..][..quads * LINE];
        let scale = get_f32(scales, 4 * block);
        let mut sums = [0i32; LANES];
        for half in 0..2 {
            // SAFETY: lines of 64 bytes, of which this takes one half; quads of u are four bytes each.
            unsafe {
                let (mut upper, mut lower) = (_mm256_setzero_si256(), _mm256_setzero_si256());
                for quad in 0..quads {
                    let codes = _mm256_loadu_si256(b.as_ptr().add(quad * LINE + 32 * half).cast());
                    let u = [&low.high, &low.low]
                        .map(|u| u.as_ptr().cast::<i32>().add(quad).read_unaligned());
                    upper = dot_avx2(upper, codes, _mm256_set1_epi32(u[0]));
                    lower = dot_avx2(lower, codes, _mm256_set1_epi32(u[1]));
                }
                let sum = _mm256_add_epi32(_mm256_slli_epi32::<{ SHIFT as i32 }>(upper), lower);
                _mm256_storeu_si256(sums[8 * half..].as_mut_ptr().cast(), sum);
            }
        }
        for (y, sum) in y.iter_mut().zip(sums) {
            *y = (sum as f32 * scale).mul_add(low.step, *y);
        }
    }
}

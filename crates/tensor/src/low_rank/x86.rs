//! The integer sums of [`int8`](super::int8) in AVX-512 VNNI and in AVX2.

use super::int8::{Low, SHIFT, U_MAX};
use super::shape::{OFFSET, QUAD, get_f32};
use crate::Int8Rows;
use crate::quantised::GROUP;
use crate::simd::LANES;
use std::arch::x86_64::*;

/// Bytes of a vector, and of sixteen outputs of four ranks.
const LINE: usize = 64;
/// Rows of A that are summed at once.
const TOGETHER: usize = 8;

/// u = codes of one row of x · codes of A, eight ranks at a time.
///
/// # Safety
/// The processor has AVX-512F, BW and VNNI; A holds as many rows of `x.stride()` bytes as there are ranks.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx2,fma")]
pub(super) unsafe fn shrink_vnni(a: &[u8], x: &Int8Rows, row: usize, u: &mut [f32]) {
    let (stride, groups) = (x.stride(), x.groups());
    let codes = x.codes(row);
    assert!(a.len() >= u.len() * stride, "rows of A");
    for (block, u) in u.chunks_mut(TOGETHER).enumerate() {
        let count = u.len();
        let mut total = _mm256_setzero_ps();
        for group in 0..groups {
            let range = group * GROUP..stride.min((group + 1) * GROUP);
            let mut acc = [_mm512_setzero_si512(); TOGETHER];
            // SAFETY: `count` rows of A and the codes are `stride` bytes long, a multiple of a vector.
            unsafe {
                let from = a.as_ptr().add(block * TOGETHER * stride);
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
            let offset = _mm256_set1_epi32(OFFSET * x.sum(row, group));
            let sums = _mm256_sub_epi32(sums_of_lanes(acc), offset);
            let scale = _mm256_set1_ps(x.scale(row, group));
            total = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums), scale, total);
        }
        let mut lanes = [0.0; TOGETHER];
        // SAFETY: eight lanes.
        unsafe { _mm256_storeu_ps(lanes.as_mut_ptr(), total) };
        u.copy_from_slice(&lanes[..count]);
    }
}

/// The sum of the lanes of each vector.
#[target_feature(enable = "avx512f,avx2")]
fn sums_of_lanes(v: [__m512i; TOGETHER]) -> __m256i {
    // Two vectors become one that holds, in each quarter, partial sums of both; then four; then all eight.
    let two = |a, b| _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let four = |a, b| _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
    let low = four(two(v[0], v[1]), two(v[2], v[3]));
    let high = four(two(v[4], v[5]), two(v[6], v[7]));
    let halves = _mm512_add_epi32(
        _mm512_shuffle_i32x4::<0b01_00_01_00>(low, high),
        _mm512_shuffle_i32x4::<0b11_10_11_10>(low, high),
    );
    let all = _mm512_add_epi32(halves, _mm512_shuffle_i32x4::<0b10_11_00_01>(halves, halves));
    _mm512_castsi512_si256(_mm512_shuffle_i32x4::<0b10_00_10_00>(all, all))
}

/// [`Low::split`] for sixteen ranks at most whose u are finite; others go there.
///
/// # Safety
/// The processor has AVX-512F, BW and VNNI; there is a scale for each rank.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx2,fma")]
pub(super) unsafe fn split_vnni(low: &mut Low, u_scales: &[u8], weight: f32) {
    let ranks = low.u.len();
    if ranks > LANES {
        return low.split(u_scales, weight);
    }
    assert!(u_scales.len() >= 4 * ranks, "scales of u");
    let mask = ((1u32 << ranks) - 1) as u16;
    // SAFETY: the mask keeps loads within u and its scales.
    let (u, scales) = unsafe {
        (
            _mm512_maskz_loadu_ps(mask, low.u.as_ptr()),
            _mm512_maskz_loadu_ps(mask, u_scales.as_ptr().cast()),
        )
    };
    let u = _mm512_mul_ps(_mm512_mul_ps(u, scales), _mm512_set1_ps(weight));
    let largest = _mm512_reduce_max_ps(_mm512_abs_ps(u));
    let inverse = U_MAX / largest;
    let numbers = _mm512_cmp_ps_mask::<_CMP_ORD_Q>(u, u) == u16::MAX;
    if !(numbers && largest.is_finite() && inverse.is_finite()) {
        return low.split(u_scales, weight);
    }
    low.step = largest / U_MAX;
    // Rounds to the nearest, ties to even, and lies within ±16,256 by the choice of the step.
    let steps = _mm512_cvtps_epi32(_mm512_mul_ps(u, _mm512_set1_ps(inverse)));
    let bound = _mm512_set1_epi32(U_MAX as i32);
    let steps = _mm512_min_epi32(steps, bound);
    let steps = _mm512_max_epi32(steps, _mm512_sub_epi32(_mm512_setzero_si512(), bound));
    let upper = _mm512_srai_epi32::<SHIFT>(_mm512_add_epi32(steps, _mm512_set1_epi32(64)));
    let lower = _mm512_sub_epi32(steps, _mm512_slli_epi32::<SHIFT>(upper));
    low.offset = OFFSET * _mm512_reduce_add_epi32(steps);
    for (part, to) in [(upper, &mut low.high), (lower, &mut low.low)] {
        to.resize(LANES, 0);
        // SAFETY: sixteen bytes.
        unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(part)) };
        to.truncate(ranks.next_multiple_of(QUAD));
    }
}

/// # Safety
/// The processor has AVX-512F, BW and VNNI; B and its scales cover y.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx2,fma")]
pub(super) unsafe fn expand_vnni(low: &Low, b: &[u8], scales: &[u8], y: &mut [f32]) {
    let quads = low.high.len() / QUAD;
    let blocks = y.len().div_ceil(LANES);
    assert!(b.len() >= blocks * quads * LINE && scales.len() >= 4 * blocks, "B is too short");
    // SAFETY: the processor has the instructions; B and its scales were measured.
    unsafe {
        match quads {
            1 => expand_quads::<1>(low, b, scales, y),
            2 => expand_quads::<2>(low, b, scales, y),
            4 => expand_quads::<4>(low, b, scales, y),
            _ => expand_any(low, b, scales, y),
        }
    }
}

/// [`expand_vnni`] for so many quads of ranks, which stay in registers.
///
/// # Safety
/// As for [`expand_vnni`]; B and its scales cover y.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx2,fma")]
unsafe fn expand_quads<const Q: usize>(low: &Low, b: &[u8], scales: &[u8], y: &mut [f32]) {
    let (mut high, mut small) = ([_mm512_setzero_si512(); Q], [_mm512_setzero_si512(); Q]);
    for (part, to) in [(&low.high, &mut high), (&low.low, &mut small)] {
        for (quad, to) in part.as_chunks::<QUAD>().0.iter().zip(to) {
            *to = _mm512_set1_epi32(i32::from_le_bytes(quad.map(|x| x as u8)));
        }
    }
    let (start, step) = (_mm512_set1_epi32(-low.offset), _mm512_set1_ps(low.step));
    let (mut b, mut scales) = (b.as_ptr(), scales.as_ptr().cast::<f32>());
    // SAFETY: B has Q lines and one scale for each sixteen of y.
    unsafe {
        let mut product = || {
            let (mut upper, mut lower) = (_mm512_setzero_si512(), start);
            for q in 0..Q {
                let codes = _mm512_loadu_si512(b.cast());
                upper = _mm512_dpbusd_epi32(upper, codes, high[q]);
                lower = _mm512_dpbusd_epi32(lower, codes, small[q]);
                b = b.wrapping_add(LINE);
            }
            let sum = _mm512_add_epi32(_mm512_slli_epi32::<SHIFT>(upper), lower);
            let scale = _mm512_set1_ps(scales.read_unaligned());
            scales = scales.wrapping_add(1);
            _mm512_mul_ps(_mm512_cvtepi32_ps(sum), scale)
        };
        let (whole, rest) = y.as_chunks_mut::<LANES>();
        for y in whole {
            let before = _mm512_loadu_ps(y.as_ptr());
            _mm512_storeu_ps(y.as_mut_ptr(), _mm512_fmadd_ps(product(), step, before));
        }
        if !rest.is_empty() {
            let mask = ((1u32 << rest.len()) - 1) as u16;
            let before = _mm512_maskz_loadu_ps(mask, rest.as_ptr());
            let after = _mm512_fmadd_ps(product(), step, before);
            _mm512_mask_storeu_ps(rest.as_mut_ptr(), mask, after);
        }
    }
}

/// [`expand_vnni`] for any rank.
///
/// # Safety
/// As for [`expand_quads`].
#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx2,fma")]
unsafe fn expand_any(low: &Low, b: &[u8], scales: &[u8], y: &mut [f32]) {
    let quads = low.high.len() / QUAD;
    let (start, step) = (_mm512_set1_epi32(-low.offset), _mm512_set1_ps(low.step));
    let (high, small) = (low.high.as_ptr().cast::<i32>(), low.low.as_ptr().cast::<i32>());
    let mut b = b.as_ptr();
    for (block, y) in y.chunks_mut(LANES).enumerate() {
        // SAFETY: measured by the caller; quads of u are four bytes each.
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
/// The processor has AVX2 and FMA; A holds as many rows of `x.stride()` bytes as there are ranks.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn shrink_avx2(a: &[u8], x: &Int8Rows, row: usize, u: &mut [f32]) {
    let codes = x.codes(row);
    for (a, u) in a.chunks_exact(x.stride()).zip(u) {
        for (group, (a, codes)) in a.chunks(GROUP).zip(codes.chunks(GROUP)).enumerate() {
            // SAFETY: chunks are multiples of 32 bytes, since rows are padded to 64.
            unsafe {
                let mut acc = _mm256_setzero_si256();
                for k in (0..a.len()).step_by(32) {
                    let weights = _mm256_loadu_si256(a.as_ptr().add(k).cast());
                    acc = dot_avx2(acc, weights, _mm256_loadu_si256(codes.as_ptr().add(k).cast()));
                }
                let mut lanes = [0i32; 8];
                _mm256_storeu_si256(lanes.as_mut_ptr().cast(), acc);
                let sum: i32 = lanes.iter().sum();
                *u = (sum as f32).mul_add(x.scale(row, group), *u);
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

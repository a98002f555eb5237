//! Sixteen lanes in two AVX2 registers.
#![cfg(target_arch = "x86_64")]

use super::{Simd, tile_shapes};
use crate::gemm::Tile;
use std::arch::x86_64::*;

#[derive(Clone, Copy)]
pub(crate) struct Avx2;

/// Lanes 0–7 and 8–15.
type Pair = (__m256, __m256);

// SAFETY of every block below: the `kernel!` macro only picks this path on a processor with AVX2 and
// FMA, and pointers are valid for sixteen lanes.
impl Simd for Avx2 {
    type V = Pair;
    const ROWS: usize = 6;

    #[inline(always)]
    unsafe fn load(p: *const f32) -> Pair {
        unsafe { (_mm256_loadu_ps(p), _mm256_loadu_ps(p.add(8))) }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: Pair) {
        unsafe {
            _mm256_storeu_ps(p, v.0);
            _mm256_storeu_ps(p.add(8), v.1);
        }
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> Pair {
        unsafe { (_mm256_set1_ps(x), _mm256_set1_ps(x)) }
    }
    #[inline(always)]
    unsafe fn add(a: Pair, b: Pair) -> Pair {
        unsafe { (_mm256_add_ps(a.0, b.0), _mm256_add_ps(a.1, b.1)) }
    }
    #[inline(always)]
    unsafe fn sub(a: Pair, b: Pair) -> Pair {
        unsafe { (_mm256_sub_ps(a.0, b.0), _mm256_sub_ps(a.1, b.1)) }
    }
    #[inline(always)]
    unsafe fn mul(a: Pair, b: Pair) -> Pair {
        unsafe { (_mm256_mul_ps(a.0, b.0), _mm256_mul_ps(a.1, b.1)) }
    }
    #[inline(always)]
    unsafe fn div(a: Pair, b: Pair) -> Pair {
        unsafe { (_mm256_div_ps(a.0, b.0), _mm256_div_ps(a.1, b.1)) }
    }
    #[inline(always)]
    unsafe fn fma(a: Pair, b: Pair, c: Pair) -> Pair {
        unsafe { (_mm256_fmadd_ps(a.0, b.0, c.0), _mm256_fmadd_ps(a.1, b.1, c.1)) }
    }
    #[inline(always)]
    unsafe fn max(a: Pair, b: Pair) -> Pair {
        unsafe { (_mm256_max_ps(a.0, b.0), _mm256_max_ps(a.1, b.1)) }
    }
    #[inline(always)]
    unsafe fn min(a: Pair, b: Pair) -> Pair {
        unsafe { (_mm256_min_ps(a.0, b.0), _mm256_min_ps(a.1, b.1)) }
    }
    #[inline(always)]
    unsafe fn round(a: Pair) -> Pair {
        const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
        unsafe { (_mm256_round_ps::<NEAREST>(a.0), _mm256_round_ps::<NEAREST>(a.1)) }
    }
    #[inline(always)]
    unsafe fn pow2(n: Pair) -> Pair {
        unsafe {
            let half = |n: __m256| {
                let biased = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased))
            };
            (half(n.0), half(n.1))
        }
    }
    #[inline(always)]
    unsafe fn select_less(a: Pair, b: Pair, x: Pair, y: Pair) -> Pair {
        unsafe {
            let below =
                (_mm256_cmp_ps::<_CMP_LT_OQ>(a.0, b.0), _mm256_cmp_ps::<_CMP_LT_OQ>(a.1, b.1));
            (_mm256_blendv_ps(y.0, x.0, below.0), _mm256_blendv_ps(y.1, x.1, below.1))
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const u16) -> Pair {
        unsafe {
            let half = |p: *const u16| {
                let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(p.cast()));
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide))
            };
            (half(p), half(p.add(8)))
        }
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const i8) -> Pair {
        unsafe {
            let half =
                |p: *const i8| _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(p.cast())));
            (half(p), half(p.add(8)))
        }
    }
    #[inline(always)]
    unsafe fn store_i8(p: *mut i8, v: Pair) {
        unsafe {
            let half = |v: __m256| {
                let numbers = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_ORD_Q>(v, v));
                _mm256_and_si256(_mm256_cvtps_epi32(v), numbers)
            };
            // Packing works within halves of a register: lanes 0–3, 8–11, 4–7, 12–15.
            let mixed = _mm256_packs_epi32(half(v.0), half(v.1));
            let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(mixed);
            let (low, high) = (_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
            _mm_storeu_si128(p.cast(), _mm_packs_epi16(low, high));
        }
    }
    #[inline(always)]
    unsafe fn sum_i8(p: *const i8) -> i32 {
        unsafe { super::sum_i8_avx2(p) }
    }

    fn panels(rows: usize) -> usize {
        match rows {
            0..=1 => 4,
            2..=3 => 2,
            _ => 1,
        }
    }
    #[inline(always)]
    unsafe fn tile(rows: usize, panels: usize, tile: &Tile) {
        tile_shapes!(Self, tile, rows, panels;
            1 x 1, 1 x 2, 1 x 4, 2 x 1, 2 x 2, 3 x 1, 3 x 2, 4 x 1, 5 x 1, 6 x 1)
    }
}

//! Sixteen lanes in one AVX-512 register.
#![cfg(target_arch = "x86_64")]

use super::{LANES, Simd, tile_shapes};
use crate::gemm::Tile;
use std::arch::x86_64::*;

#[derive(Clone, Copy)]
pub(crate) struct Avx512;

// SAFETY of every block below: the `kernel!` macro only picks this path on a processor with AVX-512F,
// and pointers are valid for sixteen lanes (or for the first n, where a mask says so).
impl Simd for Avx512 {
    type V = __m512;
    const ROWS: usize = 12;

    #[inline(always)]
    unsafe fn load(p: *const f32) -> __m512 {
        unsafe { _mm512_loadu_ps(p) }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: __m512) {
        unsafe { _mm512_storeu_ps(p, v) }
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> __m512 {
        unsafe { _mm512_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn div(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_div_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn max(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_max_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn min(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_min_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn round(a: __m512) -> __m512 {
        unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
    }
    #[inline(always)]
    unsafe fn pow2(n: __m512) -> __m512 {
        unsafe {
            let biased = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(biased))
        }
    }
    #[inline(always)]
    unsafe fn select_less(a: __m512, b: __m512, x: __m512, y: __m512) -> __m512 {
        unsafe { _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b), y, x) }
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const u16) -> __m512 {
        unsafe {
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(p.cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
        }
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const i8) -> __m512 {
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(p.cast()))) }
    }
    #[inline(always)]
    unsafe fn store_i8(p: *mut i8, v: __m512) {
        unsafe {
            let numbers = _mm512_cmp_ps_mask::<_CMP_ORD_Q>(v, v);
            let bytes = _mm512_cvtsepi32_epi8(_mm512_maskz_cvtps_epi32(numbers, v));
            _mm_storeu_si128(p.cast(), bytes);
        }
    }
    #[inline(always)]
    unsafe fn sum_i8(p: *const i8) -> i32 {
        unsafe { super::sum_i8_avx2(p) }
    }
    #[inline(always)]
    unsafe fn load_first(p: *const f32, n: usize) -> __m512 {
        debug_assert!(n < LANES);
        unsafe { _mm512_maskz_loadu_ps((1u16 << n).wrapping_sub(1), p) }
    }
    #[inline(always)]
    unsafe fn store_first(p: *mut f32, n: usize, v: __m512) {
        debug_assert!(n < LANES);
        unsafe { _mm512_mask_storeu_ps(p, (1u16 << n).wrapping_sub(1), v) }
    }

    fn panels(rows: usize) -> usize {
        match rows {
            0..=2 => 8,
            3..=5 => 4,
            _ => 2,
        }
    }
    #[inline(always)]
    unsafe fn tile(rows: usize, panels: usize, tile: &Tile) {
        tile_shapes!(Self, tile, rows, panels;
            1 x 1, 1 x 2, 1 x 4, 1 x 8, 2 x 1, 2 x 2, 2 x 4, 2 x 8,
            3 x 1, 3 x 2, 3 x 4, 4 x 1, 4 x 2, 4 x 4, 5 x 1, 5 x 2, 5 x 4,
            6 x 1, 6 x 2, 7 x 1, 7 x 2, 8 x 1, 8 x 2, 9 x 1, 9 x 2,
            10 x 1, 10 x 2, 11 x 1, 11 x 2, 12 x 1, 12 x 2)
    }
}

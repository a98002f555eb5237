//! Sixteen lanes in four NEON registers.
#![cfg(target_arch = "aarch64")]

use super::{Simd, tile_shapes};
use crate::gemm::Tile;
use std::arch::aarch64::*;

#[derive(Clone, Copy)]
pub(crate) struct Neon;

/// Lanes 0–3, 4–7, 8–11 and 12–15.
type Quad = [float32x4_t; 4];

/// One instruction in all four registers of its operands.
macro_rules! in_each {
    ($instruction:ident($($v:ident),+)) => {
        [
            $instruction($($v[0]),+),
            $instruction($($v[1]),+),
            $instruction($($v[2]),+),
            $instruction($($v[3]),+),
        ]
    };
}

// SAFETY of every block below: the `kernel!` macro only picks this path on a processor with NEON, and
// pointers are valid for sixteen lanes.
impl Simd for Neon {
    type V = Quad;
    const ROWS: usize = 6;

    #[inline(always)]
    unsafe fn load(p: *const f32) -> Quad {
        unsafe { [vld1q_f32(p), vld1q_f32(p.add(4)), vld1q_f32(p.add(8)), vld1q_f32(p.add(12))] }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: Quad) {
        unsafe {
            vst1q_f32(p, v[0]);
            vst1q_f32(p.add(4), v[1]);
            vst1q_f32(p.add(8), v[2]);
            vst1q_f32(p.add(12), v[3]);
        }
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> Quad {
        unsafe { [vdupq_n_f32(x); 4] }
    }
    #[inline(always)]
    unsafe fn add(a: Quad, b: Quad) -> Quad {
        unsafe { in_each!(vaddq_f32(a, b)) }
    }
    #[inline(always)]
    unsafe fn sub(a: Quad, b: Quad) -> Quad {
        unsafe { in_each!(vsubq_f32(a, b)) }
    }
    #[inline(always)]
    unsafe fn mul(a: Quad, b: Quad) -> Quad {
        unsafe { in_each!(vmulq_f32(a, b)) }
    }
    #[inline(always)]
    unsafe fn div(a: Quad, b: Quad) -> Quad {
        unsafe { in_each!(vdivq_f32(a, b)) }
    }
    #[inline(always)]
    unsafe fn fma(a: Quad, b: Quad, c: Quad) -> Quad {
        // The instruction takes the addend first.
        unsafe { in_each!(vfmaq_f32(c, a, b)) }
    }
    #[inline(always)]
    unsafe fn max(a: Quad, b: Quad) -> Quad {
        // Compare and select: the processor's own maximum differs from x86 in NaN and signed zero.
        unsafe { Self::select_less(b, a, a, b) }
    }
    #[inline(always)]
    unsafe fn min(a: Quad, b: Quad) -> Quad {
        unsafe { Self::select_less(a, b, a, b) }
    }
    #[inline(always)]
    unsafe fn round(a: Quad) -> Quad {
        unsafe { in_each!(vrndnq_f32(a)) }
    }
    #[inline(always)]
    unsafe fn pow2(n: Quad) -> Quad {
        let one = |n: float32x4_t| unsafe {
            let biased = vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127));
            vreinterpretq_f32_s32(vshlq_n_s32::<23>(biased))
        };
        n.map(one)
    }
    #[inline(always)]
    unsafe fn select_less(a: Quad, b: Quad, x: Quad, y: Quad) -> Quad {
        unsafe {
            let below = in_each!(vcltq_f32(a, b));
            in_each!(vbslq_f32(below, x, y))
        }
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

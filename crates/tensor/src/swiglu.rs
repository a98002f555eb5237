//! The gated activation between the two halves of the feed-forward layer.

use crate::gated::{self, Gate, ROWS_AT_LEAST};
use crate::math::exp_lanes;
use crate::parallel::{Shared, for_rows};
use crate::simd::{Simd, kernel};
use std::ops::Range;

/// hᵢ = silu(gateᵢ) · upᵢ, silu(x) = x / (1 + e^−x).
///
/// Shapes: gate_up [rows, 2·width], gate first; h [rows, width]. Source: 2002.05202.
pub fn swiglu(gate_up: &[f32], width: usize, h: &mut [f32]) {
    let rows = gated::rows(h.len(), width, gate_up.len());
    let h = Shared::new(h);
    for_rows(rows, ROWS_AT_LEAST, |rows| forward_rows(gate_up, width, &h, rows));
}

/// Gradient of [`swiglu`]: from dh, overwrites `gate_up` with its own gradient.
pub fn swiglu_backward(dh: &[f32], width: usize, gate_up: &mut [f32]) {
    let rows = gated::rows(dh.len(), width, gate_up.len());
    let gate_up = Shared::new(gate_up);
    for_rows(rows, ROWS_AT_LEAST, |rows| backward_rows(dh, width, &gate_up, rows));
}

/// 1 / (1 + e^−x).
#[inline(always)]
pub(crate) unsafe fn sigmoid<S: Simd>(x: S::V) -> S::V {
    // SAFETY: arithmetic only; the caller runs in a `kernel!`.
    unsafe {
        let e = exp_lanes::<S>(S::sub(S::splat(0.0), x));
        S::div(S::splat(1.0), S::add(S::splat(1.0), e))
    }
}

struct Silu;

impl Gate for Silu {
    #[inline(always)]
    unsafe fn openness<S: Simd>(x: S::V) -> S::V {
        // SAFETY: as the trait asks.
        unsafe { sigmoid::<S>(x) }
    }

    /// silu' = s + silu · (1 − s)
    #[inline(always)]
    unsafe fn slope<S: Simd>(_: S::V, s: S::V, silu: S::V) -> S::V {
        // SAFETY: arithmetic only, in a `kernel!`.
        unsafe { S::fma(silu, S::sub(S::splat(1.0), s), s) }
    }
}

kernel! {
    fn forward_rows<S>(gate_up: &[f32], width: usize, h: &Shared<'_>, rows: Range<usize>) {
        // SAFETY: in a kernel; every row belongs to one task.
        unsafe { gated::forward::<S, Silu>(gate_up, width, h, rows) }
    }
}

kernel! {
    fn backward_rows<S>(dh: &[f32], width: usize, gate_up: &Shared<'_>, rows: Range<usize>) {
        // SAFETY: in a kernel; every row belongs to one task.
        unsafe { gated::backward::<S, Silu>(dh, width, gate_up, rows) }
    }
}

//! The gated activation of Gemma.

use crate::gated::{self, Gate, ROWS_AT_LEAST};
use crate::parallel::{Shared, for_rows};
use crate::simd::{Simd, kernel};
use crate::swiglu::sigmoid;
use std::ops::Range;

/// 2 · √(2/π): gelu(x) = x/2 · (1 + tanh(t/2)) = x · sigmoid(t), t = `OUTER` · (x + `CUBIC` · x³). The form with
/// the sigmoid loses nothing where tanh is near −1.
const OUTER: f32 = 1.595_769;
const CUBIC: f32 = 0.044_715;

/// hᵢ = gelu(gateᵢ) · upᵢ with the tanh form of gelu.
///
/// Error of gelu below 2⁻²² · max(|x|, 1) for every x. Shapes: gate_up [rows, 2·width], gate first; h [rows,
/// width]. Source: 1606.08415, 2002.05202.
pub fn geglu(gate_up: &[f32], width: usize, h: &mut [f32]) {
    let rows = gated::rows(h.len(), width, gate_up.len());
    let h = Shared::new(h);
    for_rows(rows, ROWS_AT_LEAST, |rows| forward_rows(gate_up, width, &h, rows));
}

/// Gradient of [`geglu`]: from dh, overwrites `gate_up` with its own gradient.
pub fn geglu_backward(dh: &[f32], width: usize, gate_up: &mut [f32]) {
    let rows = gated::rows(dh.len(), width, gate_up.len());
    let gate_up = Shared::new(gate_up);
    for_rows(rows, ROWS_AT_LEAST, |rows| backward_rows(dh, width, &gate_up, rows));
}

struct Gelu;

impl Gate for Gelu {
    /// sigmoid(t)
    #[inline(always)]
    unsafe fn openness<S: Simd>(x: S::V) -> S::V {
        // SAFETY: arithmetic only, in a `kernel!`.
        unsafe {
            let cubic = S::fma(S::mul(S::splat(CUBIC), S::mul(x, x)), x, x);
            sigmoid::<S>(S::mul(S::splat(OUTER), cubic))
        }
    }

    /// t' = OUTER · (1 + 3 · CUBIC · x²); gelu' = s + gelu · (1 − s) · t'
    #[inline(always)]
    unsafe fn slope<S: Simd>(x: S::V, s: S::V, gelu: S::V) -> S::V {
        // SAFETY: arithmetic only, in a `kernel!`.
        unsafe {
            let inner = S::fma(S::splat(3.0 * CUBIC), S::mul(x, x), S::splat(1.0));
            let steep = S::mul(S::splat(OUTER), inner);
            let rest = S::mul(S::sub(S::splat(1.0), s), steep);
            S::fma(gelu, rest, s)
        }
    }
}

kernel! {
    fn forward_rows<S>(gate_up: &[f32], width: usize, h: &Shared<'_>, rows: Range<usize>) {
        // SAFETY: in a kernel; every row belongs to one task.
        unsafe { gated::forward::<S, Gelu>(gate_up, width, h, rows) }
    }
}

kernel! {
    fn backward_rows<S>(dh: &[f32], width: usize, gate_up: &Shared<'_>, rows: Range<usize>) {
        // SAFETY: in a kernel; every row belongs to one task.
        unsafe { gated::backward::<S, Gelu>(dh, width, gate_up, rows) }
    }
}

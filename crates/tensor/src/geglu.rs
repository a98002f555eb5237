//! The gated activation of Gemma.

use crate::parallel::{Shared, for_rows};
use crate::simd::{LANES, Simd, kernel};
use crate::swiglu::{load, sigmoid, store};
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
    assert!(
        gate_up.len() == 2 * h.len() && h.len().is_multiple_of(width),
        "shapes of GeGLU differ"
    );
    let rows = h.len() / width;
    let h = Shared::new(h);
    for_rows(rows, 32, |rows| forward_rows(gate_up, width, &h, rows));
}

/// Gradient of [`geglu`]: from dh, overwrites `gate_up` with its own gradient.
pub fn geglu_backward(dh: &[f32], width: usize, gate_up: &mut [f32]) {
    assert!(
        gate_up.len() == 2 * dh.len() && dh.len().is_multiple_of(width),
        "shapes of GeGLU differ"
    );
    let rows = dh.len() / width;
    let gate_up = Shared::new(gate_up);
    for_rows(rows, 32, |rows| backward_rows(dh, width, &gate_up, rows));
}

/// sigmoid(t) of the gate.
#[inline(always)]
unsafe fn openness<S: Simd>(x: S::V) -> S::V {
    // SAFETY: arithmetic only; the caller runs in a `kernel!`.
    unsafe {
        let cubic = S::fma(S::mul(S::splat(CUBIC), S::mul(x, x)), x, x);
        sigmoid::<S>(S::mul(S::splat(OUTER), cubic))
    }
}

kernel! {
    fn forward_rows<S>(gate_up: &[f32], width: usize, h: &Shared<'_>, rows: Range<usize>) {
        for i in rows {
            let (gate, up) = gate_up[i * 2 * width..][..2 * width].split_at(width);
            // SAFETY: every row belongs to one task.
            let h = unsafe { h.slice(i * width, width) };
            for ((h, gate), up) in h.chunks_mut(LANES).zip(gate.chunks(LANES)).zip(up.chunks(LANES)) {
                // SAFETY: chunks of equal length, at most sixteen.
                unsafe {
                    let (g, u) = (load::<S>(gate), load::<S>(up));
                    store::<S>(h, S::mul(S::mul(g, openness::<S>(g)), u));
                }
            }
        }
    }
}

kernel! {
    fn backward_rows<S>(dh: &[f32], width: usize, gate_up: &Shared<'_>, rows: Range<usize>) {
        for i in rows {
            let dh = &dh[i * width..][..width];
            // SAFETY: every row belongs to one task.
            let (gate, up) = unsafe { gate_up.slice(i * 2 * width, 2 * width) }.split_at_mut(width);
            for ((dh, gate), up) in dh.chunks(LANES).zip(gate.chunks_mut(LANES)).zip(up.chunks_mut(LANES)) {
                // SAFETY: chunks of equal length, at most sixteen.
                unsafe {
                    let (d, g, u) = (load::<S>(dh), load::<S>(gate), load::<S>(up));
                    let s = openness::<S>(g);
                    let gelu = S::mul(g, s);
                    // t' = OUTER · (1 + 3 · CUBIC · g²); gelu' = s + gelu · (1 − s) · t'
                    let inner = S::fma(S::splat(3.0 * CUBIC), S::mul(g, g), S::splat(1.0));
                    let steep = S::mul(S::splat(OUTER), inner);
                    let rest = S::mul(S::sub(S::splat(1.0), s), steep);
                    let slope = S::fma(gelu, rest, s);
                    store::<S>(gate, S::mul(S::mul(d, u), slope));
                    store::<S>(up, S::mul(d, gelu));
                }
            }
        }
    }
}

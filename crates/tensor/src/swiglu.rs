//! The gated activation between the two halves of the feed-forward layer.

use crate::math::exp_lanes;
use crate::parallel::{Shared, for_rows};
use crate::simd::{LANES, Simd, kernel};
use std::ops::Range;

/// hᵢ = silu(gateᵢ) · upᵢ, silu(x) = x / (1 + e^−x).
///
/// Shapes: gate_up [rows, 2·width], gate first; h [rows, width]. Source: 2002.05202.
pub fn swiglu(gate_up: &[f32], width: usize, h: &mut [f32]) {
    assert!(
        gate_up.len() == 2 * h.len() && h.len().is_multiple_of(width),
        "shapes of SwiGLU differ"
    );
    let rows = h.len() / width;
    let h = Shared::new(h);
    for_rows(rows, 32, |rows| forward_rows(gate_up, width, &h, rows));
}

/// Gradient of [`swiglu`]: from dh, overwrites `gate_up` with its own gradient.
pub fn swiglu_backward(dh: &[f32], width: usize, gate_up: &mut [f32]) {
    assert!(
        gate_up.len() == 2 * dh.len() && dh.len().is_multiple_of(width),
        "shapes of SwiGLU differ"
    );
    let rows = dh.len() / width;
    let gate_up = Shared::new(gate_up);
    for_rows(rows, 32, |rows| backward_rows(dh, width, &gate_up, rows));
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

#[inline(always)]
pub(crate) unsafe fn load<S: Simd>(x: &[f32]) -> S::V {
    // SAFETY: as many elements as the slice has are read.
    unsafe {
        if x.len() == LANES { S::load(x.as_ptr()) } else { S::load_first(x.as_ptr(), x.len()) }
    }
}

#[inline(always)]
pub(crate) unsafe fn store<S: Simd>(x: &mut [f32], v: S::V) {
    // SAFETY: as many elements as the slice has are written.
    unsafe {
        if x.len() == LANES {
            S::store(x.as_mut_ptr(), v);
        } else {
            S::store_first(x.as_mut_ptr(), x.len(), v);
        }
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
                    store::<S>(h, S::mul(S::mul(g, sigmoid::<S>(g)), u));
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
                    let s = sigmoid::<S>(g);
                    let silu = S::mul(g, s);
                    // silu' = s + silu · (1 − s)
                    let slope = S::fma(silu, S::sub(S::splat(1.0), s), s);
                    store::<S>(gate, S::mul(S::mul(d, u), slope));
                    store::<S>(up, S::mul(d, silu));
                }
            }
        }
    }
}

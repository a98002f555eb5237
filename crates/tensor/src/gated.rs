//! What the gated activations share: h = activation(gate) · up, where activation(x) = x · openness(x).

use crate::parallel::Shared;
use crate::simd::{LANES, Simd};
use std::ops::Range;

/// Rows of which a thread takes at least so many.
pub(crate) const ROWS_AT_LEAST: usize = 32;

/// One activation.
pub(crate) trait Gate {
    /// How much of the gate passes, from 0 to 1.
    ///
    /// # Safety
    /// The caller runs in a `kernel!`.
    unsafe fn openness<S: Simd>(x: S::V) -> S::V;

    /// The activation's derivative at x, from its openness there and its value.
    ///
    /// # Safety
    /// The caller runs in a `kernel!`.
    unsafe fn slope<S: Simd>(x: S::V, openness: S::V, value: S::V) -> S::V;
}

/// Rows of a result `[_, width]` beside one `[_, 2·width]`. Panics if they are not that.
pub(crate) fn rows(result: usize, width: usize, gate_up: usize) -> usize {
    let fits = gate_up == 2 * result && result.is_multiple_of(width);
    assert!(fits, "shapes of a gated activation differ");
    result / width
}

#[inline(always)]
unsafe fn load<S: Simd>(x: &[f32]) -> S::V {
    // SAFETY: as many elements as the slice has are read, at most sixteen; the caller runs in a `kernel!`.
    unsafe {
        if x.len() == LANES { S::load(x.as_ptr()) } else { S::load_first(x.as_ptr(), x.len()) }
    }
}

#[inline(always)]
unsafe fn store<S: Simd>(x: &mut [f32], v: S::V) {
    // SAFETY: as many elements as the slice has are written, at most sixteen; the caller runs in a `kernel!`.
    unsafe {
        if x.len() == LANES {
            S::store(x.as_mut_ptr(), v);
        } else {
            S::store_first(x.as_mut_ptr(), x.len(), v);
        }
    }
}

/// The rows of h from those of `gate_up`.
///
/// # Safety
/// The caller runs in a `kernel!`, and no other task has these rows.
#[inline(always)]
pub(crate) unsafe fn forward<S: Simd, G: Gate>(
    gate_up: &[f32],
    width: usize,
    h: &Shared<'_>,
    rows: Range<usize>,
) {
    for i in rows {
        let (gate, up) = gate_up[i * 2 * width..][..2 * width].split_at(width);
        // SAFETY: the rows belong to this task.
        let h = unsafe { h.slice(i * width, width) };
        for ((h, gate), up) in h.chunks_mut(LANES).zip(gate.chunks(LANES)).zip(up.chunks(LANES)) {
            // SAFETY: chunks of equal length, at most sixteen, in a `kernel!`.
            unsafe {
                let (g, u) = (load::<S>(gate), load::<S>(up));
                store::<S>(h, S::mul(S::mul(g, G::openness::<S>(g)), u));
            }
        }
    }
}

/// The rows of `gate_up` become those of its gradient.
///
/// # Safety
/// The caller runs in a `kernel!`, and no other task has these rows.
#[inline(always)]
pub(crate) unsafe fn backward<S: Simd, G: Gate>(
    dh: &[f32],
    width: usize,
    gate_up: &Shared<'_>,
    rows: Range<usize>,
) {
    for i in rows {
        let dh = &dh[i * width..][..width];
        // SAFETY: the rows belong to this task.
        let (gate, up) = unsafe { gate_up.slice(i * 2 * width, 2 * width) }.split_at_mut(width);
        for ((dh, gate), up) in
            dh.chunks(LANES).zip(gate.chunks_mut(LANES)).zip(up.chunks_mut(LANES))
        {
            // SAFETY: chunks of equal length, at most sixteen, in a `kernel!`.
            unsafe {
                let (d, g, u) = (load::<S>(dh), load::<S>(gate), load::<S>(up));
                let openness = G::openness::<S>(g);
                let value = S::mul(g, openness);
                let slope = G::slope::<S>(g, openness, value);
                store::<S>(gate, S::mul(S::mul(d, u), slope));
                store::<S>(up, S::mul(d, value));
            }
        }
    }
}

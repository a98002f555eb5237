//! Rotary position embedding.

use crate::math::{pow, sin_cos};
use crate::parallel::{Shared, for_rows};
use crate::simd::kernel;
use std::ops::Range;

/// Cosines and sines for every position of a context.
///
/// Frequencies and angles are rounded to f32 as other implementations do; sine and cosine are taken in
/// f64 from there. Source: 2104.09864, in the layout of Hugging Face (pairs i, i + head_dim / 2).
#[derive(Clone, Debug)]
pub struct RopeTable {
    half: usize,
    /// [positions, half] each.
    cos: Vec<f32>,
    sin: Vec<f32>,
}

/// Which way to turn: the gradient goes backward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// As in the forward pass.
    Forward,
    /// The transpose of it.
    Backward,
}

impl RopeTable {
    /// For `positions` positions of heads of `head_dim` (even).
    pub fn new(positions: usize, head_dim: usize, theta: f64) -> Self {
        Self::from_frequencies(positions, &Self::frequencies(head_dim, theta))
    }

    /// Angle per position of each pair of elements [head_dim / 2]: theta^(−2i / head_dim), rounded to f32.
    pub fn frequencies(head_dim: usize, theta: f64) -> Vec<f32> {
        let half = head_dim / 2;
        (0..half).map(|i| pow(theta, -((2 * i) as f64) / head_dim as f64) as f32).collect()
    }

    /// For heads whose pairs turn by these angles per position.
    pub fn from_frequencies(positions: usize, frequencies: &[f32]) -> Self {
        let half = frequencies.len();
        let (mut cos, mut sin) = (Vec::new(), Vec::new());
        for position in 0..positions {
            for frequency in frequencies {
                let (s, c) = sin_cos(f64::from(position as f32 * frequency));
                cos.push(c as f32);
                sin.push(s as f32);
            }
        }
        Self { half, cos, sin }
    }

    /// Positions the table covers.
    pub fn positions(&self) -> usize {
        self.cos.len() / self.half.max(1)
    }

    /// Cosines [positions, half] of the angles, as [`Self::turn`] takes them.
    pub fn cosines(&self) -> &[f32] {
        &self.cos
    }

    /// Sines, as above.
    pub fn sines(&self) -> &[f32] {
        &self.sin
    }

    /// Turns the first `heads` heads of each row in place. Row i stands at `positions[i]`.
    ///
    /// Shape: x [positions.len(), stride], heads · head_dim ≤ stride.
    pub fn turn(&self, x: &mut [f32], stride: usize, heads: usize, positions: &[u32], turn: Turn) {
        assert!(
            x.len() == positions.len() * stride && heads * self.half * 2 <= stride,
            "shape of RoPE"
        );
        let x = Shared::new(x);
        for_rows(positions.len(), 64, |rows| {
            turn_rows(self, &x, stride, heads, positions, turn, rows)
        });
    }
}

kernel! {
    fn turn_rows<S>(
        table: &RopeTable,
        x: &Shared<'_>,
        stride: usize,
        heads: usize,
        positions: &[u32],
        turn: Turn,
        rows: Range<usize>,
    ) {
        let half = table.half;
        let sign = if turn == Turn::Forward { 1.0 } else { -1.0f32 };
        for i in rows {
            let at = positions[i] as usize * half;
            let (cos, sin) = (&table.cos[at..][..half], &table.sin[at..][..half]);
            for head in 0..heads {
                // SAFETY: every row belongs to one task.
                let (a, b) = unsafe { x.slice(i * stride + head * 2 * half, 2 * half) }.split_at_mut(half);
                for (((a, b), c), s) in a.iter_mut().zip(b).zip(cos).zip(sin) {
                    let s = s * sign;
                    let turned = a.mul_add(*c, -(*b * s));
                    *b = b.mul_add(*c, *a * s);
                    *a = turned;
                }
            }
        }
    }
}

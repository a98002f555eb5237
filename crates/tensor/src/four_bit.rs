//! Weights in four bits, in groups that share a scale.
//!
//! ```text
//! W [rows, columns] ─▶ groups of 32 along a row ─▶ scale = max |w| / 7 as bf16, codes −7..=7
//! w' = code · scale
//! ```
//!
//! **Invariant:** codes and scales are a function of the weights alone, and w' has one correct value, so a
//! product with w' is as exact as any other.

/// Weights that share a scale.
pub const FOUR_BIT_GROUP: usize = 32;

/// Largest magnitude of a code.
const CODE_MAX: f32 = 7.0;

/// A matrix [rows, columns] in four bits and one sixteenth of a scale for each weight: 4.5 bits.
#[derive(Clone, Debug, Default)]
pub struct FourBitMatrix {
    rows: usize,
    columns: usize,
    /// Two codes a byte, offset by 8, the first in the low half; rows are padded to whole groups.
    codes: Vec<u8>,
    /// bf16, one per group.
    scales: Vec<u16>,
}

impl FourBitMatrix {
    /// Quantises row-major W [rows, columns]. Panics if W has another size or a value is not finite.
    pub fn quantise(w: &[f32], rows: usize, columns: usize) -> Self {
        assert!(w.len() == rows * columns && columns > 0, "shape of the weights");
        let groups = columns.div_ceil(FOUR_BIT_GROUP);
        let mut codes = Vec::with_capacity(rows * groups * FOUR_BIT_GROUP / 2);
        let mut scales = Vec::with_capacity(rows * groups);
        for group in w.chunks_exact(columns).flat_map(|row| row.chunks(FOUR_BIT_GROUP)) {
            let largest = group.iter().fold(0.0f32, |a, b| a.max(b.abs()));
            assert!(largest.is_finite(), "a weight is not finite");
            let scale = bf16_above(largest / CODE_MAX);
            scales.push(scale);
            let scale = widen(scale);
            let code = |i: usize| -> u8 {
                let w = group.get(i).copied().unwrap_or(0.0);
                let code = if scale > 0.0 { (w / scale).round_ties_even() } else { 0.0 };
                (code.clamp(-CODE_MAX, CODE_MAX) + 8.0) as u8
            };
            codes.extend((0..FOUR_BIT_GROUP).step_by(2).map(|i| code(i) | code(i + 1) << 4));
        }
        Self { rows, columns, codes, scales }
    }

    /// The weights that the codes stand for, row-major, into `w`.
    pub fn dequantise(&self, w: &mut Vec<f32>) {
        w.clear();
        w.reserve(self.rows * self.columns);
        let groups = self.columns.div_ceil(FOUR_BIT_GROUP);
        let bytes = groups * FOUR_BIT_GROUP / 2;
        let rows =
            self.codes.chunks_exact(bytes.max(1)).zip(self.scales.chunks_exact(groups.max(1)));
        for (codes, scales) in rows {
            let end = w.len() + self.columns;
            for (codes, scale) in codes.as_chunks::<{ FOUR_BIT_GROUP / 2 }>().0.iter().zip(scales) {
                let scale = widen(*scale);
                let value = |code: u8| (f32::from(code) - 8.0) * scale;
                w.extend(codes.iter().flat_map(|c| [value(c & 15), value(c >> 4)]));
            }
            w.truncate(end);
        }
    }

    /// The codes of one group of a row, two a byte, and its scale.
    pub(crate) fn group(&self, row: usize, group: usize) -> (&[u8], u16) {
        let groups = self.columns.div_ceil(FOUR_BIT_GROUP);
        let at = row * groups + group;
        const BYTES: usize = FOUR_BIT_GROUP / 2;
        (&self.codes[at * BYTES..][..BYTES], self.scales[at])
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Memory it takes.
    pub fn bytes(&self) -> usize {
        self.codes.len() + 2 * self.scales.len()
    }
}

pub(crate) fn widen(x: u16) -> f32 {
    f32::from_bits(u32::from(x) << 16)
}

/// The smallest bf16 that is not below x ≥ 0, so that no code exceeds its range.
fn bf16_above(x: f32) -> u16 {
    let bits = x.to_bits();
    let above = (bits >> 16) + u32::from(bits & 0xffff != 0);
    // The largest finite bf16; only weights above 2e39 would need more.
    above.min(0x7f7f) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Random;

    fn random(n: usize) -> Vec<f32> {
        let mut random = Random::new(4, 4);
        (0..n).map(|_| random.normal() * 0.02).collect()
    }

    #[test]
    fn a_weight_moves_by_half_a_step_at_most() {
        for (rows, columns) in [(3, 32), (5, 70), (1, 1), (4, 33)] {
            let w = random(rows * columns);
            let (matrix, mut back) = (FourBitMatrix::quantise(&w, rows, columns), Vec::new());
            matrix.dequantise(&mut back);
            assert_eq!(back.len(), w.len());
            for (before, after) in w.chunks_exact(columns).zip(back.chunks_exact(columns)) {
                for (before, after) in
                    before.chunks(FOUR_BIT_GROUP).zip(after.chunks(FOUR_BIT_GROUP))
                {
                    let largest = before.iter().fold(0.0f32, |a, b| a.max(b.abs()));
                    // A scale rounded up to bf16 is at most 2⁻⁷ larger.
                    let step = largest / CODE_MAX * (1.0 + 1.0 / 128.0);
                    for (before, after) in before.iter().zip(after) {
                        assert!((before - after).abs() <= 0.5001 * step, "{before} {after}");
                    }
                }
            }
        }
    }

    #[test]
    fn zeros_and_the_extremes_survive() {
        let mut w = vec![0.0; 64];
        (w[32], w[33]) = (7.0, -7.0);
        let mut back = Vec::new();
        FourBitMatrix::quantise(&w, 2, 32).dequantise(&mut back);
        assert_eq!(back, w);
    }

    #[test]
    fn a_weight_takes_four_and_a_half_bits() {
        assert_eq!(FourBitMatrix::quantise(&random(64 * 256), 64, 256).bytes(), 64 * 256 * 9 / 16);
    }
}

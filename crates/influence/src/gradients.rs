//! The gradient of each record's loss, by the model's own trainer.

use openledger_model::{Batch, Decoder, LoraLayout, LoraTrainer};

use crate::Error;

/// A sequence of which the tokens from `answer_start` on are predicted.
#[derive(Clone, Copy, Debug)]
pub struct Sequence<'a> {
    /// Prompt and answer.
    pub tokens: &'a [u32],
    /// Where the answer starts.
    pub answer_start: usize,
}

/// One gradient per row [rows, columns], row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradients {
    /// Numbers of a gradient.
    pub columns: usize,
    /// Row after row.
    pub data: Vec<f32>,
}

impl Gradients {
    /// How many there are.
    pub fn rows(&self) -> usize {
        self.data.len() / self.columns.max(1)
    }

    /// One of them.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.data[row * self.columns..][..self.columns]
    }
}

/// ∇ of −ln p(answer | prompt) with respect to the adapter's `values`, for each sequence, summed over the
/// tokens of its answer.
///
/// Errors: [`Error::Model`] for a sequence that does not fit the base.
pub fn example_gradients(
    base: &Decoder,
    layout: &LoraLayout,
    values: &[f32],
    sequences: &[Sequence<'_>],
) -> Result<Gradients, Error> {
    let mut trainer = LoraTrainer::new(base, layout)?;
    let mut data = vec![0.0; sequences.len() * layout.len()];
    let mut batch = Batch::default();
    for (sequence, gradient) in sequences.iter().zip(data.chunks_exact_mut(layout.len())) {
        batch.clear();
        batch.push(base.config(), sequence.tokens, sequence.answer_start, 1.0)?;
        trainer.loss_and_gradients(values, &batch, gradient);
    }
    Ok(Gradients { columns: layout.len(), data })
}

/// Mean probability per answer token of each sequence: the p of TRAK's 1 − p.
///
/// Errors: as [`example_gradients`].
pub fn likelihoods(
    base: &Decoder,
    layout: &LoraLayout,
    values: &[f32],
    sequences: &[Sequence<'_>],
) -> Result<Vec<f64>, Error> {
    let mut trainer = LoraTrainer::new(base, layout)?;
    let mut unused = vec![0.0; layout.len()];
    let mut batch = Batch::default();
    let mut all = Vec::with_capacity(sequences.len());
    for sequence in sequences {
        batch.clear();
        batch.push(base.config(), sequence.tokens, sequence.answer_start, 1.0)?;
        let loss = trainer.loss_and_gradients(values, &batch, &mut unused);
        all.push((-loss / batch.targets().len() as f64).exp());
    }
    Ok(all)
}

/// Σ a·b: products in f32, sums over eight lanes, pieces in f64.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f64 {
    const LANES: usize = 8;
    const PIECE: usize = 64 * LANES;
    let mut total = 0.0f64;
    for (a, b) in a.chunks(PIECE).zip(b.chunks(PIECE)) {
        let mut lanes = [0.0f32; LANES];
        let (a8, a_rest) = a.as_chunks::<LANES>();
        let (b8, b_rest) = b.as_chunks::<LANES>();
        for (a, b) in a8.iter().zip(b8) {
            for i in 0..LANES {
                lanes[i] += a[i] * b[i];
            }
        }
        total += lanes.iter().map(|x| f64::from(*x)).sum::<f64>();
        total += a_rest.iter().zip(b_rest).map(|(a, b)| f64::from(a * b)).sum::<f64>();
    }
    total
}

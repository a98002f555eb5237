//! Cross-entropy of the rows that have a target.

use super::{Activations, Batch};
use crate::panels::Panels;
use crate::{DecoderConfig, Weights};
use openledger_tensor::{
    Lhs, Out, PackedMatrix, Start, cross_entropy, gemm, rms_norm, rms_norm_backward,
};

/// Rows whose logits are held at once.
const CHUNK: usize = 256;

/// Σ −weight · ln p. Leaves the gradient of the residual stream in `d_stream`; adds to the gradients of
/// the final norm and the output matrix where they are wanted.
pub(super) fn loss(
    config: &DecoderConfig,
    weights: &Weights,
    panels: &Panels,
    batch: &Batch,
    kept: &mut Activations,
    mut gradients: Option<&mut Weights>,
) -> f64 {
    let (h, vocab) = (config.hidden_size, config.vocab_size);
    let eps = config.rms_norm_eps as f32;
    let mut total = 0.0f64;
    let mut packed = PackedMatrix::default();
    let Activations { last, d_stream, logits, .. } = kept;
    d_stream.fill(0.0);
    for chunk in batch.targets.chunks(CHUNK) {
        let rows = chunk.len();
        let x: Vec<f32> = chunk.iter().flat_map(|t| &last[t.row * h..][..h]).copied().collect();
        let (mut normed, mut scales) = (vec![0.0; rows * h], vec![0.0; rows]);
        rms_norm(&x, &weights.norm, eps, &mut normed, &mut scales);
        logits.resize(rows * vocab, 0.0);
        let rows_of = |data| Lhs::Rows { data, stride: h };
        gemm(
            rows,
            rows_of(&normed),
            &panels.head.forward,
            Out { data: logits, stride: vocab },
            Start::Zero,
        );

        let tokens: Vec<u32> = chunk.iter().map(|t| t.token).collect();
        let weight: Vec<f32> = chunk.iter().map(|t| t.weight).collect();
        let likelihoods = cross_entropy(logits, vocab, &tokens, &weight);
        for (ln_p, weight) in likelihoods.iter().zip(&weight) {
            total -= f64::from(*weight) * f64::from(*ln_p);
        }

        let mut d_normed = vec![0.0; rows * h];
        let d_logits = Lhs::Rows { data: logits, stride: vocab };
        gemm(
            rows,
            d_logits,
            &panels.head.backward,
            Out { data: &mut d_normed, stride: h },
            Start::Zero,
        );
        let mut d_norm = None;
        if let Some(g) = gradients.as_deref_mut() {
            packed.set_rows(&normed, rows, h, h);
            let d_logits = Lhs::Columns { data: logits, stride: vocab };
            let head = g.head.as_mut().unwrap_or(&mut g.embedding);
            gemm(vocab, d_logits, &packed, Out { data: head, stride: h }, Start::Continue);
            d_norm = Some(&mut g.norm[..]);
        }
        let mut d_x = vec![0.0; rows * h];
        rms_norm_backward(&d_normed, &x, &weights.norm, &scales, &mut d_x, d_norm);
        for (t, d) in chunk.iter().zip(d_x.chunks_exact(h)) {
            d_stream[t.row * h..][..h].copy_from_slice(d);
        }
    }
    total
}

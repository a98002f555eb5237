//! Cross-entropy of the rows that have a target.

use super::pass::{Model, Pass};
use super::{Batch, Target};
use openledger_tensor::{
    Lhs, Out, PackedMatrix, Start, cross_entropy, gemm, rms_norm, rms_norm_backward, soft_cap,
    soft_cap_backward,
};
use std::ops::Range;

/// Rows whose logits are held at once.
const CHUNK: usize = 256;

impl Pass {
    /// ln p of every target. Leaves the gradient of `last` in `back.stream`; adds to the gradients of the
    /// output matrix and the final norm where they are wanted.
    pub(super) fn loss(
        &mut self,
        model: &Model<'_>,
        batch: &Batch,
        mut gradients: Option<(&mut Vec<f32>, &mut Vec<f32>)>,
    ) -> Vec<f32> {
        let (h, vocab) = (model.config.hidden_size, model.config.vocab_size);
        let eps = model.config.rms_norm_eps as f32;
        let (norm, head) = (&model.weights.norm, &model.panels.head);
        let Self { last, logits, back, .. } = self;
        back.stream.clear();
        back.stream.resize(last.len(), 0.0);
        let mut packed = PackedMatrix::default();
        let mut all = Vec::with_capacity(batch.targets.len());
        let parts = last.chunks(CHUNK * h).zip(back.stream.chunks_mut(CHUNK * h));
        for (targets, (x, d_x)) in batch.targets.chunks(CHUNK).zip(parts) {
            let rows = targets.len();
            let (mut normed, mut scales) = (vec![0.0; rows * h], vec![0.0; rows]);
            rms_norm(x, norm, eps, &mut normed, &mut scales);
            logits.resize(rows * vocab, 0.0);
            head.forward(rows, &normed, logits);
            let cap = model.architecture.logit_soft_cap.map(|cap| {
                soft_cap(logits, cap);
                (cap, logits.clone())
            });

            let tokens: Vec<u32> = targets.iter().map(|t| t.token).collect();
            let weight: Vec<f32> = targets.iter().map(|t| t.weight).collect();
            all.extend(cross_entropy(logits, vocab, &tokens, &weight));

            if let Some((cap, capped)) = cap {
                soft_cap_backward(logits, &capped, cap);
            }
            let mut d_normed = vec![0.0; rows * h];
            head.backward(rows, logits, &mut d_normed);
            let mut d_norm = None;
            if let Some((d_head, d_weight)) = &mut gradients {
                packed.set_rows(&normed, rows, h, h);
                let d_logits = Lhs::Columns { data: logits, stride: vocab };
                gemm(vocab, d_logits, &packed, Out { data: d_head, stride: h }, Start::Continue);
                d_norm = Some(&mut d_weight[..]);
            }
            rms_norm_backward(&d_normed, x, norm, &scales, d_x, d_norm);
        }
        all
    }
}

/// Σ −weight · ln p over some of the targets, in order.
pub(super) fn total(targets: &[Target], likelihoods: &[f32], part: Range<usize>) -> f64 {
    let mut total = 0.0f64;
    for (target, ln_p) in targets[part.clone()].iter().zip(&likelihoods[part]) {
        total -= f64::from(target.weight) * f64::from(*ln_p);
    }
    total
}

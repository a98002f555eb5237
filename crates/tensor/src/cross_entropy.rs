//! Log-likelihoods from logits, and their gradient.

use crate::math::ln;
use crate::parallel::{Shared, for_rows};
use crate::reduce::{exp_sum_lanes, max_lanes};
use crate::simd::kernel;
use std::ops::Range;

/// Log-likelihood of each row's target: ln p = (xₜ − max) − ln Σ e^(x − max).
///
/// Shapes: logits [targets.len(), vocab], overwritten; result [targets.len()].
/// Panics if a target is outside the vocabulary.
pub fn log_likelihoods(logits: &mut [f32], vocab: usize, targets: &[u32]) -> Vec<f32> {
    run(logits, vocab, targets, &[])
}

/// As [`log_likelihoods`], and replaces the logits by the gradient of −Σ weightᵢ · ln pᵢ.
pub fn cross_entropy(
    logits: &mut [f32],
    vocab: usize,
    targets: &[u32],
    weights: &[f32],
) -> Vec<f32> {
    assert!(weights.len() == targets.len(), "one weight per target");
    run(logits, vocab, targets, weights)
}

fn run(logits: &mut [f32], vocab: usize, targets: &[u32], weights: &[f32]) -> Vec<f32> {
    assert!(logits.len() == targets.len() * vocab, "shape of the logits");
    let mut result = vec![0.0; targets.len()];
    let (logits, out) = (Shared::new(logits), Shared::new(&mut result));
    for_rows(targets.len(), 16, |rows| entropy_rows(&logits, vocab, targets, weights, &out, rows));
    result
}

kernel! {
    fn entropy_rows<S>(
        logits: &Shared<'_>,
        vocab: usize,
        targets: &[u32],
        weights: &[f32],
        out: &Shared<'_>,
        rows: Range<usize>,
    ) {
        for i in rows {
            // SAFETY: every row belongs to one task.
            let (x, out) = unsafe { (logits.slice(i * vocab, vocab), out.slice(i, 1)) };
            let target = targets[i] as usize;
            // SAFETY: inside a kernel.
            let max = unsafe { max_lanes::<S>(x) };
            let above = x[target] - max;
            // SAFETY: inside a kernel.
            let sum = unsafe { exp_sum_lanes::<S>(x, max) };
            out[0] = above - ln(sum);
            if let Some(weight) = weights.get(i) {
                let scale = weight / sum;
                for x in x.iter_mut() {
                    *x *= scale;
                }
                x[target] -= weight;
            }
        }
    }
}

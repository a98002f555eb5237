//! One step of AdamW.

use crate::parallel::{Shared, for_rows};
use crate::simd::kernel;
use std::ops::Range;

/// Coefficients of one AdamW step. Source: 1711.05101.
#[derive(Clone, Copy, Debug)]
pub struct AdamW {
    /// Learning rate of this step.
    pub learning_rate: f32,
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub epsilon: f32,
    /// Decoupled weight decay.
    pub weight_decay: f32,
    /// 1 − beta1^t.
    pub correction1: f32,
    /// 1 − beta2^t.
    pub correction2: f32,
    /// Every gradient is multiplied by this (global-norm clipping).
    pub gradient_scale: f32,
}

impl AdamW {
    /// Updates weights and moments, all of one length.
    pub fn step(
        &self,
        weights: &mut [f32],
        gradients: &[f32],
        first: &mut [f32],
        second: &mut [f32],
    ) {
        let n = weights.len();
        assert!([gradients.len(), first.len(), second.len()] == [n; 3], "shapes of AdamW differ");
        let (w, m, v) = (Shared::new(weights), Shared::new(first), Shared::new(second));
        for_rows(n, 1 << 15, |part| step_part(self, &w, gradients, &m, &v, part));
    }
}

kernel! {
    fn step_part<S>(o: &AdamW, w: &Shared<'_>, g: &[f32], m: &Shared<'_>, v: &Shared<'_>, part: Range<usize>) {
        let (at, n) = (part.start, part.len());
        // SAFETY: every element belongs to one task.
        let (w, m, v) = unsafe { (w.slice(at, n), m.slice(at, n), v.slice(at, n)) };
        let decay = 1.0 - o.learning_rate * o.weight_decay;
        let rate = o.learning_rate / o.correction1;
        for (((w, g), m), v) in w.iter_mut().zip(&g[at..][..n]).zip(m).zip(v) {
            let g = g * o.gradient_scale;
            *m = g.mul_add(1.0 - o.beta1, *m * o.beta1);
            *v = (g * g).mul_add(1.0 - o.beta2, *v * o.beta2);
            let root = (*v / o.correction2).sqrt() + o.epsilon;
            *w = w.mul_add(decay, -(rate * (*m / root)));
        }
    }
}

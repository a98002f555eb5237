//! Forward pass that keeps what the backward pass needs, and the backward pass, by hand.
//!
//! ```text
//! tokens ─▶ embedding ─▶ layers ─▶ rows with a target ─▶ norm ─▶ logits, a chunk at a time ─▶ loss
//!                                                                      │
//! gradients ◀─ layers in reverse ◀─ rows put back ◀─ norm ◀────────────┘
//! ```

mod activations;
mod backward;
mod batch;
mod forward;
mod loss;

pub use activations::Activations;
pub use batch::{Batch, Target};

use crate::panels::Panels;
use crate::{DecoderConfig, Weights};
use openledger_tensor::RopeTable;

/// A decoder whose every weight is trained.
#[derive(Debug)]
pub struct FullTrainer {
    pub(crate) config: DecoderConfig,
    pub(crate) rope: RopeTable,
    pub(crate) panels: Panels,
}

impl FullTrainer {
    /// For models of this shape.
    pub fn new(config: &DecoderConfig) -> Self {
        let rope = rope_table(config);
        Self {
            config: config.clone(),
            rope,
            panels: Panels::new(config, &Weights::zeros(config), true),
        }
    }

    /// Loss of one batch, Σ −weight · ln p over its targets, and its gradient, which overwrites `gradients`.
    ///
    /// Panics if the batch does not fit the config; [`Batch::push`] checks that.
    pub fn loss_and_gradients(
        &mut self,
        weights: &Weights,
        batch: &Batch,
        kept: &mut Activations,
        gradients: &mut Weights,
    ) -> f64 {
        self.panels.set(&self.config, weights, true);
        for tensor in gradients.parameters_mut() {
            tensor.data.fill(0.0);
        }
        forward::forward(&self.config, &self.rope, weights, &self.panels, batch, kept);
        let loss = loss::loss(&self.config, weights, &self.panels, batch, kept, Some(gradients));
        backward::backward(&self.config, &self.rope, weights, &self.panels, batch, kept, gradients);
        loss
    }
}

pub(crate) fn rope_table(config: &DecoderConfig) -> RopeTable {
    RopeTable::new(config.max_position_embeddings, config.heads().dim, config.rope_theta)
}

#[cfg(test)]
mod tests {
    use super::*;
    use openledger_tensor::Random;

    fn tiny() -> DecoderConfig {
        DecoderConfig::llama(32, 2, (4, 2), 24, 40, 64)
    }

    fn batch(config: &DecoderConfig) -> Batch {
        let mut random = Random::new(5, 0);
        let mut batch = Batch::default();
        for (n, answer) in [(7, 1), (53, 30), (2, 1)] {
            let tokens: Vec<u32> = (0..n).map(|_| random.below(40) as u32).collect();
            batch.push(config, &tokens, answer, 1.0 / 16.0).expect("fits");
        }
        batch
    }

    #[test]
    fn gradients_of_all_weights_agree_with_central_differences() {
        let config = tiny();
        let mut weights = Weights::random(&config, 1);
        // Far from the flat start, so that every part of the gradient is visible.
        for tensor in weights.parameters_mut() {
            let mut random = Random::new(9, tensor.data.len() as u64);
            tensor.data.iter_mut().for_each(|x| *x += random.normal() * 0.15);
        }
        let batch = batch(&config);
        let mut trainer = FullTrainer::new(&config);
        let (mut kept, mut gradients) = (Activations::default(), Weights::zeros(&config));
        trainer.loss_and_gradients(&weights, &batch, &mut kept, &mut gradients);
        let gradients: Vec<Vec<f32>> =
            gradients.parameters_mut().into_iter().map(|p| p.data.to_vec()).collect();
        let mut scratch = Weights::zeros(&config);
        let mut random = Random::new(11, 0);
        for (tensor, gradient) in gradients.iter().enumerate() {
            let size = gradient.iter().fold(0.0f32, |a, b| a.max(b.abs()));
            assert!(size > 0.0, "tensor {tensor} has no gradient");
            for _ in 0..12 {
                let at = random.below(gradient.len());
                let mut loss = |step: f32| {
                    let mut moved = weights.clone();
                    moved.parameters_mut()[tensor].data[at] += step;
                    trainer.loss_and_gradients(&moved, &batch, &mut kept, &mut scratch)
                };
                let step = 4e-3;
                // Fourth order: the error is far below the rounding of f32.
                let estimate = (8.0 * (loss(step) - loss(-step))
                    - (loss(2.0 * step) - loss(-2.0 * step)))
                    / (12.0 * f64::from(step));
                let error = (estimate - f64::from(gradient[at])).abs();
                assert!(
                    error < 2e-3 * f64::from(size) + 2e-4,
                    "tensor {tensor} element {at}: {estimate} and {}",
                    gradient[at]
                );
            }
        }
    }
}

//! One training step: forward pass, loss, backward pass, by hand and without a tape.
//!
//! ```text
//! tokens ─▶ embedding ─▶ layers ─▶ rows with a target ─▶ norm ─▶ logits, a chunk at a time ─▶ loss
//!                                                                      │
//! gradients ◀────── layers in reverse ◀──────────── norm ◀─────────────┘
//! ```

mod batch;
mod full;
mod lora;
mod loss;
mod pass;

pub use batch::{Batch, Target};
pub use full::FullTrainer;
pub use lora::{LoraTrainer, Precision, RunStep};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Decoder, DecoderConfig, LoraLayout, Site, Weights};
    use openledger_tensor::{Bf16Matrix, Random};

    /// Elements of each tensor that are tried; unoptimised builds are slow.
    const SAMPLES: usize = if cfg!(debug_assertions) { 2 } else { 12 };

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
        let mut gradients = Weights::zeros(&config);
        trainer.loss_and_gradients(&weights, &batch, &mut gradients);
        let gradients: Vec<Vec<f32>> =
            gradients.parameters_mut().into_iter().map(|p| p.data.to_vec()).collect();
        let mut random = Random::new(11, 0);
        for (tensor, gradient) in gradients.iter().enumerate() {
            let size = gradient.iter().fold(0.0f32, |a, b| a.max(b.abs()));
            assert!(size > 0.0, "tensor {tensor} has no gradient");
            for _ in 0..SAMPLES {
                let at = random.below(gradient.len());
                let mut loss = |step: f32| {
                    let mut moved = weights.clone();
                    moved.parameters_mut()[tensor].data[at] += step;
                    trainer.loss(&moved, &batch)
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

    #[test]
    fn gradients_in_bf16_are_close_to_the_exact_ones_and_not_the_same() {
        let config = DecoderConfig::llama(64, 3, (4, 2), 96, 128, 64);
        let base = Decoder::new(config.clone(), Weights::random(&config, 1), true);
        let layout = LoraLayout::new(&config, 4, 8.0, &Site::ALL);
        let mut random = Random::new(4, 4);
        let values: Vec<f32> = (0..layout.len()).map(|_| random.normal() * 0.1).collect();
        let batch = batch(&config);
        let gradient = |mut trainer: LoraTrainer<'_>| {
            let mut gradient = vec![0.0; layout.len()];
            let loss = trainer.loss_and_gradients(&values, &batch, &mut gradient);
            (loss, gradient)
        };
        let trainer = || LoraTrainer::new(&base, &layout).expect("for training");
        let (loss, exact) = gradient(trainer());
        let (fast_loss, fast) = gradient(trainer().with_bf16_products());
        let length = |x: &[f32]| x.iter().map(|x| f64::from(x * x)).sum::<f64>().sqrt();
        let apart: Vec<f32> = exact.iter().zip(&fast).map(|(a, b)| a - b).collect();
        assert!((loss - fast_loss).abs() < 0.01 * loss, "{loss} and {fast_loss}");
        let ratio = length(&apart) / length(&exact);
        assert!(ratio < 0.03, "gradients {ratio} apart");
        assert_eq!(ratio > 0.0, Bf16Matrix::available());
    }

    #[test]
    fn gradients_of_an_adapter_agree_with_central_differences() {
        let config = tiny();
        let mut weights = Weights::random(&config, 1);
        for tensor in weights.parameters_mut() {
            let mut random = Random::new(9, tensor.data.len() as u64);
            tensor.data.iter_mut().for_each(|x| *x += random.normal() * 0.15);
        }
        let base = Decoder::new(config.clone(), weights, true);
        for sites in [&Site::ALL[..], &[Site::Key, Site::Up]] {
            let layout = LoraLayout::new(&config, 3, 6.0, sites);
            let mut random = Random::new(4, 4);
            let values: Vec<f32> = (0..layout.len()).map(|_| random.normal() * 0.2).collect();
            let batch = batch(&config);
            let mut trainer = LoraTrainer::new(&base, &layout).expect("for training");
            let (mut gradient, mut scratch) = (vec![0.0; layout.len()], vec![0.0; layout.len()]);
            trainer.loss_and_gradients(&values, &batch, &mut gradient);
            let size = gradient.iter().fold(0.0f32, |a, b| a.max(b.abs()));
            for at in (0..layout.len()).step_by(layout.len() / (12 * SAMPLES)) {
                let mut loss = |step: f32| {
                    let mut moved = values.clone();
                    moved[at] += step;
                    trainer.loss_and_gradients(&moved, &batch, &mut scratch)
                };
                let step = 4e-3;
                let estimate = (8.0 * (loss(step) - loss(-step))
                    - (loss(2.0 * step) - loss(-2.0 * step)))
                    / (12.0 * f64::from(step));
                let error = (estimate - f64::from(gradient[at])).abs();
                assert!(
                    error < 2e-3 * f64::from(size) + 2e-4,
                    "element {at} of {sites:?}: {estimate} and {}",
                    gradient[at]
                );
            }
        }
    }
}

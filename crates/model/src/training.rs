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
        let mut trainer = FullTrainer::new(&config).expect("a plain llama");
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

    /// A small model of each family, its windows shorter than the batch's sequences.
    fn families() -> Vec<DecoderConfig> {
        let shape = serde_json::json!({
            "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "intermediate_size": 24, "vocab_size": 40,
            "max_position_embeddings": 64, "head_dim": 12, "tie_word_embeddings": true,
            "sliding_window": 5, "query_pre_attn_scalar": 9,
        });
        let of = |settings: serde_json::Value| {
            let mut config = shape.clone();
            for (name, value) in settings.as_object().expect("an object") {
                config[name] = value.clone();
            }
            DecoderConfig::from_json(config.to_string().as_bytes()).expect("a family")
        };
        vec![
            of(serde_json::json!({
                "model_type": "llama", "attention_bias": true, "mlp_bias": true,
                "sliding_window": null,
            })),
            of(serde_json::json!({
                "model_type": "qwen3", "use_sliding_window": true, "max_window_layers": 1,
            })),
            of(serde_json::json!({
                "model_type": "gemma2", "attn_logit_softcapping": 2.0,
                "final_logit_softcapping": 4.0,
            })),
            of(serde_json::json!({ "model_type": "gemma3_text", "sliding_window_pattern": 2 })),
        ]
    }

    #[test]
    fn gradients_of_an_adapter_of_every_family_agree_with_central_differences() {
        for config in families() {
            let mut weights = Weights::random(&config, 1);
            for tensor in weights.parameters_mut() {
                let mut random = Random::new(9, tensor.data.len() as u64);
                tensor.data.iter_mut().for_each(|x| *x += random.normal() * 0.15);
            }
            let base = Decoder::new(config.clone(), weights, true);
            let layout = LoraLayout::new(&config, 3, 6.0, &Site::ALL);
            check_gradients(&base, &layout);
            assert!(
                FullTrainer::new(&config)
                    .expect_err("refused")
                    .to_string()
                    .contains("train an adapter")
            );
        }
    }

    /// Gradients of random values against central differences of the loss.
    fn check_gradients(base: &Decoder, layout: &LoraLayout) {
        let mut random = Random::new(4, 4);
        let values: Vec<f32> = (0..layout.len()).map(|_| random.normal() * 0.2).collect();
        let batch = batch(base.config());
        let mut trainer = LoraTrainer::new(base, layout).expect("for training");
        let (mut gradient, mut scratch) = (vec![0.0; layout.len()], vec![0.0; layout.len()]);
        trainer.loss_and_gradients(&values, &batch, &mut gradient);
        let size = gradient.iter().fold(0.0f32, |a, b| a.max(b.abs()));
        assert!(size > 0.0, "no gradient");
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
                "element {at} of {} {:?}: {estimate} and {}",
                base.config().model_type,
                layout.sites,
                gradient[at]
            );
        }
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
            check_gradients(&base, &LoraLayout::new(&config, 3, 6.0, sites));
        }
    }
}

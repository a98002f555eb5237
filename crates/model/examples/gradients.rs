//! A tiny random model, a batch, and the gradients that the hand-written backward pass gives, as files, for
//! comparison with automatic differentiation (`tests/autograd.py`).
//!
//! ```text
//! cargo run --release -p openledger-model --example gradients -- DIR
//! ```
//!
//! Writes `base` and `base-gradients` (Hugging Face), `adapter` and `adapter-gradients` (PEFT), all in bf16,
//! and `batch.json` with the sequences and the two losses.

use openledger_model::{
    Adapter, Batch, Decoder, DecoderConfig, FullTrainer, LoraLayout, LoraTrainer, Site, Weights,
};
use openledger_tensor::Random;
use serde_json::json;
use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let dir: PathBuf = std::env::args().nth(1).ok_or("name a folder")?.into();
    let config = DecoderConfig::llama(32, 3, (4, 2), 48, 64, 80);
    let mut weights = Weights::random(&config, 1);
    for (stream, tensor) in weights.parameters_mut().into_iter().enumerate() {
        let mut random = Random::new(1, 100 + stream as u64);
        tensor.data.iter_mut().for_each(|x| *x += random.normal() * 0.15);
    }
    weights.save(&config, &dir.join("base"))?;
    // As stored: rounded to bf16.
    let (config, weights) = Weights::load(&dir.join("base"))?;

    let mut random = Random::new(2, 0);
    let (mut batch, mut sequences) = (Batch::default(), Vec::new());
    for (n, answer_start) in [(9, 4), (70, 31), (2, 1)] {
        let tokens: Vec<u32> = (0..n).map(|_| random.below(64) as u32).collect();
        batch.push(&config, &tokens, answer_start, 0.125)?;
        sequences.push(json!({"tokens": tokens, "answer_start": answer_start, "weight": 0.125}));
    }
    let mut gradients = Weights::zeros(&config);
    let loss = FullTrainer::new(&config)?.loss_and_gradients(&weights, &batch, &mut gradients);
    gradients.save(&config, &dir.join("base-gradients"))?;

    let base = Decoder::new(config.clone(), weights, true);
    let layout = LoraLayout::new(&config, 4, 8.0, &Site::ALL);
    let values: Vec<f32> = (0..layout.len()).map(|_| random.normal() * 0.2).collect();
    Adapter::new(layout.clone(), &values)?.save(&dir.join("adapter"), "base")?;
    let mut gradients = vec![0.0; layout.len()];
    let values: Vec<f32> =
        values.iter().map(|x| openledger_model::from_bf16(openledger_model::to_bf16(*x))).collect();
    let adapted =
        LoraTrainer::new(&base, &layout)?.loss_and_gradients(&values, &batch, &mut gradients);
    Adapter::new(layout, &gradients)?.save(&dir.join("adapter-gradients"), "base")?;

    let batch = json!({"sequences": sequences, "loss": loss, "adapted_loss": adapted});
    std::fs::write(dir.join("batch.json"), batch.to_string())?;
    Ok(())
}

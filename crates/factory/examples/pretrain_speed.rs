//! Speed of full training on random tokens: `cargo run --release -p openledger-factory --example pretrain_speed`.
#![allow(clippy::print_stdout)]

use openledger_factory::{Pretrain, Proceed, TrainingRecipe, pretrain};
use openledger_model::DecoderConfig;
use openledger_tensor::{Random, with_threads};

fn main() {
    let threads = std::env::args().nth(1).and_then(|t| t.parse().ok()).unwrap_or(2);
    let mut random = Random::new(1, 1);
    let mut last = 0;
    // Each token depends on the one before, so there is something to learn.
    let tokens: Vec<u16> = (0..200_000)
        .map(|_| {
            last = (last * 31 + random.below(7)) % 4096;
            last as u16
        })
        .collect();
    let config = DecoderConfig::nano();
    let training = TrainingRecipe {
        steps: 15,
        batch_sequences: 16,
        sequence_tokens: 256,
        learning_rate: 2e-3,
        final_rate_ratio: 0.1,
        warmup_steps: 5,
        beta1: 0.9,
        beta2: 0.95,
        weight_decay: 0.1,
        gradient_norm_max: 1.0,
    };
    let run = Pretrain {
        config: &config,
        training: &training,
        seed: 1,
        tokens: &tokens,
        checkpoint: None,
    };
    let result = with_threads(threads, || {
        pretrain(&run, |p| {
            println!("{:3} loss {:.4}  {:.0} tok/s", p.step, p.loss, p.tokens_per_second);
            Proceed::Continue
        })
    });
    if let Err(error) = result {
        println!("{error}");
    }
}

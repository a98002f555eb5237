//! The toy that training is tested with: a model of a few thousand weights, three players, eighteen records.

use openledger_factory::{Example, Recipe};
use openledger_model::{Decoder, DecoderConfig, Weights};
use openledger_tensor::Random;

pub(crate) fn config(layers: usize) -> DecoderConfig {
    DecoderConfig::llama(32, layers, (4, 2), 48, 64, 48)
}

pub(crate) fn base(layers: usize) -> Decoder {
    Decoder::new(config(layers), Weights::random(&config(layers), 7), true)
}

/// Three players; each has its own questions, every question one answer.
pub(crate) fn examples() -> Vec<Example> {
    let mut random = Random::new(3, 3);
    (0..18)
        .map(|i| {
            let tokens = (0..6 + i % 5).map(|_| 1 + random.below(63) as u32).collect();
            Example { tokens, answer_start: 4, player: i % 3 }
        })
        .collect()
}

pub(crate) fn recipe(steps: usize) -> Recipe {
    Recipe {
        rank: 4,
        alpha: 8.0,
        steps,
        warmup_steps: 2,
        batch_size: 4,
        trace_every: 5,
        ..Recipe::default()
    }
}

/// Every subset of the three players.
pub(crate) fn subsets() -> Vec<Vec<bool>> {
    (0..8u32).map(|r| (0..3).map(|c| (r >> c) & 1 == 1).collect()).collect()
}

//! A random model small enough for unoptimised builds.

use openledger_model::{Adapter, Decoder, DecoderConfig, LoraLayout, Site, Weights};
use openledger_tensor::Random;

pub(crate) fn config() -> DecoderConfig {
    DecoderConfig::llama(32, 2, (4, 2), 48, 64, 96)
}

pub(crate) fn weights(seed: u64) -> Weights {
    let mut weights = Weights::random(&config(), seed);
    for (stream, tensor) in weights.parameters_mut().into_iter().enumerate() {
        let mut random = Random::new(seed, 100 + stream as u64);
        tensor.data.iter_mut().for_each(|x| *x += random.normal() * 0.2);
    }
    weights
}

pub(crate) fn decoder(seed: u64) -> Decoder {
    Decoder::new(config(), weights(seed), true)
}

pub(crate) fn adapter(rank: usize, sites: &[Site], seed: u64) -> Adapter {
    let layout = LoraLayout::new(&config(), rank, 2.0 * rank as f32, sites);
    let mut random = Random::new(seed, 7);
    let values: Vec<f32> = (0..layout.len()).map(|_| random.normal() * 0.3).collect();
    Adapter::new(layout, &values).expect("finite")
}

pub(crate) fn tokens(n: usize, seed: u64) -> Vec<u32> {
    let mut random = Random::new(seed, 3);
    (0..n).map(|_| random.below(64) as u32).collect()
}

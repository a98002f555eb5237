//! Decode and scoring speed on a random base of the nano shape:
//! `cargo run --release -p openledger-model --example inference_speed -- [threads]`.
#![allow(clippy::print_stdout)]

use openledger_model::{
    Adapter, Decoder, DecoderConfig, KvCache, LoraLayout, ScoreRequest, Site, Slice, Weights,
};
use openledger_tensor::{Random, with_threads};
use std::error::Error;
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let threads = std::env::args().nth(1).and_then(|t| t.parse().ok()).unwrap_or(1);
    let config = DecoderConfig::nano();
    let base = Decoder::new(config.clone(), Weights::random(&config, 1), false);
    let layout = LoraLayout::new(&config, 8, 16.0, &Site::ALL);
    let mut random = Random::new(2, 2);
    let adapters = (0..32)
        .map(|_| {
            let values: Vec<f32> = (0..layout.len()).map(|_| random.normal() * 0.05).collect();
            Adapter::new(layout.clone(), &values)
        })
        .collect::<Result<Vec<_>, _>>()?;
    let text: Vec<u32> = (0..260).map(|_| random.below(4096) as u32).collect();
    with_threads(threads, || -> Result<(), openledger_model::Error> {
        for (batch, distinct) in [(1, 0), (1, 1), (8, 0), (8, 8), (32, 0), (32, 1), (32, 32)] {
            let mut caches: Vec<KvCache> =
                (0..batch).map(|_| KvCache::new(base.config(), 256)).collect();
            let adapter = |i: usize| (distinct > 0).then(|| &adapters[i % distinct]);
            let mut step = |tokens: &[u32]| {
                let slices = caches.iter_mut().enumerate();
                let mut slices: Vec<_> =
                    slices.map(|(i, cache)| Slice { tokens, cache, adapter: adapter(i) }).collect();
                base.step(&mut slices)
            };
            step(&text[..64])?;
            let start = Instant::now();
            for token in &text[64..128] {
                step(&[*token])?;
            }
            let rate = 64.0 * batch as f64 / start.elapsed().as_secs_f64();
            println!("decode, batch {batch:2}, {distinct:2} adapters: {rate:7.0} tok/s");
        }
        let requests: Vec<_> = adapters[..16]
            .iter()
            .map(|a| ScoreRequest { tokens: &text, answer_start: 60, adapter: Some(a) })
            .collect();
        let start = Instant::now();
        base.log_likelihoods(&requests)?;
        println!("16 scores of a 200-token answer: {:.0} ms", 1e3 * start.elapsed().as_secs_f64());
        Ok(())
    })?;
    Ok(())
}

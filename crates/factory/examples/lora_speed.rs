//! Time of a LoRA run and of a design on a random base of the nano shape:
//! `cargo run --release -p openledger-factory --example lora_speed -- [threads] [runs]`.
#![allow(clippy::print_stdout)]

use openledger_factory::{Example, Proceed, Recipe, train, train_design};
use openledger_model::{Decoder, DecoderConfig, Weights};
use openledger_tensor::{Random, with_threads};
use std::time::Instant;

fn main() {
    let argument =
        |i, default| std::env::args().nth(i).and_then(|t| t.parse().ok()).unwrap_or(default);
    let (threads, runs): (usize, usize) = (argument(1, 2), argument(2, 4));
    let config = DecoderConfig::nano();
    let weights = Weights::random(&config, 1);
    let base = Decoder::new(config, weights, true);
    let mut random = Random::new(1, 1);
    // 240 pairs of 60 tokens, 25 of them answer, by 4 players.
    let examples: Vec<Example> = (0..240)
        .map(|i| Example {
            tokens: (0..60).map(|_| random.below(4096) as u32).collect(),
            answer_start: 35,
            player: i % 4,
        })
        .collect();
    let recipe = Recipe { steps: argument(3, 200), ..Recipe::default() };
    let start = Instant::now();
    let full = with_threads(threads, || {
        train(&base, &recipe, &examples, &[true; 4], |_| Proceed::Continue)
    });
    match full {
        Ok(run) => println!(
            "one run, {threads} thread(s): {:.1} s, loss {:.3} -> {:.3}, {}",
            start.elapsed().as_secs_f64(),
            run.losses[0],
            run.losses[run.losses.len() - 1],
            run.adapter.hash().iter().take(8).map(|b| format!("{b:02x}")).collect::<String>()
        ),
        Err(error) => println!("{error}"),
    }
    let subsets: Vec<Vec<bool>> =
        (0..runs).map(|r| (0..4).map(|c| (r >> c) & 1 == 1).collect()).collect();
    let start = Instant::now();
    match train_design(&base, &recipe, &examples, &subsets, threads, |_| Proceed::Continue) {
        Ok(all) => {
            println!("{} runs of a design: {:.1} s", all.len(), start.elapsed().as_secs_f64())
        }
        Err(error) => println!("{error}"),
    }
}

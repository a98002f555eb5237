//! The runs of one design, one by one and in batches over the shared base.

use std::fmt::Write as _;

use eyre::{Result, ensure};
use openledger_factory::{DesignOptions, Example, Proceed, Recipe, train_design_with};
use openledger_model::{Decoder, DecoderConfig, Weights};
use openledger_tensor::Random;

use crate::measure::cpu_seconds;

/// Players of the design; each is present in half of the runs.
const PLAYERS: usize = 4;

/// A kind of records: how many tokens a record has and how many records a step.
struct Records {
    name: &'static str,
    tokens: usize,
    batch: usize,
}

const KINDS: [Records; 3] = [
    Records { name: "short answers", tokens: 24, batch: 4 },
    Records { name: "questions and answers", tokens: 60, batch: 16 },
    Records { name: "long texts", tokens: 257, batch: 8 },
];

/// Runs that share a batch; one is the comparison.
const BATCHES: [usize; 3] = [1, 4, 8];

/// CPU seconds of each, best of the rounds, interleaved. Errors if the bits of two ways differ.
pub(crate) fn compare(runs: usize, steps: usize, rounds: usize) -> Result<String> {
    let config = DecoderConfig::llama(256, 6, (8, 8), 704, 4096, 256);
    let base = Decoder::new(config.clone(), Weights::random(&config, 1), true);
    let subsets: Vec<Vec<bool>> = (0..runs)
        .map(|run| {
            (0..PLAYERS).map(|player| (run >> (player % 3)) & 1 == (player / 3) & 1).collect()
        })
        .collect();
    let mut table =
        String::from("| records | runs a batch | CPU s | × one by one |\n|---|---|---|---|\n");
    for Records { name, tokens, batch } in KINDS {
        let mut random = Random::new(1, 1);
        let examples: Vec<Example> = (0..48)
            .map(|i| Example {
                tokens: (0..tokens).map(|_| random.below(4096) as u32).collect(),
                answer_start: tokens / 2,
                player: i % PLAYERS,
            })
            .collect();
        let recipe =
            Recipe { rank: 16, steps, warmup_steps: 0, batch_size: batch, ..Recipe::default() };
        let (mut best, mut hashes) = ([f64::INFINITY; BATCHES.len()], Vec::new());
        for _ in 0..rounds {
            for (best, runs_per_batch) in best.iter_mut().zip(BATCHES) {
                let options = DesignOptions { runs_per_batch, ..DesignOptions::default() };
                let before = cpu_seconds();
                let all = train_design_with(&base, &recipe, &examples, &subsets, &options, |_| {
                    Proceed::Continue
                })?;
                let seconds = cpu_seconds() - before;
                eprintln!("{name}, {runs_per_batch} runs a batch: {seconds:.2} CPU s");
                *best = best.min(seconds);
                hashes.push(all.iter().map(|t| t.adapter.hash()).collect::<Vec<_>>());
            }
        }
        ensure!(hashes.iter().all(|h| *h == hashes[0]), "the ways differ");
        for (seconds, runs_per_batch) in best.iter().zip(BATCHES) {
            let ratio = best[0] / seconds;
            let _ = writeln!(
                table,
                "| {name}: {batch} of {tokens} tokens a step | {runs_per_batch} | {seconds:.2} | {ratio:.2} |"
            );
        }
    }
    Ok(table)
}

//! Time of the attribution of one answer: 16 runs scored in one mixed batch, then integers.

use std::path::Path;
use std::time::Instant;

use eyre::Result;
use openledger_attribution::Design;
use openledger_model::{Adapter, Decoder, LoraLayout, ScoreRequest};
use openledger_tensor::{Random, with_threads};

use crate::cpu_time::CpuTime;
use crate::ours::attribute;
use crate::statistics::bootstrap;
use crate::text_tasks::recipe;

const PLAYERS: usize = 8;
const PROMPT: usize = 30;
const ANSWER: usize = 200;

/// Prints wall and processor time. The adapters are random: time does not depend on their values.
pub(crate) fn speed(base: &Path, threads: usize, repeats: usize) -> Result<()> {
    let base = Decoder::load(base)?;
    let design = Design::new(PLAYERS)?;
    let recipe = recipe(0, 1);
    for rank in [recipe.rank, 8] {
        let layout = LoraLayout::new(base.config(), rank, recipe.alpha, &recipe.target_modules);
        let mut random = Random::new(1, 1);
        let adapters: Vec<Adapter> = (1..design.run_count())
            .map(|_| {
                let values: Vec<f32> = (0..layout.len()).map(|_| random.normal() * 0.02).collect();
                Adapter::new(layout.clone(), &values)
            })
            .collect::<Result<_, _>>()?;
        let tokens: Vec<u32> =
            (0..PROMPT + ANSWER).map(|_| random.below(base.config().vocab_size) as u32).collect();
        let mut requests: Vec<ScoreRequest<'_>> = adapters
            .iter()
            .map(|a| ScoreRequest { tokens: &tokens, answer_start: PROMPT, adapter: Some(a) })
            .collect();
        // The base is run m of the design.
        let order = design.order();
        requests.insert(order, ScoreRequest { adapter: None, ..requests[0] });
        let (mut wall, mut processor) = (Vec::new(), Vec::new());
        for _ in 0..repeats {
            let (start, cpu) = (Instant::now(), CpuTime::now());
            let scored = with_threads(threads, || base.log_likelihoods(&requests))?;
            let values: Vec<i64> = scored.iter().map(|run| run.iter().sum()).collect();
            attribute(&design, &values, ANSWER as u64)?;
            wall.push(start.elapsed().as_secs_f64());
            processor.push(cpu.seconds());
        }
        let least = wall.iter().copied().fold(f64::INFINITY, f64::min);
        if let (Some(wall), Some(processor)) = (bootstrap(&wall), bootstrap(&processor)) {
            println!(
                "rank {rank}: {ANSWER}-token answer, {} runs, {threads} threads: wall {:.2} s (least {least:.2}), processor {:.2} s, mean of {repeats}",
                requests.len(),
                wall.mean,
                processor.mean
            );
        }
    }
    Ok(())
}

//! The attribution benchmark: what our design says about who shaped an answer, and what the methods of
//! the literature say, against models that were really retrained without some of the contributors.
//!
//! ```text
//! task ─▶ players, records, questions ─▶ trained subsets ─▶ v(S) of every question, kept on disk
//!                                              ├─ of the design ─▶ effects, shares
//!                                              └─ held out      ─▶ truth ─▶ LDS, top-1
//! gradients of the published adapter ─▶ comparison methods ─▶ scores ─┘
//! ```
//!
//! **Invariant:** a method is never judged on a subset of our design.
//! **Invariant:** a table holds what was measured, losses included, and says what was run.
#![allow(clippy::print_stdout)]

mod canaries;
mod cpu_time;
mod damping_choice;
mod export;
mod figure;
mod judge;
mod measure;
mod measured;
mod methods;
mod options;
mod ours;
mod report;
mod runs;
mod speed;
mod statistics;
mod subsets;
mod synthetic;
mod task;
mod text_tasks;
mod written_section;

use std::fs;
use std::path::Path;

use clap::Parser;
use eyre::Result;

use measure::Wanted;
use measured::Measured;
use options::{Budget, Command, Options};
use runs::RunStore;
use task::Task;
use text_tasks::{TextBase, TextBudget};

/// Steps of a run of the synthetic task.
const SYNTHETIC_STEPS: usize = 72;

fn main() -> Result<()> {
    let Options { out, command } = Options::parse();
    match command {
        Command::Measure(budget) => measure_all(&out, &budget),
        Command::Canaries(options) => canaries::canaries(&out, &options),
        Command::Speed { base, threads, repeats } => speed::speed(&base, threads, repeats),
        Command::Export { dir } => export::export(synthetic::task(0, SYNTHETIC_STEPS)?, &dir),
        Command::Report { figure, results } => report::report(&out, &figure, results.as_deref()),
    }
}

fn measure_all(out: &Path, budget: &Budget) -> Result<()> {
    fs::create_dir_all(out)?;
    let store = RunStore {
        dir: out.join("runs"),
        threads: budget.threads,
        runs_per_batch: budget.runs_per_batch,
    };
    for seed in budget.first_seed..budget.first_seed + budget.seeds {
        for name in &budget.tasks {
            let Some(task) = task(name, seed, budget)? else {
                eprintln!("LEFT OUT: {name}: no data sets at {}", budget.data.display());
                continue;
            };
            let whole = name == "synthetic" && !budget.narrow;
            let wanted = Wanted {
                subsets: (!whole).then_some(budget.subsets),
                larger_design: whole,
                derivative: budget.derivative.contains(name) && !budget.narrow,
                reseeded: budget.reseeded.contains(name),
            };
            let measured = measure::measure(&task, &store, wanted)?;
            write(out, &measured)?;
        }
    }
    Ok(())
}

fn task(name: &str, seed: u64, budget: &Budget) -> Result<Option<Task>> {
    if name == "synthetic" {
        return synthetic::task(seed, SYNTHETIC_STEPS).map(Some);
    }
    if !budget.data.exists() && name != "handbook" {
        return Ok(None);
    }
    let base = TextBase::load(&budget.base)?;
    let pairs = text_tasks::pairs(name, &budget.data, Path::new("."))?;
    let size = TextBudget { steps: budget.steps, records: budget.records };
    text_tasks::task(name, seed, base, pairs, size).map(Some)
}

fn write(out: &Path, measured: &Measured) -> Result<()> {
    let file = out.join(format!("{}-{}.json", measured.task, measured.seed));
    fs::write(&file, serde_json::to_vec(measured)?)?;
    eprintln!("wrote {}", file.display());
    Ok(())
}

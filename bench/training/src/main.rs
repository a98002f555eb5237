//! Compares adapter training with PyTorch and PEFT on one shape; see `README.md`.
//!
//! ```text
//! job (base, tokens) ─▶ measure: one process per trainer, threads and round, interleaved ─▶ report
//! ```
//!
//! **Invariant:** everybody trains the same base on the same tokens, in a process that was just started.
#![allow(clippy::print_stdout)]

mod design;
mod job;
mod measure;
mod products;
mod report;

use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};
use eyre::{ContextCompat, Result};

use measure::{Steps, Trainer, Variant};
use report::Table;

#[derive(Parser)]
struct Options {
    #[command(subcommand)]
    command: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Measures all trainers in turn and prints a table.
    Compare {
        /// Python with torch, transformers and peft; without it only our own trainer is measured.
        #[arg(long)]
        python: Option<PathBuf>,
        /// Times that every trainer is started.
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        /// Steps before the clock starts.
        #[arg(long, default_value_t = 2)]
        warmup: usize,
        /// Steps on the clock.
        #[arg(long, default_value_t = 5)]
        steps: usize,
        /// Numbers of threads.
        #[arg(long, value_delimiter = ',', default_values_t = [1, 2])]
        threads: Vec<usize>,
        /// Measure only these.
        #[arg(long, value_delimiter = ',')]
        only: Vec<String>,
    },
    /// Trains the runs of a design one by one and in batches, on one thread, and prints a table.
    Design {
        /// Runs of the design.
        #[arg(long, default_value_t = 8)]
        runs: usize,
        /// Steps of each run.
        #[arg(long, default_value_t = 10)]
        steps: usize,
        /// Times that everything is measured.
        #[arg(long, default_value_t = 3)]
        rounds: usize,
    },
    /// Times the products of one layer, exact and in bf16, on one thread, and prints a table.
    Products,
    /// Writes base and tokens into a folder, to try single measurements by hand.
    #[command(hide = true)]
    Prepare { folder: PathBuf },
    /// One measurement of ours, for `compare`.
    #[command(hide = true)]
    Measure { trainer: String, threads: usize, warmup: usize, steps: usize, folder: PathBuf },
}

const TRAINERS: [Trainer; 8] = [
    Trainer::Ours(Variant::Exact),
    Trainer::Ours(Variant::Recompute),
    Trainer::Ours(Variant::FourBit),
    Trainer::Ours(Variant::Fast),
    Trainer::Python("torch-f32"),
    Trainer::Python("torch-bf16"),
    Trainer::Python("peft-f32"),
    Trainer::Python("peft-bf16"),
];

fn main() -> Result<()> {
    match Options::parse().command {
        Action::Prepare { folder } => job::prepare(&folder)?,
        Action::Products => println!("{}", products::compare()),
        Action::Design { runs, steps, rounds } => {
            println!("{}", design::compare(runs, steps, rounds)?);
        }
        Action::Measure { trainer, threads, warmup, steps, folder } => {
            let variant = Variant::from_name(&trainer).wrap_err("no such trainer of ours")?;
            let steps = Steps { warmup, measured: steps };
            let measured = measure::measure(variant, threads, steps, &folder)?;
            println!("{}", serde_json::to_string(&measured)?);
        }
        Action::Compare { python, rounds, warmup, steps, threads, only } => {
            let steps = Steps { warmup, measured: steps };
            let wanted = |trainer: &Trainer| {
                (python.is_some() || !matches!(trainer, Trainer::Python(_)))
                    && (only.is_empty() || only.iter().any(|name| name == trainer.name()))
            };
            let trainers: Vec<Trainer> = TRAINERS.into_iter().filter(wanted).collect();
            let python = python.unwrap_or_default();
            println!("{}", compare(&trainers, &threads, rounds, steps, &python)?.render());
        }
    }
    Ok(())
}

/// Every trainer with every number of threads, in turn, so that what the machine does besides meets all of them.
fn compare(
    trainers: &[Trainer],
    threads: &[usize],
    rounds: usize,
    steps: Steps,
    python: &Path,
) -> Result<Table> {
    let job = tempfile::tempdir()?;
    job::prepare(job.path())?;
    let mut table = Table::default();
    for round in 1..=rounds {
        for (threads, trainer) in
            threads.iter().flat_map(|n| trainers.iter().map(move |t| (*n, *t)))
        {
            let measured = measure::spawn(trainer, threads, steps, job.path(), python)?;
            eprintln!("{} {threads} {}", trainer.name(), measured.brief());
            table.add(trainer, threads, measured);
        }
        eprintln!("round {round} of {rounds}");
    }
    Ok(table)
}

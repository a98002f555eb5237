//! Compares serving with many adapters with PEFT on one shape; see `README.md`.
//!
//! ```text
//! job (base, adapters, prompts) ─▶ parity with PEFT ─▶ rounds: ours, PEFT f32, PEFT bf16, … ─▶ report
//! ```
//!
//! **Invariant:** everybody serves the same weights, adapters and prompts, and nobody is timed before the
//! logits agree.
#![allow(clippy::print_stdout)]

mod job;
mod ours;
mod parity;
mod peer;
mod quality;
mod quiet;
mod report;

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use eyre::Result;
use openledger_model::serving::{KvForm, LowRankForm, WeightForm};

#[derive(Parser)]
struct Options {
    #[command(subcommand)]
    command: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Checks parity, measures everybody in turn and prints the tables.
    Compare {
        /// Python with torch, transformers and peft; without it only ours is measured.
        #[arg(long)]
        python: Option<PathBuf>,
        /// Times that every engine is started.
        #[arg(long, default_value_t = 3)]
        rounds: usize,
        /// Fewer forms, batches and adapters.
        #[arg(long)]
        quick: bool,
        /// Threads of every engine.
        #[arg(long, default_value_t = 1)]
        threads: usize,
        /// Go on although the machine has other work; the report says so.
        #[arg(long)]
        loaded: bool,
    },
    /// Compares logits with PEFT, for the base and every adapter, in every form of ours.
    Parity {
        /// Python with torch, transformers and peft.
        #[arg(long)]
        python: PathBuf,
    },
    /// What eight bits cost: logits, first choices and perplexity on the handbook, with a trained adapter.
    Quality {
        /// Steps of the adapter's training.
        #[arg(long, default_value_t = 300)]
        steps: usize,
    },
    /// One measurement of ours, for `compare`.
    #[command(hide = true)]
    Measure { plan: String, threads: usize, folder: PathBuf },
}

/// Forms of weights on the command line and in plans.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    ValueEnum,
    serde::Serialize,
    serde::Deserialize,
)]
enum Form {
    F32,
    Bf16,
    Int8,
    FourBit,
}

impl Form {
    const ALL: [Self; 4] = [Self::F32, Self::Bf16, Self::Int8, Self::FourBit];

    fn weights(self) -> WeightForm {
        match self {
            Self::F32 => WeightForm::F32,
            Self::Bf16 => WeightForm::Bf16,
            Self::Int8 => WeightForm::Int8,
            Self::FourBit => WeightForm::FourBit,
        }
    }

    /// Pages and adapters that go with it: exact ones with exact weights, small ones with small weights.
    fn companions(self) -> (KvForm, LowRankForm) {
        match self {
            Self::F32 => (KvForm::F32, LowRankForm::Bf16),
            Self::Bf16 => (KvForm::Bf16, LowRankForm::Bf16),
            Self::Int8 | Self::FourBit => (KvForm::Bf16, LowRankForm::Int8),
        }
    }
}

fn main() -> Result<()> {
    match Options::parse().command {
        Action::Measure { plan, threads, folder } => {
            let measured = ours::measure(&serde_json::from_str(&plan)?, threads, &folder)?;
            println!("{}", serde_json::to_string(&measured)?);
        }
        Action::Parity { python } => {
            let folder = tempfile::tempdir()?;
            job::prepare(folder.path())?;
            println!("{}", parity::check(folder.path(), &python)?);
        }
        Action::Quality { steps } => println!("{}", quality::measure(steps)?),
        Action::Compare { python, rounds, quick, threads, loaded } => {
            quiet::check(loaded)?;
            let folder = tempfile::tempdir()?;
            job::prepare(folder.path())?;
            if let Some(python) = &python {
                println!("{}", parity::check(folder.path(), python)?);
            }
            let plan = job::Plan::new(quick);
            let mut table = report::Table::default();
            for round in 0..rounds {
                for form in &plan.forms {
                    table.add_ours(*form, ours::spawn(&plan, *form, threads, folder.path())?);
                }
                for peer in peer::ALL.iter().filter(|_| python.is_some()) {
                    let python = python.as_deref().unwrap_or(folder.path());
                    table.add_peer(peer, peer::spawn(peer, &plan, threads, folder.path(), python)?);
                }
                eprintln!("round {} of {rounds}, load {}", round + 1, quiet::load());
            }
            println!("{}", table.render(threads));
        }
    }
    Ok(())
}

//! Compares serving with many adapters with PEFT and llama.cpp on one shape; see `README.md`.
//!
//! ```text
//! job (base, adapters, prompts) ─▶ parity with the peers ─▶ rounds: ours, PEFT, llama.cpp, … ─▶ report
//! ```
//!
//! **Invariant:** everybody serves the same weights, adapters and prompts, and nobody is timed before the
//! logits agree.
#![allow(clippy::print_stdout)]

mod cold;
mod gpu;
mod job;
mod merged;
mod ours;
mod parity;
mod peer;
mod quality;
mod quiet;
mod report;

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use eyre::Result;
use job::Shape;
use openledger_allocator as _;
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
        #[command(flatten)]
        pythons: peer::Pythons,
        /// Times that every engine is started.
        #[arg(long, default_value_t = 3)]
        rounds: usize,
        /// Fewer forms, batches and adapters.
        #[arg(long)]
        quick: bool,
        /// Shape of the base.
        #[arg(long, value_enum, default_value_t = Shape::Llama32M)]
        base: Shape,
        #[command(flatten)]
        choice: job::Choice,
        /// Threads of every engine.
        #[arg(long, default_value_t = 1)]
        threads: usize,
        /// Go on although the machine has other work; the report says so.
        #[arg(long)]
        loaded: bool,
    },
    /// Compares logits with the peers, for the base and every adapter, in every form of ours.
    Parity {
        #[command(flatten)]
        pythons: peer::Pythons,
        /// Shape of the base.
        #[arg(long, value_enum, default_value_t = Shape::Llama32M)]
        base: Shape,
    },
    /// What eight bits cost: logits, first choices and perplexity on the handbook, with a trained adapter.
    Quality {
        /// Steps of the adapter's training.
        #[arg(long, default_value_t = 300)]
        steps: usize,
    },
    /// What the first request to an adapter pays for its loading, from the file cache and from disk.
    Cold {
        /// Go on although the machine has other work.
        #[arg(long)]
        loaded: bool,
    },
    /// What a copy of the base with an adapter merged in saves, by the share of the batch that is for it.
    Merged {
        #[arg(long, value_enum, default_value_t = Form::Int8)]
        form: Form,
        /// Shape of the base.
        #[arg(long, value_enum, default_value_t = Shape::Llama32M)]
        base: Shape,
        /// Go on although the machine has other work.
        #[arg(long)]
        loaded: bool,
    },
    /// A CUDA device against the processor: bits, nearness, speed. Says so and ends well where there is none.
    Gpu {
        #[command(flatten)]
        options: gpu::GpuOptions,
    },
    /// Writes the base, the adapters and the prompts, to run a peer by hand.
    Prepare {
        folder: PathBuf,
        /// Shape of the base.
        #[arg(long, value_enum, default_value_t = Shape::Llama32M)]
        base: Shape,
    },
    /// One measurement of ours, for `compare`.
    #[command(hide = true)]
    Measure { plan: String, threads: usize, folder: PathBuf },
}

/// Forms of weights and adapters on the command line and in plans.
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
    /// Weights in bf16 with adapters in eight bits.
    Bf16Adapters8,
    Int8,
    FourBit,
}

impl Form {
    const ALL: [Self; 5] = [Self::F32, Self::Bf16, Self::Bf16Adapters8, Self::Int8, Self::FourBit];

    fn weights(self) -> WeightForm {
        match self {
            Self::F32 => WeightForm::F32,
            Self::Bf16 | Self::Bf16Adapters8 => WeightForm::Bf16,
            Self::Int8 => WeightForm::Int8,
            Self::FourBit => WeightForm::FourBit,
        }
    }

    /// Pages and adapters that go with it.
    fn companions(self) -> (KvForm, LowRankForm) {
        match self {
            Self::F32 => (KvForm::F32, LowRankForm::Bf16),
            Self::Bf16 => (KvForm::Bf16, LowRankForm::Bf16),
            Self::Bf16Adapters8 | Self::Int8 | Self::FourBit => (KvForm::Bf16, LowRankForm::Int8),
        }
    }
}

fn main() -> Result<()> {
    match Options::parse().command {
        Action::Measure { plan, threads, folder } => {
            let measured = ours::measure(&serde_json::from_str(&plan)?, threads, &folder)?;
            println!("{}", serde_json::to_string(&measured)?);
        }
        Action::Parity { pythons, base } => {
            let folder = tempfile::tempdir()?;
            job::prepare(folder.path(), base)?;
            println!("{}", parity::check(folder.path(), &pythons)?);
        }
        Action::Cold { loaded } => {
            quiet::check(loaded)?;
            for form in [LowRankForm::Bf16, LowRankForm::Int8] {
                println!("Adapters in {form:?}\n\n{}", cold::measure(form)?);
            }
        }
        Action::Merged { form, base, loaded } => {
            quiet::check(loaded)?;
            println!("{}", merged::measure(form, base)?);
        }
        Action::Gpu { options } => println!("{}", gpu::run(&options)?),
        Action::Prepare { folder, base } => job::prepare(&folder, base)?,
        Action::Quality { steps } => println!("{}", quality::measure(steps)?),
        Action::Compare { pythons, rounds, quick, base, choice, threads, loaded } => {
            quiet::check(loaded)?;
            let folder = tempfile::tempdir()?;
            job::prepare(folder.path(), base)?;
            println!("{}", parity::check(folder.path(), &pythons)?);
            let plan = job::Plan::new(quick).choose(choice);
            let mut table = report::Table::default();
            for round in 0..rounds {
                for form in &plan.forms {
                    table.add_ours(*form, ours::spawn(&plan, *form, threads, folder.path())?);
                }
                for (peer, script) in pythons.peers() {
                    table.add_peer(peer, script.measure(peer, &plan, threads, folder.path())?);
                }
                eprintln!("round {} of {rounds}, load {}", round + 1, quiet::load());
            }
            println!("{}", table.render(threads));
        }
    }
    Ok(())
}

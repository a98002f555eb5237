//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// The tasks, in the order in which they are run.
pub(crate) const TASKS: [&str; 6] =
    ["synthetic", "tldr-family", "handbook", "eips", "medquad", "tldr-platform"];

/// Compares Proof of Attribution with other methods, against what retraining really gives.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Options {
    /// Finished trainings and measurements; what is there is not done again.
    #[arg(long, global = true, default_value = "target/bench-attribution")]
    pub(crate) out: PathBuf,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Trains, scores and asks every method.
    Measure(Budget),
    /// 200 facts that one contributor alone holds, a contributor of noise, two with the same facts.
    Canaries(Canaries),
    /// Time of the attribution of a 200-token answer by 16 runs.
    Speed {
        /// The base.
        #[arg(long, default_value = "models/nano")]
        base: PathBuf,
        /// Threads.
        #[arg(long, default_value_t = 2)]
        threads: usize,
        /// Repeats.
        #[arg(long, default_value_t = 5)]
        repeats: usize,
    },
    /// Writes tensors of the synthetic task and our scores, for peers/dattri_parity.py.
    Export {
        /// Where to.
        #[arg(long)]
        dir: PathBuf,
    },
    /// Prints the tables of what is measured, and draws the figure.
    Report {
        /// Where the figure goes.
        #[arg(long, default_value = "bench/attribution/effects.svg")]
        figure: PathBuf,
        /// A RESULTS.md whose parts `summary` and `tables` are written anew.
        #[arg(long)]
        results: Option<PathBuf>,
    },
}

/// What a measurement may cost.
#[derive(Clone, Debug, Args)]
pub(crate) struct Budget {
    /// Tasks, by comma.
    #[arg(long, value_delimiter = ',', default_values_t = TASKS.map(String::from))]
    pub(crate) tasks: Vec<String>,
    /// First seed.
    #[arg(long, default_value_t = 0)]
    pub(crate) first_seed: u64,
    /// Seeds. All tasks are measured under one seed before the next.
    #[arg(long, default_value_t = 5)]
    pub(crate) seeds: u64,
    /// Steps of a run of a text task; the synthetic one has 72.
    #[arg(long, default_value_t = 50)]
    pub(crate) steps: usize,
    /// Records of each player of a text task.
    #[arg(long, default_value_t = 12)]
    pub(crate) records: usize,
    /// Held-out subsets of a text task; the synthetic one has all that there are.
    #[arg(long, default_value_t = 30)]
    pub(crate) subsets: usize,
    /// Also holds the synthetic task to `--subsets`, without the design of 32 runs and the exact
    /// derivative: a tenth of the time.
    #[arg(long)]
    pub(crate) narrow: bool,
    /// Tasks whose exact derivative of the run is computed: two gradients per step and answer.
    #[arg(long, value_delimiter = ',', default_value = "synthetic")]
    pub(crate) derivative: Vec<String>,
    /// Tasks whose held-out subsets are trained again from another seed, as the ceiling between trainings.
    #[arg(long, value_delimiter = ',', default_value = "synthetic")]
    pub(crate) reseeded: Vec<String>,
    /// Runs trained at the same time.
    #[arg(long, default_value_t = 2)]
    pub(crate) threads: usize,
    /// Runs of one thread whose records share a batch; changes no bit.
    #[arg(long, default_value_t = 1)]
    pub(crate) runs_per_batch: usize,
    /// The data sets. Tasks on text are left out, loudly, where it is absent.
    #[arg(long, default_value = "../shared/data")]
    pub(crate) data: PathBuf,
    /// The base of the text tasks.
    #[arg(long, default_value = "models/nano")]
    pub(crate) base: PathBuf,
}

/// The run of planted facts.
#[derive(Clone, Debug, Args)]
pub(crate) struct Canaries {
    /// Seed of the facts and of the runs.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Facts of random symbols over the decoder of the synthetic task, instead of sentences: seconds
    /// instead of minutes.
    #[arg(long)]
    pub(crate) symbols: bool,
    /// Order of the design: 8 or 16.
    #[arg(long, default_value_t = 8)]
    pub(crate) order: u8,
    /// Steps of a run: 2,000 on sentences, 600 on symbols.
    #[arg(long)]
    pub(crate) steps: Option<usize>,
    /// Records of a step: 8 on sentences, 16 on symbols.
    #[arg(long)]
    pub(crate) batch: Option<usize>,
    /// Rank of the adapters: 8 on sentences, 16 on symbols.
    #[arg(long)]
    pub(crate) rank: Option<usize>,
    /// Highest learning rate: 5e-3.
    #[arg(long)]
    pub(crate) learning_rate: Option<f32>,
    /// Trains only the published adapter and says how well the facts are learnt.
    #[arg(long)]
    pub(crate) published_only: bool,
    /// Runs trained at the same time.
    #[arg(long, default_value_t = 2)]
    pub(crate) threads: usize,
    /// Runs of one thread whose records share a batch; changes no bit.
    #[arg(long, default_value_t = 2)]
    pub(crate) runs_per_batch: usize,
    /// The base.
    #[arg(long, default_value = "models/nano")]
    pub(crate) base: PathBuf,
    /// A RESULTS.md whose part `canaries` (of symbols: `canaries-symbols`) is written anew.
    #[arg(long)]
    pub(crate) results: Option<PathBuf>,
}

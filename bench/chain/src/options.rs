//! The command line.

use std::path::PathBuf;

use clap::Parser;

use crate::workload::Workload;

/// Compares our node with anvil and Hardhat: one load, one machine, one run after the other.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Options {
    /// Runs of every case, in turn: A B C A B C …
    #[arg(long, default_value_t = 5)]
    pub(crate) repeats: usize,
    /// What the transactions do; `all` for every kind.
    #[arg(long, default_value = "all")]
    pub(crate) workload: WorkloadChoice,
    /// Accounts of the filled state; 0 leaves it out.
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) accounts: u64,
    /// Every figure of every run, as JSON.
    #[arg(long)]
    pub(crate) json: Option<PathBuf>,
    /// A node of ours as NAME=COMMAND with {data_dir}, {port} and {genesis}; may be given several times,
    /// to compare two builds. Default: this program, which can be our node.
    #[arg(long = "node", value_name = "NAME=COMMAND")]
    pub(crate) nodes: Vec<String>,
    /// Leaves out a node by its name; may be given several times.
    #[arg(long)]
    pub(crate) without: Vec<String>,
    /// At most this many transactions in a run (settlements: a sixteenth, Hardhat: a fifth).
    #[arg(long, default_value_t = 200_000)]
    pub(crate) txs: usize,
    /// Sending ends after this many seconds.
    #[arg(long, default_value_t = 12)]
    pub(crate) seconds: u64,
    /// Connections that send plain calls.
    #[arg(long, default_value_t = 32)]
    pub(crate) connections: usize,
    /// Accounts that send.
    #[arg(long, default_value_t = 2_000)]
    pub(crate) senders: usize,
    /// Instead of comparing: where the processor time of our node goes, by `perf`.
    #[arg(long)]
    pub(crate) profile: bool,
    /// The results file. Default: RESULTS.md in bench/chain.
    #[arg(long)]
    pub(crate) results: Option<PathBuf>,
}

/// One workload or all.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum WorkloadChoice {
    Transfers,
    Erc20,
    Settle,
    All,
}

impl WorkloadChoice {
    pub(crate) fn workloads(self) -> Vec<Workload> {
        match self {
            Self::Transfers => vec![Workload::Transfers],
            Self::Erc20 => vec![Workload::Erc20],
            Self::Settle => vec![Workload::Settle],
            Self::All => vec![Workload::Transfers, Workload::Erc20, Workload::Settle],
        }
    }
}

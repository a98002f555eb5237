//! Runs Ethereum's official fixtures against the node.
//!
//! Takes a folder with checkouts of `ethereum/tests`, `ethereum/legacytests` and
//! `ethereum/execution-apis` and tells, per suite, what share passes. The node's own trie, transaction
//! decoding, state and state diff are under test; the EVM runs under Ethereum's fork rules through
//! [`openledger_chain::conformance`]. No fixture is part of this repository.
//!
//! ```text
//! folder ─▶ files ─(rayon)▶ cases ─▶ Verdict ─┐
//!                     expected-failures.txt ──┴▶ Report ─▶ table, JSON, exit status
//! ```
//!
//! **Invariant:** a case that cannot be run is counted as not supported, with the reason; never as
//! passed.
//! **Invariant:** a case that fails unlisted, and a listed one that passes, both fail the run.
//! **Invariant:** a panic is the failure of one case.

mod ethereum;
mod expected;
mod json;
mod report;
mod run;
mod suites;
mod verdict;

pub use expected::ExpectedFailures;
pub use report::{Report, SuiteReport};
pub use run::run;
pub use suites::Suite;
pub use verdict::{Case, Verdict};

/// Why a run could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// None of the fixture folders is there.
    #[error(
        "{} holds none of {}: clone ethereum/tests, ethereum/legacytests and ethereum/execution-apis \
         into it, or name the folder that has them",
        root.display(), looked_for.join(", ")
    )]
    NoFixtures {
        /// The folder that was given.
        root: std::path::PathBuf,
        /// What was looked for in it.
        looked_for: Vec<String>,
    },
    /// A line of the list of expected failures cannot be read.
    #[error("expected failures, line {line}: {reason}")]
    ExpectedFailures {
        /// Line number, from 1.
        line: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: std::path::PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
}

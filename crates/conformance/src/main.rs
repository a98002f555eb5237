//! `openledger-conformance`: runs Ethereum's official fixtures against the node's parts.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Parser;
use openledger_conformance::{Error, ExpectedFailures, Report, Suite, run};

/// Runs Ethereum's official fixtures against the node's parts and says what share passes.
#[derive(Parser)]
struct Arguments {
    /// Folder with checkouts of ethereum/tests (`tests`), ethereum/legacytests (`legacytests`) and
    /// ethereum/execution-apis (`execution-apis`).
    #[arg(long)]
    fixtures: PathBuf,
    /// Only these suites: trie, rlp, transactions, difficulty, state, blockchain, rpc.
    #[arg(long)]
    suite: Vec<Suite>,
    /// Known failures to expect in place of those of `expected-failures.txt`.
    #[arg(long)]
    expected: Option<PathBuf>,
    /// Writes the whole report to this file as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    // A panic in a case is told in the report, with the case's name.
    std::panic::set_hook(Box::new(|_| {}));
    let arguments = Arguments::parse();
    match report(&arguments) {
        Ok(report) => {
            let _ = write!(std::io::stdout(), "{report}");
            if report.is_as_expected() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "NOTHING WAS TESTED: {error}");
            ExitCode::FAILURE
        }
    }
}

fn report(arguments: &Arguments) -> Result<Report, Error> {
    let suites =
        if arguments.suite.is_empty() { Suite::ALL.to_vec() } else { arguments.suite.clone() };
    let expected = match &arguments.expected {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|source| Error::Io { path: path.clone(), source })?;
            ExpectedFailures::parse(&text)?
        }
        None => ExpectedFailures::committed()?,
    };
    let report = run(&arguments.fixtures, &suites, &expected)?;
    if let Some(path) = &arguments.json {
        write_json(path, &report)?;
    }
    Ok(report)
}

fn write_json(path: &Path, report: &Report) -> Result<(), Error> {
    let json = serde_json::to_vec_pretty(report).map_err(std::io::Error::from);
    json.and_then(|json| std::fs::write(path, json))
        .map_err(|source| Error::Io { path: path.to_owned(), source })
}

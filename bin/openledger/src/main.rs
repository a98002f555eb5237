//! The command line: arguments → configuration → services → run. Decides nothing.
//!
//! Data goes to stdout, everything else to stderr. Every failure says what failed, why and what to do
//! next, and has an exit code of its own kind.

#![allow(unreachable_pub, reason = "a binary has no outside; `pub` marks a module's interface")]

mod asking;
mod audit;
mod bench;
mod cli;
mod contribution;
mod demo;
mod embedded;
mod failure;
mod local;
mod output;
mod terminal;
mod training;
mod up;

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use cli::{AuditCommand, BenchCommand, Cli, Command};
use failure::{Exit, Failure, OrFail};
use output::{Output, tell};

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tell(&failure.to_string());
            ExitCode::from(failure.exit as u8)
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    log_to_stderr(cli.verbose);
    let output = Output { json: cli.json };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .or_fail(Exit::Failure, "cannot start the runtime")?;
    runtime.block_on(async {
        match cli.command {
            Command::Demo(args) => demo::run(args, output).await,
            Command::Up(args) => up::run(args, output).await,
            Command::Audit(AuditCommand::Verify(args)) => audit::verify(&args, output).await,
            Command::Bench(BenchCommand::Attribution(args)) => {
                bench::attribution(args, output).await
            }
        }
    })
}

fn log_to_stderr(verbose: u8) {
    let level = match verbose {
        0 => "warn",
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_env("OPENLEDGER_LOG")
        .unwrap_or_else(|_| EnvFilter::new(format!("{level},alloy_rpc_client=off")));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}

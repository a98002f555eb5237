//! The command line: arguments → configuration → services → run. Decides nothing.
//!
//! Data goes to stdout, everything else to stderr. Every failure says what failed, why and what to do
//! next, and has an exit code of its own kind.

#![allow(unreachable_pub, reason = "a binary has no outside; `pub` marks a module's interface")]

mod adapter;
mod asking;
mod attribution;
mod audit;
mod audit_certificate;
mod bench;
mod bench_serve;
mod chain;
mod cli;
mod contribution;
mod demo;
mod embedded;
mod failure;
mod from_hub;
mod local;
mod logging;
mod node;
mod opening;
mod output;
mod retrain;
mod serve;
mod serve_device;
mod signals;
mod terminal;
mod training;
mod up;
mod worker;

use std::process::ExitCode;

use clap::Parser;
use openledger_allocator as _;

use cli::{AdapterCommand, AttributionCommand, AuditCommand, BenchCommand, Cli, Command};
use failure::{Exit, Failure, OrFail};
use logging::LogFormat;
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
    let output = Output { json: cli.json };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .or_fail(Exit::Failure, "cannot start the runtime")?;
    let Cli { command, verbose, .. } = cli;
    if !matches!(command, Command::Node(_)) {
        let filter = std::env::var("OPENLEDGER_LOG");
        let filter = filter.as_deref().unwrap_or(logging::level("warn", verbose));
        logging::start(filter, LogFormat::Text)?;
    }
    let outcome = runtime.block_on(async {
        match command {
            Command::Node(args) => node::run(*args, output, verbose).await,
            Command::Demo(args) => demo::run(args, output).await,
            Command::Up(args) => up::run(args, output).await,
            Command::Serve(args) => serve::run(args, output).await,
            Command::Adapter(AdapterCommand::Pack(args)) => adapter::pack(args, output).await,
            Command::Adapter(AdapterCommand::Show(args)) => adapter::show(args, output).await,
            Command::Audit(AuditCommand::Verify(args)) => audit::verify(&args, output).await,
            Command::Audit(AuditCommand::Retrain(args)) => retrain::run(args, output).await,
            Command::Audit(AuditCommand::Certificate(args)) => {
                audit_certificate::run(args, output).await
            }
            Command::Worker(args) => worker::run(args, output).await,
            Command::Attribution(AttributionCommand::Open(args)) => {
                opening::run(args, output).await
            }
            Command::Attribution(AttributionCommand::Show(args)) => {
                attribution::show(&args, output)
            }
            Command::Bench(BenchCommand::Serve(args)) => bench_serve::run(args, output).await,
            Command::Bench(BenchCommand::Attribution(args)) => {
                bench::attribution(args, output).await
            }
        }
    });
    // Everything that matters has ended; a thread that waits for the disk must not keep the process.
    runtime.shutdown_background();
    outcome
}

//! `cargo xtask test`: every check and test of every language, on a machine that may be bare.
//!
//! ```text
//! plan(extent) ─▶ step ─▶ Report (outcome, tests counted, time) ─▶ … ─▶ summary, exit code
//! ```

mod command_line;
mod counts;
mod machine;
mod other_targets;
mod plan;
mod python;
mod summary;

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use eyre::Result;

use crate::tidy;
use counts::TestCounts;
use plan::{Step, Work};

pub(crate) use plan::Extent;

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    Passed,
    /// What went wrong, one line.
    Failed(String),
    /// The failed step without which this one would say nothing.
    NotRun(&'static str),
}

/// What is known of a step afterwards.
#[derive(Clone, Debug)]
struct Report {
    step: &'static str,
    outcome: Outcome,
    tests: TestCounts,
    time: Duration,
}

/// Runs the steps of `extent` in the workspace at `root` and prints a summary. A failed step does not
/// stop those that can still say something.
pub(crate) fn run(root: &Path, extent: Extent) -> Result<ExitCode> {
    let mut reports: Vec<Report> = Vec::new();
    for step in plan::plan(extent) {
        let report = match first_unmet(&step, &reports) {
            Some(needed) => Report::not_run(step.name, needed),
            None => run_step(root, &step),
        };
        reports.push(report);
    }
    println!("\n{}", summary::table(&reports));
    let all_passed = reports.iter().all(|report| report.outcome == Outcome::Passed);
    Ok(if all_passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn first_unmet(step: &Step, reports: &[Report]) -> Option<&'static str> {
    let unmet = reports.iter().filter(|report| report.outcome != Outcome::Passed);
    unmet.map(|report| report.step).find(|name| step.needs.contains(name))
}

fn run_step(root: &Path, step: &Step) -> Report {
    println!("\n── {} ── {}", step.name, step.work);
    let start = Instant::now();
    let (outcome, tests) = match carry_out(root, step) {
        Ok(tests) if step.counts_tests && tests.run() == 0 => {
            (Outcome::Failed("no test ran".to_owned()), tests)
        }
        Ok(tests) => (Outcome::Passed, tests),
        Err(failure) => (Outcome::Failed(failure.reason), failure.tests),
    };
    let time = start.elapsed();
    if let Outcome::Failed(reason) = &outcome {
        println!("{}: failed: {reason}", step.name);
    }
    println!("── {} took {}", step.name, summary::duration(time));
    Report { step: step.name, outcome, tests, time }
}

/// Why a step failed, and the tests that ran all the same.
#[derive(Clone, Debug)]
struct Failure {
    reason: String,
    tests: TestCounts,
}

impl From<eyre::Report> for Failure {
    fn from(report: eyre::Report) -> Self {
        Self { reason: format!("{report:#}"), tests: TestCounts::default() }
    }
}

fn carry_out(root: &Path, step: &Step) -> Result<TestCounts, Failure> {
    match &step.work {
        Work::Machine => machine::prepare()?,
        Work::OtherTargets => other_targets::prepare()?,
        Work::Python(environment) => environment.prepare(root)?,
        Work::Tidy => {
            let findings = tidy::findings(root)?;
            findings.iter().for_each(|finding| println!("{finding}"));
            if !findings.is_empty() {
                return Err(eyre::eyre!("{} found", findings.len()).into());
            }
        }
        Work::Command(command) => return command.run(root, &mut std::io::stdout()),
    }
    Ok(TestCounts::default())
}

impl Report {
    fn not_run(step: &'static str, needed: &'static str) -> Self {
        println!("\n── {step} ── not run, because it needs: {needed}");
        Self {
            step,
            outcome: Outcome::NotRun(needed),
            tests: TestCounts::default(),
            time: Duration::ZERO,
        }
    }
}

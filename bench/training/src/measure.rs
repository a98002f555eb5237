//! One measurement: some steps in a process of their own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use eyre::{ContextCompat, Result, WrapErr, ensure};
use openledger_factory::{Precision, Proceed, Recipe, TrainingRun};
use openledger_tensor::with_threads;
use serde::{Deserialize, Serialize};

use crate::job::Job;

/// What a process printed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// Of each measured step.
    pub(crate) seconds: Vec<f64>,
    /// CPU time of all measured steps.
    pub(crate) cpu_seconds: f64,
    /// Of every step, warm-up included.
    pub(crate) losses: Vec<f32>,
    /// Largest resident memory of the process.
    pub(crate) peak_bytes: u64,
    /// Memory of the packed base matrices; ours only.
    #[serde(default)]
    pub(crate) matrix_bytes: u64,
}

impl Measured {
    /// One line for whoever waits.
    pub(crate) fn brief(&self) -> String {
        let n = self.seconds.len().max(1) as f64;
        let wall: f64 = self.seconds.iter().sum();
        format!("{:.3} s, {:.3} CPU s a step", wall / n, self.cpu_seconds / n)
    }
}

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trainer {
    /// Ours.
    Ours(Variant),
    /// `torch_lora.py` with this first argument.
    Python(&'static str),
}

/// Ways to run our trainer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Variant {
    /// The float path that decides money.
    Exact,
    /// The same bits, activations of all layers computed again on the way back.
    Recompute,
    /// The exact path over a base of four bits a weight.
    FourBit,
    /// bf16 products with the base.
    Fast,
}

impl Variant {
    pub(crate) const ALL: [Self; 4] = [Self::Exact, Self::Recompute, Self::FourBit, Self::Fast];

    fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Recompute => "exact-recompute",
            Self::FourBit => "exact-four-bit",
            Self::Fast => "fast",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|variant| variant.name() == name)
    }
}

impl Trainer {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours(variant) => variant.name(),
            Self::Python(kind) => kind,
        }
    }
}

/// Steps before the clock starts, and after.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Steps {
    pub(crate) warmup: usize,
    pub(crate) measured: usize,
}

/// Runs one measurement as a process of its own and waits for it.
pub(crate) fn spawn(
    trainer: Trainer,
    threads: usize,
    steps: Steps,
    folder: &Path,
    python: &Path,
) -> Result<Measured> {
    let mut command = match trainer {
        Trainer::Ours(_) => {
            let mut command = Command::new(std::env::current_exe()?);
            command.arg("measure");
            command
        }
        Trainer::Python(_) => {
            let mut command = Command::new(python);
            command.arg(script());
            command
        }
    };
    let numbers = [threads, steps.warmup, steps.measured].map(|n| n.to_string());
    let output = command.arg(trainer.name()).args(numbers).arg(folder).output()?;
    ensure!(
        output.status.success(),
        "{} failed: {}",
        trainer.name(),
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout)?;
    let line = text.lines().last().wrap_err("nothing was printed")?;
    serde_json::from_str(line).wrap_err_with(|| format!("{} printed {line}", trainer.name()))
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("torch_lora.py")
}

/// Our side of a measurement.
pub(crate) fn measure(
    variant: Variant,
    threads: usize,
    steps: Steps,
    folder: &Path,
) -> Result<Measured> {
    let (job, base) = (Job::read(folder)?, Job::base(folder, variant == Variant::FourBit)?);
    let precision = if variant == Variant::Fast { Precision::Fast } else { Precision::Exact };
    let recipe = Recipe { precision, ..job.recipe(steps.warmup + steps.measured) };
    let examples = job.examples();
    let mut run = TrainingRun::new(&base, &recipe, &examples, &[true])?;
    if variant == Variant::Recompute {
        run = run.keeping_layers(0);
    }
    let (mut seconds, mut cpu_at_start) = (Vec::new(), 0.0);
    let mut at = Instant::now();
    let trained = with_threads(threads, || {
        run.train(None, |progress| {
            if progress.step > steps.warmup {
                seconds.push(at.elapsed().as_secs_f64());
            } else if progress.step == steps.warmup {
                cpu_at_start = cpu_seconds();
            }
            at = Instant::now();
            Proceed::Continue
        })
    })?;
    let (cpu_seconds, losses) = (cpu_seconds() - cpu_at_start, trained.losses);
    let matrix_bytes = base.matrix_bytes() as u64;
    Ok(Measured { seconds, cpu_seconds, losses, peak_bytes: peak_bytes(), matrix_bytes })
}

/// CPU time of this process, from `/proc` in hundredths of a second; zero where there is none.
pub(crate) fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = text.rsplit(") ").next().unwrap_or_default();
    let ticks = after_name.split(' ').skip(11).take(2).filter_map(|t| t.parse::<f64>().ok());
    ticks.sum::<f64>() / 100.0
}

/// Largest resident memory of this process, from `/proc`; zero where there is none.
pub(crate) fn peak_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

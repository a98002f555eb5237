//! Peers in Python.

use std::path::{Path, PathBuf};
use std::process::Command;

use eyre::{ContextCompat, Result, ensure};

use crate::job::Plan;
use crate::ours::Measured;

/// PEFT's mixed batches, by the precision of weights and adapters.
pub(crate) const ALL: [&str; 2] = ["peft-f32", "peft-bf16"];

/// Runs a peer in a process of its own.
pub(crate) fn spawn(
    peer: &str,
    plan: &Plan,
    threads: usize,
    folder: &Path,
    python: &Path,
) -> Result<Measured> {
    let plan = serde_json::to_string(plan)?;
    run(python, &[peer, &threads.to_string(), &plan], folder)
}

/// Runs the script and reads the last line it prints.
pub(crate) fn run<T: serde::de::DeserializeOwned>(
    python: &Path,
    arguments: &[&str],
    folder: &Path,
) -> Result<T> {
    let script: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("peft_serving.py");
    let output = Command::new(python).arg(script).arg(folder).args(arguments).output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{arguments:?} failed: {errors}");
    let text = String::from_utf8(output.stdout)?;
    Ok(serde_json::from_str(text.lines().last().wrap_err("nothing was printed")?)?)
}

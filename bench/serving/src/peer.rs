//! Peers in Python.

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;
use eyre::{ContextCompat, Result, ensure};

use crate::job::Plan;
use crate::ours::Measured;

/// Where the peers' Pythons are; a peer without one is not measured.
#[derive(Args, Clone, Debug)]
pub(crate) struct Pythons {
    /// Python with torch, transformers and peft.
    #[arg(long)]
    pub(crate) python: Option<PathBuf>,
    /// Python with llama-cpp-python and gguf.
    #[arg(long)]
    pub(crate) llama_python: Option<PathBuf>,
}

/// A script and the Python that runs it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Script<'a> {
    name: &'static str,
    python: &'a Path,
}

impl Pythons {
    /// PEFT on Transformers.
    pub(crate) fn peft(&self) -> Option<Script<'_>> {
        Some(Script { name: "peft_serving.py", python: self.python.as_deref()? })
    }

    /// llama.cpp.
    pub(crate) fn llama(&self) -> Option<Script<'_>> {
        Some(Script { name: "llama_serving.py", python: self.llama_python.as_deref()? })
    }

    /// What is measured: PEFT's mixed batches and llama.cpp, by the precision of weights and adapters.
    pub(crate) fn peers(&self) -> Vec<(&'static str, Script<'_>)> {
        let peft = self.peft().map(|script| ["peft-f32", "peft-bf16"].map(|name| (name, script)));
        let llama = self.llama().map(|script| ["llama-f16", "llama-q8"].map(|name| (name, script)));
        peft.into_iter().chain(llama).flatten().collect()
    }
}

impl Script<'_> {
    /// Seconds of each answer of a plan.
    pub(crate) fn measure(
        self,
        peer: &str,
        plan: &Plan,
        threads: usize,
        folder: &Path,
    ) -> Result<Measured> {
        let plan = serde_json::to_string(plan)?;
        self.run(&[peer, &threads.to_string(), &plan], folder)
    }

    /// Logits after the first prompt, for the base and every adapter.
    pub(crate) fn logits(self, folder: &Path) -> Result<Vec<Vec<f32>>> {
        self.run(&["logits"], folder)
    }

    /// Runs the script in a process of its own and reads the last line it prints.
    fn run<T: serde::de::DeserializeOwned>(self, arguments: &[&str], folder: &Path) -> Result<T> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(self.name);
        let output = Command::new(self.python).arg(script).arg(folder).args(arguments).output()?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{} {arguments:?} failed: {errors}", self.name);
        let text = String::from_utf8(output.stdout)?;
        Ok(serde_json::from_str(text.lines().last().wrap_err("nothing was printed")?)?)
    }
}

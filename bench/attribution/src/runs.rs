//! Training of subsets and scoring of all questions under each, kept on disk.
//!
//! A finished run is a file named by everything that decides it, so a benchmark that was interrupted goes
//! on where it stopped, and a change of the task asks for new runs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use eyre::{Result, WrapErr};
use openledger_factory::{DesignOptions, Proceed, Recipe, train_design_with};
use openledger_model::{Adapter, ScoreRequest};
use openledger_tensor::with_threads;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::cpu_time::CpuTime;
use crate::subsets::{Mask, flags};
use crate::task::Task;

/// Where runs are kept, and how many are trained at the same time.
#[derive(Debug)]
pub(crate) struct RunStore {
    pub(crate) dir: PathBuf,
    pub(crate) threads: usize,
    /// Runs of one thread whose records share a batch; changes no bit.
    pub(crate) runs_per_batch: usize,
}

/// A finished run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Run {
    /// v(S) of every question, in units of 2⁻²⁰ nat.
    pub(crate) values: Vec<i64>,
    /// Processor seconds of its training.
    pub(crate) training_seconds: f64,
    /// Processor seconds of scoring all questions.
    pub(crate) scoring_seconds: f64,
}

impl RunStore {
    /// The runs of some subsets, trained where they are not kept yet.
    pub(crate) fn runs(&self, task: &Task, masks: &[Mask]) -> Result<BTreeMap<Mask, Run>> {
        self.runs_with(task, &task.recipe, masks)
    }

    /// As [`runs`](Self::runs) with another recipe than the task's own; such runs have names of their own.
    pub(crate) fn runs_with(
        &self,
        task: &Task,
        recipe: &Recipe,
        masks: &[Mask],
    ) -> Result<BTreeMap<Mask, Run>> {
        fs::create_dir_all(&self.dir).wrap_err_with(|| format!("{}", self.dir.display()))?;
        let digest = digest(task, recipe)?;
        let path = |mask: Mask| {
            self.dir.join(format!("{}-{}-{}-{mask:04x}.json", task.name, task.seed, &digest[..16]))
        };
        let mut runs = BTreeMap::new();
        let mut missing = Vec::new();
        for mask in masks {
            match fs::read(path(*mask)) {
                Ok(bytes) => drop(runs.insert(*mask, serde_json::from_slice(&bytes)?)),
                Err(_) => missing.push(*mask),
            }
        }
        let total = missing.len();
        // Small groups, so that little is lost when the benchmark is interrupted.
        let size = self.threads * self.runs_per_batch.max(2);
        for (i, group) in missing.chunks(size).enumerate() {
            eprintln!("{} seed {}: run {} of {total}", task.name, task.seed, 1 + i * size);
            for (mask, run) in group.iter().zip(self.train(task, recipe, group)?) {
                write_whole(&path(*mask), &run)?;
                runs.insert(*mask, run);
            }
        }
        Ok(runs)
    }

    /// What is computed once for a task and costs about as much as its runs: kept as they are.
    pub(crate) fn kept<T: Serialize + DeserializeOwned>(
        &self,
        task: &Task,
        what: &str,
        compute: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        fs::create_dir_all(&self.dir).wrap_err_with(|| format!("{}", self.dir.display()))?;
        let digest = digest(task, &task.recipe)?;
        let name = format!("{}-{}-{}-{what}.json", task.name, task.seed, &digest[..16]);
        let file = self.dir.join(name);
        if let Ok(bytes) = fs::read(&file) {
            return Ok(serde_json::from_slice(&bytes)?);
        }
        let result = compute()?;
        write_whole(&file, &result)?;
        Ok(result)
    }

    fn train(&self, task: &Task, recipe: &Recipe, masks: &[Mask]) -> Result<Vec<Run>> {
        let players = task.players.len();
        let subsets: Vec<Vec<bool>> = masks.iter().map(|mask| flags(*mask, players)).collect();
        // Nobody's adapter is the base: there is nothing to train.
        let (some, trained): (Vec<usize>, Vec<Vec<bool>>) =
            subsets.into_iter().enumerate().filter(|(_, s)| s.contains(&true)).unzip();
        let start = CpuTime::now();
        let options = DesignOptions {
            workers: self.threads,
            runs_per_batch: self.runs_per_batch,
            ..DesignOptions::default()
        };
        let adapters =
            train_design_with(&task.base, recipe, &task.examples, &trained, &options, |_| {
                Proceed::Continue
            })?;
        // Shared among the runs by what each trained on.
        let seconds = start.seconds();
        let players_trained: usize = trained.iter().flatten().filter(|inside| **inside).count();
        let mut results = vec![(None, 0.0); masks.len()];
        for ((at, subset), adapter) in some.iter().zip(&trained).zip(&adapters) {
            let part = subset.iter().filter(|inside| **inside).count() as f64;
            results[*at] = (Some(&adapter.adapter), seconds * part / players_trained as f64);
        }
        results
            .into_iter()
            .map(|(adapter, training_seconds)| {
                let start = CpuTime::now();
                let values = self.score(task, adapter)?;
                Ok(Run { values, training_seconds, scoring_seconds: start.seconds() })
            })
            .collect()
    }

    fn score(&self, task: &Task, adapter: Option<&Adapter>) -> Result<Vec<i64>> {
        let requests: Vec<ScoreRequest<'_>> = task
            .queries
            .iter()
            .map(|q| ScoreRequest { tokens: &q.tokens, answer_start: q.answer_start, adapter })
            .collect();
        let per_token = with_threads(self.threads, || task.base.log_likelihoods(&requests))?;
        Ok(per_token.into_iter().map(|answer| answer.iter().sum()).collect())
    }
}

/// Writes a file that is there as a whole or not at all.
fn write_whole(file: &Path, value: &impl Serialize) -> Result<()> {
    let unfinished = file.with_extension("tmp");
    fs::write(&unfinished, serde_json::to_vec(value)?)?;
    Ok(fs::rename(&unfinished, file)?)
}

/// Everything that decides a run, but the subset.
fn digest(task: &Task, recipe: &Recipe) -> Result<String> {
    let mut hash = Sha256::new();
    hash.update(b"attribution benchmark 1");
    hash.update(task.base.hash());
    hash.update(serde_json::to_vec(recipe)?);
    hash.update((task.players.len() as u64).to_le_bytes());
    let mut sequence = |tokens: &[u32], start: usize, player: usize| {
        for number in [tokens.len(), start, player] {
            hash.update((number as u64).to_le_bytes());
        }
        tokens.iter().for_each(|token| hash.update(token.to_le_bytes()));
    };
    task.examples.iter().for_each(|e| sequence(&e.tokens, e.answer_start, e.player));
    sequence(&[], 0, 0);
    task.queries.iter().for_each(|q| sequence(&q.tokens, q.answer_start, q.owner));
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

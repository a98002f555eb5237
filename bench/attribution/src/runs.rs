//! Training of subsets and scoring of all questions under each, kept on disk.
//!
//! A finished run is a file named by everything that decides it, so a benchmark that was interrupted goes
//! on where it stopped, and a change of the task asks for new runs.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use eyre::{Result, WrapErr};
use openledger_factory::{Proceed, train_design};
use openledger_model::{Adapter, ScoreRequest};
use openledger_tensor::with_threads;
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
        fs::create_dir_all(&self.dir).wrap_err_with(|| format!("{}", self.dir.display()))?;
        let digest = digest(task)?;
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
        for (i, group) in missing.chunks(2 * self.threads).enumerate() {
            eprintln!(
                "{} seed {}: run {} of {total}",
                task.name,
                task.seed,
                1 + 2 * i * self.threads
            );
            for (mask, run) in group.iter().zip(self.train(task, group)?) {
                let file = path(*mask);
                let unfinished = file.with_extension("tmp");
                fs::write(&unfinished, serde_json::to_vec(&run)?)?;
                fs::rename(&unfinished, &file)?;
                runs.insert(*mask, run);
            }
        }
        Ok(runs)
    }

    fn train(&self, task: &Task, masks: &[Mask]) -> Result<Vec<Run>> {
        let players = task.players.len();
        let subsets: Vec<Vec<bool>> = masks.iter().map(|mask| flags(*mask, players)).collect();
        // Nobody's adapter is the base: there is nothing to train.
        let (some, trained): (Vec<usize>, Vec<Vec<bool>>) =
            subsets.into_iter().enumerate().filter(|(_, s)| s.contains(&true)).unzip();
        let start = CpuTime::now();
        let adapters =
            train_design(&task.base, &task.recipe, &task.examples, &trained, self.threads, |_| {
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

/// Everything that decides a run, but the subset.
fn digest(task: &Task) -> Result<String> {
    let mut hash = Sha256::new();
    hash.update(b"attribution benchmark 1");
    hash.update(task.base.hash());
    hash.update(serde_json::to_vec(&task.recipe)?);
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

//! A training that is told on chain while it goes.
//!
//! ```text
//! terms ─▶ announced job ─▶ states as they are traced ─▶ committed in batches ─▶ the model names the job
//! ```
//!
//! Whoever looks later sees that the states were there before the model was, and before anybody knew what it
//! would be asked.

use openledger_primitives::{Address, B256};
use tokio::sync::mpsc;

use crate::{
    Error, Ledger, TrainedModel,
    ledger::TrainingTerms,
    retrain::{run_root, states_of},
};

/// States in one transaction, at most: about 60,000 gas each.
const BATCH_MAX: usize = 256;

/// States of a run that can be committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TracedStates {
    /// Run of the design.
    pub run: usize,
    /// Steps done.
    pub step: usize,
    /// Merkle root over the states up to this step.
    pub root: B256,
}

/// A job on chain, and how far its runs are committed.
#[derive(Debug)]
pub struct Announcement<'a> {
    ledger: &'a Ledger,
    builder: Address,
    /// Its number on chain.
    pub job_id: u64,
    /// Last committed step of each run.
    steps: Vec<usize>,
    /// States committed by this process.
    pub committed: usize,
    finished: bool,
}

impl<'a> Announcement<'a> {
    /// Announces a training in the name of `builder`, or goes on with the one that an interrupted process
    /// announced. One that has become the model `name` is only looked at.
    pub async fn of(
        ledger: &'a Ledger,
        builder: Address,
        name: &str,
        terms: &TrainingTerms,
    ) -> Result<Self, Error> {
        let (job_id, finished) = match ledger.find_training(builder, terms).await? {
            Some((job, None)) => (job, false),
            Some((job, model)) if ledger.model_by_name(name).await? == model => (job, true),
            _ => (ledger.announce_training(builder, terms).await?, false),
        };
        let mut steps = vec![0; terms.runs];
        for states in ledger.committed_states(job_id).await? {
            if let Some(step) = steps.get_mut(states.run) {
                *step = states.step.max(*step);
            }
        }
        Ok(Self { ledger, builder, job_id, steps, committed: 0, finished })
    }

    /// Commits what comes, all that is there at a time in one transaction, until nobody sends any more. A
    /// failure is only logged: [`Self::commit_rest`] has the last word.
    pub async fn commit_as_they_come(
        mut self,
        mut states: mpsc::UnboundedReceiver<TracedStates>,
    ) -> Self {
        while let Some(first) = states.recv().await {
            let mut ready = vec![first];
            while let Ok(next) = states.try_recv() {
                ready.push(next);
            }
            if let Err(error) = self.commit(ready).await {
                tracing::warn!(%error, "states of the training wait to be committed");
            }
        }
        self
    }

    /// Commits the last states of every run, where they are not yet.
    pub async fn commit_rest(&mut self, trained: &TrainedModel) -> Result<(), Error> {
        let last = |(run, trained): (usize, &Option<openledger_factory::Trained>)| {
            let trained = trained.as_ref()?;
            let root = run_root(&states_of(trained));
            Some(TracedStates { run, step: trained.losses.len(), root })
        };
        self.commit(trained.runs.iter().enumerate().filter_map(last).collect()).await
    }

    async fn commit(&mut self, mut states: Vec<TracedStates>) -> Result<(), Error> {
        states.retain(|states| self.steps.get(states.run).is_some_and(|last| states.step > *last));
        states.sort_unstable_by_key(|states| (states.run, states.step));
        states.dedup_by_key(|states| (states.run, states.step));
        if self.finished {
            return Ok(());
        }
        for batch in states.chunks(BATCH_MAX) {
            self.ledger.commit_states(self.builder, self.job_id, batch).await?;
            self.committed += batch.len();
            batch.iter().for_each(|states| self.steps[states.run] = states.step);
        }
        Ok(())
    }
}

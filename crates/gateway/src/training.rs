use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use openledger_attribution::{Design, Grouping};
use openledger_datanet::Version;
use std::path::Path;

use openledger_factory::{
    Checkpoints, DesignOptions, DesignProgress, Example, Proceed, Recipe, TrainProgress, Trained,
    TrainingRun,
};
use openledger_model::{Adapter, ChatTemplate, Decoder, Tokenizer};
use openledger_primitives::B256;

use crate::{
    Error, TracedStates, document::Player, examples, retrain::run_root, work_folder::WorkFolder,
};

/// A model to be trained from a Datanet version.
#[derive(Debug, Clone, Copy)]
pub struct TrainingJob<'a> {
    /// Loaded for training.
    pub base: &'a Decoder,
    /// Of the base.
    pub tokenizer: &'a Tokenizer,
    /// Of the base.
    pub template: &'a ChatTemplate,
    /// The records.
    pub version: &'a Version,
    /// The contributors, see [`crate::players`].
    pub players: &'a [Player],
    /// Which of them stand behind each player of the design.
    pub grouping: &'a Grouping,
    /// How to train.
    pub recipe: &'a Recipe,
    /// Which players each run trains on.
    pub design: &'a Design,
    /// Threads to use; the result does not depend on it.
    pub threads: usize,
    /// Runs trained at once; the threads are divided among them.
    pub workers: usize,
    /// Folder that the model will be published in. Checkpoints are kept beside it until then, so that a
    /// training that was interrupted goes on.
    pub folder: &'a Path,
}

/// How far a training is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum TrainingProgress {
    /// The published adapter.
    Published {
        /// Steps done.
        step: u32,
        /// Mean loss of the step, nats per answer token.
        loss: f32,
    },
    /// States of a run that can be committed.
    Traced(TracedStates),
    /// The counterfactual adapters.
    Counterfactual {
        /// Steps done over all of them.
        steps: u64,
        /// Steps of all of them.
        of: u64,
    },
}

impl TrainedModel {
    /// Adapter of each run; `None` where the run is the base.
    pub fn adapters(&self) -> Vec<Option<&Adapter>> {
        self.runs.iter().map(|run| run.as_ref().map(|run| &run.adapter)).collect()
    }
}

/// A published adapter and its counterfactual adapters.
#[derive(Debug)]
pub struct TrainedModel {
    /// The design they follow.
    pub design: Design,
    /// One per run; `None` where the run is the base itself.
    pub runs: Vec<Option<Trained>>,
}

/// Trains the published adapter, then one counterfactual adapter for each other run of the design.
///
/// Goes on where an interrupted training of the same base, recipe and records left off. Blocks for as long
/// as training takes. Errors: a recipe in a precision that nobody can repeat; [`Error::RecordTooLong`]
/// before anything is trained; what the factory reports.
pub fn train(
    job: &TrainingJob<'_>,
    progress: &(dyn Fn(TrainingProgress) + Sync),
) -> Result<TrainedModel, Error> {
    // Before hours of training, not after.
    job.recipe.check_for_design()?;
    let examples = job.examples()?;
    let design = job.design.clone();
    let everybody = vec![true; job.players.len()];
    let work = WorkFolder::open(job)?;
    let published = openledger_tensor::with_threads(job.threads, || {
        let run = TrainingRun::new(job.base, job.recipe, &examples, &everybody)?;
        run.train(Some(&work.published()), |at| {
            progress(TrainingProgress::Published { step: at.step as u32, loss: at.loss });
            job.traced(0, at, progress);
            Proceed::Continue
        })
    })?;
    let trained_runs = job.counterfactual_runs();
    let counterfactual = train_runs(job, &work, &examples, &trained_runs, progress)?;
    let mut runs: Vec<Option<Trained>> = (0..design.run_count()).map(|_| None).collect();
    runs[0] = Some(published);
    for (run, trained) in trained_runs.into_iter().zip(counterfactual) {
        runs[run] = Some(trained);
    }
    Ok(TrainedModel { design, runs })
}

/// Trains the design of opened groups: every run but the first, which is the model's own adapter. The run in
/// which none of them plays is trained on everybody else, if there is somebody else.
///
/// As [`train`] in every other way.
pub fn train_opening(
    job: &TrainingJob<'_>,
    progress: &(dyn Fn(TrainingProgress) + Sync),
) -> Result<TrainedModel, Error> {
    job.recipe.check_for_design()?;
    let examples = job.examples()?;
    let design = job.design.clone();
    let work = WorkFolder::open(job)?;
    let trained_runs = job.counterfactual_runs();
    let trained = train_runs(job, &work, &examples, &trained_runs, progress)?;
    let mut runs: Vec<Option<Trained>> = (0..design.run_count()).map(|_| None).collect();
    for (run, trained) in trained_runs.into_iter().zip(trained) {
        runs[run] = Some(trained);
    }
    Ok(TrainedModel { design, runs })
}

/// Trains runs of the job's design, several at a time.
fn train_runs(
    job: &TrainingJob<'_>,
    work: &WorkFolder,
    examples: &[Example],
    trained_runs: &[usize],
    progress: &(dyn Fn(TrainingProgress) + Sync),
) -> Result<Vec<Trained>, Error> {
    let subsets = job.subsets(trained_runs);
    let counted = StepCount::new(subsets.len());
    let options = job.options(Some(work.design()));
    let trained = openledger_factory::train_design_with(
        job.base,
        job.recipe,
        examples,
        &subsets,
        &options,
        |at| {
            let (steps, of) = counted.count(at);
            progress(TrainingProgress::Counterfactual { steps, of });
            job.traced(trained_runs[at.run], at.progress, progress);
            Proceed::Continue
        },
    )?;
    Ok(trained)
}

/// Steps done over several runs that report at once.
pub(crate) struct StepCount {
    done: AtomicU64,
    reported: Vec<AtomicBool>,
}

impl StepCount {
    pub(crate) fn new(runs: usize) -> Self {
        Self {
            done: AtomicU64::new(0),
            reported: (0..runs).map(|_| AtomicBool::new(false)).collect(),
        }
    }

    /// Counts one step of a run. Returns the steps done, and those there are, over all runs.
    pub(crate) fn count(&self, at: DesignProgress<'_>) -> (u64, u64) {
        // A run that goes on from a checkpoint has more steps behind it than were counted.
        let before = self.reported[at.run].swap(true, Ordering::Relaxed);
        let new = if before { 1 } else { at.progress.step as u64 };
        let done = self.done.fetch_add(new, Ordering::Relaxed) + new;
        (done, (at.runs * at.progress.steps) as u64)
    }
}

impl TrainingJob<'_> {
    /// How runs are spread.
    pub(crate) fn options(&self, checkpoints: Option<Checkpoints>) -> DesignOptions {
        let workers = self.workers.max(1);
        let threads_per_worker = (self.threads / workers).max(1);
        DesignOptions { workers, threads_per_worker, checkpoints, ..DesignOptions::default() }
    }

    /// Subset of contributors that each of these runs is trained on.
    pub(crate) fn subsets(&self, runs: &[usize]) -> Vec<Vec<bool>> {
        let trained = |run: &usize| self.grouping.trained(&self.design.subset(*run));
        runs.iter().map(trained).collect()
    }

    /// Runs of the design that are trained beside the published adapter: all but the first, and but the one in
    /// which no player is, where that is the base.
    pub(crate) fn counterfactual_runs(&self) -> Vec<usize> {
        let nobody = self.grouping.fixed().is_empty();
        let base = |run: &usize| nobody && *run == self.design.order();
        (1..self.design.run_count()).filter(|run| !base(run)).collect()
    }

    /// Reports the states of a run, where this step added one.
    fn traced(
        &self,
        run: usize,
        at: TrainProgress<'_>,
        progress: &(dyn Fn(TrainingProgress) + Sync),
    ) {
        if self.recipe.traces(at.step) {
            let states: Vec<B256> = at.trace.iter().map(|state| B256::from(*state)).collect();
            let root = run_root(&states);
            progress(TrainingProgress::Traced(TracedStates { run, step: at.step, root }));
        }
    }

    /// The records as the trainer takes them, in record order.
    pub(crate) fn examples(&self) -> Result<Vec<Example>, Error> {
        let mut examples = Vec::with_capacity(self.version.records().len());
        for (index, record) in self.version.records().iter().enumerate() {
            let wallet = record.contributor().wallet();
            let player = self.players.iter().position(|player| Some(player.wallet) == wallet);
            let player =
                player.ok_or_else(|| Error::Corrupt(format!("record {index}: no such player")))?;
            let example = examples::example(record.canonical(), self.tokenizer, self.template)?;
            let (tokens, max) = (example.tokens.len(), self.recipe.tokens_max);
            if tokens > max {
                return Err(Error::RecordTooLong { record: index, tokens, max });
            }
            let (tokens, answer_start) = (example.tokens, example.answer_start);
            examples.push(Example { tokens, answer_start, player });
        }
        Ok(examples)
    }
}

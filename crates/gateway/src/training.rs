use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use openledger_attribution::Design;
use openledger_datanet::Version;
use std::path::Path;

use openledger_factory::{DesignOptions, Example, Proceed, Recipe, Trained, TrainingRun};
use openledger_model::{ChatTemplate, Decoder, Tokenizer};

use crate::{Error, document::Player, examples, work_folder::WorkFolder};

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
    /// The players, see [`crate::players`].
    pub players: &'a [Player],
    /// How to train.
    pub recipe: &'a Recipe,
    /// Which players each run trains on.
    pub design: &'a Design,
    /// Threads to use; the result does not depend on it.
    pub threads: usize,
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
    /// The counterfactual adapters.
    Counterfactual {
        /// Steps done over all of them.
        steps: u64,
        /// Steps of all of them.
        of: u64,
    },
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
    let work = WorkFolder::open(job.folder, job.base.hash(), job.recipe, job.version.root())?;
    let published = openledger_tensor::with_threads(job.threads, || {
        let run = TrainingRun::new(job.base, job.recipe, &examples, &everybody)?;
        run.train(Some(&work.published()), |at| {
            progress(TrainingProgress::Published { step: at.step as u32, loss: at.loss });
            Proceed::Continue
        })
    })?;
    let trained_runs: Vec<usize> =
        (1..design.run_count()).filter(|run| *run != design.order()).collect();
    let subsets: Vec<Vec<bool>> = trained_runs.iter().map(|run| design.subset(*run)).collect();
    let counted = AtomicU64::new(0);
    let resumed: Vec<AtomicBool> = subsets.iter().map(|_| AtomicBool::new(false)).collect();
    let options = DesignOptions {
        threads: job.threads,
        checkpoints: Some(work.design()),
        ..DesignOptions::default()
    };
    let counterfactual = openledger_factory::train_design_with(
        job.base,
        job.recipe,
        &examples,
        &subsets,
        &options,
        |at| {
            let of = (at.runs * at.progress.steps) as u64;
            // A run that goes on from a checkpoint has more steps behind it than were counted.
            let before = resumed[at.run].swap(true, Ordering::Relaxed);
            let new = if before { 1 } else { at.progress.step as u64 };
            let steps = counted.fetch_add(new, Ordering::Relaxed) + new;
            progress(TrainingProgress::Counterfactual { steps, of });
            Proceed::Continue
        },
    )?;
    let mut runs: Vec<Option<Trained>> = (0..design.run_count()).map(|_| None).collect();
    runs[0] = Some(published);
    for (run, trained) in trained_runs.into_iter().zip(counterfactual) {
        runs[run] = Some(trained);
    }
    Ok(TrainedModel { design, runs })
}

impl TrainingJob<'_> {
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

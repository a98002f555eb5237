//! A process that helps with trainings that another one leads, on the same data folder.
//!
//! ```text
//! NAME.training/plan.json, records ─▶ runs that nobody has claimed ─▶ their checkpoints ─▶ the leader
//! ```
//!
//! **Invariant:** what is trained, and to which bits, does not depend on who trains it. The leader alone meets
//! the chain.

use std::path::Path;

use openledger_attribution::Design;
use openledger_factory::{Proceed, train_unclaimed};
use openledger_model::{ChatTemplate, Tokenizer};

use crate::{
    Error, TrainingJob, retrain::base_for_training, training::StepCount, work_folder::WorkFolder,
};

/// What a helping process has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Helped {
    /// Trainings that it found.
    pub trainings: usize,
    /// Runs that it trained to their ends, or found trained.
    pub runs: usize,
}

/// Trains every counterfactual run under `data_dir` that no process is at, up to its end. Blocks for as long as
/// that takes.
///
/// Errors: [`Error::Audit`] if a base is not under `data_dir`; what the factory reports.
pub fn help_training(
    data_dir: &Path,
    threads: usize,
    workers: usize,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<Helped, Error> {
    let mut helped = Helped::default();
    for work in WorkFolder::all(&data_dir.join("models"))? {
        let (plan, version) = work.plan()?;
        let (base, base_dir) = base_for_training(data_dir, plan.base_hash)?;
        let tokenizer = Tokenizer::from_file(&base_dir.join("tokenizer.json"))?;
        let template = ChatTemplate::from_dir(&base_dir)?;
        let design = Design::try_from(&plan.design)?;
        let job = TrainingJob {
            base: &base,
            tokenizer: &tokenizer,
            template: &template,
            version: &version,
            players: &plan.players,
            grouping: &plan.grouping,
            recipe: &plan.recipe,
            design: &design,
            threads,
            workers,
            folder: &work.model(),
        };
        let subsets = job.subsets(&job.counterfactual_runs());
        let counted = StepCount::new(subsets.len());
        let examples = job.examples()?;
        let options = job.options(Some(work.design()));
        let runs = train_unclaimed(&base, &plan.recipe, &examples, &subsets, &options, |at| {
            let (done, of) = counted.count(at);
            progress(done, of);
            Proceed::Continue
        })?;
        helped.trainings += 1;
        helped.runs += runs.len();
    }
    Ok(helped)
}

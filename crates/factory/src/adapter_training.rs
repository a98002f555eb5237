//! Training of one adapter on the records of some players.
//!
//! ```text
//! examples ─▶ seeded order ─▶ batch of 16 ─▶ those of present players ─▶ gradient ─▶ clip ─▶ AdamW
//!                                                                            every K steps ─▶ trace
//! ```
//!
//! **Invariant:** the adapter is a function of base, recipe, examples and subset. Threads, SIMD path,
//! pauses, restarts and what is trained beside it change no bit.
//! **Invariant:** start, order, schedule and divisor are the same for every subset; a record of an absent
//! player has weight zero, so it is skipped.

use crate::pretrain::Proceed;
use crate::train_error::TrainError;
use crate::training_checkpoint::Checkpoints;
use crate::training_run::{Stepper, TrainingRun};
use crate::training_state::TrainingState;
use crate::{Precision, Recipe};
use openledger_model::{Adapter, Decoder};

/// A record as the trainer sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// Prompt, answer and end token.
    pub tokens: Vec<u32>,
    /// Where the answer starts. The loss is on the answer only, the end token included.
    pub answer_start: usize,
    /// Whose record it is: an index into the subset.
    pub player: usize,
}

/// One finished step.
#[derive(Clone, Copy, Debug)]
pub struct TrainProgress<'a> {
    /// Steps done.
    pub step: usize,
    /// Steps in all.
    pub steps: usize,
    /// Loss of the present records of this step: Σ −ln p over the fixed divisor.
    pub loss: f32,
    /// State hashes so far; this step added one if [`Recipe::traces`] says so.
    pub trace: &'a [[u8; 32]],
}

/// A finished run.
#[derive(Debug)]
pub struct Trained {
    /// The adapter, rounded to bf16.
    pub adapter: Adapter,
    /// State hash after every `trace_every` steps and after the last one.
    pub trace: Vec<[u8; 32]>,
    /// Loss of each step.
    pub losses: Vec<f32>,
}

/// Trains an adapter on the examples of the players in `subset`.
///
/// The base must be loaded for training. Errors: a recipe out of range, an example that does not fit the
/// base or the recipe or names a player outside the subset, a diverging run, [`TrainError::Stopped`] where
/// `progress` said so.
pub fn train(
    base: &Decoder,
    recipe: &Recipe,
    examples: &[Example],
    subset: &[bool],
    progress: impl FnMut(TrainProgress<'_>) -> Proceed,
) -> Result<Trained, TrainError> {
    TrainingRun::new(base, recipe, examples, subset)?.train(None, progress)
}

/// Trains `steps` further steps from a state and returns the state hash after them: what an auditor
/// compares with the trace, without training the rest.
///
/// Errors: as [`train`]; [`TrainError::FastSegment`] for a recipe whose precision cannot be repeated;
/// fewer than `steps` steps left, as [`TrainError::SegmentTooLong`].
pub fn retrain_segment(
    base: &Decoder,
    recipe: &Recipe,
    examples: &[Example],
    subset: &[bool],
    from: &TrainingState,
    steps: usize,
) -> Result<[u8; 32], TrainError> {
    if recipe.precision != Precision::Exact {
        return Err(TrainError::FastSegment);
    }
    let left = recipe.steps.saturating_sub(from.step());
    if steps > left {
        return Err(TrainError::SegmentTooLong { steps, left });
    }
    let run = TrainingRun::new(base, recipe, examples, subset)?;
    let mut state = from.clone();
    run.advance(&mut state, steps, |_| Proceed::Continue)?;
    Ok(state.hash())
}

impl TrainingRun<'_> {
    /// Up to `steps` further steps, fewer where the recipe ends or `after_step` says stop.
    ///
    /// Errors: a base loaded for inference only; a diverging run.
    pub fn advance(
        &self,
        state: &mut TrainingState,
        steps: usize,
        mut after_step: impl FnMut(&TrainingState) -> Proceed,
    ) -> Result<(), TrainError> {
        let end = self.recipe().steps.min(state.step + steps);
        let mut stepper = Stepper::new(std::slice::from_ref(self))?;
        while state.step < end {
            stepper.step(std::slice::from_ref(self), std::slice::from_mut(state))?;
            if after_step(state) == Proceed::Stop {
                break;
            }
        }
        Ok(())
    }

    /// Trains to the end; with checkpoints from the last one, if there is one.
    ///
    /// Errors: as [`train`]; a checkpoint of another run, a damaged one, a file that cannot be written.
    /// Where `progress` says stop, a checkpoint is written first.
    pub fn train(
        &self,
        checkpoints: Option<&Checkpoints>,
        mut progress: impl FnMut(TrainProgress<'_>) -> Proceed,
    ) -> Result<Trained, TrainError> {
        let mut state = match checkpoints {
            Some(checkpoints) => self.resume(&checkpoints.path)?,
            None => self.start(),
        };
        let steps = self.recipe().steps;
        let mut failed = None;
        self.advance(&mut state, usize::MAX - steps, |state| {
            let proceed = progress(self.progress(state));
            let last = proceed == Proceed::Stop || state.step == steps;
            if let Some(checkpoints) = checkpoints
                && let Err(error) = checkpoints.keep(self, state, last)
            {
                failed = Some(error);
                return Proceed::Stop;
            }
            proceed
        })?;
        match failed {
            Some(error) => Err(error),
            None if state.step < steps => Err(TrainError::Stopped { step: state.step }),
            None => self.finish(state),
        }
    }

    pub(crate) fn progress<'a>(&self, state: &'a TrainingState) -> TrainProgress<'a> {
        let loss = state.losses.last().copied().unwrap_or(0.0);
        TrainProgress { step: state.step, steps: self.recipe().steps, loss, trace: &state.trace }
    }
}

//! What an adapter is a function of, checked once.

use crate::adapter_training::Example;
use crate::record_order::RecordOrder;
use crate::train_error::TrainError;
use crate::training_state::TrainingState;
use crate::{Recipe, Trained};
use openledger_model::{Adapter, Batch, Decoder, LoraLayout, LoraTrainer, RunStep};
use sha2::{Digest, Sha256};

/// One run: base, recipe, examples and the players whose records count.
#[derive(Debug)]
pub struct TrainingRun<'a> {
    base: &'a Decoder,
    recipe: &'a Recipe,
    examples: &'a [Example],
    subset: &'a [bool],
    layout: LoraLayout,
    /// Answer tokens of an average full batch. It depends on all examples, present or not, so it is the
    /// same for every subset.
    divisor: f32,
    kept_layers: usize,
}

impl<'a> TrainingRun<'a> {
    /// Errors: a recipe out of range; an example that does not fit the base or the recipe or names a
    /// player outside the subset.
    pub fn new(
        base: &'a Decoder,
        recipe: &'a Recipe,
        examples: &'a [Example],
        subset: &'a [bool],
    ) -> Result<Self, TrainError> {
        recipe.check()?;
        let divisor = divisor(base, recipe, examples, subset)?;
        let layout = recipe.layout(base.config());
        Ok(Self { base, recipe, examples, subset, layout, divisor, kept_layers: usize::MAX })
    }

    /// Keeps the activations of the last `layers` layers and computes the others again on the way back:
    /// less memory, more time, the same bits.
    pub fn keeping_layers(mut self, layers: usize) -> Self {
        self.kept_layers = layers;
        self
    }

    /// How it is trained.
    pub fn recipe(&self) -> &'a Recipe {
        self.recipe
    }

    pub(crate) fn layout(&self) -> &LoraLayout {
        &self.layout
    }

    /// The state before the first step.
    pub fn start(&self) -> TrainingState {
        TrainingState::start(&self.layout, self.recipe)
    }

    /// The adapter of a state, with what the run has to show.
    ///
    /// Errors: a value that is not finite.
    pub fn finish(&self, state: TrainingState) -> Result<Trained, TrainError> {
        let adapter = Adapter::new(self.layout.clone(), &state.values)?;
        Ok(Trained { adapter, trace: state.trace, losses: state.losses })
    }

    /// The hashes that name this run, each with what it means if another was found.
    pub(crate) fn identity(&self) -> [([u8; 32], &'static str); 3] {
        let recipe = serde_json::to_vec(self.recipe).expect("a recipe is plain data");
        let mut data = Sha256::new();
        data.update(b"openledger training data 1");
        data.update((self.subset.len() as u64).to_le_bytes());
        data.update(self.subset.iter().map(|present| u8::from(*present)).collect::<Vec<_>>());
        for example in self.examples {
            for n in [example.player, example.answer_start, example.tokens.len()] {
                data.update((n as u64).to_le_bytes());
            }
            for token in &example.tokens {
                data.update(token.to_le_bytes());
            }
        }
        [
            (self.base.hash(), "it belongs to another base"),
            (Sha256::digest(recipe).into(), "it belongs to another recipe"),
            (data.finalize().into(), "it belongs to other records or other players"),
        ]
    }

    /// The records of the step after `step` steps: those of present players.
    fn fill(
        &self,
        order: &mut RecordOrder,
        step: usize,
        batch: &mut Batch,
    ) -> Result<(), TrainError> {
        batch.clear();
        for draw in step * self.recipe.batch_size..(step + 1) * self.recipe.batch_size {
            let example = &self.examples[order.record(draw)];
            if self.subset[example.player] {
                let (tokens, start) = (&example.tokens, example.answer_start);
                batch.push(self.base.config(), tokens, start, 1.0 / self.divisor)?;
            }
        }
        Ok(())
    }
}

/// Makes steps of several runs of one base and one recipe, the rows of all in one batch.
///
/// **Invariant:** a run comes out as it would alone; it does not even matter how far the others are.
pub(crate) struct Stepper<'a> {
    trainer: LoraTrainer<'a>,
    lanes: Vec<Lane>,
}

/// The buffers of one run.
struct Lane {
    order: RecordOrder,
    batch: Batch,
    gradients: Vec<f32>,
}

impl<'a> Stepper<'a> {
    /// Errors: a base that was loaded for inference only.
    pub(crate) fn new(runs: &'a [TrainingRun<'a>]) -> Result<Self, TrainError> {
        let first = runs.first().ok_or(TrainError::NoExamples)?;
        let trainer = LoraTrainer::new(first.base, &first.layout)?
            .with_precision(first.recipe.precision)
            .keeping_layers(first.kept_layers);
        let lane = |run: &TrainingRun<'_>| Lane {
            order: RecordOrder::new(run.recipe.seed, run.examples.len()),
            batch: Batch::default(),
            gradients: vec![0.0; run.layout.len()],
        };
        Ok(Self { trainer, lanes: runs.iter().map(lane).collect() })
    }

    /// One step of every run that has steps left.
    ///
    /// Errors: a loss that is no longer a number; then no state was changed.
    pub(crate) fn step(
        &mut self,
        runs: &[TrainingRun<'_>],
        states: &mut [TrainingState],
    ) -> Result<(), TrainError> {
        let Self { trainer, lanes } = self;
        let mut steps = Vec::with_capacity(runs.len());
        for ((run, state), lane) in runs.iter().zip(states.iter()).zip(lanes.iter_mut()) {
            if state.step < run.recipe.steps {
                run.fill(&mut lane.order, state.step, &mut lane.batch)?;
                let Lane { batch, gradients, .. } = lane;
                steps.push(RunStep { values: &state.values, batch, gradients, loss: 0.0 });
            }
        }
        trainer.losses_and_gradients(&mut steps);
        let losses: Vec<f64> = steps.iter().map(|step| step.loss).collect();
        drop(steps);
        let unfinished =
            runs.iter().zip(states).zip(lanes).filter(|((run, s), _)| s.step < run.recipe.steps);
        let mut unfinished: Vec<_> = unfinished.zip(losses).collect();
        if let Some((((_, state), _), _)) = unfinished.iter().find(|(_, loss)| !loss.is_finite()) {
            return Err(TrainError::Diverged { step: state.step });
        }
        for (((run, state), lane), loss) in &mut unfinished {
            state.update(run.recipe, *loss as f32, &lane.gradients);
        }
        Ok(())
    }
}

/// Checks everything once, before any step.
fn divisor(
    base: &Decoder,
    recipe: &Recipe,
    examples: &[Example],
    subset: &[bool],
) -> Result<f32, TrainError> {
    if examples.is_empty() {
        return Err(TrainError::NoExamples);
    }
    let mut batch = Batch::default();
    let mut answer_tokens = 0usize;
    for (index, example) in examples.iter().enumerate() {
        let wrong = |why: String| TrainError::Example { index, why };
        if example.tokens.len() > recipe.tokens_max {
            let (n, max) = (example.tokens.len(), recipe.tokens_max);
            return Err(wrong(format!("{n} tokens, the recipe allows {max}")));
        }
        if example.player >= subset.len() {
            let (player, players) = (example.player, subset.len());
            return Err(wrong(format!("player {player} of a subset of {players}")));
        }
        batch.clear();
        batch
            .push(base.config(), &example.tokens, example.answer_start, 1.0)
            .map_err(|e| wrong(e.to_string()))?;
        answer_tokens += batch.targets().len();
    }
    Ok((recipe.batch_size as f64 * answer_tokens as f64 / examples.len() as f64) as f32)
}

//! Training of one adapter on the records of some players.
//!
//! ```text
//! examples ─▶ seeded order ─▶ batch of 16 ─▶ those of present players ─▶ gradient ─▶ clip ─▶ AdamW
//!                                                                            every K steps ─▶ trace
//! ```
//!
//! **Invariant:** the adapter is a function of base, recipe, examples and subset. Threads, SIMD path and
//! what is trained beside it change no bit.
//! **Invariant:** start, order, schedule and divisor are the same for every subset; a record of an absent
//! player has weight zero, so it is skipped.

use crate::Recipe;
use crate::pretrain::Proceed;
use crate::train_error::TrainError;
use openledger_model::{Adapter, Batch, Decoder, LoraLayout, LoraTrainer};
use openledger_tensor::{AdamW, Random, sum_of_squares};
use sha2::{Digest, Sha256};

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
pub struct TrainProgress {
    /// Steps done.
    pub step: usize,
    /// Steps in all.
    pub steps: usize,
    /// Loss of the present records of this step: Σ −ln p over the fixed divisor.
    pub loss: f32,
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
    mut progress: impl FnMut(TrainProgress) -> Proceed,
) -> Result<Trained, TrainError> {
    let divisor = check(base, recipe, examples, subset)?;
    let layout = recipe.layout(base.config());
    let mut trainer = LoraTrainer::new(base, &layout)?;
    let mut state = State::new(&layout, recipe);
    let mut gradients = vec![0.0; layout.len()];
    let mut order = Order::new(recipe.seed, examples.len());
    let mut batch = Batch::default();
    let (mut trace, mut losses) = (Vec::new(), Vec::new());
    while state.step < recipe.steps {
        batch.clear();
        for _ in 0..recipe.batch_size {
            let example = &examples[order.next()];
            if subset[example.player] {
                batch.push(base.config(), &example.tokens, example.answer_start, 1.0 / divisor)?;
            }
        }
        let loss = trainer.loss_and_gradients(&state.values, &batch, &mut gradients);
        if !loss.is_finite() {
            return Err(TrainError::Diverged { step: state.step });
        }
        state.update(recipe, &gradients);
        losses.push(loss as f32);
        if state.step.is_multiple_of(recipe.trace_every) || state.step == recipe.steps {
            trace.push(state.hash());
        }
        let report = TrainProgress { step: state.step, steps: recipe.steps, loss: loss as f32 };
        if progress(report) == Proceed::Stop && state.step < recipe.steps {
            return Err(TrainError::Stopped { step: state.step });
        }
    }
    Ok(Trained { adapter: Adapter::new(layout, &state.values)?, trace, losses })
}

/// Checks everything once, before any step, and returns the divisor of the loss: the answer tokens of an
/// average full batch. It depends on all examples, present or not, so it is the same for every subset.
fn check(
    base: &Decoder,
    recipe: &Recipe,
    examples: &[Example],
    subset: &[bool],
) -> Result<f32, TrainError> {
    recipe.check()?;
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

/// The order of the records: pass after pass, each in its own random order.
struct Order {
    seed: u64,
    pass: u64,
    at: usize,
    order: Vec<usize>,
}

impl Order {
    fn new(seed: u64, examples: usize) -> Self {
        Self { seed, pass: 0, at: examples, order: (0..examples).collect() }
    }

    fn next(&mut self) -> usize {
        if self.at == self.order.len() {
            self.order.sort_unstable();
            // Stream numbers far from those of the initial values.
            Random::new(self.seed, (1 << 40) + self.pass).shuffle(&mut self.order);
            (self.pass, self.at) = (self.pass + 1, 0);
        }
        self.at += 1;
        self.order[self.at - 1]
    }
}

/// The state of a run between two steps.
struct State {
    step: usize,
    values: Vec<f32>,
    first: Vec<f32>,
    second: Vec<f32>,
    beta1_power: f64,
    beta2_power: f64,
}

impl State {
    fn new(layout: &LoraLayout, recipe: &Recipe) -> Self {
        let zeros = || vec![0.0; layout.len()];
        Self {
            step: 0,
            values: layout.random(recipe.seed),
            first: zeros(),
            second: zeros(),
            beta1_power: 1.0,
            beta2_power: 1.0,
        }
    }

    fn update(&mut self, recipe: &Recipe, gradients: &[f32]) {
        self.step += 1;
        self.beta1_power *= f64::from(recipe.beta1);
        self.beta2_power *= f64::from(recipe.beta2);
        let (norm, longest) =
            (sum_of_squares(gradients).sqrt(), f64::from(recipe.gradient_norm_max));
        let optimizer = AdamW {
            learning_rate: recipe.learning_rate_at(self.step),
            beta1: recipe.beta1,
            beta2: recipe.beta2,
            epsilon: recipe.epsilon,
            weight_decay: recipe.weight_decay,
            correction1: (1.0 - self.beta1_power) as f32,
            correction2: (1.0 - self.beta2_power) as f32,
            gradient_scale: if norm > longest { (longest / norm) as f32 } else { 1.0 },
        };
        optimizer.step(&mut self.values, gradients, &mut self.first, &mut self.second);
    }

    /// SHA-256 over `openledger training state 1`, the step as u64, then values, first and second moments
    /// as f32 in the order of the layout, all little-endian.
    fn hash(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(b"openledger training state 1");
        hash.update((self.step as u64).to_le_bytes());
        let mut bytes = Vec::new();
        for part in [&self.values, &self.first, &self.second] {
            bytes.clear();
            bytes.extend(part.iter().flat_map(|x| x.to_le_bytes()));
            hash.update(&bytes);
        }
        hash.finalize().into()
    }
}

//! The training run again, with every state kept.
//!
//! The trainer returns its result and a hash of its states; methods that follow the run need the states
//! themselves. This loop is the trainer's own, record for record and operation for operation: its trace
//! hashes are those of [`openledger_factory::train`], which a test holds it to.

use openledger_factory::{Example, Recipe};
use openledger_model::{Batch, Decoder, LoraLayout, LoraTrainer};
use openledger_tensor::{AdamW, Random, sum_of_squares};

use crate::Error;

/// A run, state by state.
#[derive(Debug)]
pub struct History {
    /// Shape of the adapter.
    pub layout: LoraLayout,
    /// The state before each step, and after the last.
    pub states: Vec<State>,
    /// What each step did.
    pub steps: Vec<Step>,
    /// The loss of a step is divided by this.
    pub divisor: f32,
}

/// Values and moments.
#[derive(Clone, Debug)]
pub struct State {
    /// The adapter.
    pub values: Vec<f32>,
    /// Mean of gradients.
    pub first: Vec<f32>,
    /// Mean of squared gradients.
    pub second: Vec<f32>,
}

/// One step of the optimiser.
#[derive(Clone, Debug)]
pub struct Step {
    /// Records of the step, of players that were present.
    pub batch: Vec<usize>,
    /// Its learning rate.
    pub rate: f32,
    /// 1 − beta1^t and 1 − beta2^t.
    pub corrections: [f32; 2],
    /// What the gradient was scaled by to keep its length.
    pub gradient_scale: f32,
}

impl History {
    /// The adapter after the last step, before it was rounded.
    pub fn values(&self) -> &[f32] {
        self.states.last().map_or(&[], |state| &state.values)
    }
}

/// Trains on the examples of the players in `subset`, keeping all states.
///
/// The recipe and the examples must be those that the trainer accepted. Errors: [`Error::Model`],
/// [`Error::Missing`] without examples.
pub fn replay(
    base: &Decoder,
    recipe: &Recipe,
    examples: &[Example],
    subset: &[bool],
) -> Result<History, Error> {
    if examples.is_empty() {
        return Err(Error::Missing { method: "replay", what: "examples" });
    }
    let layout = LoraLayout::new(base.config(), recipe.rank, recipe.alpha, &recipe.target_modules);
    let answer_tokens: usize = examples.iter().map(|e| e.tokens.len() - e.answer_start).sum();
    let divisor = (recipe.batch_size as f64 * answer_tokens as f64 / examples.len() as f64) as f32;
    let zeros = || vec![0.0; layout.len()];
    let mut state = State { values: layout.random(recipe.seed), first: zeros(), second: zeros() };
    let mut states = vec![state.clone()];
    let mut steps = Vec::with_capacity(recipe.steps);
    {
        let mut trainer = LoraTrainer::new(base, &layout)?;
        let mut gradients = zeros();
        let mut order = Order { seed: recipe.seed, pass: 0, rest: Vec::new(), all: examples.len() };
        let mut batch = Batch::default();
        let mut powers = [1.0f64; 2];
        for step in 1..=recipe.steps {
            let drawn: Vec<usize> = (0..recipe.batch_size).map(|_| order.next()).collect();
            let present = drawn.into_iter().filter(|i| subset[examples[*i].player]);
            let records: Vec<usize> = present.collect();
            fill(&mut batch, base, examples, &records, divisor)?;
            trainer.loss_and_gradients(&state.values, &batch, &mut gradients);
            powers[0] *= f64::from(recipe.beta1);
            powers[1] *= f64::from(recipe.beta2);
            let norm = sum_of_squares(&gradients).sqrt();
            let longest = f64::from(recipe.gradient_norm_max);
            let done = Step {
                batch: records,
                rate: learning_rate(recipe, step),
                corrections: powers.map(|power| (1.0 - power) as f32),
                gradient_scale: if norm > longest { (longest / norm) as f32 } else { 1.0 },
            };
            let optimizer = AdamW {
                learning_rate: done.rate,
                beta1: recipe.beta1,
                beta2: recipe.beta2,
                epsilon: recipe.epsilon,
                weight_decay: recipe.weight_decay,
                correction1: done.corrections[0],
                correction2: done.corrections[1],
                gradient_scale: done.gradient_scale,
            };
            let State { values, first, second } = &mut state;
            optimizer.step(values, &gradients, first, second);
            states.push(state.clone());
            steps.push(done);
        }
    }
    Ok(History { layout, states, steps, divisor })
}

/// The batch of one step.
pub(crate) fn fill(
    batch: &mut Batch,
    base: &Decoder,
    examples: &[Example],
    records: &[usize],
    divisor: f32,
) -> Result<(), Error> {
    batch.clear();
    for record in records {
        let example = &examples[*record];
        batch.push(base.config(), &example.tokens, example.answer_start, 1.0 / divisor)?;
    }
    Ok(())
}

/// Linear warm-up, linear decay; steps count from 1.
fn learning_rate(recipe: &Recipe, step: usize) -> f32 {
    let part = if step <= recipe.warmup_steps {
        step as f64 / recipe.warmup_steps as f64
    } else {
        (recipe.steps + 1 - step) as f64 / (recipe.steps - recipe.warmup_steps) as f64
    };
    (f64::from(recipe.learning_rate) * part) as f32
}

/// Pass after pass, each in its own order.
struct Order {
    seed: u64,
    pass: u64,
    rest: Vec<usize>,
    all: usize,
}

impl Order {
    fn next(&mut self) -> usize {
        loop {
            if let Some(record) = self.rest.pop() {
                return record;
            }
            let mut order: Vec<usize> = (0..self.all).collect();
            Random::new(self.seed, (1 << 40) + self.pass).shuffle(&mut order);
            order.reverse();
            self.pass += 1;
            self.rest = order;
        }
    }
}

//! The state of an adapter's training between two steps.

use crate::Recipe;
use openledger_model::LoraLayout;
use openledger_tensor::{AdamW, sum_of_squares};
use sha2::{Digest, Sha256};

/// Everything that the next step reads, and what the run has to show so far.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingState {
    pub(crate) step: usize,
    pub(crate) values: Vec<f32>,
    pub(crate) first: Vec<f32>,
    pub(crate) second: Vec<f32>,
    pub(crate) beta1_power: f64,
    pub(crate) beta2_power: f64,
    pub(crate) trace: Vec<[u8; 32]>,
    pub(crate) losses: Vec<f32>,
}

impl TrainingState {
    pub(crate) fn start(layout: &LoraLayout, recipe: &Recipe) -> Self {
        let zeros = || vec![0.0; layout.len()];
        Self {
            step: 0,
            values: layout.random(recipe.seed),
            first: zeros(),
            second: zeros(),
            beta1_power: 1.0,
            beta2_power: 1.0,
            trace: Vec::new(),
            losses: Vec::new(),
        }
    }

    /// Steps done.
    pub fn step(&self) -> usize {
        self.step
    }

    /// Loss of each step.
    pub fn losses(&self) -> &[f32] {
        &self.losses
    }

    /// State hashes so far: after every `trace_every` steps, and after the last one.
    pub fn trace(&self) -> &[[u8; 32]] {
        &self.trace
    }

    /// SHA-256 over `openledger training state 1`, the step as u64, then values, first and second moments
    /// as f32 in the order of the layout, all little-endian.
    pub fn hash(&self) -> [u8; 32] {
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

    /// Clips the gradient to its longest norm, takes one AdamW step and notes what there is to show.
    pub(crate) fn update(&mut self, recipe: &Recipe, loss: f32, gradients: &[f32]) {
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
        self.losses.push(loss);
        if recipe.traces(self.step) {
            self.trace.push(self.hash());
        }
    }
}

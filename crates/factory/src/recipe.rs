//! Everything but the data that decides an adapter.

use crate::train_error::TrainError;
use openledger_model::{DecoderConfig, LoraLayout, Precision, RANK_MAX, Site};
use serde::{Deserialize, Serialize};

/// Steps of one run, at most.
pub const STEPS_MAX: usize = 1_000_000;

/// Records of one step, at most.
pub const BATCH_SIZE_MAX: usize = 4096;

/// How an adapter is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Recipe {
    /// Rows of A. Default 8.
    pub rank: usize,
    /// The update is scaled by alpha / rank. Default 16.
    pub alpha: f32,
    /// Linear layers that get an update. Default all seven.
    pub target_modules: Vec<Site>,
    /// Highest learning rate. Default 3e-3.
    pub learning_rate: f32,
    /// Steps of linear warm-up; linear decay to zero follows. Default 10.
    pub warmup_steps: usize,
    /// Optimiser steps. Default 200.
    pub steps: usize,
    /// Records of one step, present or not. Default 16.
    pub batch_size: usize,
    /// Decay of the mean of gradients. Default 0.9.
    pub beta1: f32,
    /// Decay of the mean of squared gradients. Default 0.999.
    pub beta2: f32,
    /// Added to the root of that mean. Default 1e-8.
    pub epsilon: f32,
    /// Decoupled weight decay. Default 0.
    pub weight_decay: f32,
    /// Longest gradient; longer ones are scaled down to it. Default 1.
    pub gradient_norm_max: f32,
    /// Seeds the initial values and the order of the records. Default 0.
    pub seed: u64,
    /// Longest record in tokens; longer ones are refused, not cut. Default 512.
    pub tokens_max: usize,
    /// Steps between two entries of the trace. Default 50.
    pub trace_every: usize,
    /// The arithmetic. Default exact, which is also what a recipe without this field means. A model of a
    /// recipe that says `fast` cannot be reproduced by others, so it has no counterfactual payouts.
    #[serde(skip_serializing_if = "is_exact")]
    pub precision: Precision,
}

fn is_exact(precision: &Precision) -> bool {
    *precision == Precision::Exact
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            rank: 8,
            alpha: 16.0,
            target_modules: Site::ALL.to_vec(),
            learning_rate: 3e-3,
            warmup_steps: 10,
            steps: 200,
            batch_size: 16,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.0,
            gradient_norm_max: 1.0,
            seed: 0,
            tokens_max: 512,
            trace_every: 50,
            precision: Precision::Exact,
        }
    }
}

impl Recipe {
    /// Errors: [`TrainError::Recipe`] naming the first field that is out of range.
    pub fn check(&self) -> Result<(), TrainError> {
        let between = |x: f32, low: f32, high: f32| x >= low && x <= high;
        let good = [
            ("rank", (1..=RANK_MAX).contains(&self.rank)),
            ("alpha", self.alpha > 0.0 && self.alpha.is_finite()),
            ("target_modules", !self.target_modules.is_empty()),
            ("learning_rate", self.learning_rate > 0.0 && self.learning_rate <= 1.0),
            ("warmup_steps", self.warmup_steps < self.steps.max(1)),
            ("steps", (1..=STEPS_MAX).contains(&self.steps)),
            ("batch_size", (1..=BATCH_SIZE_MAX).contains(&self.batch_size)),
            ("beta1", between(self.beta1, 0.0, 0.999_999)),
            ("beta2", between(self.beta2, 0.0, 0.999_999)),
            ("epsilon", self.epsilon > 0.0 && self.epsilon <= 1.0),
            ("weight_decay", between(self.weight_decay, 0.0, 10.0)),
            ("gradient_norm_max", self.gradient_norm_max > 0.0),
            ("tokens_max", self.tokens_max >= 2),
            ("trace_every", self.trace_every >= 1),
        ];
        match good.iter().find(|(_, ok)| !ok) {
            Some((field, _)) => Err(TrainError::Recipe { field }),
            None => Ok(()),
        }
    }

    /// Whether the runs of a design can be trained so.
    ///
    /// Errors: [`TrainError::FastDesign`] for any precision but the exact one: payouts rest on runs that
    /// anybody can repeat to the bit.
    pub fn check_for_design(&self) -> Result<(), TrainError> {
        match self.precision {
            Precision::Exact => Ok(()),
            Precision::Fast => Err(TrainError::FastDesign),
        }
    }

    /// Whether the trace has an entry after this step.
    pub fn traces(&self, step: usize) -> bool {
        step.is_multiple_of(self.trace_every) || step == self.steps
    }

    /// Entries of the trace after this step.
    pub fn trace_entries(&self, step: usize) -> usize {
        let last = step == self.steps && !step.is_multiple_of(self.trace_every);
        step / self.trace_every + usize::from(last)
    }

    /// Learning rate of a step, counted from 1.
    pub(crate) fn learning_rate_at(&self, step: usize) -> f32 {
        let part = if step <= self.warmup_steps {
            step as f64 / self.warmup_steps as f64
        } else {
            (self.steps + 1 - step) as f64 / (self.steps - self.warmup_steps) as f64
        };
        (f64::from(self.learning_rate) * part) as f32
    }

    pub(crate) fn layout(&self, config: &DecoderConfig) -> LoraLayout {
        LoraLayout::new(config, self.rank, self.alpha, &self.target_modules)
    }
}

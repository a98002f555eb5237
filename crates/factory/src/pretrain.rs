//! Training of every weight from a stream of tokens: how the base model is made.
//!
//! ```text
//! tokens ─▶ windows in a seeded order ─▶ batch ─▶ loss, gradients ─▶ clip ─▶ AdamW ─▶ checkpoint
//! ```
//!
//! **Invariant:** the weights are a function of config, settings and tokens. Threads, SIMD path, pauses
//! and restarts from a checkpoint change no bit.

mod checkpoint;
mod schedule;

pub(crate) use schedule::warmup_cosine;

use crate::TrainingRecipe;
use crate::train_error::TrainError;
use checkpoint::Checkpoint;
use openledger_model::{Batch, DecoderConfig, FullTrainer, Kind, Weights};
use openledger_tensor::{AdamW, Random, sum_of_squares};
use std::path::PathBuf;
use std::time::Instant;

/// Steps between checkpoints.
const CHECKPOINT_EVERY: usize = 50;

/// A full training run.
#[derive(Debug)]
pub struct Pretrain<'a> {
    /// Shape of the model.
    pub config: &'a DecoderConfig,
    /// Steps, batch, optimiser.
    pub training: &'a TrainingRecipe,
    /// Seeds the initial weights and the order of the windows.
    pub seed: u64,
    /// The text, documents end to end.
    pub tokens: &'a [u16],
    /// Where the run is kept so that it can be resumed; deleted by nobody.
    pub checkpoint: Option<PathBuf>,
}

/// One finished step.
#[derive(Clone, Copy, Debug)]
pub struct PretrainProgress {
    /// Steps done.
    pub step: usize,
    /// Steps in all.
    pub steps: usize,
    /// Mean −ln p per token of this step's batch, nats.
    pub loss: f64,
    /// Tokens trained per second, of this step.
    pub tokens_per_second: f64,
}

/// Whether to go on after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proceed {
    /// Next step.
    Continue,
    /// Write a checkpoint and return.
    Stop,
}

/// Trains a decoder from random weights, or from the checkpoint where there is one.
///
/// Errors: text shorter than one window; a checkpoint of another run; a file that cannot be written; a
/// loss that is not finite.
pub fn pretrain(
    run: &Pretrain<'_>,
    mut progress: impl FnMut(PretrainProgress) -> Proceed,
) -> Result<Weights, TrainError> {
    let Pretrain { config, training, .. } = *run;
    let window = training.sequence_tokens + 1;
    if run.tokens.len() < window || training.batch_sequences == 0 {
        return Err(TrainError::TooFewTokens { tokens: run.tokens.len(), window });
    }
    let digest = checkpoint::digest(run);
    let mut state = match &run.checkpoint {
        Some(path) if path.exists() => Checkpoint::read(path, digest, config)?,
        _ => Checkpoint::start(config, run.seed, digest),
    };
    let mut trainer = FullTrainer::new(config)?;
    let mut gradients = Weights::zeros(config);
    let mut batch = Batch::default();
    let predicted = training.batch_sequences * training.sequence_tokens;
    while state.step < training.steps {
        let start = Instant::now();
        batch.clear();
        for i in 0..training.batch_sequences {
            let tokens: Vec<u32> = window_of(run, state.step * training.batch_sequences + i)
                .iter()
                .map(|t| u32::from(*t))
                .collect();
            batch.push(config, &tokens, 1, 1.0 / predicted as f32)?;
        }
        let loss = trainer.loss_and_gradients(&state.weights, &batch, &mut gradients);
        if !loss.is_finite() {
            return Err(TrainError::Diverged { step: state.step });
        }
        update(training, &mut state, &mut gradients);
        let report = PretrainProgress {
            step: state.step,
            steps: training.steps,
            loss,
            tokens_per_second: predicted as f64 / start.elapsed().as_secs_f64(),
        };
        let proceed = progress(report);
        let due = state.step.is_multiple_of(CHECKPOINT_EVERY) || state.step == training.steps;
        if let Some(path) = run.checkpoint.as_ref().filter(|_| due || proceed == Proceed::Stop) {
            state.write(path, config)?;
        }
        if proceed == Proceed::Stop {
            break;
        }
    }
    Ok(state.weights)
}

/// The i-th window of the run. Windows tile the text from a random offset in each pass, in a random order.
fn window_of<'a>(run: &Pretrain<'a>, i: usize) -> &'a [u16] {
    let length = run.training.sequence_tokens;
    let per_pass = ((run.tokens.len() - 1) / length).max(1);
    let (pass, at) = (i / per_pass, i % per_pass);
    // Stream numbers far from those of the initial weights.
    let mut random = Random::new(run.seed, (1 << 40) + pass as u64);
    let slack = run.tokens.len() - 1 - per_pass * length;
    let offset = random.below(slack + 1);
    let mut order: Vec<u32> = (0..per_pass as u32).collect();
    random.shuffle(&mut order);
    &run.tokens[offset + order[at] as usize * length..][..length + 1]
}

/// Clips the gradient to its longest norm and takes one AdamW step.
fn update(training: &TrainingRecipe, state: &mut Checkpoint, gradients: &mut Weights) {
    state.step += 1;
    let gradients = gradients.parameters_mut();
    let norm = gradients.iter().map(|g| sum_of_squares(g.data)).sum::<f64>().sqrt();
    let longest = f64::from(training.gradient_norm_max);
    state.beta1_power *= f64::from(training.beta1);
    state.beta2_power *= f64::from(training.beta2);
    let optimizer = AdamW {
        learning_rate: warmup_cosine(training, state.step),
        beta1: training.beta1,
        beta2: training.beta2,
        epsilon: 1e-8,
        weight_decay: 0.0,
        correction1: (1.0 - state.beta1_power) as f32,
        correction2: (1.0 - state.beta2_power) as f32,
        gradient_scale: if norm > longest { (longest / norm) as f32 } else { 1.0 },
    };
    let moments = state.first.parameters_mut().into_iter().zip(state.second.parameters_mut());
    let weights = state.weights.parameters_mut();
    for ((w, g), (m, v)) in weights.into_iter().zip(gradients).zip(moments) {
        let weight_decay = if w.kind == Kind::Norm { 0.0 } else { training.weight_decay };
        AdamW { weight_decay, ..optimizer }.step(w.data, g.data, m.data, v.data);
    }
}

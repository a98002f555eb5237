//! The one job that everybody runs: shape, base and tokens.

use std::path::Path;

use eyre::{Result, WrapErr};
use openledger_factory::{Example, Recipe};
use openledger_model::{Decoder, DecoderConfig, Weights};
use openledger_tensor::Random;
use serde::{Deserialize, Serialize};

/// Sequences of one step.
pub(crate) const SEQUENCES: usize = 8;

/// Tokens of a sequence that are read; one more is predicted.
pub(crate) const LENGTH: usize = 256;

/// Tokens of one step.
pub(crate) const STEP_TOKENS: usize = SEQUENCES * LENGTH;

const VOCABULARY: usize = 4096;

/// The file beside the base that the Python side reads.
const FILE: &str = "job.json";

/// What is trained on the base in the folder `base` beside it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    /// [sequences, length + 1].
    pub(crate) tokens: Vec<Vec<u32>>,
    pub(crate) rank: usize,
    pub(crate) alpha: f32,
    pub(crate) learning_rate: f32,
}

/// d = 256, 6 layers, 8 heads, feed-forward 704, vocabulary 4,096, random weights.
fn config() -> DecoderConfig {
    DecoderConfig::llama(256, 6, (8, 8), 704, VOCABULARY, LENGTH)
}

/// Writes the base and the job.
pub(crate) fn prepare(folder: &Path) -> Result<()> {
    let config = config();
    Weights::random(&config, 1).save(&config, &folder.join("base"))?;
    let mut random = Random::new(2, 2);
    let mut sequence = || (0..=LENGTH).map(|_| random.below(VOCABULARY) as u32).collect();
    let tokens = (0..SEQUENCES).map(|_| sequence()).collect();
    let job = Job { tokens, rank: 16, alpha: 32.0, learning_rate: 1e-3 };
    std::fs::write(folder.join(FILE), serde_json::to_vec(&job)?).wrap_err("the job file")
}

impl Job {
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let text = std::fs::read(folder.join(FILE)).wrap_err("run `prepare` first")?;
        Ok(serde_json::from_slice(&text)?)
    }

    pub(crate) fn base(folder: &Path, four_bit: bool) -> Result<Decoder> {
        let load = if four_bit { Decoder::load_four_bit } else { Decoder::load_for_training };
        Ok(load(&folder.join("base"))?)
    }

    /// Every token is predicted but the first.
    pub(crate) fn examples(&self) -> Vec<Example> {
        let example =
            |tokens: &Vec<u32>| Example { tokens: tokens.clone(), answer_start: 1, player: 0 };
        self.tokens.iter().map(example).collect()
    }

    /// A constant batch of all sequences.
    pub(crate) fn recipe(&self, steps: usize) -> Recipe {
        Recipe {
            rank: self.rank,
            alpha: self.alpha,
            learning_rate: self.learning_rate,
            warmup_steps: 0,
            steps,
            batch_size: SEQUENCES,
            tokens_max: LENGTH + 1,
            ..Recipe::default()
        }
    }
}

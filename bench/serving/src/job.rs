//! What everybody serves: a base, adapters in PEFT folders, prompts.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use eyre::{Result, WrapErr};
use openledger_model::{Adapter, DecoderConfig, LoraLayout, Site, Weights};
use openledger_tensor::Random;
use serde::{Deserialize, Serialize};

use crate::Form;

/// Adapters that peers get as folders; ours alone makes more of them.
pub(crate) const FOLDERS: usize = 32;
/// Tokens of a prompt.
pub(crate) const PROMPT: usize = 64;
/// Tokens that prompts are made of; every shape knows as many.
const VOCABULARY: usize = 8192;
const RANK: usize = 8;
const ALPHA: f32 = 16.0;

/// Which batches are measured, with how many distinct adapters, for how long.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) forms: Vec<Form>,
    pub(crate) batches: Vec<usize>,
    /// Distinct adapters, beside none.
    pub(crate) distinct: Vec<usize>,
    /// Tokens of one answer: so many steps, then other adapters of the pool come.
    pub(crate) answer: usize,
    /// Answers on the clock, for each batch and number of adapters.
    pub(crate) answers: usize,
}

/// Parts of a plan in place of the plan's own.
#[derive(Args, Clone, Debug)]
pub(crate) struct Choice {
    /// Forms of ours.
    #[arg(long, value_delimiter = ',')]
    forms: Option<Vec<Form>>,
    /// Rows of a batch.
    #[arg(long, value_delimiter = ',')]
    batches: Option<Vec<usize>>,
    /// Distinct adapters.
    #[arg(long, value_delimiter = ',')]
    distinct: Option<Vec<usize>>,
    /// Answers on the clock, for each batch and number of adapters.
    #[arg(long)]
    answers: Option<usize>,
}

impl Plan {
    /// The plan with what was chosen instead.
    pub(crate) fn choose(self, choice: Choice) -> Self {
        Self {
            forms: choice.forms.unwrap_or(self.forms),
            batches: choice.batches.unwrap_or(self.batches),
            distinct: choice.distinct.unwrap_or(self.distinct),
            answers: choice.answers.unwrap_or(self.answers),
            answer: self.answer,
        }
    }

    pub(crate) fn new(quick: bool) -> Self {
        if quick {
            let (batches, distinct) = (vec![32, 64], vec![1, 32, 1024]);
            return Self {
                forms: vec![Form::Bf16, Form::Bf16Adapters8, Form::Int8],
                batches,
                distinct,
                answer: 16,
                answers: 4,
            };
        }
        Self {
            forms: Form::ALL.to_vec(),
            batches: vec![1, 8, 32, 64],
            distinct: vec![1, 4, 8, 16, 32, 1024, 10_000],
            answer: 16,
            answers: 16,
        }
    }
}

/// The shape of the base. Its weights are random: how fast they are multiplied does not depend on them.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Shape {
    /// 32.0 million parameters: d = 512, 8 layers, 8 query and 4 key-value heads, feed-forward 1,408,
    /// vocabulary 8,192, an output matrix of its own.
    #[value(name = "llama-32m")]
    Llama32M,
    /// That of SmolLM2-135M: d = 576, 30 layers, 9 and 3 heads, feed-forward 1,536, vocabulary 49,152.
    #[value(name = "smollm2-135m")]
    SmolLm135M,
    /// That of SmolLM2-360M: d = 960, 32 layers, 15 and 5 heads, feed-forward 2,560, vocabulary 49,152.
    #[value(name = "smollm2-360m")]
    SmolLm360M,
}

impl Shape {
    /// The shape, with a context of 512.
    pub(crate) fn config(self) -> DecoderConfig {
        let tied = |config| DecoderConfig { tie_word_embeddings: true, ..config };
        match self {
            Self::Llama32M => DecoderConfig {
                tie_word_embeddings: false,
                ..DecoderConfig::llama(512, 8, (8, 4), 1408, VOCABULARY, 512)
            },
            Self::SmolLm135M => tied(DecoderConfig::llama(576, 30, (9, 3), 1536, 49_152, 512)),
            Self::SmolLm360M => tied(DecoderConfig::llama(960, 32, (15, 5), 2560, 49_152, 512)),
        }
    }
}

/// Adapter `number`, of rank 8 on all linear layers, with a B that is not zero.
pub(crate) fn adapter(config: &DecoderConfig, number: usize) -> Result<Adapter> {
    let layout = LoraLayout::new(config, RANK, ALPHA, &Site::ALL);
    let mut random = Random::new(9, number as u64);
    let values: Vec<f32> = (0..layout.len()).map(|_| random.normal() * 0.02).collect();
    Ok(Adapter::new(layout, &values)?)
}

pub(crate) fn prompt(number: usize) -> Vec<u32> {
    let mut random = Random::new(7, number as u64);
    (0..PROMPT).map(|_| random.below(VOCABULARY) as u32).collect()
}

pub(crate) fn base_folder(folder: &Path) -> PathBuf {
    folder.join("base")
}

pub(crate) fn adapter_folder(folder: &Path, number: usize) -> PathBuf {
    folder.join(format!("adapter-{number}"))
}

/// Writes the base, the adapters' folders and the prompts.
pub(crate) fn prepare(folder: &Path, shape: Shape) -> Result<()> {
    let config = shape.config();
    Weights::random(&config, 1).save(&config, &base_folder(folder))?;
    for number in 0..FOLDERS {
        adapter(&config, number)?.save(&adapter_folder(folder, number), "base")?;
    }
    let prompts: Vec<Vec<u32>> = (0..64).map(prompt).collect();
    std::fs::write(folder.join("prompts.json"), serde_json::to_vec(&prompts)?).wrap_err("prompts")
}

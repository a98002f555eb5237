//! The recipe of a base model: everything that decides its weights, in one file.

use std::path::{Path, PathBuf};

use openledger_model::DecoderConfig;
use serde::{Deserialize, Serialize};

use crate::corpus_error::CorpusError;

/// How a small base model is made: data, tokenizer, shape, optimiser, seed. Committed beside the weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaseRecipe {
    /// Name of the model.
    pub name: String,
    /// Seeds the order of the documents and the initial weights.
    pub seed: u64,
    /// The vocabulary.
    pub tokenizer: TokenizerRecipe,
    /// The decoder.
    pub model: ShapeRecipe,
    /// The training run.
    pub training: TrainingRecipe,
    /// One document in this many is held out to measure the loss on unseen text.
    pub held_out_every: usize,
    /// The text.
    pub data: Vec<Source>,
}

/// A byte-level BPE vocabulary, learnt from the text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenizerRecipe {
    /// Tokens in all.
    pub vocabulary_size: usize,
    /// Control tokens, ids 0, 1, …
    pub control: Vec<String>,
    /// The control token that ends an answer and a document.
    pub end: String,
}

/// A Llama-shaped decoder with tied embeddings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShapeRecipe {
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Decoder layers.
    pub layers: usize,
    /// Attention heads; as many for keys and values.
    pub heads: usize,
    /// Width of the SwiGLU block.
    pub intermediate_size: usize,
    /// Base of the rotary position encoding.
    pub rope_theta: f64,
    /// Longest context in tokens.
    pub context: usize,
    /// Added to the mean square in RMSNorm.
    pub rms_norm_eps: f64,
}

/// AdamW with linear warm-up and cosine decay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingRecipe {
    /// Optimiser steps.
    pub steps: usize,
    /// Sequences per step.
    pub batch_sequences: usize,
    /// Tokens per sequence.
    pub sequence_tokens: usize,
    /// Highest learning rate.
    pub learning_rate: f32,
    /// Part of it that is left at the last step.
    pub final_rate_ratio: f32,
    /// Steps of linear warm-up.
    pub warmup_steps: usize,
    /// Decay of the mean of gradients.
    pub beta1: f32,
    /// Decay of the mean of squared gradients.
    pub beta2: f32,
    /// Decoupled weight decay.
    pub weight_decay: f32,
    /// Longest gradient; longer ones are scaled down to it.
    pub gradient_norm_max: f32,
}

/// One file of text, who made it and under which licence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Name of the data set.
    pub name: String,
    /// File, relative to the data folder.
    pub file: PathBuf,
    /// SHA-256 of the file. Another file is refused: it would be another model.
    pub sha256: String,
    /// SPDX licence expression.
    pub licence: String,
    /// Whom to credit.
    pub credit: String,
    /// How the file becomes documents.
    pub form: Form,
    /// How often its documents are repeated.
    #[serde(default = "once", skip_serializing_if = "is_once")]
    pub repeat: usize,
}

/// How one file becomes documents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Form {
    /// `{title, examples: [{instruction, command}]}` → "instruction (title)" answered by the command.
    Commands {
        /// Subjects kept for fine-tuning: no page of theirs and no command that mentions them.
        families_left_out: Vec<String>,
    },
    /// `{title, description}` → "What is title?" answered by the description.
    Descriptions {
        /// As for commands.
        families_left_out: Vec<String>,
    },
    /// `{question, answer}` → question and answer.
    Questions {
        /// Longest answer in characters; a longer one ends at its last whole sentence before.
        answer_chars_max: usize,
    },
    /// `{instruction, instances: [{input, output}]}` → instruction with input, and output.
    Instructions {
        /// Longest prompt and longest answer in characters; others are left out.
        chars_max: usize,
    },
    /// `{text}` → pieces that end at a line break.
    Documents {
        /// Longest piece in characters.
        piece_chars_max: usize,
    },
}

impl BaseRecipe {
    /// Shape of the model in the field names of Hugging Face.
    pub fn config(&self) -> DecoderConfig {
        let shape = &self.model;
        let mut config = DecoderConfig::llama(
            shape.hidden_size,
            shape.layers,
            (shape.heads, shape.heads),
            shape.intermediate_size,
            self.tokenizer.vocabulary_size,
            shape.context,
        );
        config.rope_theta = shape.rope_theta;
        config.rms_norm_eps = shape.rms_norm_eps;
        let end = self.tokenizer.control.iter().position(|token| *token == self.tokenizer.end);
        config.eos_token_id = end.map(Into::into);
        config.pad_token_id = end.map(Into::into);
        config
    }

    /// Reads a recipe.
    ///
    /// Errors: [`CorpusError::Read`], [`CorpusError::Malformed`].
    pub fn from_file(path: &Path) -> Result<Self, CorpusError> {
        let text = std::fs::read_to_string(path).map_err(|error| CorpusError::read(path, error))?;
        serde_json::from_str(&text).map_err(|error| CorpusError::malformed(path, error))
    }
}

fn once() -> usize {
    1
}

fn is_once(repeat: &usize) -> bool {
    *repeat == 1
}

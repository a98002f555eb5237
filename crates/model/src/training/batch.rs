//! Ragged sequences laid end to end.

use crate::{DecoderConfig, Error};
use std::ops::Range;

/// Sequences without padding: the tokens of all of them, one after the other.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// [rows].
    pub(crate) tokens: Vec<u32>,
    /// [rows], from 0 in each sequence.
    pub(crate) positions: Vec<u32>,
    pub(crate) sequences: Vec<Range<usize>>,
    pub(crate) targets: Vec<Target>,
}

/// A row whose next token is part of the loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Target {
    /// Row of the batch that predicts.
    pub row: usize,
    /// The token it should predict.
    pub token: u32,
    /// Weight in the loss.
    pub weight: f32,
}

impl Batch {
    /// Empties the batch.
    pub fn clear(&mut self) {
        self.tokens.clear();
        self.positions.clear();
        self.sequences.clear();
        self.targets.clear();
    }

    /// Adds a sequence in which the tokens from `answer_start` on are predicted, each with `weight`.
    ///
    /// The last token is only predicted, so it takes no row. Errors: [`Error::Request`] if the sequence
    /// is shorter than two tokens or longer than the context, predicts nothing or its first token, or
    /// holds a token outside the vocabulary.
    pub fn push(
        &mut self,
        config: &DecoderConfig,
        tokens: &[u32],
        answer_start: usize,
        weight: f32,
    ) -> Result<(), Error> {
        let refuse = |why: String| Err(Error::Request(why));
        if tokens.len() < 2 || tokens.len() > config.max_position_embeddings + 1 {
            let max = config.max_position_embeddings + 1;
            return refuse(format!("{} tokens, must be 2 to {max}", tokens.len()));
        }
        if answer_start == 0 || answer_start >= tokens.len() {
            return refuse(format!("answer starts at {answer_start} of {} tokens", tokens.len()));
        }
        if let Some(token) = tokens.iter().find(|t| **t as usize >= config.vocab_size) {
            return refuse(format!("token {token} is outside the vocabulary"));
        }
        let start = self.tokens.len();
        let rows = tokens.len() - 1;
        self.tokens.extend_from_slice(&tokens[..rows]);
        self.positions.extend(0..rows as u32);
        self.sequences.push(start..start + rows);
        self.targets.extend((answer_start - 1..rows).map(|i| Target {
            row: start + i,
            token: tokens[i + 1],
            weight,
        }));
        Ok(())
    }

    /// Adds all sequences of another batch.
    pub(crate) fn append(&mut self, other: &Self) {
        let start = self.tokens.len();
        self.tokens.extend_from_slice(&other.tokens);
        self.positions.extend_from_slice(&other.positions);
        self.sequences.extend(other.sequences.iter().map(|s| start + s.start..start + s.end));
        self.targets.extend(other.targets.iter().map(|t| Target { row: start + t.row, ..*t }));
    }

    /// Rows, one per token that is read.
    pub fn rows(&self) -> usize {
        self.tokens.len()
    }

    /// What is predicted.
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }
}

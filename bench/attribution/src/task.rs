//! One task: a base, records of several contributors, and questions whose true owner is known.

use openledger_factory::{Example, Recipe};
use openledger_model::Decoder;

/// Everything that decides the runs of a task.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) name: String,
    pub(crate) seed: u64,
    pub(crate) base: Decoder,
    pub(crate) recipe: Recipe,
    pub(crate) players: Vec<String>,
    pub(crate) examples: Vec<Example>,
    pub(crate) queries: Vec<Query>,
}

/// A question with an answer to be attributed.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    pub(crate) tokens: Vec<u32>,
    pub(crate) answer_start: usize,
    /// Whose record it is.
    pub(crate) owner: usize,
    /// Whether the record was trained on.
    pub(crate) seen: bool,
}

impl Query {
    pub(crate) fn of_record(record: &Example, seen: bool) -> Self {
        let Example { tokens, answer_start, player } = record.clone();
        Self { tokens, answer_start, owner: player, seen }
    }

    pub(crate) fn answer_tokens(&self) -> u64 {
        (self.tokens.len() - self.answer_start) as u64
    }
}

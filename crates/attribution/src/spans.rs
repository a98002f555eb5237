//! Which training text an answer repeats.
//!
//! The index holds the *completions* of the training records: a span is text the answer repeats, and
//! what an answer can repeat is what the model was trained to say. Prompts are not searched.

mod charge;
mod first_record;
mod index;
mod search;

pub use charge::{SPAN_SURPRISAL_MIN, SURPRISAL_MAX, Span, SpanCredit, charge};
pub use index::{INDEX_SYMBOLS_MAX, SpanIndex, TOKEN_MAX};

use serde::{Deserialize, Serialize};

/// Spans shorter than this are anybody's words.
pub const SPAN_TOKENS_MIN: u32 = 6;
/// Text held by more records than this belongs to the commons.
pub const HOLDERS_MAX: u32 = 50;
/// Answer tokens, at most.
pub const ANSWER_TOKENS_MAX: usize = 1 << 17;

/// A maximal piece of the answer that stands word for word in a training record: neither end can be
/// extended by a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpanMatch {
    /// First answer token.
    pub start: u32,
    /// Tokens.
    pub length: u32,
    /// Distinct records that hold the text; [`HOLDERS_MAX`] + 1 stands for any number above it.
    pub holders: u32,
    /// The earliest committed of them. `None` exactly if more than [`HOLDERS_MAX`] hold the text.
    pub earliest: Option<Holder>,
}

impl SpanMatch {
    /// One past the last answer token.
    pub fn end(&self) -> u32 {
        self.start.saturating_add(self.length)
    }
}

/// A training record and the player it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holder {
    /// Position of the record in the order of commitment, from 0.
    pub record: u32,
    /// Its player.
    pub player: u8,
}

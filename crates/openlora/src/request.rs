use core::fmt;
use std::sync::Arc;

use crate::{Error, Grammar, Sampling, TokenLogprobs};

/// Content hash of an adapter: what the chain registers and what a request names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AdapterHash(pub [u8; 32]);

impl fmt::Display for AdapterHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("0x")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl AdapterHash {
    /// From 64 hexadecimal digits, with or without `0x`.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("0x").unwrap_or(text).as_bytes();
        if digits.len() != 64 {
            return None;
        }
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let mut hash = [0u8; 32];
        for (byte, pair) in hash.iter_mut().zip(digits.as_chunks::<2>().0) {
            *byte = u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()?;
        }
        Some(Self(hash))
    }
}

/// How a request names an adapter.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum AdapterRef {
    /// By its content.
    Hash(AdapterHash),
    /// By the name it was registered under.
    Name(Arc<str>),
}

impl From<AdapterHash> for AdapterRef {
    fn from(hash: AdapterHash) -> Self {
        Self::Hash(hash)
    }
}

impl fmt::Display for AdapterRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hash(hash) => hash.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// An answer to be generated.
#[derive(Debug, Clone)]
pub struct GenerateRequest {
    /// In whose name: tenants share the engine fairly.
    pub tenant: Arc<str>,
    /// The prompt as the model is to see it, at least one token.
    pub prompt: Vec<u32>,
    /// Adapters over the base and their weights; none is the base alone, one with weight 1 the usual case.
    pub adapters: Vec<(AdapterRef, f32)>,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Longest answer, in tokens.
    pub tokens_max: usize,
    /// Any of them ends the answer and is part of it.
    pub stop_tokens: Vec<u32>,
    /// Log-probabilities wanted with each token: of the token itself and of so many others.
    pub logprobs: Option<usize>,
    /// What the answer has to be. Its end token should be a stop token.
    pub grammar: Option<Grammar>,
    /// Whether other tenants may profit from the prompt's cached beginning, and so learn from the time to
    /// their first token that it was asked before. What was cached for one tenant stays that tenant's.
    pub prefix_shared: bool,
    /// Only requests with the same find each other's cached beginnings.
    pub cache_salt: Option<Arc<str>>,
}

/// The next token of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    /// Its number in the vocabulary.
    pub id: u32,
    /// Where they were asked for.
    pub logprobs: Option<TokenLogprobs>,
}

/// What happens to a request, in order. Dropping the receiver ends the generation within a step.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The next token.
    Token(Token),
    /// The end.
    Finished(FinishReason),
    /// The end, by a fault.
    Failed(Error),
}

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// A stop token was produced, or nothing can follow in the grammar.
    Stop,
    /// The limit was reached.
    Length,
}

/// An answer whose likelihood is asked under several adapters.
#[derive(Debug, Clone)]
pub struct ScoreRequest {
    /// The prompt, at least one token.
    pub prompt: Vec<u32>,
    /// The answer, at least one token.
    pub answer: Vec<u32>,
    /// One entry per run: an adapter, or the base.
    pub adapters: Vec<Option<AdapterHash>>,
}

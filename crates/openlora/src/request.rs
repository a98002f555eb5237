use core::fmt;

use crate::Sampling;

/// Content hash of an adapter: what the chain registers and what a request names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AdapterHash(pub [u8; 32]);

impl fmt::Display for AdapterHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("0x")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// An answer to be generated.
#[derive(Debug, Clone)]
pub struct GenerateRequest {
    /// The prompt as the model is to see it, at least one token.
    pub prompt: Vec<u32>,
    /// Adapter over the base, or the base alone.
    pub adapter: Option<AdapterHash>,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Longest answer, in tokens.
    pub tokens_max: usize,
    /// Ends the answer; is part of it.
    pub stop_token: u32,
}

/// What happens to a request, in order. Dropping the receiver ends the generation within a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The next token.
    Token(u32),
    /// The end.
    Finished(FinishReason),
    /// The end, by a fault; the message is for the log.
    Failed(String),
}

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// The stop token was produced.
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

/// Why a request was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The queue is full.
    #[error("the queue is full")]
    Overloaded,
    /// Nobody registered the adapter.
    #[error("adapter {0} is not registered")]
    UnknownAdapter(AdapterHash),
    /// Prompt and answer do not fit the model's context, or one of them is empty.
    #[error("{tokens} tokens; the model takes 2 to {max}")]
    Length {
        /// Prompt and answer together.
        tokens: usize,
        /// The model's context.
        max: usize,
    },
    /// The engine has stopped.
    #[error("the engine has stopped")]
    Stopped,
    /// The model failed.
    #[error("the model failed: {0}")]
    Model(String),
}

use crate::AdapterRef;

/// Why a request was not taken, or ended without an answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// The queue is full; nothing was done.
    #[error("the queue is full; a place is expected in {retry_after_ms} ms")]
    Overloaded {
        /// Estimated from the measured throughput and the work that waits.
        retry_after_ms: u64,
    },
    /// Nobody registered the adapter.
    #[error("adapter {0} is not registered")]
    UnknownAdapter(AdapterRef),
    /// Another adapter has the name.
    #[error("an adapter named {0} is registered already; unload it first")]
    NameTaken(String),
    /// The adapter cannot be loaded. Remembered for a while, so that it is not read again and again.
    #[error("adapter {adapter} cannot be loaded: {why} (tried again in {retry_after_ms} ms)")]
    BrokenAdapter {
        /// As it was registered.
        adapter: String,
        /// What is wrong with it.
        why: String,
        /// When the next attempt is made.
        retry_after_ms: u64,
    },
    /// Prompt and answer do not fit the model's context, or one of them is empty.
    #[error("{tokens} tokens; the model takes 2 to {max}")]
    Length {
        /// Prompt and answer together.
        tokens: usize,
        /// The model's context.
        max: usize,
    },
    /// Keys, values and adapters of the request exceed the engine's memory even if it were alone.
    #[error("the request needs {needed} pages of memory, {there} can be used")]
    Memory {
        /// Pages it needs at its longest, its adapters included.
        needed: usize,
        /// Pages there are beside what is pinned.
        there: usize,
    },
    /// A setting of the request is out of range.
    #[error("{field}: {why}")]
    Invalid {
        /// Which.
        field: &'static str,
        /// What is wrong and what would be right.
        why: String,
    },
    /// The engine has stopped.
    #[error("the engine has stopped")]
    Stopped,
    /// The model failed.
    #[error("the model failed: {0}")]
    Model(String),
}

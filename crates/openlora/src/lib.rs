//! Serves many adapters over one base.
//!
//! Takes prompts and adapter hashes, returns tokens; takes answers and adapter hashes, returns exact
//! log-likelihoods for attribution. Knows nothing of HTTP, money, or who asks.
//!
//! ```text
//! generate ─▶ queue ─▶ [ admit ▸ one token for every row, whatever its adapter ▸ … ] ─▶ events
//! score ─────────────▶ one mixed batch on the exact path ─▶ log-likelihoods per token
//! ```
//!
//! **Invariant:** what else is in the batch changes no answer and no likelihood by a single bit.
//! **Invariant:** a request is refused at once when the queue is full; nothing waits unseen.
//! **Invariant:** a client that goes away frees its place within one step.

mod adapter_id;
mod adapter_store;
mod engine;
#[cfg(test)]
mod fake_model;
mod memory;
mod model;
mod pages;
mod prefix_cache;
mod request;
mod residency;
mod sampling;
mod scheduler;
mod sequence;
mod tenants;

pub use adapter_id::AdapterId;
pub use engine::{Config, Engine, Handle};
pub use model::{Model, Step};
pub use pages::{PAGE_TOKENS, PageId};
pub use request::{AdapterHash, Error, Event, FinishReason, GenerateRequest, ScoreRequest};
pub use sampling::{Sampler, Sampling};

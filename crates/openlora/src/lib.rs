//! Serves many adapters over one base.
//!
//! Takes prompts and the adapters to answer with, returns tokens; takes answers and adapter hashes, returns
//! exact log-likelihoods for attribution. Knows nothing of HTTP, money, or who asks: a tenant is a name.
//!
//! ```text
//! generate ─▶ queue of its tenant ─▶ [ plan ▸ model ▸ draw ▸ … ] ─▶ events
//!                    │ adapter not in memory      │ Memory: pages of keys and values, cached prefixes,
//!                    └─▶ loader threads ──────────┘         adapters, under one budget
//! score ──────────────▶ one mixed batch on the exact path, in another thread ─▶ log-likelihoods per token
//! ```
//!
//! What decides is pure and has no thread: `scheduler`, `tenants`, `memory` with `pages`, `prefix_cache`
//! and `residency`, `adapter_catalog`, `sampling`. `engine`, `serving_loop`, `drawing`, `loader_pool` and
//! `merging` drive it.
//!
//! **Invariant:** what else is in the batch changes no answer and no likelihood by a single bit; nor does what
//! was asked before, as long as nothing may be merged ([`Config::merged_bytes`]).
//! **Invariant:** a request is refused at once when the queue is full; nothing waits unseen.
//! **Invariant:** a client that goes away frees its place and its pages within one step.
//! **Invariant:** an answer that was begun is finished, even if memory runs short: it then waits and is read
//! again.
//! **Invariant:** no step waits for a disk.

mod adapter_catalog;
mod adapter_id;
mod drawing;
mod engine;
mod error;
#[cfg(test)]
mod fake_model;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod grammar;
mod handle;
mod loader_pool;
mod memory;
mod merging;
mod metrics;
mod model;
mod pages;
mod prefix_cache;
mod request;
mod residency;
mod sampling;
mod scheduler;
mod scoring_loop;
mod sequence;
mod serving_loop;
mod serving_model;
mod tenants;
mod token_logprobs;
mod usage;

pub use adapter_catalog::{ADAPTER_NAME_BYTES_MAX, AdapterInfo, AdapterSource};
pub use adapter_id::AdapterId;
pub use engine::{Config, Engine};
pub use error::Error;
pub use grammar::{AllowedTokens, Grammar, Grammars, SCHEMA_BYTES_MAX};
pub use handle::{ANSWERS_MAX, Capacity, Handle};
pub use loader_pool::{AdapterLoader, LoadedAdapter};
pub use metrics::{Gauges, Histogram, Metrics};
pub use model::{Model, Step};
pub use pages::{PAGE_TOKENS, PageId};
pub use request::{
    AdapterHash, AdapterRef, Event, FinishReason, GenerateRequest, ScoreRequest, Token,
};
pub use sampling::{LOGIT_BIAS_MAX, Sampler, Sampling};
pub use serving_model::{ServingLoader, ServingModel};
pub use token_logprobs::{TOP_LOGPROBS_MAX, TokenLogprobs};
pub use usage::{LABELS_MAX, Use};

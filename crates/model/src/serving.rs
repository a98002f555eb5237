//! Serving: many sequences, each with adapters of its own, over one base and one pool of pages.
//!
//! ```text
//! SequenceStep { tokens, pages, adapters } × batch ─▶ ServingDecoder::step ─▶ logits of the next token
//!                                                        │  ▲
//!                                     keys and values ▼  │ KvPages
//! ```
//!
//! A second decoder beside [`Decoder`](crate::Decoder), which stays the exact path of scoring and training.
//! Its weights are kept in one of several forms; [`WeightForm::F32`] gives the exact decoder's bits. Not here:
//! who runs when, and which page belongs to whom (`openlora`).
//!
//! **Invariant:** in every form, the bits of a row depend on its own sequence and its own adapters only:
//! never on the rest of the batch, on how a prompt was cut into pieces, or on the number of threads.
//! **Invariant:** a step that is refused has written nothing.

mod adapter;
pub(crate) mod adapter_file;
mod batch;
mod decoder;
mod input;
mod linear;
mod merged;
mod pages;

pub use adapter::ServingAdapter;
pub use batch::{BLEND_MAX, BatchRows, BlendRows, SequenceRows, SequenceStep};
pub use decoder::ServingDecoder;
pub use linear::WeightForm;
pub use openledger_tensor::{KvForm, LowRankForm, PAGE_TOKENS};
pub use pages::{KvPages, PageClaims, PageId};

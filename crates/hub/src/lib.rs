//! From what a person calls a model or an adapter to its folder: a path, or `org/name[@revision]` of the Hugging Face
//! Hub, fetched into the cache that Hugging Face's own tools keep.
//!
//! ```text
//! name ─▶ folder of that path?  ─▶ cache ─▶ complete? ─────────────────────────────▶ snapshot folder
//!                                              │ no, and not offline                     ▲
//!                                              ▼                                         │
//!              list of files ─▶ those that are read here ─▶ fetch aside ─▶ check ─▶ move into the cache
//! ```
//!
//! Not here: what the files mean (`openledger-model`). The HTTP and the layout of the cache are `hf-hub`'s; what is
//! added is which files, their limits, the check of what came, and errors that say what to do.
//!
//! **Invariant:** a file stands in the cache only after its length, and its SHA-256 where the Hub gives one, were checked.
//! **Invariant:** a snapshot that is found has every file that it needs, all shards included.
//! **Invariant:** only files that are read here are fetched, and none that is larger than what is read.
//! **Invariant:** what is in the cache is used without asking anyone.

#![forbid(unsafe_code)]

mod cache;
mod error;
mod fetch;
mod hub;
mod name;
mod patience;
mod repository;
mod wanted;

pub use error::Error;
pub use hub::{Event, Hub};
pub use name::HubName;
pub use wanted::Content;

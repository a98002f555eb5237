//! What survives the process: the block log, the pool's journal, the genesis.
//!
//! ```text
//! block ─▶ record ─▶ frame ─▶ log ─▶ file ─▶ fsync ─▶ announced
//! ```
//!
//! **Invariant:** a block is announced, and a transaction acknowledged, only after it is durable.

mod data_dir;
mod file;
mod frame;
mod journal;
mod log;
mod record;
#[cfg(any(test, fuzzing))]
pub(crate) mod test_disk;

pub(crate) use data_dir::DataDir;
pub(crate) use journal::Journal;
pub(crate) use log::{AppendError, Log, LogKind, LogReader};
pub(crate) use record::{decode_block, encode_block};

/// The block log's format.
pub(crate) const BLOCK_LOG: LogKind = LogKind { magic: *b"OLblocks", version: 1 };

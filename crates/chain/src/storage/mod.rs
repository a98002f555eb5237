//! What survives the process: the block log with its index, snapshots of the state, the pool's
//! journal, the genesis.
//!
//! ```text
//! block ─▶ record ─▶ frame ─▶ log ─▶ file ─▶ fsync ─▶ announced ─┬─▶ index
//!                                                               └─▶ now and then a snapshot
//! ```
//!
//! **Invariant:** a block is announced, and a transaction acknowledged, only after it is durable.

mod data_dir;
mod disk;
mod file;
mod frame;
mod index;
mod journal;
mod log;
mod record;
pub(crate) mod snapshot;
#[cfg(test)]
pub(crate) mod test_directory;
#[cfg(any(test, fuzzing))]
#[allow(clippy::unwrap_used, reason = "a test that panics has failed")]
#[cfg_attr(fuzzing, allow(dead_code, reason = "fuzzing reads, faults are for the tests"))]
pub(crate) mod test_disk;

pub(crate) use data_dir::DataDir;
pub(crate) use index::{BlockIndex, IndexEntry, tx_prefix};
pub(crate) use journal::Journal;
pub(crate) use log::{AppendError, Log, LogKind, LogReader};
pub(crate) use record::{decode_block, encode_block};

/// The block log's file.
pub(crate) const BLOCK_LOG_FILE: &str = "blocks.log";
/// The block log's format.
pub(crate) const BLOCK_LOG: LogKind = LogKind { magic: *b"OLblocks", version: 2 };

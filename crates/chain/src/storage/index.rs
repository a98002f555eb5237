//! Where each block lies in the block log, so that starting does not read the whole log.
//!
//! Derived data: written after the block is durable, never synced, and made anew from the log where it
//! is missing, behind, or damaged.

use alloy_primitives::{B256, Bytes};
use alloy_rlp::{RlpDecodable, RlpEncodable};

use super::{
    data_dir::DataDir,
    log::{Log, LogKind},
};
use crate::{Error, execution::SealedBlock};

const NAME: &str = "blocks.index";
const INDEX: LogKind = LogKind { magic: *b"OLindex\0", version: 2 };
/// Bytes of a transaction's hash that are kept.
const PREFIX_BYTES: usize = 8;

/// What the index says about one block.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub(crate) struct IndexEntry {
    pub(crate) hash: B256,
    /// Of its record in the block log.
    pub(crate) offset: u64,
    pub(crate) has_logs: bool,
    /// The first eight bytes of each transaction's hash.
    txs: Bytes,
}

impl IndexEntry {
    /// The entry of a block whose record is at `offset`.
    pub(crate) fn of(block: &SealedBlock, offset: u64) -> Self {
        let mut txs = Vec::with_capacity(block.txs.len() * PREFIX_BYTES);
        for tx in &block.txs {
            txs.extend_from_slice(&tx.inner().tx_hash()[..PREFIX_BYTES]);
        }
        let has_logs = block.receipts.iter().any(|receipt| !receipt.as_receipt().logs.is_empty());
        Self { hash: block.hash, offset, has_logs, txs: txs.into() }
    }

    /// The first eight bytes of each transaction's hash, as a number.
    pub(crate) fn tx_prefixes(&self) -> impl Iterator<Item = u64> {
        let chunks = self.txs.chunks_exact(PREFIX_BYTES);
        chunks.map(|chunk| u64::from_be_bytes(chunk.try_into().expect("eight bytes")))
    }
}

/// The first eight bytes of a transaction's hash, as a number.
pub(crate) fn tx_prefix(hash: &B256) -> u64 {
    u64::from_be_bytes(hash[..PREFIX_BYTES].try_into().expect("eight bytes"))
}

/// The file. Its faults are logged and otherwise ignored: the log has everything.
pub(crate) struct BlockIndex {
    /// `None` after a fault, until the next start.
    log: Option<Log>,
    genesis_hash: B256,
}

impl BlockIndex {
    /// Opens the index and returns its entries, from block 1 on. One that is damaged is begun anew.
    pub(crate) fn open(data_dir: &DataDir, genesis_hash: B256) -> (Self, Vec<IndexEntry>) {
        let mut entries = Vec::new();
        let open = |entries: &mut Vec<IndexEntry>| -> Result<Log, Error> {
            let header = Log::file_header(INDEX, genesis_hash);
            let file = data_dir.open_or_create(NAME, &header)?;
            Log::open(file, data_dir.file(NAME), INDEX, genesis_hash, |_, bytes| {
                entries.push(alloy_rlp::decode_exact(&bytes).map_err(|error| error.to_string())?);
                Ok(())
            })
        };
        match open(&mut entries) {
            Ok(log) => (Self { log: Some(log), genesis_hash }, entries),
            Err(error) => {
                tracing::warn!(%error, "the index of the block log is made anew");
                let mut index = Self { log: None, genesis_hash };
                index.reset(data_dir);
                (index, Vec::new())
            }
        }
    }

    /// Begins anew.
    pub(crate) fn reset(&mut self, data_dir: &DataDir) {
        let begin = || -> Result<Log, Error> {
            let file = data_dir.replace(NAME, &Log::file_header(INDEX, self.genesis_hash))?;
            Log::open(file, data_dir.file(NAME), INDEX, self.genesis_hash, |_, _| Ok(()))
        };
        self.log = begin().map_err(|error| self.fault(&error.to_string())).ok();
    }

    /// Adds the entries of the next blocks.
    pub(crate) fn write(&mut self, entries: &[IndexEntry]) {
        let Some(log) = &mut self.log else { return };
        let payloads: Vec<Vec<u8>> = entries.iter().map(alloy_rlp::encode).collect();
        if let Err(error) = log.write(&payloads) {
            self.fault(&error.to_string());
            self.log = None;
        }
    }

    /// Writes no more: the log was cut, and the next start finds that the index does not fit.
    pub(crate) fn close(&mut self) {
        self.log = None;
    }

    fn fault(&self, error: &str) {
        tracing::warn!(error, "no index of the block log: the next start reads the whole log");
    }
}

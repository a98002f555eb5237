//! Every block of the chain: recent ones in memory, older ones in the block log.

use std::{
    collections::{HashMap, VecDeque},
    io,
    ops::RangeInclusive,
    sync::Arc,
};

use alloy_primitives::B256;

use crate::{
    execution::SealedBlock,
    storage::{LogReader, decode_block},
};

/// Blocks that are kept in memory.
const RECENT_BLOCKS_MAX: usize = 1024;

/// Where a transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TxPlace {
    pub(crate) block: u64,
    pub(crate) index: u32,
}

/// Where a block can be had.
pub(crate) enum BlockSource {
    Memory(Arc<SealedBlock>),
    Log(u64),
}

/// The index of all blocks.
pub(super) struct Blocks {
    genesis: Arc<SealedBlock>,
    /// Offsets in the block log, from block 1 on.
    offsets: Vec<u64>,
    recent: VecDeque<Arc<SealedBlock>>,
    by_hash: HashMap<B256, u64>,
    txs: HashMap<B256, TxPlace>,
    /// Numbers of the blocks that have logs, ascending.
    with_logs: Vec<u64>,
}

impl Blocks {
    pub(super) fn new(genesis: Arc<SealedBlock>) -> Self {
        Self {
            by_hash: HashMap::from([(genesis.hash, 0)]),
            recent: VecDeque::from([Arc::clone(&genesis)]),
            genesis,
            offsets: Vec::new(),
            txs: HashMap::new(),
            with_logs: Vec::new(),
        }
    }

    /// Adds the next block, which lies in the log at `offset`.
    pub(super) fn push(&mut self, block: Arc<SealedBlock>, offset: u64) {
        let number = block.number();
        assert_eq!(number, self.head().number() + 1, "blocks come in order");
        self.offsets.push(offset);
        self.by_hash.insert(block.hash, number);
        for (index, tx) in (0..).zip(&block.txs) {
            self.txs.insert(tx.inner().tx_hash(), TxPlace { block: number, index });
        }
        if block.receipts.iter().any(|receipt| !receipt.as_receipt().logs.is_empty()) {
            self.with_logs.push(number);
        }
        self.recent.push_back(block);
        if self.recent.len() > RECENT_BLOCKS_MAX {
            self.recent.pop_front();
        }
    }

    pub(super) fn head(&self) -> &Arc<SealedBlock> {
        self.recent.back().unwrap_or(&self.genesis)
    }

    pub(super) fn find(&self, number: u64) -> Option<BlockSource> {
        let head = self.head().number();
        if number == 0 {
            return Some(BlockSource::Memory(Arc::clone(&self.genesis)));
        }
        let back = usize::try_from(head.checked_sub(number)?).ok()?;
        if let Some(index) = self.recent.len().checked_sub(back + 1) {
            return Some(BlockSource::Memory(Arc::clone(&self.recent[index])));
        }
        let offset = self.offsets.get(usize::try_from(number).ok()? - 1)?;
        Some(BlockSource::Log(*offset))
    }

    pub(super) fn number(&self, hash: B256) -> Option<u64> {
        self.by_hash.get(&hash).copied()
    }

    pub(super) fn tx(&self, hash: B256) -> Option<TxPlace> {
        self.txs.get(&hash).copied()
    }

    /// Numbers of the blocks in `range` that have logs.
    pub(super) fn with_logs(&self, range: RangeInclusive<u64>) -> Vec<u64> {
        let from = self.with_logs.partition_point(|number| number < range.start());
        let to = self.with_logs.partition_point(|number| number <= range.end());
        self.with_logs.get(from..to).unwrap_or_default().to_vec()
    }
}

impl BlockSource {
    /// The block, from memory or from the log.
    pub(crate) fn load(self, log: &LogReader) -> io::Result<Arc<SealedBlock>> {
        match self {
            Self::Memory(block) => Ok(block),
            Self::Log(offset) => {
                let (block, _) = decode_block(&log.read(offset)?)
                    .map_err(|reason| io::Error::new(io::ErrorKind::InvalidData, reason))?;
                Ok(Arc::new(block))
            }
        }
    }
}

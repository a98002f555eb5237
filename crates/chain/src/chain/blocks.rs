//! Every block of the chain: recent ones in memory, older ones in the block log.

use std::{
    collections::{HashMap, VecDeque},
    io,
    ops::RangeInclusive,
    sync::Arc,
};

use alloy_primitives::B256;
use foldhash::fast::RandomState;

use super::places::{Places, TxPlace};
use crate::{
    execution::SealedBlock,
    storage::{IndexEntry, LogReader, decode_block},
};

/// Blocks that are kept in memory.
pub(super) const RECENT_BLOCKS_MAX: usize = 1024;
/// What they may take in the block log, where they are smaller than in memory.
const RECENT_BYTES_MAX: u64 = 64 << 20;

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
    by_hash: HashMap<B256, u64, RandomState>,
    txs: Places,
    /// Numbers of the blocks that have logs, ascending.
    with_logs: Vec<u64>,
}

impl Blocks {
    pub(super) fn new(genesis: Arc<SealedBlock>) -> Self {
        Self {
            by_hash: HashMap::from_iter([(genesis.hash, 0)]),
            recent: VecDeque::from([Arc::clone(&genesis)]),
            genesis,
            offsets: Vec::new(),
            txs: Places::default(),
            with_logs: Vec::new(),
        }
    }

    /// Adds what the index says about the next block.
    pub(super) fn index(&mut self, entry: &IndexEntry) {
        let number = self.offsets.len() as u64 + 1;
        self.offsets.push(entry.offset);
        self.by_hash.insert(entry.hash, number);
        self.txs.add(number, entry);
        if entry.has_logs {
            self.with_logs.push(number);
        }
    }

    /// Keeps a block in memory that is in the index. The last one is the head.
    pub(super) fn keep(&mut self, block: Arc<SealedBlock>) {
        let number = block.number();
        assert!(number > 0 && number <= self.offsets.len() as u64, "the block is in the index");
        if self.head().number() + 1 != number {
            // What came before is too old to be kept.
            self.recent.clear();
        }
        self.recent.push_back(block);
        while self.recent.len() > RECENT_BLOCKS_MAX || self.recent_bytes() > RECENT_BYTES_MAX {
            self.recent.pop_front();
        }
    }

    /// Forgets the blocks after `head`. Places of their transactions stay, and lead nowhere.
    pub(super) fn rewind(&mut self, head: Arc<SealedBlock>) {
        let number = head.number();
        self.offsets.truncate(usize::try_from(number).expect("block numbers fit in memory"));
        self.by_hash.retain(|_, found| *found <= number);
        self.with_logs.retain(|found| *found <= number);
        self.recent.retain(|block| block.number() < number);
        self.recent.push_back(head);
    }

    /// Numbers of the blocks that are worth reading into memory at the start.
    pub(super) fn worth_keeping(&self) -> RangeInclusive<u64> {
        let head = self.offsets.len();
        let last = self.log_bytes();
        let oldest = head.saturating_sub(RECENT_BLOCKS_MAX);
        let near = |offset: &u64| last - offset <= RECENT_BYTES_MAX;
        let skipped = self.offsets[oldest..].iter().take_while(|offset| !near(offset)).count();
        (oldest + skipped) as u64 + 1..=head as u64
    }

    /// Bytes in the log between the first recent block and the head.
    fn recent_bytes(&self) -> u64 {
        let offset = |block: &Arc<SealedBlock>| {
            let index = usize::try_from(block.number()).ok()?.checked_sub(1)?;
            self.offsets.get(index).copied()
        };
        // The genesis is not in the log.
        let first = self.recent.front().and_then(offset).unwrap_or_default();
        let last = self.recent.back().and_then(offset).unwrap_or_default();
        last - first
    }

    pub(super) fn head(&self) -> &Arc<SealedBlock> {
        self.recent.back().unwrap_or(&self.genesis)
    }

    /// Bytes in the log before the head.
    pub(super) fn log_bytes(&self) -> u64 {
        self.offsets.last().copied().unwrap_or_default()
    }

    /// Where the record of block `number` begins in the log.
    pub(super) fn offset(&self, number: u64) -> Option<u64> {
        self.offsets.get(usize::try_from(number).ok()?.checked_sub(1)?).copied()
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
        self.offset(number).map(BlockSource::Log)
    }

    pub(super) fn number(&self, hash: B256) -> Option<u64> {
        self.by_hash.get(&hash).copied()
    }

    /// Where the transaction with this hash may be.
    pub(super) fn tx(&self, hash: &B256) -> Vec<TxPlace> {
        self.txs.candidates(hash)
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

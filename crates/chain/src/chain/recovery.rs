//! From a data directory back to a chain.
//!
//! ```text
//! block log ─▶ index ─▶ every block's place
//!     │                        snapshot, or genesis ─▶ state after some block
//!     └─▶ blocks after it ─▶ their changes ───────────────┴─▶ state after the last block ─▶ root?
//! ```
//!
//! **Invariant:** a state that is taken up has the root that the last block states.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, RwLock},
};

use alloy_consensus::Header;
use alloy_primitives::B256;
use alloy_rlp::Decodable;
use tokio::sync::broadcast;

use super::{Chain, EVENTS_MAX, Inner, blocks::Blocks};
use crate::{
    Error, Genesis,
    execution::{Rules, SealedBlock},
    metrics::Metrics,
    pool::Pool,
    state::{HistoryLimits, StateDiff, World},
    storage::{
        BLOCK_LOG, BLOCK_LOG_FILE, BlockIndex, DataDir, IndexEntry, Log, LogReader, decode_block,
        snapshot::{self, SnapshotHead},
    },
};

/// How much of the log may be replayed for the sake of past states. More is replayed only where there
/// is no snapshot.
const REPLAY_BYTES_MAX: u64 = 64 << 20;
/// Hashes of blocks before a snapshot that `BLOCKHASH` can ask for.
const HASHES_BEFORE: u64 = 256;

/// A chain, and the log that extends it.
pub(crate) struct Recovered {
    pub(crate) chain: Chain,
    pub(crate) log: Log,
}

impl Chain {
    /// Reads the chain in `data_dir`, which begins with `genesis` at `timestamp`: brings the index of
    /// the block log up to date, and applies every block's changes since a snapshot or the genesis.
    ///
    /// Errors: [`Error::LogDamaged`], [`Error::FormatTooNew`], [`Error::Io`].
    pub(crate) fn recover(
        data_dir: &DataDir,
        genesis: &Genesis,
        timestamp: u64,
        limits: HistoryLimits,
    ) -> Result<Recovered, Error> {
        let world = genesis.world(limits);
        let (header, _) = genesis.block(&world.latest(), timestamp);
        let genesis_block = Arc::new(SealedBlock::new(header, Vec::new(), Vec::new()));
        let genesis_hash = genesis_block.hash;

        let (log, index, entries) = open_log(data_dir, genesis_hash)?;
        let mut blocks = Blocks::new(genesis_block);
        entries.iter().for_each(|entry| blocks.index(entry));
        let replay = Replay {
            path: data_dir.file(BLOCK_LOG_FILE),
            reader: log.reader(),
            genesis_hash,
            entries,
        };
        let world = replay.state(data_dir, world, limits, &mut blocks)?;

        let inner = Inner { blocks, state: world.latest() };
        let chain = Self {
            rules: Rules::new(genesis),
            genesis_hash,
            world,
            log: log.reader(),
            index: Mutex::new(index),
            inner: RwLock::new(inner),
            pending: RwLock::new(None),
            pool: Mutex::new(Pool::default()),
            events: broadcast::Sender::new(EVENTS_MAX),
            metrics: Arc::new(Metrics::default()),
        };
        Ok(Recovered { chain, log })
    }
}

/// Opens the block log, and its index, which is brought up to date.
fn open_log(
    data_dir: &DataDir,
    genesis_hash: B256,
) -> Result<(Log, BlockIndex, Vec<IndexEntry>), Error> {
    let path = data_dir.file(BLOCK_LOG_FILE);
    let header = Log::file_header(BLOCK_LOG, genesis_hash);
    let file = data_dir.open_or_create(BLOCK_LOG_FILE, &header)?;
    let (mut index, mut entries) = BlockIndex::open(data_dir, genesis_hash);
    let begin = header.len() as u64;
    let reader = LogReader::new(Arc::clone(&file));
    let end = entries.last().map_or(Some(begin), |last| end_of(&reader, last, entries.len()));
    let stale = end.is_none();
    if stale {
        entries.clear();
    }
    let start = (end.unwrap_or(begin), entries.len() as u64);
    let known = entries.len();
    let log = Log::open_at(file, path, BLOCK_LOG, genesis_hash, start, |offset, bytes| {
        let (block, _) = decode_block(&bytes)?;
        let parent = entries.last().map_or(genesis_hash, |entry| entry.hash);
        follows(&block, entries.len() as u64, parent)?;
        entries.push(IndexEntry::of(&block, offset));
        Ok(())
    })?;
    // Only now: a log that cannot be opened leaves everything as it is.
    if stale {
        index.reset(data_dir);
    }
    index.write(&entries[known..]);
    Ok((log, index, entries))
}

/// Where the record of the last block in the index ends, if it is in the log as the index says.
fn end_of(reader: &LogReader, last: &IndexEntry, number: usize) -> Option<u64> {
    let (sequence, payload, end) = reader.read_record(last.offset).ok()?;
    let header = Header::decode(&mut &payload[..]).ok()?;
    let fits = sequence + 1 == number as u64 && header.hash_slow() == last.hash;
    fits.then_some(end)
}

fn follows(block: &SealedBlock, number: u64, hash: B256) -> Result<(), String> {
    if block.number() == number + 1 && block.header.parent_hash == hash {
        return Ok(());
    }
    Err(format!("block {} does not follow block {number}", block.number()))
}

/// The blocks in the log, to be applied to a state.
struct Replay {
    path: PathBuf,
    reader: LogReader,
    genesis_hash: B256,
    entries: Vec<IndexEntry>,
}

impl Replay {
    /// The state after the last block, from `genesis` or from a snapshot. The recent blocks are kept in
    /// `blocks`.
    fn state(
        &self,
        data_dir: &DataDir,
        genesis: Arc<World>,
        limits: HistoryLimits,
        blocks: &mut Blocks,
    ) -> Result<Arc<World>, Error> {
        snapshot::remove_unfinished(data_dir);
        let mut world = genesis;
        for number in self.starts(&snapshot::list(data_dir), limits) {
            if number == 0 {
                break;
            }
            let read = self
                .snapshot_head(number)
                .and_then(|head| snapshot::read(data_dir, self.genesis_hash, &head, limits));
            match read {
                Ok(from_snapshot) => {
                    world = from_snapshot;
                    break;
                }
                Err(error @ Error::FormatTooNew { .. }) => return Err(error),
                Err(error) => tracing::warn!(%error, number, "a snapshot is not used"),
            }
        }

        let start = world.head();
        let head = self.entries.len() as u64;
        for number in start.saturating_sub(HASHES_BEFORE)..=start {
            world.record_hash(number, self.hash(number));
        }
        let recent = blocks.worth_keeping();
        for number in *recent.start()..=start.min(head) {
            blocks.keep(Arc::new(self.read(number)?.0));
        }
        for number in start + 1..=head {
            let (block, diff) = self.read(number)?;
            let root = world.apply(number, &diff);
            world.record_hash(number, block.hash);
            if number == head && root != block.header.state_root {
                let reason = "the state after the last block does not have the root that it states";
                return Err(self.damaged(number, reason.to_owned()));
            }
            if recent.contains(&number) {
                blocks.keep(Arc::new(block));
            }
        }
        tracing::info!(from = start, to = head, "the state is read back");
        Ok(world)
    }

    /// Blocks from which to begin, the best one first: snapshots, then the genesis.
    ///
    /// The best one is that from which all past states that `limits` ask for can be had, or most of
    /// them without replaying too much.
    fn starts(&self, snapshots: &[u64], limits: HistoryLimits) -> Vec<u64> {
        let head = self.entries.len() as u64;
        let known = |number: &&u64| {
            let known = (1..=head).contains(*number);
            if !known {
                tracing::warn!(number, "a snapshot of a block that is not in the log is not used");
            }
            known
        };
        let mut starts: Vec<u64> =
            std::iter::once(&0).chain(snapshots.iter().filter(known)).copied().collect();
        let cheap = |number: u64| {
            let after = self.entries.get(usize::try_from(number).unwrap_or(usize::MAX));
            let last = self.entries.last();
            after.zip(last).is_none_or(|(a, last)| last.offset - a.offset <= REPLAY_BYTES_MAX)
        };
        let enough = |number: u64| number.saturating_add(limits.blocks) <= head;
        let best = starts
            .iter()
            .rposition(|number| enough(*number) && cheap(*number))
            .or_else(|| starts.iter().position(|number| cheap(*number)));
        // Then the newest first.
        let best = starts.remove(best.unwrap_or(starts.len() - 1));
        std::iter::once(best).chain(starts.into_iter().rev()).collect()
    }

    fn snapshot_head(&self, number: u64) -> Result<SnapshotHead, Error> {
        let (block, _) = self.read(number)?;
        Ok(SnapshotHead { number, hash: block.hash, state_root: block.header.state_root })
    }

    fn hash(&self, number: u64) -> B256 {
        let before = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
        before.and_then(|index| self.entries.get(index)).map_or(self.genesis_hash, |e| e.hash)
    }

    fn read(&self, number: u64) -> Result<(SealedBlock, StateDiff), Error> {
        let bytes = self.reader.read(self.offset(number)).map_err(|error| match error.kind() {
            std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof => {
                self.damaged(number, error.to_string())
            }
            _ => Error::io("read", &self.path)(error),
        })?;
        let decoded = decode_block(&bytes).and_then(|(block, diff)| {
            follows(&block, number - 1, self.hash(number - 1))?;
            if block.hash != self.hash(number) {
                return Err(format!("block {number} is not the one in the index"));
            }
            Ok((block, diff))
        });
        decoded.map_err(|reason| self.damaged(number, reason))
    }

    fn offset(&self, number: u64) -> u64 {
        let index = usize::try_from(number - 1).expect("block numbers fit in memory");
        self.entries[index].offset
    }

    fn damaged(&self, number: u64, reason: String) -> Error {
        Error::LogDamaged { path: self.path.clone(), offset: self.offset(number), reason }
    }
}

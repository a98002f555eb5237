//! From a data directory back to a chain.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, RwLock},
};

use tokio::sync::broadcast;

use super::{Chain, EVENTS_MAX, Inner, blocks::Blocks};
use crate::{
    Error, Genesis,
    execution::{Rules, SealedBlock},
    pool::Pool,
    state::BlockHashes,
    storage::{BLOCK_LOG, DataDir, Log, decode_block},
};

/// A chain, and the log that extends it.
pub(crate) struct Recovered {
    pub(crate) chain: Chain,
    pub(crate) log: Log,
}

impl Chain {
    /// Reads the chain in `data_dir`, which begins with `genesis` at `timestamp`: applies every
    /// block's changes to the genesis state, and checks that the result is what the last block says.
    ///
    /// Errors: [`Error::LogDamaged`], [`Error::FormatTooNew`], [`Error::Io`].
    pub(crate) fn recover(
        data_dir: &DataDir,
        genesis: &Genesis,
        timestamp: u64,
        history_blocks: u64,
    ) -> Result<Recovered, Error> {
        let mut state = genesis.state();
        let (header, _) = genesis.block(&state, timestamp);
        let genesis_block = Arc::new(SealedBlock::new(header, Vec::new(), Vec::new()));
        let genesis_hash = genesis_block.hash;
        let history_blocks = usize::try_from(history_blocks).unwrap_or(usize::MAX - 1);

        let hashes = BlockHashes::default();
        hashes.set(0, genesis_hash);
        let mut inner =
            Inner { blocks: Blocks::new(genesis_block), states: VecDeque::from([state.clone()]) };
        let path = data_dir.block_log();
        let file = data_dir.open_or_create(&path, &Log::file_header(BLOCK_LOG, genesis_hash))?;
        let mut last_offset = 0;
        let log =
            Log::open(Arc::new(file), path.clone(), BLOCK_LOG, genesis_hash, |offset, bytes| {
                let (block, diff) = decode_block(&bytes)?;
                let head = inner.blocks.head();
                if block.number() != head.number() + 1 || block.header.parent_hash != head.hash {
                    return Err(format!(
                        "block {} does not follow block {}",
                        block.number(),
                        head.number()
                    ));
                }
                state.apply(&diff);
                hashes.set(block.number(), block.hash);
                inner.push(Arc::new(block), state.clone(), offset, history_blocks);
                last_offset = offset;
                Ok(())
            })?;
        if state.root() != inner.blocks.head().header.state_root {
            let reason = "the state after the last block does not have the root that it states";
            return Err(Error::LogDamaged { path, offset: last_offset, reason: reason.to_owned() });
        }

        let chain = Self {
            rules: Rules::new(genesis),
            genesis_hash,
            hashes,
            log: log.reader(),
            history_blocks,
            inner: RwLock::new(inner),
            pending: RwLock::new(None),
            pool: Mutex::new(Pool::default()),
            events: broadcast::Sender::new(EVENTS_MAX),
            metrics: Arc::default(),
        };
        Ok(Recovered { chain, log })
    }
}

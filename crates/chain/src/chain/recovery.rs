//! From a data directory back to a chain.

use std::sync::{Arc, Mutex, RwLock};

use tokio::sync::broadcast;

use super::{Chain, EVENTS_MAX, Inner, blocks::Blocks};
use crate::{
    Error, Genesis,
    execution::{Rules, SealedBlock},
    pool::Pool,
    state::HistoryLimits,
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
        limits: HistoryLimits,
    ) -> Result<Recovered, Error> {
        let world = genesis.world(limits);
        let state = world.view(0).expect("the latest block is always there");
        let (header, _) = genesis.block(&state, timestamp);
        let genesis_block = Arc::new(SealedBlock::new(header, Vec::new(), Vec::new()));
        let genesis_hash = genesis_block.hash;

        world.record_hash(0, genesis_hash);
        let mut root = genesis_block.header.state_root;
        let mut inner = Inner { blocks: Blocks::new(genesis_block), state };
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
                let number = block.number();
                root = world.apply(number, &diff);
                world.record_hash(number, block.hash);
                inner.blocks.push(Arc::new(block), offset);
                inner.state = world.view(number).expect("the latest block is always there");
                last_offset = offset;
                Ok(())
            })?;
        if root != inner.blocks.head().header.state_root {
            let reason = "the state after the last block does not have the root that it states";
            return Err(Error::LogDamaged { path, offset: last_offset, reason: reason.to_owned() });
        }

        let chain = Self {
            rules: Rules::new(genesis),
            genesis_hash,
            world,
            log: log.reader(),
            inner: RwLock::new(inner),
            pending: RwLock::new(None),
            pool: Mutex::new(Pool::default()),
            events: broadcast::Sender::new(EVENTS_MAX),
            metrics: Arc::default(),
        };
        Ok(Recovered { chain, log })
    }
}

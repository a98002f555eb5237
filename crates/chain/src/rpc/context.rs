//! What the methods work on, and how they find blocks and states.

use std::sync::{Arc, Mutex};

use alloy_eips::{BlockId, BlockNumberOrTag, RpcBlockHash};
use alloy_primitives::B256;
use jsonrpsee::types::ErrorObjectOwned;
use tokio::sync::Semaphore;

use super::{
    error::{RpcResult, internal, refused, unavailable},
    filters::Filters,
    limits::CALLS_AT_ONCE_MAX,
};
use crate::{
    chain::Chain,
    execution::SealedBlock,
    producer::Bell,
    state::{NoState, StateView},
    storage::Journal,
};

/// What the methods work on.
pub(crate) struct Context {
    pub(crate) chain: Arc<Chain>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) bell: Bell,
    pub(super) filters: Mutex<Filters>,
    /// Bounds the calls that run at once.
    pub(super) calls: Semaphore,
}

impl Context {
    pub(crate) fn new(chain: Arc<Chain>, journal: Arc<Journal>, bell: Bell) -> Self {
        let filters = Mutex::new(Filters::default());
        let calls = Semaphore::new(CALLS_AT_ONCE_MAX);
        Self { chain, journal, bell, filters, calls }
    }

    /// The number that a tag stands for, or the number itself, whether that block exists or not.
    ///
    /// Every block is durable before it is announced and the embedded L1 has no reorganisations, so
    /// `safe` and `finalized` are the latest block. `pending` is the latest block here; the methods that
    /// know the block that is being made ask for it by name.
    pub(super) fn tag(&self, tag: BlockNumberOrTag) -> u64 {
        match tag {
            BlockNumberOrTag::Number(number) => number,
            BlockNumberOrTag::Earliest => 0,
            BlockNumberOrTag::Latest
            | BlockNumberOrTag::Pending
            | BlockNumberOrTag::Safe
            | BlockNumberOrTag::Finalized => self.chain.head().number(),
        }
    }

    /// The number that an EIP-1898 block id stands for, if that block exists.
    pub(super) fn number(&self, id: BlockId) -> Option<u64> {
        match id {
            BlockId::Hash(RpcBlockHash { block_hash, .. }) => self.chain.number(block_hash),
            BlockId::Number(tag) => {
                Some(self.tag(tag)).filter(|number| *number <= self.chain.head().number())
            }
        }
    }

    /// The block with this id, if it exists. The pending one is a copy of what it holds at this moment,
    /// without roots and with a hash of zero.
    pub(super) fn block(&self, id: BlockId) -> RpcResult<Option<Arc<SealedBlock>>> {
        if let BlockId::Number(BlockNumberOrTag::Pending) = id
            && let Some(pending) = self.chain.pending()
        {
            return Ok(Some(Arc::new(pending.content().block.clone())));
        }
        let Some(number) = self.number(id) else { return Ok(None) };
        self.chain.block(number).map_err(internal)
    }

    /// The block with this hash, if it exists.
    pub(super) fn block_by_hash(&self, hash: B256) -> RpcResult<Option<Arc<SealedBlock>>> {
        self.block(BlockId::from(hash))
    }

    /// The block with this id (default: the latest) and the state after it.
    pub(super) fn at(&self, id: Option<BlockId>) -> RpcResult<(Arc<SealedBlock>, StateView)> {
        let id = id.unwrap_or(BlockId::latest());
        if matches!(
            id,
            BlockId::Number(
                BlockNumberOrTag::Latest
                    | BlockNumberOrTag::Pending
                    | BlockNumberOrTag::Safe
                    | BlockNumberOrTag::Finalized
            )
        ) {
            let tip = self.chain.tip();
            return Ok((tip.block, tip.state));
        }
        let number = self.number(id).ok_or_else(unknown_block)?;
        let block = self.chain.block(number).map_err(internal)?.ok_or_else(unknown_block)?;
        let state = self.chain.state(number).map_err(|missing| match missing {
            NoState::Unknown => unknown_block(),
            NoState::Pruned { oldest } => unavailable(format!(
                "the state of block {number} is no longer kept: the oldest that is kept is block \
                 {oldest} (settings history_blocks and history_bytes)"
            )),
        })?;
        Ok((block, state))
    }
}

pub(super) fn unknown_block() -> ErrorObjectOwned {
    refused("header not found")
}

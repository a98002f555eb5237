//! What the methods work on, and how they find blocks and states.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    time::Duration,
};

use alloy_eips::{BlockId, BlockNumberOrTag, RpcBlockHash};
use alloy_primitives::{Address, B256};
use jsonrpsee::types::ErrorObjectOwned;
use serde_json::Value;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{
    error::{RpcResult, internal, limit, refused, unavailable},
    filters::Filters,
    limits::{CALLS_AT_ONCE_MAX, TRACES_AT_ONCE_MAX},
};
use crate::{
    chain::{Chain, Pending},
    execution::{Deadline, SealedBlock, View},
    producer::{Bell, Command},
    state::{NoState, StateView},
    storage::Journal,
};

/// What the operator decides about the methods.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Gas that one call, or all of one simulation, may use.
    pub(crate) call_gas_max: u64,
    /// How long one call, trace or simulation may take.
    pub(crate) call_time_max: Duration,
    /// Whether `admin_*` methods are answered.
    pub(crate) admin: bool,
    /// Whether methods for development only are answered.
    pub(crate) dev: bool,
    /// The rollup's configuration, as `optimism_rollupConfig` returns it.
    pub(crate) rollup_config: Value,
}

/// What the methods work on.
pub(crate) struct Context {
    pub(crate) chain: Arc<Chain>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) bell: Bell,
    pub(super) settings: Settings,
    pub(super) filters: Mutex<Filters>,
    calls: Semaphore,
    traces: Semaphore,
    /// Accounts that may send without a signature, on a development chain.
    impersonated: Mutex<HashSet<Address>>,
    /// Blocks that a development chain may be taken back to.
    snapshots: Mutex<Vec<u64>>,
}

impl Context {
    pub(crate) fn new(
        chain: Arc<Chain>,
        journal: Arc<Journal>,
        commands: mpsc::Sender<Command>,
        bell: Bell,
        settings: Settings,
    ) -> Self {
        let filters = Mutex::new(Filters::default());
        let calls = Semaphore::new(CALLS_AT_ONCE_MAX);
        let traces = Semaphore::new(TRACES_AT_ONCE_MAX);
        let (impersonated, snapshots) = (Mutex::default(), Mutex::default());
        Self {
            chain,
            journal,
            commands,
            bell,
            settings,
            filters,
            calls,
            traces,
            impersonated,
            snapshots,
        }
    }

    /// Accounts that may send without a signature.
    pub(super) fn impersonated(&self) -> MutexGuard<'_, HashSet<Address>> {
        self.impersonated.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Blocks that a development chain may be taken back to, the first one by the name of 1.
    pub(super) fn snapshots(&self) -> MutexGuard<'_, Vec<u64>> {
        self.snapshots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place among the calls that may run at once.
    pub(super) fn call_permit(&self) -> RpcResult<SemaphorePermit<'_>> {
        permit(&self.calls, "calls", CALLS_AT_ONCE_MAX)
    }

    /// A place among the traces and simulations that may run at once.
    pub(super) fn trace_permit(&self) -> RpcResult<SemaphorePermit<'_>> {
        permit(&self.traces, "traces", TRACES_AT_ONCE_MAX)
    }

    /// When a call that begins now must have ended.
    pub(super) fn deadline(&self) -> Deadline {
        Deadline::after(self.settings.call_time_max)
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

    /// The block with this id (default: the latest) and its state, for calls to run in. Of the pending
    /// block only the header, and the state as it is at this moment.
    pub(super) fn at(&self, id: Option<BlockId>) -> RpcResult<(Arc<SealedBlock>, View)> {
        if let Some(pending) = self.pending(id) {
            let header = pending.content().block.header.clone();
            let (txs, receipts) = (Vec::new(), Vec::new());
            let block = SealedBlock { header, hash: B256::ZERO, txs, receipts };
            let state = View::Pending(pending.overlay().frozen());
            return Ok((Arc::new(block), state));
        }
        let (block, state) = self.sealed_at(id)?;
        Ok((block, View::Sealed(state)))
    }

    /// The state at the block with this id (default: the latest), for a single look.
    pub(super) fn view(&self, id: Option<BlockId>) -> RpcResult<View> {
        match self.pending(id) {
            Some(pending) => Ok(View::Pending(pending.overlay().clone())),
            None => Ok(View::Sealed(self.sealed_at(id)?.1)),
        }
    }

    fn pending(&self, id: Option<BlockId>) -> Option<Arc<Pending>> {
        let asked = id == Some(BlockId::Number(BlockNumberOrTag::Pending));
        if asked { self.chain.pending() } else { None }
    }

    /// The block with this id (default: the latest) and the state after it. The pending block has no
    /// roots that anything could be proved against: the latest stands for it.
    pub(super) fn sealed_at(
        &self,
        id: Option<BlockId>,
    ) -> RpcResult<(Arc<SealedBlock>, StateView)> {
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

fn permit<'a>(places: &'a Semaphore, what: &str, max: usize) -> RpcResult<SemaphorePermit<'a>> {
    places
        .try_acquire()
        .map_err(|_| limit(format!("{max} {what} are running already: try again in a moment")))
}

pub(super) fn unknown_block() -> ErrorObjectOwned {
    refused("header not found")
}

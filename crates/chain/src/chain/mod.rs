//! The chain as everybody reads it: blocks, states, the pool, and news of them.
//!
//! One thread extends it ([`crate::producer`]); any number read it. A reader takes what it needs
//! under a short lock and works on that, so what it sees fits together.

mod blocks;
#[cfg(test)]
mod fault_tests;
#[cfg(feature = "conformance")]
mod imported;
mod pending;
mod places;
mod recovery;
mod snapshots;

use std::{
    cmp::Ordering,
    io,
    ops::RangeInclusive,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};

use alloy_consensus::Transaction;
use alloy_primitives::{Address, B256};
use op_revm::{L1BlockInfo, OpSpecId};
use revm::{DatabaseRef, database::WrapDatabaseRef, primitives::U256};
use tokio::sync::broadcast;

use self::blocks::Blocks;
pub(crate) use self::{pending::Pending, snapshots::Snapshots};
use crate::{
    execution::{BuiltBlock, Rules, SealedBlock},
    metrics::Metrics,
    pool::{Admission, Pool, PoolError, Sender, check},
    state::{NoState, StateView, World},
    storage::{BlockIndex, IndexEntry, LogReader},
    transaction::SignedTx,
};

/// News that a subscriber may miss before it is told that it missed some.
const EVENTS_MAX: usize = 4096;

/// What happened on the chain.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A block is durable and readable.
    Block(Arc<SealedBlock>),
    /// A transaction was acknowledged.
    Transaction(Arc<SignedTx>),
}

/// A block and the state after it.
#[derive(Clone)]
pub(crate) struct Tip {
    pub(crate) block: Arc<SealedBlock>,
    pub(crate) state: StateView,
}

/// The chain as everybody reads it.
pub(crate) struct Chain {
    pub(crate) rules: Rules,
    pub(crate) genesis_hash: B256,
    /// May be ahead of the head: blocks are applied to it before they are durable.
    pub(crate) world: Arc<World>,
    log: LogReader,
    /// Written by the one who extends the chain.
    index: Mutex<BlockIndex>,
    inner: RwLock<Inner>,
    /// `None` until the first block is opened.
    pending: RwLock<Option<Arc<Pending>>>,
    pool: Mutex<Pool>,
    events: broadcast::Sender<Event>,
    pub(crate) metrics: Arc<Metrics>,
}

struct Inner {
    blocks: Blocks,
    /// The state after the head.
    state: StateView,
}

impl Chain {
    /// The latest block and its state.
    pub(crate) fn tip(&self) -> Tip {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        Tip { block: Arc::clone(inner.blocks.head()), state: inner.state.clone() }
    }

    /// The latest block.
    pub(crate) fn head(&self) -> Arc<SealedBlock> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(inner.blocks.head())
    }

    /// Block `number`, or `None` if the chain has not come that far.
    ///
    /// Errors: it is in the log and cannot be read back.
    pub(crate) fn block(&self, number: u64) -> io::Result<Option<Arc<SealedBlock>>> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let source = inner.blocks.find(number);
        drop(inner);
        source.map(|source| source.load(&self.log)).transpose()
    }

    /// Number of the block with this hash.
    pub(crate) fn number(&self, hash: B256) -> Option<u64> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).blocks.number(hash)
    }

    /// The block that holds the transaction with this hash, and its index there.
    ///
    /// Errors: the block is in the log and cannot be read back.
    pub(crate) fn tx(&self, hash: B256) -> io::Result<Option<(Arc<SealedBlock>, usize)>> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let places = inner.blocks.tx(&hash);
        drop(inner);
        for place in places {
            let Some(block) = self.block(place.block)? else { continue };
            if block.txs.get(place.index).is_some_and(|tx| tx.inner().tx_hash() == hash) {
                return Ok(Some((block, place.index)));
            }
        }
        Ok(None)
    }

    /// Bytes of the block log between block `number` and the head.
    fn log_bytes_since(&self, number: u64) -> u64 {
        let blocks = &self.inner.read().unwrap_or_else(PoisonError::into_inner).blocks;
        blocks.log_bytes() - blocks.offset(number).unwrap_or_default()
    }

    /// Numbers of the blocks in `range` that have logs.
    pub(crate) fn blocks_with_logs(&self, range: RangeInclusive<u64>) -> Vec<u64> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).blocks.with_logs(range)
    }

    /// The state after block `number`.
    pub(crate) fn state(&self, number: u64) -> Result<StateView, NoState> {
        let Tip { block, state } = self.tip();
        match number.cmp(&block.number()) {
            Ordering::Less => self.world.view(number),
            Ordering::Equal => Ok(state),
            Ordering::Greater => Err(NoState::Unknown),
        }
    }

    /// The oldest block whose state is kept.
    pub(crate) fn oldest_state(&self) -> u64 {
        self.world.oldest()
    }

    /// States that are kept at most, the head's among them.
    pub(crate) fn states_max(&self) -> u64 {
        self.world.blocks_max() + 1
    }

    /// The pool. Never held across anything slow.
    pub(crate) fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The block that is being made on the latest one, if there is one at this moment.
    pub(crate) fn pending(&self) -> Option<Arc<Pending>> {
        let pending = self.pending.read().unwrap_or_else(PoisonError::into_inner).clone();
        // Between two blocks the last one is still here, and public already.
        pending.filter(|pending| pending.number() > self.head().number())
    }

    /// Shows the block that is being made.
    pub(crate) fn set_pending(&self, pending: Arc<Pending>) {
        *self.pending.write().unwrap_or_else(PoisonError::into_inner) = Some(pending);
    }

    /// Nonce of the sender's next transaction, counting those that wait.
    pub(crate) fn pending_nonce(&self, sender: Address) -> u64 {
        let pool = self.pool();
        pool.next_nonce(sender, self.sender(sender).nonce)
    }

    /// The account as it is in the block that is being made.
    fn sender(&self, address: Address) -> Sender {
        let Ok(info) = match self.pending() {
            Some(pending) => pending.overlay().basic_ref(address),
            None => self.tip().state.basic_ref(address),
        };
        let info = info.unwrap_or_default();
        let is_contract = info.code.is_some_and(|code| !code.is_empty() && !code.is_eip7702());
        let is_contract = is_contract && !self.rules.dev;
        Sender { nonce: info.nonce, balance: info.balance, is_contract }
    }

    /// Takes transactions into the pool. They may not run before they are
    /// [released](Self::release): they are not in the journal yet.
    pub(crate) fn submit(&self, txs: &[Arc<SignedTx>]) -> Vec<Result<(), PoolError>> {
        let fetched;
        let pending = self.pending();
        let l1_block = if let Some(pending) = &pending {
            &pending.l1_block
        } else {
            let Tip { block, state } = self.tip();
            let mut db = WrapDatabaseRef(state);
            let number = U256::from(block.number());
            let Ok(l1_block) = L1BlockInfo::try_fetch(&mut db, number, OpSpecId::ISTHMUS);
            fetched = l1_block;
            &fetched
        };
        let admission = Admission {
            chain_id: self.rules.chain_id,
            gas_limit: self.rules.gas_limit,
            l1_block,
            spec: OpSpecId::ISTHMUS,
        };
        let costs: Vec<_> = txs.iter().map(|tx| check(tx, &admission)).collect();
        let mut pool = self.pool();
        // The account is read under the pool's lock: a block that is published in between has told
        // the pool of its transactions before or will after, never during.
        let add = |(tx, cost): (&Arc<SignedTx>, Result<U256, PoolError>)| {
            pool.add(Arc::clone(tx), cost?, |address| self.sender(address))
        };
        txs.iter().zip(costs).map(add).collect()
    }

    /// Lets transactions run: they are in the journal.
    pub(crate) fn release<'a>(&self, txs: impl IntoIterator<Item = &'a Arc<SignedTx>>) {
        let mut pool = self.pool();
        txs.into_iter().for_each(|tx| pool.release(tx));
    }

    /// Tells subscribers that a transaction was acknowledged.
    pub(crate) fn announce_transaction(&self, tx: Arc<SignedTx>) {
        if self.events.receiver_count() > 0 {
            let _ = self.events.send(Event::Transaction(tx));
        }
    }

    /// News from now on.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Makes the hash of a block that is being built on readable to the EVM.
    pub(crate) fn record_hash(&self, block: &SealedBlock) {
        self.world.record_hash(block.number(), block.hash);
    }

    /// Where the record of block `number` begins in the log.
    pub(crate) fn log_offset(&self, number: u64) -> Option<u64> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).blocks.offset(number)
    }

    /// Forgets the blocks after `head`, which the log does not hold any more, and what waits.
    ///
    /// Errors: [`NoState`] if the state of `head` is not there; nothing has changed then.
    pub(crate) fn rewind(&self, head: Arc<SealedBlock>) -> Result<(), NoState> {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        self.world.rewind(head.number())?;
        inner.blocks.rewind(head);
        inner.state = self.world.latest();
        drop(inner);
        self.index.lock().unwrap_or_else(PoisonError::into_inner).close();
        *self.pending.write().unwrap_or_else(PoisonError::into_inner) = None;
        *self.pool() = Pool::default();
        Ok(())
    }

    /// Makes blocks readable that are durable at these offsets in the log, and tells subscribers.
    pub(crate) fn publish(&self, built: Vec<BuiltBlock>, offsets: &[u64]) {
        assert_eq!(built.len(), offsets.len(), "every published block is in the log");
        let entries: Vec<IndexEntry> = built
            .iter()
            .zip(offsets)
            .map(|(built, offset)| IndexEntry::of(&built.block, *offset))
            .collect();
        self.index.lock().unwrap_or_else(PoisonError::into_inner).write(&entries);
        let mut published = Vec::with_capacity(built.len());
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        for (built, entry) in built.into_iter().zip(&entries) {
            let block = Arc::new(built.block);
            published.push(Arc::clone(&block));
            inner.blocks.index(entry);
            inner.blocks.keep(block);
            inner.state = built.state;
        }
        drop(inner);

        let txs = published.iter().flat_map(|block| &block.txs);
        self.pool().sealed(txs.map(|tx| (tx.signer(), tx.nonce())));
        for block in published {
            self.metrics.block_published(&block);
            let _ = self.events.send(Event::Block(block));
        }
    }
}

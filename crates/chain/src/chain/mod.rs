//! The chain as everybody reads it: blocks, states, the pool, and news of them.
//!
//! One thread extends it ([`crate::producer`]); any number read it. A reader takes what it needs
//! under a short lock and works on that, so what it sees fits together.

mod blocks;
mod recovery;

use std::{
    cmp::Ordering,
    io,
    ops::RangeInclusive,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};

use alloy_primitives::{Address, B256};
use op_revm::{L1BlockInfo, OpSpecId};
use revm::{database::WrapDatabaseRef, primitives::U256};
use tokio::sync::broadcast;

use self::blocks::Blocks;
pub(crate) use self::blocks::TxPlace;
use crate::{
    execution::{BuiltBlock, Rules, SealedBlock},
    pool::{Admission, Pool, PoolError},
    state::{Account, NoState, StateView, World},
    storage::LogReader,
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
    inner: RwLock<Inner>,
    pool: Mutex<Pool>,
    events: broadcast::Sender<Event>,
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

    /// Where the transaction with this hash is.
    pub(crate) fn tx(&self, hash: B256) -> Option<TxPlace> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).blocks.tx(hash)
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

    /// The pool. Never held across anything slow.
    pub(crate) fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nonce of the sender's next transaction, counting those that wait.
    pub(crate) fn pending_nonce(&self, sender: Address) -> u64 {
        let nonce = self.tip().state.nonce(sender);
        self.pool().next_nonce(sender, nonce)
    }

    /// Takes a transaction into the pool. It is not durable yet.
    pub(crate) fn submit(&self, tx: Arc<SignedTx>) -> Result<(), PoolError> {
        let Tip { block, state } = self.tip();
        let account = state.account(tx.sender());
        let mut db = WrapDatabaseRef(state);
        let number = U256::from(block.number());
        let Ok(l1_block) = L1BlockInfo::try_fetch(&mut db, number, OpSpecId::ISTHMUS);
        let admission = Admission {
            chain_id: self.rules.chain_id,
            gas_limit: self.rules.gas_limit,
            nonce: account.as_ref().map_or(0, |account| account.nonce),
            balance: account.as_ref().map_or(U256::ZERO, |account| account.balance),
            is_contract: account.as_ref().is_some_and(Account::is_contract),
            l1_block: &l1_block,
            spec: OpSpecId::ISTHMUS,
        };
        self.pool().add(tx, &admission)
    }

    /// Tells subscribers that a transaction was acknowledged.
    pub(crate) fn announce_transaction(&self, tx: Arc<SignedTx>) {
        // Nobody listening is no fault.
        let _ = self.events.send(Event::Transaction(tx));
    }

    /// News from now on.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Makes the hash of a block that is being built on readable to the EVM.
    pub(crate) fn record_hash(&self, block: &SealedBlock) {
        self.world.record_hash(block.number(), block.hash);
    }

    /// Makes blocks readable that are durable at these offsets in the log, and tells subscribers.
    pub(crate) fn publish(&self, built: Vec<BuiltBlock>, offsets: &[u64]) {
        assert_eq!(built.len(), offsets.len(), "every published block is in the log");
        let mut published = Vec::with_capacity(built.len());
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        for (built, offset) in built.into_iter().zip(offsets) {
            let block = Arc::new(built.block);
            published.push(Arc::clone(&block));
            inner.blocks.push(block, *offset);
            inner.state = built.state;
        }
        drop(inner);

        let state = self.tip().state;
        let mut pool = self.pool();
        for sender in published.iter().flat_map(|block| block.txs.iter().map(|tx| tx.signer())) {
            pool.remove_below(sender, state.nonce(sender));
        }
        drop(pool);
        for block in published {
            let _ = self.events.send(Event::Block(block));
        }
    }
}

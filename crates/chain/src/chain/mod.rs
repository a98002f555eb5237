//! The chain as everybody reads it: blocks, states, the pool, and news of them.
//!
//! One thread extends it ([`crate::producer`]); any number read it. A reader takes what it needs
//! under a short lock and works on that, so what it sees fits together.

mod blocks;
mod recovery;

use std::{
    collections::VecDeque,
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
    state::{Account, BlockHashes, State, StateView},
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
    pub(crate) state: State,
}

/// Why a past state is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoState {
    /// The chain has not come that far.
    Unknown,
    /// It was forgotten; the oldest that is kept is this one.
    Pruned { oldest: u64 },
}

/// The chain as everybody reads it.
pub(crate) struct Chain {
    pub(crate) rules: Rules,
    pub(crate) genesis_hash: B256,
    hashes: BlockHashes,
    log: LogReader,
    history_blocks: usize,
    inner: RwLock<Inner>,
    pool: Mutex<Pool>,
    events: broadcast::Sender<Event>,
}

struct Inner {
    blocks: Blocks,
    /// States after the latest blocks, the head's last.
    states: VecDeque<State>,
}

impl Inner {
    fn push(&mut self, block: Arc<SealedBlock>, state: State, offset: u64, history: usize) {
        self.blocks.push(block, offset);
        self.states.push_back(state);
        // The head's state and `history` older ones.
        while self.states.len() > history + 1 {
            self.states.pop_front();
        }
    }
}

impl Chain {
    /// The latest block and its state.
    pub(crate) fn tip(&self) -> Tip {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let state = inner.states.back().cloned().unwrap_or_default();
        Tip { block: Arc::clone(inner.blocks.head()), state }
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
    pub(crate) fn state(&self, number: u64) -> Result<State, NoState> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let head = inner.blocks.head().number();
        let back = head.checked_sub(number).ok_or(NoState::Unknown)?;
        let oldest = head + 1 - inner.states.len() as u64;
        let index = usize::try_from(back).ok().and_then(|b| inner.states.len().checked_sub(b + 1));
        index.and_then(|index| inner.states.get(index).cloned()).ok_or(NoState::Pruned { oldest })
    }

    /// The oldest block whose state is kept.
    pub(crate) fn oldest_state(&self) -> u64 {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        inner.blocks.head().number() + 1 - inner.states.len() as u64
    }

    /// States that are kept at most, the head's among them.
    pub(crate) fn states_max(&self) -> u64 {
        self.history_blocks as u64 + 1
    }

    /// A state as the EVM reads it.
    pub(crate) fn view(&self, state: State) -> StateView {
        StateView { state, hashes: self.hashes.clone() }
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
        let mut db = WrapDatabaseRef(self.view(state.clone()));
        let number = U256::from(block.number());
        let Ok(l1_block) = L1BlockInfo::try_fetch(&mut db, number, OpSpecId::ISTHMUS);
        let admission = Admission {
            chain_id: self.rules.chain_id,
            gas_limit: self.rules.gas_limit,
            nonce: account.map_or(0, |account| account.nonce),
            balance: account.map_or(U256::ZERO, |account| account.balance),
            is_contract: account.is_some_and(Account::is_contract),
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
        self.hashes.set(block.number(), block.hash);
    }

    /// Makes blocks readable that are durable at these offsets in the log, and tells subscribers.
    pub(crate) fn publish(&self, built: Vec<BuiltBlock>, offsets: &[u64]) {
        assert_eq!(built.len(), offsets.len(), "every published block is in the log");
        let mut published = Vec::with_capacity(built.len());
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        for (built, offset) in built.into_iter().zip(offsets) {
            let block = Arc::new(built.block);
            published.push(Arc::clone(&block));
            inner.push(block, built.state, *offset, self.history_blocks);
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

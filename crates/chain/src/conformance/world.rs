//! A world state, and one transaction on it.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
};

use alloy_evm::{Evm, EvmEnv, EvmFactory, eth::EthEvmFactory};
use alloy_primitives::{Address, B256, Log, U256, map::AddressMap};
use revm::{
    Database, DatabaseCommit,
    bytecode::Bytecode,
    context::TxEnv,
    state::{Account as Touched, AccountInfo},
};

use crate::{
    Genesis, GenesisAccount,
    execution::Overlay,
    state::{HistoryLimits, StateDiff, StateView},
};

/// No state is forgotten while a fixture runs.
const HISTORY: HistoryLimits = HistoryLimits { blocks: 1 << 20, bytes: 1 << 30 };

/// Hashes of the blocks before the one that is executed, by number.
pub type AncestorHashes = Arc<BTreeMap<u64, B256>>;

/// The node's world state after some block. Clones share what they can: the node keeps one chain of
/// states, so a second child of one state is built anew from the beginning.
#[derive(Clone)]
pub struct World {
    history: Arc<History>,
    state: StateView,
    shared: Arc<Shared>,
}

/// How a state came about.
struct History {
    alloc: Arc<BTreeMap<Address, GenesisAccount>>,
    diffs: Vec<Arc<StateDiff>>,
}

/// A state that one child may extend.
struct Shared {
    world: Arc<crate::state::World>,
    /// The last block that was applied.
    head: Mutex<u64>,
}

/// What one transaction did.
pub struct Transacted {
    /// The state after it.
    pub world: World,
    /// The logs that it left.
    pub logs: Vec<Log>,
    /// Whether it succeeded.
    pub success: bool,
    /// Gas used, after refunds.
    pub gas_used: u64,
}

impl World {
    /// A state with these accounts.
    pub fn new(alloc: impl IntoIterator<Item = (Address, GenesisAccount)>) -> Self {
        let alloc = Arc::new(alloc.into_iter().collect());
        Self::build(Arc::new(History { alloc, diffs: Vec::new() }))
    }

    fn build(history: Arc<History>) -> Self {
        let world = Genesis::world_of(&history.alloc, HISTORY);
        let mut number = 0;
        for diff in &history.diffs {
            number += 1;
            world.apply(number, diff);
        }
        let state = world.view(number).expect("the latest block is always there");
        let shared = Arc::new(Shared { world, head: Mutex::new(number) });
        Self { history, state, shared }
    }

    /// The root that block headers commit to.
    pub fn root(&self) -> B256 {
        self.state.root()
    }

    /// What the last block did.
    pub(super) fn last_diff(&self) -> &StateDiff {
        self.history.diffs.last().expect("a block was applied")
    }

    /// The state after `diff`.
    pub(super) fn after(&self, diff: StateDiff) -> Self {
        let mut diffs = self.history.diffs.clone();
        diffs.push(Arc::new(diff));
        let history = Arc::new(History { alloc: Arc::clone(&self.history.alloc), diffs });
        let number = self.history.diffs.len() as u64;
        let mut head = self.shared.head.lock().unwrap_or_else(PoisonError::into_inner);
        if *head != number {
            return Self::build(history);
        }
        *head = number + 1;
        self.shared.world.apply(number + 1, history.diffs.last().expect("just pushed"));
        let state = self.shared.world.view(number + 1).expect("the latest block is always there");
        Self { history, state, shared: Arc::clone(&self.shared) }
    }

    /// This state as it is inside an open block that has changed nothing yet.
    pub(super) fn open(&self, hashes: &AncestorHashes) -> OnBranch {
        OnBranch { overlay: Overlay::new(self.state.clone()), hashes: Arc::clone(hashes) }
    }

    /// Runs one transaction, outside of any block.
    ///
    /// Errors: why it could not begin.
    pub fn transact(
        &self,
        env: EvmEnv,
        tx: TxEnv,
        hashes: &AncestorHashes,
    ) -> Result<Transacted, String> {
        let mut evm = EthEvmFactory::default().create_evm(self.open(hashes), env);
        let outcome = evm.transact_raw(tx).map_err(|error| error.to_string())?;
        let (mut db, _) = evm.finish();
        db.commit(outcome.state);
        let success = outcome.result.is_success();
        let gas_used = outcome.result.gas().tx_gas_used();
        Ok(Transacted {
            world: self.after(db.overlay.diff()),
            logs: outcome.result.into_logs(),
            success,
            gas_used,
        })
    }
}

/// The node's open block, with the ancestors of a branch that may not be the chain's.
#[derive(Clone, Debug)]
pub(super) struct OnBranch {
    pub(super) overlay: Overlay,
    hashes: AncestorHashes,
}

impl Database for OnBranch {
    type Error = Infallible;

    fn basic(&mut self, address: Address) -> Result<Option<AccountInfo>, Infallible> {
        self.overlay.basic(address)
    }

    fn code_by_hash(&mut self, hash: B256) -> Result<Bytecode, Infallible> {
        self.overlay.code_by_hash(hash)
    }

    fn storage(&mut self, address: Address, slot: U256) -> Result<U256, Infallible> {
        self.overlay.storage(address, slot)
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, Infallible> {
        Ok(self.hashes.get(&number).copied().unwrap_or_default())
    }
}

impl DatabaseCommit for OnBranch {
    fn commit(&mut self, touched: AddressMap<Touched>) {
        self.overlay.commit(touched);
    }
}

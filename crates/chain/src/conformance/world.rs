//! A world state, and one transaction on it.

use std::{collections::BTreeMap, convert::Infallible, sync::Arc};

use alloy_evm::{Evm, EvmEnv, EvmFactory, eth::EthEvmFactory};
use alloy_primitives::{Address, B256, Log, U256};
use revm::{
    DatabaseCommit, DatabaseRef,
    bytecode::Bytecode,
    context::TxEnv,
    database::{State as EvmState, WrapDatabaseRef, states::bundle_state::BundleRetention},
    state::AccountInfo,
};

use crate::{
    GenesisAccount,
    state::{Account, BlockHashes, State, StateDiff, StateView},
};

/// Hashes of the blocks before the one that is executed, by number.
pub type AncestorHashes = Arc<BTreeMap<u64, B256>>;

/// The node's world state after some block.
#[derive(Clone)]
pub struct World {
    pub(super) state: State,
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
        let mut state = State::default();
        for (address, genesis) in alloc {
            let mut account = Account::new(genesis.nonce, genesis.balance);
            account.set_code(genesis.code);
            for (slot, value) in genesis.storage {
                account.set_storage(slot.into(), value.into());
            }
            state.set_account(address, account);
        }
        Self { state }
    }

    /// The root that block headers commit to.
    pub fn root(&self) -> B256 {
        self.state.root()
    }

    /// The state after `diff`.
    pub(super) fn after(&self, diff: &StateDiff) -> Self {
        let mut state = self.state.clone();
        state.apply(diff);
        Self { state }
    }

    pub(super) fn evm_state(&self, hashes: &AncestorHashes) -> EvmDb {
        let view = StateView { state: self.state.clone(), hashes: BlockHashes::default() };
        let db = WithHashes { view, hashes: Arc::clone(hashes) };
        EvmState::builder().with_database_ref(db).with_bundle_update().build()
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
        let mut evm = EthEvmFactory::default().create_evm(self.evm_state(hashes), env);
        let outcome = evm.transact_raw(tx).map_err(|error| error.to_string())?;
        let (mut db, _) = evm.finish();
        db.commit(outcome.state);
        let success = outcome.result.is_success();
        let gas_used = outcome.result.gas().tx_gas_used();
        Ok(Transacted {
            world: self.after(&diff(&mut db)),
            logs: outcome.result.into_logs(),
            success,
            gas_used,
        })
    }
}

pub(super) type EvmDb = EvmState<WrapDatabaseRef<WithHashes>>;

/// Takes what was committed since the state was read.
pub(super) fn diff(db: &mut EvmDb) -> StateDiff {
    db.merge_transitions(BundleRetention::PlainState);
    StateDiff::from_bundle(db.take_bundle())
}

/// The node's view of a state, with the ancestors of a branch that may not be the chain's.
#[derive(Clone, Debug)]
pub(super) struct WithHashes {
    view: StateView,
    hashes: AncestorHashes,
}

impl DatabaseRef for WithHashes {
    type Error = Infallible;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, Infallible> {
        self.view.basic_ref(address)
    }

    fn code_by_hash_ref(&self, hash: B256) -> Result<Bytecode, Infallible> {
        self.view.code_by_hash_ref(hash)
    }

    fn storage_ref(&self, address: Address, slot: U256) -> Result<U256, Infallible> {
        self.view.storage_ref(address, slot)
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, Infallible> {
        Ok(self.hashes.get(&number).copied().unwrap_or_default())
    }
}

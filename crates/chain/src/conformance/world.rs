//! A world state, and one transaction on it.

use std::{collections::BTreeMap, convert::Infallible, sync::Arc};

use alloy_evm::{Evm, EvmEnv, EvmFactory, eth::EthEvmFactory};
use alloy_primitives::{Address, B256, Log, U256, map::AddressMap};
use revm::{
    Database, DatabaseCommit,
    bytecode::Bytecode,
    context::TxEnv,
    state::{Account as Touched, AccountInfo},
};

use crate::{
    GenesisAccount,
    execution::Overlay,
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

    /// This state as it is inside an open block that has changed nothing yet.
    pub(super) fn open(&self, hashes: &AncestorHashes) -> OnBranch {
        let view = StateView { state: self.state.clone(), hashes: BlockHashes::default() };
        OnBranch { overlay: Overlay::new(view), hashes: Arc::clone(hashes) }
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
            world: self.after(&db.overlay.diff()),
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

//! What the EVM reads: a state, and the hashes of the blocks before it.

use std::{
    convert::Infallible,
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use alloy_primitives::{Address, B256, U256};
use revm::{DatabaseRef, bytecode::Bytecode, state::AccountInfo};

use super::{Account, State};

/// Hashes of all blocks by number. Shared; grows with the chain.
#[derive(Clone, Default)]
pub(crate) struct BlockHashes(Arc<RwLock<Vec<B256>>>);

impl BlockHashes {
    pub(crate) fn get(&self, number: u64) -> Option<B256> {
        let hashes = self.0.read().unwrap_or_else(PoisonError::into_inner);
        hashes.get(usize::try_from(number).ok()?).copied()
    }

    /// Records the hash of block `number`, forgetting any that were recorded after it.
    pub(crate) fn set(&self, number: u64, hash: B256) {
        let mut hashes = self.0.write().unwrap_or_else(PoisonError::into_inner);
        hashes.truncate(usize::try_from(number).expect("block numbers fit in memory"));
        hashes.push(hash);
    }
}

/// A state as the EVM reads it.
#[derive(Clone)]
pub(crate) struct StateView {
    pub(crate) state: State,
    pub(crate) hashes: BlockHashes,
}

impl fmt::Debug for StateView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateView").finish_non_exhaustive()
    }
}

impl DatabaseRef for StateView {
    type Error = Infallible;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, Infallible> {
        Ok(self.state.account(address).map(Account::info))
    }

    fn code_by_hash_ref(&self, _: B256) -> Result<Bytecode, Infallible> {
        // `basic_ref` always hands the code over with the account, so the EVM never asks.
        Ok(Bytecode::default())
    }

    fn storage_ref(&self, address: Address, slot: U256) -> Result<U256, Infallible> {
        Ok(self.state.account(address).map_or(U256::ZERO, |account| account.storage(slot)))
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, Infallible> {
        Ok(self.hashes.get(number).unwrap_or_default())
    }
}

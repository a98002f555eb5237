//! A state that calls can run on: that after a block, or that inside the block being made.

use std::convert::Infallible;

use alloy_primitives::{Address, B256, Bytes, U256};
use revm::{DatabaseRef, bytecode::Bytecode, state::AccountInfo};

use super::Overlay;
use crate::state::StateView;

/// A state that calls can run on.
#[derive(Clone, Debug)]
pub(crate) enum View {
    /// The state after a block.
    Sealed(StateView),
    /// The state inside the block that is being made.
    Pending(Overlay),
}

impl View {
    /// The account at `address`; an empty one if there is none.
    pub(crate) fn account(&self, address: Address) -> AccountInfo {
        let Ok(account) = self.basic_ref(address);
        account.unwrap_or_default()
    }

    /// Code of the account at `address`.
    pub(crate) fn code(&self, address: Address) -> Bytes {
        self.account(address).code.map(|code| code.original_bytes()).unwrap_or_default()
    }

    /// The value of a storage slot.
    pub(crate) fn storage(&self, address: Address, slot: U256) -> U256 {
        let Ok(value) = self.storage_ref(address, slot);
        value
    }
}

impl DatabaseRef for View {
    type Error = Infallible;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, Infallible> {
        match self {
            Self::Sealed(state) => state.basic_ref(address),
            Self::Pending(overlay) => overlay.basic_ref(address),
        }
    }

    fn code_by_hash_ref(&self, hash: B256) -> Result<Bytecode, Infallible> {
        match self {
            Self::Sealed(state) => state.code_by_hash_ref(hash),
            Self::Pending(overlay) => overlay.code_by_hash_ref(hash),
        }
    }

    fn storage_ref(&self, address: Address, slot: U256) -> Result<U256, Infallible> {
        match self {
            Self::Sealed(state) => state.storage_ref(address, slot),
            Self::Pending(overlay) => overlay.storage_ref(address, slot),
        }
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, Infallible> {
        match self {
            Self::Sealed(state) => state.block_hash_ref(number),
            Self::Pending(overlay) => overlay.block_hash_ref(number),
        }
    }
}

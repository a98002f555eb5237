//! One account, without its storage.

use alloy_consensus::constants::KECCAK_EMPTY;
use alloy_primitives::{B256, Bytes, U256};
use revm::{bytecode::Bytecode, state::AccountInfo};

/// One account, without its storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) nonce: u64,
    pub(crate) balance: U256,
    pub(crate) code_hash: B256,
    /// `None` where there is no code. Shared between all accounts that have it.
    pub(super) code: Option<Bytecode>,
    /// Slots of its storage that are not zero.
    pub(super) slots: u64,
}

impl Account {
    /// An account with nothing in it.
    pub(super) fn new() -> Self {
        Self { nonce: 0, balance: U256::ZERO, code_hash: KECCAK_EMPTY, code: None, slots: 0 }
    }

    /// The runtime code.
    pub(crate) fn code(&self) -> Bytes {
        self.code.as_ref().map(Bytecode::original_bytes).unwrap_or_default()
    }

    /// The form that the EVM reads.
    pub(crate) fn info(self) -> AccountInfo {
        AccountInfo {
            balance: self.balance,
            nonce: self.nonce,
            code_hash: self.code_hash,
            code: Some(self.code.unwrap_or_default()),
            ..AccountInfo::default()
        }
    }
}

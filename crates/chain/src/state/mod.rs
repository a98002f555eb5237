//! The world state: every account and its storage after some block.
//!
//! A [`State`] is a value. Cloning it is cheap, and applying a block's [`StateDiff`] to a clone
//! leaves the original as it was; so the state after each recent block stays readable.

mod account;
mod diff;
mod view;

use alloy_consensus::EMPTY_ROOT_HASH;
use alloy_primitives::{Address, B256, Bytes, keccak256};

use crate::trie::Trie;

pub(crate) use account::Account;
pub(crate) use diff::StateDiff;
pub(crate) use view::{BlockHashes, StateView};

/// Every account after some block.
#[derive(Clone, Default)]
pub(crate) struct State {
    accounts: Trie<Account>,
}

impl State {
    /// The account at `address`, if it exists.
    pub(crate) fn account(&self, address: Address) -> Option<&Account> {
        self.accounts.get(keccak256(address))
    }

    /// Creates or replaces the account at `address`.
    pub(crate) fn set_account(&mut self, address: Address, account: Account) {
        self.accounts.insert(keccak256(address), account);
    }

    /// Nonce of the next transaction from `address`.
    pub(crate) fn nonce(&self, address: Address) -> u64 {
        self.account(address).map_or(0, |account| account.nonce)
    }

    /// Storage root of `address`.
    pub(crate) fn storage_root(&self, address: Address) -> B256 {
        self.account(address).map_or(EMPTY_ROOT_HASH, Account::storage_root)
    }

    /// The root that block headers commit to.
    pub(crate) fn root(&self) -> B256 {
        self.accounts.root()
    }

    /// Encoded trie nodes from the root towards `address`.
    pub(crate) fn proof(&self, address: Address) -> Vec<Bytes> {
        self.accounts.proof(keccak256(address))
    }

    /// Makes the changes of one block.
    pub(crate) fn apply(&mut self, diff: &StateDiff) {
        for change in &diff.accounts {
            let key = keccak256(change.address);
            if change.deleted {
                self.accounts.remove(key);
                continue;
            }
            let mut account = self
                .accounts
                .get(key)
                .cloned()
                .unwrap_or_else(|| Account::new(0, alloy_primitives::U256::ZERO));
            account.nonce = change.nonce;
            account.balance = change.balance;
            if change.storage_cleared {
                account.clear_storage();
            }
            if let Some(code) = change.code.first() {
                account.set_code(code.clone());
            }
            for diff in &change.storage {
                account.set_storage(diff.slot, diff.value);
            }
            self.accounts.insert(key, account);
        }
    }
}

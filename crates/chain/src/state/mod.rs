//! The world state: every account and its storage after some block.
//!
//! A [`State`] is a value. Cloning it is cheap, and applying a block's [`StateDiff`] to a clone
//! leaves the original as it was; so the state after each recent block stays readable.

mod account;
mod diff;
mod scratch;
mod view;

use alloy_consensus::EMPTY_ROOT_HASH;
use alloy_primitives::{Address, B256, Bytes, keccak256};

use crate::trie::Trie;

pub(crate) use account::Account;
pub(crate) use diff::StateDiff;
pub(crate) use scratch::roots_with;
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use alloy_primitives::U256;
    use alloy_trie::{TrieAccount, root};
    use proptest::prelude::*;

    use super::{
        diff::{AccountDiff, SlotDiff},
        *,
    };

    /// An account in a form that is too simple to be wrong.
    #[derive(Clone, Default)]
    struct Plain {
        nonce: u64,
        balance: U256,
        code: Bytes,
        storage: BTreeMap<U256, U256>,
    }

    fn reference_root(accounts: &BTreeMap<Address, Plain>) -> B256 {
        root::state_root_unhashed(accounts.iter().map(|(address, account)| {
            let slots = account.storage.iter().map(|(slot, value)| (B256::from(*slot), *value));
            let account = TrieAccount {
                nonce: account.nonce,
                balance: account.balance,
                storage_root: root::storage_root_unhashed(slots),
                code_hash: keccak256(&account.code),
            };
            (*address, account)
        }))
    }

    fn change() -> impl Strategy<Value = AccountDiff> {
        let slot = (0u64..6, prop_oneof![Just(0u64), any::<u64>()]);
        let slots = prop::collection::btree_map(0u64..6, slot, 0..4);
        let code = prop::option::of(prop::collection::vec(any::<u8>(), 0..40));
        (0u8..8, prop::bool::weighted(0.2), any::<u64>(), any::<u64>(), code, any::<bool>(), slots)
            .prop_map(|(address, deleted, nonce, balance, code, storage_cleared, slots)| {
                AccountDiff {
                    address: Address::repeat_byte(address),
                    deleted,
                    nonce,
                    balance: U256::from(balance),
                    code: code.map(Bytes::from).into_iter().collect(),
                    storage_cleared,
                    storage: slots
                        .into_iter()
                        .map(|(slot, (_, value))| SlotDiff {
                            slot: U256::from(slot),
                            value: U256::from(value),
                        })
                        .collect(),
                }
            })
    }

    proptest! {
        #[test]
        fn the_root_equals_the_reference_after_every_block(
            blocks in prop::collection::vec(prop::collection::vec(change(), 0..6), 1..20),
        ) {
            let mut state = State::default();
            let mut accounts = BTreeMap::<Address, Plain>::new();
            let mut history = Vec::new();
            for accounts_changed in blocks {
                let diff = StateDiff { accounts: accounts_changed };
                let encoded = alloy_rlp::encode(&diff);
                let decoded: StateDiff = alloy_rlp::decode_exact(&encoded).unwrap();
                prop_assert_eq!(&decoded, &diff);
                state.apply(&decoded);
                for change in diff.accounts {
                    if change.deleted {
                        accounts.remove(&change.address);
                        continue;
                    }
                    let account = accounts.entry(change.address).or_default();
                    account.nonce = change.nonce;
                    account.balance = change.balance;
                    if change.storage_cleared {
                        account.storage.clear();
                    }
                    if let Some(code) = change.code.first() {
                        account.code = code.clone();
                    }
                    for SlotDiff { slot, value } in change.storage {
                        account.storage.insert(slot, value);
                    }
                    account.storage.retain(|_, value| !value.is_zero());
                }
                let root = reference_root(&accounts);
                prop_assert_eq!(state.root(), root);
                for (address, account) in &accounts {
                    let held = state.account(*address).unwrap();
                    prop_assert_eq!(held.code(), account.code.clone());
                    prop_assert_eq!(held.is_contract(), !account.code.is_empty());
                }
                history.push((state.clone(), root));
            }
            for (state, root) in history {
                prop_assert_eq!(state.root(), root, "the past does not change");
            }
        }
    }
}

//! Builds the state after one block from its accounts: those of a genesis or of a snapshot.

use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_rlp::{RlpDecodable, RlpEncodable};

use super::{Account, HistoryLimits, World, diff::SlotDiff};
use crate::trie::{AccountChange, AccountSet};

/// A state that is being built. Code comes first, then accounts, then their storage.
pub(crate) struct Restore {
    world: World,
}

/// An account without its storage, and with the hash of its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub(crate) struct PlainAccount {
    pub(crate) address: Address,
    pub(crate) nonce: u64,
    pub(crate) balance: U256,
    pub(crate) code_hash: B256,
}

impl Restore {
    /// An empty state that is to become that after block `number`.
    pub(crate) fn new(number: u64, limits: HistoryLimits) -> Self {
        Self { world: World::empty(number, limits) }
    }

    /// Adds code, and returns its hash.
    pub(crate) fn code(&self, code: &Bytes) -> B256 {
        self.world.codes.add(code).0
    }

    /// Adds accounts.
    pub(crate) fn accounts(&self, accounts: &[PlainAccount]) {
        let flat = || {
            for PlainAccount { address, nonce, balance, code_hash } in accounts.iter().copied() {
                let code = self.world.codes.get(&code_hash);
                let account = Account { nonce, balance, code_hash, code, slots: 0 };
                self.world.accounts.load(address, account);
            }
        };
        let tries = || {
            let changes = accounts.iter().map(|account| trie_change(account, Vec::new()));
            self.world.tries_mut().load(changes.collect());
        };
        rayon::join(flat, tries);
    }

    /// Sets slots of accounts that were added.
    pub(crate) fn storage(&self, storage: impl IntoIterator<Item = (Address, Vec<SlotDiff>)>) {
        let changes = storage.into_iter().filter_map(|(address, slots)| {
            let mut account = self.world.accounts.latest(&address)?;
            account.slots += slots.len() as u64;
            let Account { nonce, balance, code_hash, .. } = account;
            self.world.accounts.load(address, account);
            let keys = slots.iter().map(|s| (World::slot_key(s.slot), s.value)).collect();
            for SlotDiff { slot, value } in slots {
                self.world.slots.load((address, slot), value);
            }
            Some(trie_change(&PlainAccount { address, nonce, balance, code_hash }, keys))
        });
        let changes = changes.collect();
        self.world.tries_mut().load(changes);
    }

    /// The state, and its root.
    pub(crate) fn finish(self) -> (Arc<World>, B256) {
        let root = self.world.tries_mut().finish_loading();
        (Arc::new(self.world), root)
    }
}

fn trie_change(account: &PlainAccount, slots: Vec<(B256, U256)>) -> AccountChange {
    let PlainAccount { address, nonce, balance, code_hash } = *account;
    let code_hash = Some(code_hash);
    let set = AccountSet { nonce, balance, code_hash, storage_cleared: false, slots };
    AccountChange { key: World::key(address), set: Some(set) }
}

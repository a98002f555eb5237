//! The Merkle-Patricia tries of the state: one of the accounts and one of each account's storage,
//! for every block of a window.
//!
//! ```text
//! changes ─▶ edit (copy on write) ─▶ hashing (level by level) ─▶ root of the block
//!                     │
//!                     └─▶ superseded nodes ─▶ free, when the last block that had them is forgotten
//! ```
//!
//! All nodes lie in one arena. A node remembers the block that made it: that block changes it in
//! place, a later one makes a copy. So the tries after each block of the window stay as they were,
//! sharing what they have in common, and a block costs only what it touched.
//!
//! **Invariant:** the root equals that of `alloy_trie::HashBuilder` over the same entries, whatever
//! the history that led to them.
//! **Invariant:** every node is reachable from a block of the window, or superseded by one, or free.

mod arena;
mod edit;
mod hashing;
mod nibbles;
mod proof;
#[cfg(feature = "conformance")]
mod raw;
mod reference;
#[cfg(test)]
mod tests;

use std::{collections::VecDeque, mem};

use alloy_primitives::{B256, U256};
use alloy_trie::EMPTY_ROOT_HASH;

#[cfg(feature = "conformance")]
pub(crate) use self::raw::RawTrie;
use self::{
    arena::{AccountLeaf, Arena, Kind, Node, NodeId, Value},
    edit::Edit,
    nibbles::{first_difference, nibble},
};

/// Bytes that a superseded node takes until it is freed.
pub(crate) const NODE_BYTES: usize = mem::size_of::<Node>() + mem::size_of::<NodeId>();

/// What a block did to one account.
#[derive(Clone, Debug)]
pub(crate) struct AccountChange {
    /// Hash of the address.
    pub(crate) key: B256,
    /// `None`: the account is gone, and its storage with it.
    pub(crate) set: Option<AccountSet>,
}

/// What an account is after a block.
#[derive(Clone, Debug)]
pub(crate) struct AccountSet {
    pub(crate) nonce: u64,
    pub(crate) balance: U256,
    /// `None`: as before.
    pub(crate) code_hash: Option<B256>,
    /// Slots that are not listed are zero now.
    pub(crate) storage_cleared: bool,
    /// Hashes of slots with their values; zero removes the slot.
    pub(crate) slots: Vec<(B256, U256)>,
}

/// The tries after one block.
struct Version {
    root: Option<NodeId>,
    root_hash: B256,
    /// What earlier blocks have and this one has not.
    superseded: Vec<NodeId>,
}

/// The tries after every block of a window.
pub(crate) struct Tries {
    arena: Arena,
    /// Number of the first version's block.
    oldest: u64,
    versions: VecDeque<Version>,
}

impl Tries {
    /// The tries of an empty state after block `number`.
    pub(crate) fn empty(number: u64) -> Self {
        let version = Version { root: None, root_hash: EMPTY_ROOT_HASH, superseded: Vec::new() };
        Self { arena: Arena::default(), oldest: number, versions: VecDeque::from([version]) }
    }

    /// Makes the changes of the next block, in order. Returns its state root and how many nodes it
    /// superseded.
    pub(crate) fn apply(&mut self, changes: Vec<AccountChange>) -> (B256, usize) {
        let block = self.oldest + self.versions.len() as u64;
        let mut superseded = Vec::new();
        let root = self.change(block, self.last().root, changes, &mut superseded);
        let root_hash = self.hash(root);
        let count = superseded.len();
        self.versions.push_back(Version { root, root_hash, superseded });
        (root_hash, count)
    }

    /// Makes changes in the name of the only block. They have no root until
    /// [`finish_loading`](Self::finish_loading).
    pub(crate) fn load(&mut self, changes: Vec<AccountChange>) {
        assert_eq!(self.versions.len(), 1, "loading comes before other blocks");
        let root = self.change(self.oldest, self.last().root, changes, &mut Vec::new());
        self.last_mut().root = root;
    }

    /// State root of what was loaded.
    pub(crate) fn finish_loading(&mut self) -> B256 {
        let root_hash = self.hash(self.last().root);
        self.last_mut().root_hash = root_hash;
        root_hash
    }

    /// The roots that `changes` would make of the state after block `number`, which must be in the
    /// window: the state's, and that of the storage of the account with key `account`. Nothing stays
    /// changed.
    pub(crate) fn roots_with(
        &mut self,
        number: u64,
        changes: Vec<AccountChange>,
        account: &B256,
    ) -> (B256, B256) {
        let root = self.version(number).root;
        self.arena.begin_scratch();
        // In the name of a block that never comes, so that every node of the window is copied.
        let root = self.change(u64::MAX, root, changes, &mut Vec::new());
        let root_hash = self.hash(root);
        let storage = self.arena.account(root, account).and_then(|account| account.storage);
        let storage_root = self.hash(storage);
        self.arena.end_scratch();
        (root_hash, storage_root)
    }

    fn change(
        &mut self,
        block: u64,
        root: Option<NodeId>,
        mut changes: Vec<AccountChange>,
        superseded: &mut Vec<NodeId>,
    ) -> Option<NodeId> {
        // Neighbours share their path, which is then at hand. Stable: of two changes to one account
        // the later one holds.
        changes.sort_by_key(|change| change.key);
        let mut edit = Edit { arena: &mut self.arena, block, superseded };
        changes.iter().fold(root, |root, change| edit.change_account(root, change))
    }

    fn hash(&mut self, root: Option<NodeId>) -> B256 {
        let Some(root) = root else { return EMPTY_ROOT_HASH };
        self.arena.hash(root);
        self.arena.reference(root).root_hash()
    }

    /// Forgets the blocks before `oldest`.
    pub(crate) fn forget_before(&mut self, oldest: u64) {
        while self.oldest < oldest && self.versions.len() > 1 {
            self.versions.pop_front();
            self.oldest += 1;
            let version = self.versions.front_mut().expect("two or more were there");
            for id in mem::take(&mut version.superseded) {
                self.arena.free(id);
            }
        }
    }

    /// Undoes what blocks after `number` changed, which must be in the window.
    pub(crate) fn rewind(&mut self, number: u64) {
        while self.oldest + self.versions.len() as u64 > number + 1 {
            let block = self.oldest + self.versions.len() as u64 - 1;
            // What it superseded is what the blocks before it have.
            let version = self.versions.pop_back().expect("the window holds more than one");
            self.arena.free_born(version.root, block);
        }
    }

    /// Nodes that are not free.
    #[cfg(test)]
    pub(crate) fn nodes_in_use(&self) -> usize {
        self.arena.places() - self.arena.free_places().len()
    }

    /// State root after block `number`, which must be in the window.
    pub(crate) fn root(&self, number: u64) -> B256 {
        self.version(number).root_hash
    }

    /// Storage root of the account with this key after block `number`, which must be in the window.
    pub(crate) fn storage_root(&self, number: u64, key: &B256) -> B256 {
        self.storage(number, key)
            .map_or(EMPTY_ROOT_HASH, |root| self.arena.reference(root).root_hash())
    }

    fn storage(&self, number: u64, key: &B256) -> Option<NodeId> {
        self.arena.account(self.version(number).root, key)?.storage
    }

    /// A block that was undone while somebody reads it has the tries of the last one.
    fn version(&self, number: u64) -> &Version {
        let index = number.checked_sub(self.oldest).and_then(|back| usize::try_from(back).ok());
        let version = index.map(|index| self.versions.get(index).unwrap_or_else(|| self.last()));
        version.expect("a view keeps the blocks that it reads in the window")
    }

    fn last(&self) -> &Version {
        self.versions.back().expect("there is always one")
    }

    fn last_mut(&mut self) -> &mut Version {
        self.versions.back_mut().expect("there is always one")
    }
}

impl Arena {
    /// The value at `key` in the trie under `root`.
    fn value(&self, root: Option<NodeId>, key: &B256) -> Option<&Value> {
        let mut node = self.get(root?);
        let mut depth = 0;
        loop {
            match &node.kind {
                Kind::Leaf { key: found, value } => return (found == key).then_some(value),
                Kind::Extension { prefix, end, child } => {
                    if first_difference(prefix, key) < usize::from(*end) {
                        return None;
                    }
                    depth = usize::from(*end);
                    node = self.get(*child);
                }
                Kind::Branch { children, .. } => {
                    node = self.get(children[nibble(key, depth)]?);
                    depth += 1;
                }
            }
        }
    }

    /// Frees the nodes under `root` that `block` made.
    fn free_born(&mut self, root: Option<NodeId>, block: u64) {
        let mut left: Vec<NodeId> = root.into_iter().collect();
        while let Some(id) = left.pop() {
            // What an older block made has nothing under it that this one made.
            if self.get(id).born != block {
                continue;
            }
            match &self.get(id).kind {
                Kind::Leaf { value: Value::Account(account), .. } => left.extend(account.storage),
                Kind::Leaf { .. } => {}
                Kind::Extension { child, .. } => left.push(*child),
                Kind::Branch { children, .. } => left.extend(children.iter().flatten()),
            }
            self.free(id);
        }
    }

    fn account(&self, root: Option<NodeId>, key: &B256) -> Option<&AccountLeaf> {
        match self.value(root, key)? {
            Value::Account(account) => Some(account),
            _ => None,
        }
    }
}

impl Edit<'_> {
    fn change_account(&mut self, root: Option<NodeId>, change: &AccountChange) -> Option<NodeId> {
        let before = self.arena.account(root, &change.key).copied();
        let mut storage = before.and_then(|account| account.storage);
        let cleared = change.set.as_ref().is_none_or(|set| set.storage_cleared);
        if cleared && let Some(root) = storage.take() {
            self.discard_all(root);
        }
        let Some(set) = &change.set else {
            return match (root, before) {
                (Some(root), Some(_)) => self.remove(root, &change.key),
                _ => root,
            };
        };
        for (key, value) in &set.slots {
            storage = self.change_slot(storage, key, *value);
        }
        let code_hash = set.code_hash.or(before.map(|account| account.code_hash));
        let account = AccountLeaf {
            nonce: set.nonce,
            balance: set.balance,
            code_hash: code_hash.unwrap_or(alloy_trie::KECCAK_EMPTY),
            storage,
        };
        Some(self.insert(root, &change.key, Value::Account(account)))
    }

    fn change_slot(&mut self, root: Option<NodeId>, key: &B256, value: U256) -> Option<NodeId> {
        if !value.is_zero() {
            return Some(self.insert(root, key, Value::Slot(value)));
        }
        // Looked up first, so that removing what is not there copies no path.
        match root {
            Some(root) if self.arena.value(Some(root), key).is_some() => self.remove(root, key),
            _ => root,
        }
    }
}

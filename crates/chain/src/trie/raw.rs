//! One trie whose values are any bytes, as the official fixtures have them.

use alloy_primitives::B256;
use alloy_trie::EMPTY_ROOT_HASH;

use super::{
    arena::{Arena, NodeId, Value},
    edit::Edit,
};

/// One trie in an arena of its own. Every change counts as a block, so that each takes the path of
/// copies. Values are never freed: the program that uses this ends soon.
#[derive(Default)]
pub(crate) struct RawTrie {
    arena: Arena,
    root: Option<NodeId>,
    block: u64,
}

impl RawTrie {
    /// Sets the value at `key`.
    pub(crate) fn insert(&mut self, key: B256, value: Vec<u8>) {
        let (root, value) = (self.root, Value::Raw(value.leak()));
        self.root = self.edit(|edit| Some(edit.insert(root, &key, value)));
    }

    /// Removes the entry at `key`, if there is one.
    pub(crate) fn remove(&mut self, key: B256) {
        let Some(root) = self.root else { return };
        if self.arena.value(self.root, &key).is_some() {
            self.root = self.edit(|edit| edit.remove(root, &key));
        }
    }

    /// The root hash.
    pub(crate) fn root(&mut self) -> B256 {
        let Some(root) = self.root else { return EMPTY_ROOT_HASH };
        self.arena.hash(root);
        self.arena.reference(root).root_hash()
    }

    /// Makes one change and frees what it superseded.
    fn edit(&mut self, change: impl FnOnce(&mut Edit<'_>) -> Option<NodeId>) -> Option<NodeId> {
        let mut superseded = Vec::new();
        self.block += 1;
        let edit =
            &mut Edit { arena: &mut self.arena, block: self.block, superseded: &mut superseded };
        let root = change(edit);
        for id in superseded {
            self.arena.free(id);
        }
        root
    }
}

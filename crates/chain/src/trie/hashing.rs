//! Computes the references of the nodes that lack one: level by level, deepest first.

use alloy_primitives::U256;
use alloy_rlp::{Encodable, Header};
use alloy_trie::{EMPTY_ROOT_HASH, TrieAccount};
use rayon::prelude::*;

use super::{
    arena::{AccountLeaf, Arena, Kind, NodeId, Value},
    nibbles::{KEY_NIBBLES, encode_path, path_bytes},
    reference::Reference,
};

/// A level with fewer nodes is not worth waking other threads.
const PARALLEL_NODES_MIN: usize = 512;
/// Nodes that one thread takes at a time.
const PARALLEL_SHARE: usize = 128;
/// RLP of an empty string: a branch's missing child, and its value.
const EMPTY_STRING: u8 = 0x80;

/// Nodes that lack a reference, by their depth in nibbles.
struct Levels([Vec<NodeId>; KEY_NIBBLES + 1]);

/// Buffers that are used again and again.
#[derive(Default)]
pub(super) struct Scratch {
    node: Vec<u8>,
    value: Vec<u8>,
}

impl Arena {
    /// Computes every reference that is missing in the account trie under `root` and in the storage
    /// tries of the accounts that changed.
    pub(super) fn hash(&mut self, root: NodeId) {
        let mut accounts = Levels::default();
        let mut storage_roots = Vec::new();
        self.gather(root, &mut accounts, &mut storage_roots);
        let mut slots = Levels::default();
        for root in storage_roots {
            self.gather(root, &mut slots, &mut Vec::new());
        }
        let mut scratch = Scratch::default();
        // An account names the root of its storage, so that comes first.
        for levels in [slots, accounts] {
            for (depth, level) in levels.0.iter().enumerate().rev() {
                self.hash_level(level, depth, &mut scratch);
            }
        }
    }

    fn gather(&self, root: NodeId, levels: &mut Levels, storage_roots: &mut Vec<NodeId>) {
        let mut left = vec![(root, 0)];
        while let Some((id, depth)) = left.pop() {
            let node = self.get(id);
            if node.reference.is_some() {
                continue;
            }
            levels.0[depth].push(id);
            match &node.kind {
                Kind::Leaf { value: Value::Account(account), .. } => {
                    storage_roots.extend(account.storage);
                }
                Kind::Leaf { .. } => {}
                Kind::Extension { end, child, .. } => left.push((*child, usize::from(*end))),
                Kind::Branch { children, dirty } => {
                    let dirty = (0..16).filter(|index| dirty & (1 << index) != 0);
                    left.extend(dirty.filter_map(|index| Some((children[index]?, depth + 1))));
                }
            }
        }
    }

    fn hash_level(&mut self, level: &[NodeId], depth: usize, scratch: &mut Scratch) {
        if level.len() < PARALLEL_NODES_MIN {
            for id in level {
                let reference = self.compute(*id, depth, scratch);
                self.set_reference(*id, reference);
            }
            return;
        }
        let arena = &*self;
        let references: Vec<Reference> = level
            .par_iter()
            .with_min_len(PARALLEL_SHARE)
            .map_init(Scratch::default, |scratch, id| arena.compute(*id, depth, scratch))
            .collect();
        for (id, reference) in level.iter().zip(references) {
            self.set_reference(*id, reference);
        }
    }

    fn set_reference(&mut self, id: NodeId, reference: Reference) {
        let node = self.get_mut(id);
        node.reference = Some(reference);
        if let Kind::Branch { dirty, .. } = &mut node.kind {
            *dirty = 0;
        }
    }

    fn compute(&self, id: NodeId, depth: usize, scratch: &mut Scratch) -> Reference {
        Reference::of(self.encode(id, depth, scratch))
    }

    /// Canonical RLP of the node `id` at `depth`. All nodes below it must have their references.
    pub(super) fn encode<'s>(
        &self,
        id: NodeId,
        depth: usize,
        scratch: &'s mut Scratch,
    ) -> &'s [u8] {
        let Scratch { node: out, value: value_out } = scratch;
        out.clear();
        match &self.get(id).kind {
            Kind::Leaf { key, value } => {
                value_out.clear();
                match value {
                    Value::Account(account) => self.trie_account(account).encode(value_out),
                    Value::Slot(value) => U256::encode(value, value_out),
                    #[cfg(feature = "conformance")]
                    Value::Raw(value) => value_out.extend_from_slice(value),
                }
                let payload_length = path_bytes(KEY_NIBBLES - depth) + value_out[..].length();
                Header { list: true, payload_length }.encode(out);
                encode_path(key, depth, KEY_NIBBLES, true, out);
                value_out[..].encode(out);
            }
            Kind::Extension { prefix, end, child } => {
                let (end, child) = (usize::from(*end), self.reference(*child));
                let payload_length = path_bytes(end - depth) + child.rlp_bytes();
                Header { list: true, payload_length }.encode(out);
                encode_path(prefix, depth, end, false, out);
                child.encode(out);
            }
            Kind::Branch { children, .. } => {
                let references = children.map(|child| child.map(|child| self.reference(child)));
                let children_bytes: usize =
                    references.iter().map(|r| r.map_or(1, Reference::rlp_bytes)).sum();
                Header { list: true, payload_length: children_bytes + 1 }.encode(out);
                for reference in references {
                    match reference {
                        Some(reference) => reference.encode(out),
                        None => out.push(EMPTY_STRING),
                    }
                }
                out.push(EMPTY_STRING);
            }
        }
        out
    }

    fn trie_account(&self, account: &AccountLeaf) -> TrieAccount {
        TrieAccount {
            nonce: account.nonce,
            balance: account.balance,
            storage_root: account
                .storage
                .map_or(EMPTY_ROOT_HASH, |root| self.reference(root).root_hash()),
            code_hash: account.code_hash,
        }
    }

    /// The reference of a node that was hashed.
    pub(super) fn reference(&self, id: NodeId) -> &Reference {
        self.get(id).reference.as_ref().expect("levels below were hashed first")
    }
}

impl Default for Levels {
    fn default() -> Self {
        Self([const { Vec::new() }; KEY_NIBBLES + 1])
    }
}

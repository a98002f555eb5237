//! One node of the trie and its canonical encoding.

use std::sync::{Arc, OnceLock};

use alloy_primitives::B256;
use alloy_rlp::{BufMut, EMPTY_STRING_CODE, Header};
use alloy_trie::{
    Nibbles,
    nodes::{ExtensionNodeRef, LeafNodeRef, RlpNode},
};

/// A value at the end of a path.
pub(crate) trait TrieValue: Clone {
    /// The bytes that the Merkle-Patricia trie commits to.
    fn rlp(&self) -> Vec<u8>;
}

/// Children of a branch, by the next nibble of the path.
pub(super) type Children<V> = [Option<Arc<Node<V>>>; 16];

/// What a node is. Keys have one length (32 bytes), so a branch never carries a value.
#[derive(Clone)]
pub(super) enum Kind<V> {
    Leaf { path: Nibbles, value: V },
    Extension { path: Nibbles, child: Arc<Node<V>> },
    Branch { children: Children<V> },
}

/// A node and the cached reference by which its parent names it.
#[derive(Clone)]
pub(super) struct Node<V> {
    pub(super) kind: Kind<V>,
    reference: OnceLock<RlpNode>,
}

impl<V: TrieValue> Node<V> {
    pub(super) fn new(kind: Kind<V>) -> Self {
        Self { kind, reference: OnceLock::new() }
    }

    pub(super) fn leaf(path: Nibbles, value: V) -> Arc<Self> {
        Arc::new(Self::new(Kind::Leaf { path, value }))
    }

    /// Forgets the cached reference; called before every change.
    pub(super) fn touch(&mut self) {
        self.reference = OnceLock::new();
    }

    /// Hash of the node, or its encoding where that is shorter than 32 bytes.
    pub(super) fn reference(&self) -> &RlpNode {
        self.reference.get_or_init(|| RlpNode::from_rlp(&self.encode()))
    }

    /// The hash when this node is the root, where even a short node is hashed.
    pub(super) fn root_hash(&self) -> B256 {
        let reference = self.reference();
        reference.as_hash().unwrap_or_else(|| alloy_primitives::keccak256(reference.as_slice()))
    }

    /// Canonical RLP of the node.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match &self.kind {
            Kind::Leaf { path, value } => {
                LeafNodeRef::new(path, &value.rlp()).rlp(&mut out);
            }
            Kind::Extension { path, child } => {
                ExtensionNodeRef::new(path, child.reference()).rlp(&mut out);
            }
            Kind::Branch { children } => {
                let references =
                    children.iter().map(|child| child.as_ref().map(|node| node.reference()));
                let payload_length =
                    1 + references.clone().map(|r| r.map_or(1, |r| r.len())).sum::<usize>();
                Header { list: true, payload_length }.encode(&mut out);
                for reference in references {
                    match reference {
                        Some(reference) => out.put_slice(reference),
                        None => out.put_u8(EMPTY_STRING_CODE),
                    }
                }
                out.put_u8(EMPTY_STRING_CODE);
            }
        }
        out
    }
}

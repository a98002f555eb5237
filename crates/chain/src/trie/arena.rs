//! Where the nodes of all tries lie.
//!
//! Nodes are named by number, in chunks that never move, so that a large state costs no allocation
//! per node and no pause while a vector grows.

use std::{collections::BTreeSet, num::NonZeroU32};

use alloy_primitives::{B256, U256};

use super::reference::Reference;

/// Nodes per chunk, as a power of two.
const CHUNK_BITS: u32 = 14;
const CHUNK_NODES: usize = 1 << CHUNK_BITS;

/// Names a node of an [`Arena`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NodeId(NonZeroU32);

impl NodeId {
    fn new(index: usize) -> Self {
        let number = u32::try_from(index + 1).expect("fewer than 2³² nodes fit in memory");
        Self(NonZeroU32::new(number).expect("one was added"))
    }

    fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// An account as the trie commits to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AccountLeaf {
    pub(super) nonce: u64,
    pub(super) balance: U256,
    pub(super) code_hash: B256,
    /// The root of the account's own trie, unless it is empty.
    pub(super) storage: Option<NodeId>,
}

/// What lies at the end of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Account(AccountLeaf),
    Slot(U256),
    /// Any bytes, for the official fixtures.
    #[cfg(feature = "conformance")]
    Raw(&'static [u8]),
}

/// What a node is. Keys have one length (32 bytes), so a branch never carries a value.
///
/// Paths are not cut out: a leaf keeps its whole key and an extension the key of some leaf below it,
/// of which the nibbles from the node's depth on are the path. So a node that moves up or down in
/// its trie keeps its content.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Leaf {
        key: B256,
        value: Value,
    },
    /// Leads to `child`, a branch at depth `end`.
    Extension {
        prefix: B256,
        end: u8,
        child: NodeId,
    },
    /// Children by the next nibble. `dirty` has a bit for each that may lack its reference.
    Branch {
        children: [Option<NodeId>; 16],
        dirty: u16,
    },
}

/// A node of some trie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    /// The block that made it. Only that block may change it.
    pub(super) born: u64,
    /// How its parent names it, once that is computed.
    pub(super) reference: Option<Reference>,
    pub(super) kind: Kind,
}

/// The nodes of all tries.
#[derive(Default)]
pub(super) struct Arena {
    chunks: Vec<Vec<Node>>,
    free: Vec<NodeId>,
    nodes: usize,
    /// Nodes that were added since [`begin_scratch`](Self::begin_scratch).
    scratch: Option<BTreeSet<NodeId>>,
}

impl Arena {
    pub(super) fn get(&self, id: NodeId) -> &Node {
        let index = id.index();
        &self.chunks[index >> CHUNK_BITS][index & (CHUNK_NODES - 1)]
    }

    pub(super) fn get_mut(&mut self, id: NodeId) -> &mut Node {
        let index = id.index();
        &mut self.chunks[index >> CHUNK_BITS][index & (CHUNK_NODES - 1)]
    }

    /// A place for `node`: a free one if there is any.
    pub(super) fn add(&mut self, node: Node) -> NodeId {
        if let Some(id) = self.free.pop() {
            *self.get_mut(id) = node;
            self.note(id);
            return id;
        }
        if self.nodes.is_multiple_of(CHUNK_NODES) {
            self.chunks.push(Vec::with_capacity(CHUNK_NODES));
        }
        let chunk = self.chunks.last_mut().expect("pushed when the last was full");
        chunk.push(node);
        self.nodes += 1;
        let id = NodeId::new(self.nodes - 1);
        self.note(id);
        id
    }

    fn note(&mut self, id: NodeId) {
        if let Some(scratch) = &mut self.scratch {
            scratch.insert(id);
        }
    }

    /// What is added from now on is gone at [`end_scratch`](Self::end_scratch).
    pub(super) fn begin_scratch(&mut self) {
        self.scratch = Some(BTreeSet::new());
    }

    /// Frees what was added since [`begin_scratch`](Self::begin_scratch).
    pub(super) fn end_scratch(&mut self) {
        self.free.extend(self.scratch.take().unwrap_or_default());
    }

    /// Lets another node have the place of `id`.
    pub(super) fn free(&mut self, id: NodeId) {
        if let Some(scratch) = &mut self.scratch {
            scratch.remove(&id);
        }
        self.free.push(id);
    }

    /// Places, free or not.
    #[cfg(test)]
    pub(super) fn places(&self) -> usize {
        self.nodes
    }

    /// The places that are free.
    #[cfg(test)]
    pub(super) fn free_places(&self) -> &[NodeId] {
        &self.free
    }
}

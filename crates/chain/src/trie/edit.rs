//! Changes a trie in the name of one block.
//!
//! **Invariant:** a node that an older block made is never changed: a copy takes its place, and its
//! number goes on the list of those that this block supersedes.
//! **Invariant:** a node whose content or depth changed has no reference, nor has any node above it.

use alloy_primitives::B256;

use super::{
    arena::{Arena, Kind, Node, NodeId, Value},
    nibbles::{KEY_NIBBLES, first_difference, nibble, with_nibble},
};

/// The changes of one block to any number of tries.
pub(super) struct Edit<'a> {
    pub(super) arena: &'a mut Arena,
    pub(super) block: u64,
    /// Nodes of older blocks that this block's tries no longer have.
    pub(super) superseded: &'a mut Vec<NodeId>,
}

impl Edit<'_> {
    /// Sets the value at `key` in the trie under `root`, and returns the new root.
    pub(super) fn insert(&mut self, root: Option<NodeId>, key: &B256, value: Value) -> NodeId {
        match root {
            Some(root) => self.insert_below(root, 0, key, value),
            None => self.add(Kind::Leaf { key: *key, value }),
        }
    }

    /// Removes `key`, which is in the trie under `root`, and returns the new root.
    pub(super) fn remove(&mut self, root: NodeId, key: &B256) -> Option<NodeId> {
        self.remove_below(root, 0, key)
    }

    /// Drops the whole trie under `root`, which holds slots.
    pub(super) fn discard_all(&mut self, root: NodeId) {
        let mut left = vec![root];
        while let Some(id) = left.pop() {
            match &self.arena.get(id).kind {
                Kind::Leaf { .. } => {}
                Kind::Extension { child, .. } => left.push(*child),
                Kind::Branch { children, .. } => left.extend(children.iter().flatten()),
            }
            self.discard(id);
        }
    }

    fn insert_below(&mut self, id: NodeId, depth: usize, key: &B256, value: Value) -> NodeId {
        match self.arena.get(id).kind {
            Kind::Leaf { key: other, .. } => {
                let at = first_difference(&other, key);
                let id = self.writable(id);
                if at == KEY_NIBBLES {
                    self.arena.get_mut(id).kind = Kind::Leaf { key: *key, value };
                    return id;
                }
                let leaf = self.add(Kind::Leaf { key: *key, value });
                self.fork(depth, at, key, [(nibble(&other, at), id), (nibble(key, at), leaf)])
            }
            Kind::Extension { prefix, end, child } => {
                let at = first_difference(&prefix, key);
                if at >= usize::from(end) {
                    let child = self.insert_below(child, usize::from(end), key, value);
                    let id = self.writable(id);
                    self.arena.get_mut(id).kind = Kind::Extension { prefix, end, child };
                    return id;
                }
                let kept = if at + 1 == usize::from(end) {
                    self.discard(id);
                    child
                } else {
                    // It leads to the same child, from further below.
                    self.writable(id)
                };
                let leaf = self.add(Kind::Leaf { key: *key, value });
                self.fork(depth, at, key, [(nibble(&prefix, at), kept), (nibble(key, at), leaf)])
            }
            Kind::Branch { children, .. } => {
                let index = nibble(key, depth);
                let child = match children[index] {
                    Some(child) => self.insert_below(child, depth + 1, key, value),
                    None => self.add(Kind::Leaf { key: *key, value }),
                };
                self.set_child(id, index, Some(child))
            }
        }
    }

    /// A branch at depth `at` with two children, under an extension if it lies below `depth`.
    fn fork(
        &mut self,
        depth: usize,
        at: usize,
        prefix: &B256,
        below: [(usize, NodeId); 2],
    ) -> NodeId {
        let (mut children, mut dirty) = ([None; 16], 0);
        for (index, child) in below {
            children[index] = Some(child);
            dirty |= 1 << index;
        }
        let branch = self.add(Kind::Branch { children, dirty });
        if at == depth {
            return branch;
        }
        let end = u8::try_from(at).expect("a key has 64 nibbles");
        self.add(Kind::Extension { prefix: *prefix, end, child: branch })
    }

    fn remove_below(&mut self, id: NodeId, depth: usize, key: &B256) -> Option<NodeId> {
        match self.arena.get(id).kind {
            Kind::Leaf { .. } => {
                self.discard(id);
                None
            }
            Kind::Extension { prefix, end, child } => {
                let child = self
                    .remove_below(child, usize::from(end), key)
                    .expect("a branch holds two entries or more");
                if matches!(self.arena.get(child).kind, Kind::Branch { .. }) {
                    let id = self.writable(id);
                    self.arena.get_mut(id).kind = Kind::Extension { prefix, end, child };
                    return Some(id);
                }
                // What is left of the branch begins where this extension began.
                self.discard(id);
                Some(child)
            }
            Kind::Branch { children, .. } => {
                let index = nibble(key, depth);
                let child = children[index].expect("the key is in the trie");
                let left = self.remove_below(child, depth + 1, key);
                let mut others = (0..16).filter(|i| *i != index && children[*i].is_some());
                if left.is_none()
                    && let (Some(only), None) = (others.next(), others.next())
                {
                    self.discard(id);
                    let child = children[only].expect("just seen");
                    return Some(self.raise(child, depth, only, key));
                }
                Some(self.set_child(id, index, left))
            }
        }
    }

    /// The last child of a branch at `depth`, in the branch's place.
    fn raise(&mut self, child: NodeId, depth: usize, index: usize, key: &B256) -> NodeId {
        if !matches!(self.arena.get(child).kind, Kind::Branch { .. }) {
            return self.writable(child);
        }
        let end = u8::try_from(depth + 1).expect("a key has 64 nibbles");
        self.add(Kind::Extension { prefix: with_nibble(*key, depth, index), end, child })
    }

    fn set_child(&mut self, id: NodeId, index: usize, child: Option<NodeId>) -> NodeId {
        let id = self.writable(id);
        if let Kind::Branch { children, dirty } = &mut self.arena.get_mut(id).kind {
            children[index] = child;
            *dirty = (*dirty & !(1 << index)) | (u16::from(child.is_some()) << index);
        }
        id
    }

    /// The node, or a copy of it, to be changed by this block.
    fn writable(&mut self, id: NodeId) -> NodeId {
        let node = self.arena.get_mut(id);
        if node.born == self.block {
            node.reference = None;
            return id;
        }
        let copy = Node { born: self.block, reference: None, kind: node.kind };
        self.superseded.push(id);
        self.arena.add(copy)
    }

    fn discard(&mut self, id: NodeId) {
        if self.arena.get(id).born == self.block {
            self.arena.free(id);
        } else {
            self.superseded.push(id);
        }
    }

    fn add(&mut self, kind: Kind) -> NodeId {
        self.arena.add(Node { born: self.block, reference: None, kind })
    }
}

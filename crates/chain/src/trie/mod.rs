//! A Merkle-Patricia trie that keeps its old versions.
//!
//! Nodes are immutable once shared: a clone of a [`Trie`] is one pointer, and a change copies only
//! the path it touches. So the state after each block is a value of its own, which gives a
//! consistent snapshot to every reader, history for old blocks, and proofs, from one structure.
//! Hashes are computed when asked for and kept.
//!
//! **Invariant:** the root equals that of `alloy_trie::HashBuilder` over the same entries, whatever
//! the order of insertions and removals that led to them.

mod node;

use std::sync::Arc;

use alloy_primitives::{B256, Bytes};
use alloy_trie::{EMPTY_ROOT_HASH, Nibbles};

pub(crate) use node::TrieValue;
use node::{Kind, Node};

/// A map from 32-byte hashed keys to values, with a root hash.
#[derive(Clone)]
pub(crate) struct Trie<V> {
    root: Option<Arc<Node<V>>>,
}

impl<V> Default for Trie<V> {
    fn default() -> Self {
        Self { root: None }
    }
}

impl<V: TrieValue> Trie<V> {
    /// Whether there is no entry.
    pub(crate) fn is_empty(&self) -> bool {
        self.root.is_none()
    }

    /// The root hash.
    pub(crate) fn root(&self) -> B256 {
        self.root.as_ref().map_or(EMPTY_ROOT_HASH, |node| node.root_hash())
    }

    /// The value at `key`.
    pub(crate) fn get(&self, key: B256) -> Option<&V> {
        let path = Nibbles::unpack(key);
        let mut depth = 0;
        let mut node = self.root.as_deref()?;
        loop {
            match &node.kind {
                Kind::Leaf { path: rest, value } => {
                    return (path.slice(depth..) == *rest).then_some(value);
                }
                Kind::Extension { path: rest, child } => {
                    if !path.slice(depth..).starts_with(rest) {
                        return None;
                    }
                    depth += rest.len();
                    node = child;
                }
                Kind::Branch { children } => {
                    node = children[usize::from(path.get(depth)?)].as_deref()?;
                    depth += 1;
                }
            }
        }
    }

    /// Sets the value at `key`.
    pub(crate) fn insert(&mut self, key: B256, value: V) {
        let path = Nibbles::unpack(key);
        match &mut self.root {
            Some(root) => insert(root, path, value),
            empty => *empty = Some(Node::leaf(path, value)),
        }
    }

    /// Removes the entry at `key`, if there is one.
    pub(crate) fn remove(&mut self, key: B256) {
        // Looked up first, so that removing what is not there copies no path.
        if self.get(key).is_none() {
            return;
        }
        if let Some(root) = &mut self.root
            && remove(root, Nibbles::unpack(key)) == Left::Nothing
        {
            self.root = None;
        }
    }

    /// The encoded nodes from the root towards `key`, as `eth_getProof` gives them: of inclusion if
    /// the key is there, of exclusion otherwise. Nodes that are embedded in their parent are not
    /// listed.
    pub(crate) fn proof(&self, key: B256) -> Vec<Bytes> {
        let path = Nibbles::unpack(key);
        let mut nodes = Vec::new();
        let mut depth = 0;
        let mut next = self.root.as_deref();
        while let Some(node) = next {
            if nodes.is_empty() || node.reference().is_hash() {
                nodes.push(Bytes::from(node.encode()));
            }
            next = match &node.kind {
                Kind::Leaf { .. } => None,
                Kind::Extension { path: rest, child } => {
                    let on_path = path.slice(depth..).starts_with(rest);
                    depth += rest.len();
                    on_path.then_some(child)
                }
                Kind::Branch { children } => {
                    let child = children[usize::from(path.get_unchecked(depth))].as_deref();
                    depth += 1;
                    child
                }
            };
        }
        nodes
    }
}

fn insert<V: TrieValue>(node: &mut Arc<Node<V>>, path: Nibbles, value: V) {
    let node = Arc::make_mut(node);
    node.touch();
    match &mut node.kind {
        Kind::Leaf { path: rest, value: old } if *rest == path => *old = value,
        Kind::Leaf { path: rest, value: old } => {
            let common = rest.common_prefix_length(&path);
            let mut children = [const { None }; 16];
            children[nibble(rest, common)] =
                Some(Node::leaf(rest.slice(common + 1..), old.clone()));
            children[nibble(&path, common)] = Some(Node::leaf(path.slice(common + 1..), value));
            node.kind = branch_below(path.slice(..common), Kind::Branch { children });
        }
        Kind::Extension { path: rest, child } => {
            let common = rest.common_prefix_length(&path);
            if common == rest.len() {
                insert(child, path.slice(common..), value);
                return;
            }
            let tail = rest.slice(common + 1..);
            let kept = if tail.is_empty() {
                Arc::clone(child)
            } else {
                Arc::new(Node::new(Kind::Extension { path: tail, child: Arc::clone(child) }))
            };
            let mut children = [const { None }; 16];
            children[nibble(rest, common)] = Some(kept);
            children[nibble(&path, common)] = Some(Node::leaf(path.slice(common + 1..), value));
            node.kind = branch_below(path.slice(..common), Kind::Branch { children });
        }
        Kind::Branch { children } => match &mut children[nibble(&path, 0)] {
            Some(child) => insert(child, path.slice(1..), value),
            empty => *empty = Some(Node::leaf(path.slice(1..), value)),
        },
    }
}

/// What a removal left of a node.
#[derive(PartialEq, Eq)]
enum Left {
    Nothing,
    Something,
}

/// Removes an entry that is known to be there.
fn remove<V: TrieValue>(node: &mut Arc<Node<V>>, path: Nibbles) -> Left {
    if matches!(node.kind, Kind::Leaf { .. }) {
        return Left::Nothing;
    }
    let node = Arc::make_mut(node);
    node.touch();
    match &mut node.kind {
        Kind::Leaf { .. } => return Left::Nothing,
        Kind::Extension { path: rest, child } => {
            // The child is a branch, which holds two entries or more, so something is left.
            remove(child, path.slice(rest.len()..));
            node.kind = prefixed(*rest, Arc::clone(child));
        }
        Kind::Branch { children } => {
            let slot = &mut children[nibble(&path, 0)];
            if slot.as_mut().is_some_and(|child| remove(child, path.slice(1..)) == Left::Nothing) {
                *slot = None;
            }
            let mut left = (0u8..).zip(&*children).filter_map(|(i, c)| Some((i, c.as_ref()?)));
            if let (Some((index, only)), None) = (left.next(), left.next()) {
                node.kind = prefixed(Nibbles::from_nibbles([index]), Arc::clone(only));
            }
        }
    }
    Left::Something
}

/// `node` reached through `prefix`: leaves and extensions take the prefix into their own path.
fn prefixed<V: TrieValue>(prefix: Nibbles, node: Arc<Node<V>>) -> Kind<V> {
    match &node.kind {
        Kind::Leaf { path, value } => Kind::Leaf { path: prefix.join(path), value: value.clone() },
        Kind::Extension { path, child } => {
            Kind::Extension { path: prefix.join(path), child: Arc::clone(child) }
        }
        Kind::Branch { .. } => Kind::Extension { path: prefix, child: node },
    }
}

/// A branch, under an extension if entries share a prefix.
fn branch_below<V: TrieValue>(prefix: Nibbles, branch: Kind<V>) -> Kind<V> {
    if prefix.is_empty() {
        branch
    } else {
        Kind::Extension { path: prefix, child: Arc::new(Node::new(branch)) }
    }
}

fn nibble(path: &Nibbles, index: usize) -> usize {
    usize::from(path.get_unchecked(index))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use alloy_primitives::{U256, keccak256};
    use alloy_trie::{HashBuilder, proof::verify_proof};
    use proptest::prelude::*;

    use super::*;

    impl TrieValue for Vec<u8> {
        fn rlp(&self) -> Vec<u8> {
            self.clone()
        }
    }

    fn reference_root(entries: &BTreeMap<B256, Vec<u8>>) -> B256 {
        let mut builder = HashBuilder::default();
        for (key, value) in entries {
            builder.add_leaf(Nibbles::unpack(key), value);
        }
        builder.root()
    }

    /// Keys that share long prefixes, so that extensions split and merge all the time.
    fn crowded_key() -> impl Strategy<Value = B256> {
        (0u8..4, 0u8..4, 0usize..32, 0u8..3).prop_map(|(a, b, at, c)| {
            let mut key = [0u8; 32];
            key[0] = a << 4;
            key[at] ^= b << (4 * (at % 2));
            key[31] ^= c;
            B256::from(key)
        })
    }

    fn any_key() -> impl Strategy<Value = B256> {
        prop_oneof![crowded_key(), any::<u16>().prop_map(|n| keccak256(n.to_be_bytes()))]
    }

    proptest! {
        #[test]
        fn root_and_proofs_equal_the_reference_after_every_history(
            changes in prop::collection::vec(
                (any_key(), prop::option::weighted(0.6, prop::collection::vec(any::<u8>(), 1..40))),
                1..120,
            ),
            snapshot_at in 0usize..120,
        ) {
            let mut trie = Trie::<Vec<u8>>::default();
            let mut model = BTreeMap::new();
            let mut snapshot = None;
            for (index, (key, value)) in changes.into_iter().enumerate() {
                if index == snapshot_at {
                    snapshot = Some((trie.clone(), reference_root(&model)));
                }
                match value {
                    Some(value) => {
                        model.insert(key, value.clone());
                        trie.insert(key, value);
                    }
                    None => {
                        model.remove(&key);
                        trie.remove(key);
                    }
                }
                prop_assert_eq!(trie.root(), reference_root(&model));
                prop_assert_eq!(trie.get(key), model.get(&key));
                let proof = trie.proof(key);
                let verified =
                    verify_proof(trie.root(), Nibbles::unpack(key), model.get(&key).cloned(), &proof);
                prop_assert!(verified.is_ok(), "{verified:?}");
            }
            if let Some((trie, root)) = snapshot {
                prop_assert_eq!(trie.root(), root, "a snapshot does not move");
            }
        }
    }

    #[test]
    fn ten_thousand_entries_are_inserted_and_removed_exactly() {
        let entries: BTreeMap<_, _> = (0..10_000u64)
            .map(|n| (keccak256(n.to_be_bytes()), n.to_be_bytes().to_vec()))
            .collect();
        let mut trie = Trie::default();
        for (key, value) in &entries {
            trie.insert(*key, value.clone());
        }
        assert_eq!(trie.root(), reference_root(&entries));
        for key in entries.keys().skip(1) {
            trie.remove(*key);
        }
        let first = entries.iter().next().map(|(k, v)| (*k, v.clone()));
        assert_eq!(trie.root(), reference_root(&first.into_iter().collect()));
        trie.remove(*entries.keys().next().unwrap());
        assert!(trie.is_empty());
        assert_eq!(trie.root(), EMPTY_ROOT_HASH);
        assert!(trie.get(B256::from(U256::from(1))).is_none());
    }
}

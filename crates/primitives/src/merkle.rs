//! Merkle trees in the shape of RFC 6962 (§2.1) with keccak-256.
//!
//! Leaf hash = keccak(0x00 ‖ data), node hash = keccak(0x01 ‖ left ‖ right). The prefixes keep a node
//! from being presented as a leaf. The tree over n leaves splits at the largest power of two below n,
//! so a root over a prefix of the leaves stays a subtree when leaves are appended.

use alloy_primitives::{B256, Keccak256, keccak256};
use serde::{Deserialize, Serialize};

/// Hash of a leaf holding `data`.
pub fn leaf_hash(data: &[u8]) -> B256 {
    let mut hasher = Keccak256::new();
    hasher.update([0x00]);
    hasher.update(data);
    hasher.finalize()
}

/// Hash of an inner node.
pub fn node_hash(left: B256, right: B256) -> B256 {
    let mut hasher = Keccak256::new();
    hasher.update([0x01]);
    hasher.update(left);
    hasher.update(right);
    hasher.finalize()
}

/// Root over `leaves` (leaf hashes, in order). The root of no leaves is keccak of nothing, as in
/// RFC 6962.
pub fn root(leaves: &[B256]) -> B256 {
    match leaves {
        [] => keccak256([]),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(split_point(leaves.len()));
            node_hash(root(left), root(right))
        }
    }
}

/// That a leaf stands at `index` of a tree of `leaves` leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// Position of the leaf, from 0.
    pub index: u64,
    /// Number of leaves in the tree.
    pub leaves: u64,
    /// Sibling hashes from the leaf up.
    pub path: Vec<B256>,
}

/// The proof for leaf `index`, or `None` if there is no such leaf.
pub fn prove(leaves: &[B256], index: usize) -> Option<Proof> {
    if index >= leaves.len() {
        return None;
    }
    let mut path = Vec::new();
    collect(leaves, index, &mut path);
    Some(Proof { index: index as u64, leaves: leaves.len() as u64, path })
}

fn collect(leaves: &[B256], index: usize, path: &mut Vec<B256>) {
    if leaves.len() <= 1 {
        return;
    }
    let split = split_point(leaves.len());
    let (left, right) = leaves.split_at(split);
    if index < split {
        collect(left, index, path);
        path.push(root(right));
    } else {
        collect(right, index - split, path);
        path.push(root(left));
    }
}

impl Proof {
    /// Whether this proof leads from `leaf` (a leaf hash) to `root`.
    pub fn verify(&self, leaf: B256, root: B256) -> bool {
        self.climb(leaf) == Some(root)
    }

    /// The root this proof leads to, or `None` if its path cannot belong to its index and size.
    fn climb(&self, leaf: B256) -> Option<B256> {
        if self.index >= self.leaves {
            return None;
        }
        // RFC 9162 §2.1.3.2: `fn` walks up from the index, `sn` from the last leaf.
        let (mut node, mut last) = (self.index, self.leaves - 1);
        let mut hash = leaf;
        for sibling in &self.path {
            if last == 0 {
                return None;
            }
            if node & 1 == 1 || node == last {
                hash = node_hash(*sibling, hash);
                while node & 1 == 0 && node != 0 {
                    node >>= 1;
                    last >>= 1;
                }
            } else {
                hash = node_hash(hash, *sibling);
            }
            node >>= 1;
            last >>= 1;
        }
        (last == 0).then_some(hash)
    }
}

/// Largest power of two below `len` (`len` ≥ 2).
fn split_point(len: usize) -> usize {
    1 << (usize::BITS - 1 - (len - 1).leading_zeros())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn leaves(count: usize) -> Vec<B256> {
        (0..count as u64).map(|i| leaf_hash(&i.to_be_bytes())).collect()
    }

    #[test]
    fn the_root_of_two_leaves_is_their_node() {
        let leaves = leaves(2);
        assert_eq!(root(&leaves), node_hash(leaves[0], leaves[1]));
        assert_eq!(root(&[]), keccak256([]));
    }

    #[test]
    fn every_leaf_of_every_small_tree_is_proven_and_only_at_its_place() {
        for count in 1..40 {
            let leaves = leaves(count);
            let root = root(&leaves);
            for index in 0..count {
                let proof = prove(&leaves, index).unwrap();
                assert!(proof.verify(leaves[index], root));
                for (other, leaf) in leaves.iter().enumerate() {
                    assert_eq!(proof.verify(*leaf, root), other == index);
                }
            }
            assert!(prove(&leaves, count).is_none());
        }
    }

    proptest! {
        #[test]
        fn a_changed_proof_fails(count in 2usize..200, pick: prop::sample::Index, bit in 0usize..256, at: prop::sample::Index) {
            let leaves = leaves(count);
            let index = pick.index(count);
            let proof = prove(&leaves, index).unwrap();
            let mut changed = proof.clone();
            let step = at.index(changed.path.len());
            changed.path[step][bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!changed.verify(leaves[index], root(&leaves)));
            let mut longer = proof.clone();
            longer.path.push(B256::ZERO);
            prop_assert!(!longer.verify(leaves[index], root(&leaves)));
            let mut shorter = proof;
            shorter.path.pop();
            prop_assert!(!shorter.verify(leaves[index], root(&leaves)));
        }
    }
}

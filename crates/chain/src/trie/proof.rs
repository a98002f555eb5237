//! Proofs for the blocks of the window.

use alloy_primitives::{B256, Bytes};

use super::{
    Tries,
    arena::{Arena, Kind, NodeId},
    hashing::Scratch,
    nibbles::{first_difference, nibble},
};

impl Tries {
    /// Encoded nodes from the root after block `number` towards the account with this key.
    pub(crate) fn proof(&self, number: u64, key: &B256) -> Vec<Bytes> {
        self.arena.proof(self.version(number).root, key)
    }

    /// Encoded nodes from an account's storage root after block `number` towards a slot.
    pub(crate) fn storage_proof(&self, number: u64, account: &B256, slot: &B256) -> Vec<Bytes> {
        self.arena.proof(self.storage(number, account), slot)
    }
}

impl Arena {
    /// The encoded nodes from the root towards `key`, as `eth_getProof` gives them: of inclusion if
    /// the key is there, of exclusion otherwise. Nodes that are embedded in their parent are not
    /// listed.
    fn proof(&self, root: Option<NodeId>, key: &B256) -> Vec<Bytes> {
        let mut scratch = Scratch::default();
        let mut nodes = Vec::new();
        let mut next = root.map(|root| (root, 0));
        while let Some((id, depth)) = next {
            if nodes.is_empty() || self.reference(id).is_hash() {
                nodes.push(Bytes::copy_from_slice(self.encode(id, depth, &mut scratch)));
            }
            next = match &self.get(id).kind {
                Kind::Leaf { .. } => None,
                Kind::Extension { prefix, end, child } => {
                    let end = usize::from(*end);
                    (first_difference(prefix, key) >= end).then_some((*child, end))
                }
                Kind::Branch { children, .. } => {
                    children[nibble(key, depth)].map(|child| (child, depth + 1))
                }
            };
        }
        nodes
    }
}

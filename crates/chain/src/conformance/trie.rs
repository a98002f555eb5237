//! The state trie as a map from hashed keys to raw values.

use alloy_primitives::{B256, keccak256};

use crate::trie::RawTrie;

/// The node's trie over keys that are hashed first ("secure" in the fixtures).
#[derive(Default)]
pub struct HashedTrie(RawTrie);

impl HashedTrie {
    /// Sets the value at the hash of `key`. The value is what a leaf holds, byte for byte.
    pub fn insert(&mut self, key: &[u8], value: Vec<u8>) {
        self.0.insert(keccak256(key), value);
    }

    /// Removes the entry at the hash of `key`.
    pub fn remove(&mut self, key: &[u8]) {
        self.0.remove(keccak256(key));
    }

    /// The root hash.
    pub fn root(&mut self) -> B256 {
        self.0.root()
    }
}

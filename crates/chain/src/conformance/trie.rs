//! The state trie as a map from hashed keys to raw values.

use alloy_primitives::{B256, Bytes, keccak256};

use crate::trie::{Trie, TrieValue};

#[derive(Clone)]
struct Raw(Vec<u8>);

impl TrieValue for Raw {
    fn rlp(&self) -> Vec<u8> {
        self.0.clone()
    }
}

/// The node's trie over keys that are hashed first ("secure" in the fixtures).
#[derive(Default)]
pub struct HashedTrie(Trie<Raw>);

impl HashedTrie {
    /// Sets the value at the hash of `key`. The value is what a leaf holds, byte for byte.
    pub fn insert(&mut self, key: &[u8], value: Vec<u8>) {
        self.0.insert(keccak256(key), Raw(value));
    }

    /// Removes the entry at the hash of `key`.
    pub fn remove(&mut self, key: &[u8]) {
        self.0.remove(keccak256(key));
    }

    /// The root hash.
    pub fn root(&self) -> B256 {
        self.0.root()
    }

    /// Encoded nodes from the root towards the hash of `key`.
    pub fn proof(&self, key: &[u8]) -> Vec<Bytes> {
        self.0.proof(keccak256(key))
    }
}

//! How a node is named by its parent: by its hash, or by itself where that is shorter.

use alloy_primitives::{B256, keccak256};

/// First byte of the RLP of a 32-byte string.
const HASH_PREFIX: u8 = 0xa0;
/// Length that stands for a hash; shorter ones are encoded nodes.
const HASH_BYTES: u8 = 32;

/// A node's hash, or its encoding where that is shorter than 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    len: u8,
    bytes: [u8; 32],
}

impl Reference {
    /// The reference of a node with this encoding.
    pub(super) fn of(rlp: &[u8]) -> Self {
        match u8::try_from(rlp.len()) {
            Ok(len) if len < HASH_BYTES => {
                let mut bytes = [0; 32];
                bytes[..rlp.len()].copy_from_slice(rlp);
                Self { len, bytes }
            }
            _ => Self { len: HASH_BYTES, bytes: keccak256(rlp).0 },
        }
    }

    /// Whether the node is named by its hash, not embedded in its parent.
    pub(super) fn is_hash(&self) -> bool {
        self.len == HASH_BYTES
    }

    /// The hash when the node is a root, where even a short node is hashed.
    pub(super) fn root_hash(&self) -> B256 {
        if self.is_hash() {
            B256::new(self.bytes)
        } else {
            keccak256(&self.bytes[..usize::from(self.len)])
        }
    }

    /// Bytes that it takes in its parent's encoding.
    pub(super) fn rlp_bytes(&self) -> usize {
        usize::from(self.len) + usize::from(self.is_hash())
    }

    /// Appends what the parent's encoding holds.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        if self.is_hash() {
            out.push(HASH_PREFIX);
        }
        out.extend_from_slice(&self.bytes[..usize::from(self.len)]);
    }
}

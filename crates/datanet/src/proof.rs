//! That a record stands in a version, checkable without the version.

use openledger_primitives::{B256, merkle};
use serde::{Deserialize, Serialize};

use crate::{Canonical, Contributor, record};

/// A proof that a contributor's content stands at a place of a tree: the whole version's, or the
/// contributor's own. Needs the tree's root to say anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordProof {
    /// The owner.
    pub contributor: Contributor,
    /// keccak256 of the canonical bytes.
    pub content_hash: B256,
    /// Place and path.
    pub merkle: merkle::Proof,
}

impl RecordProof {
    /// Whether the proof leads to `root`.
    pub fn verify(&self, root: B256) -> bool {
        self.merkle.verify(record::leaf_hash(&self.contributor, self.content_hash), root)
    }

    /// Whether the proof leads to `root` and is about `content`.
    pub fn verify_content(&self, content: &Canonical, root: B256) -> bool {
        content.content_hash() == self.content_hash && self.verify(root)
    }
}

//! A record of a version and its leaf.

use openledger_primitives::{B256, merkle};

use crate::{Canonical, Contributor};

/// What a version holds: content and its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    contributor: Contributor,
    canonical: Canonical,
}

impl Record {
    pub(crate) fn new(contributor: Contributor, canonical: Canonical) -> Self {
        Self { contributor, canonical }
    }

    /// The owner.
    pub fn contributor(&self) -> &Contributor {
        &self.contributor
    }

    /// The content.
    pub fn canonical(&self) -> &Canonical {
        &self.canonical
    }

    /// Leaf hash of this record, keccak256(0x00 ‖ contributor id ‖ content hash).
    pub fn leaf(&self) -> B256 {
        leaf_hash(&self.contributor, self.canonical.content_hash())
    }
}

/// keccak256(0x00 ‖ contributor id ‖ content hash).
///
/// The position is not in the leaf: a Merkle proof fixes it already, and without it a record has the same
/// leaf in the tree of the version, in the tree of its contributor and in every later version.
pub(crate) fn leaf_hash(contributor: &Contributor, content_hash: B256) -> B256 {
    merkle::leaf_hash(&[contributor.id().0, content_hash.0].concat())
}

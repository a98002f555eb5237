//! Which bytes a file had.

use openledger_primitives::B256;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Length and SHA-256 of a file. SHA-256, because that is what a browser and every system can work out
/// for a file at hand; everything inside a version is keccak256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fingerprint {
    /// Bytes of the file.
    pub bytes: u64,
    /// SHA-256 of the file.
    pub sha256: B256,
}

impl Fingerprint {
    /// Fingerprint of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        let mut running = Running::default();
        running.update(bytes);
        running.finish()
    }
}

/// A fingerprint being taken.
#[derive(Default)]
pub(crate) struct Running {
    bytes: u64,
    hasher: Sha256,
}

impl Running {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.hasher.update(bytes);
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn finish(self) -> Fingerprint {
        Fingerprint { bytes: self.bytes, sha256: B256::from_slice(&self.hasher.finalize()) }
    }
}

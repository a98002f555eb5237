//! What a stored version says about itself. Everything in it but labels, licence and source follows from
//! the records, and is checked against them when a version is loaded.

use std::collections::BTreeMap;

use openledger_primitives::{Address, B256};
use serde::{Deserialize, Serialize};

use crate::{Contributor, Error, Fingerprint, Licence, Parent, Version};

/// First field of a manifest.
pub const MANIFEST_FORMAT: &str = "openledger/datanet-version/1";

/// `manifest.json` of a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`MANIFEST_FORMAT`].
    pub format: String,
    /// Number of the version, from 1.
    pub version: u32,
    /// Merkle root over all records.
    pub root: B256,
    /// Number of records.
    pub records: u64,
    /// Root and length of the version before; null for the first.
    pub parent: Option<Parent>,
    /// SPDX expression.
    pub licence: Licence,
    /// Fingerprint of the file whose records this version added.
    pub source: Fingerprint,
    /// Fingerprint of `records.jsonl`.
    pub records_file: Fingerprint,
    /// Each contributor's part, in the order of their first records.
    pub contributors: Vec<ManifestContributor>,
}

/// One contributor's part of a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestContributor {
    /// Wallet or name.
    pub contributor: Contributor,
    /// Name behind the wallet, if it was assigned to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Number of records.
    pub records: u64,
    /// Merkle root over them.
    pub root: B256,
}

impl Manifest {
    /// The manifest of `version`, whose stored records have the fingerprint `records_file`.
    pub(crate) fn of(version: &Version, records_file: Fingerprint) -> Self {
        let contributors = version
            .contributions()
            .into_iter()
            .map(|part| ManifestContributor {
                label: part.contributor.wallet().and(part.label),
                contributor: part.contributor,
                records: part.records,
                root: part.root,
            })
            .collect();
        Self {
            format: MANIFEST_FORMAT.to_owned(),
            version: version.number(),
            root: version.root(),
            records: version.records().len() as u64,
            parent: version.parent(),
            licence: version.licence().clone(),
            source: version.source(),
            records_file,
            contributors,
        }
    }

    /// Names behind wallets.
    pub(crate) fn labels(&self) -> BTreeMap<Address, String> {
        let label =
            |part: &ManifestContributor| Some((part.contributor.wallet()?, part.label.clone()?));
        self.contributors.iter().filter_map(label).collect()
    }

    /// Whether every statement follows from `version`, which was built from the stored records.
    ///
    /// Errors: [`Error::RootMismatch`], [`Error::ManifestMismatch`].
    pub(crate) fn check(&self, version: &Version) -> Result<(), Error> {
        if version.root() != self.root {
            return Err(Error::RootMismatch { stated: self.root, computed: version.root() });
        }
        let expected = Self::of(version, self.records_file);
        let mismatch = |field| Err(Error::ManifestMismatch { field });
        if self.records != expected.records {
            return mismatch("a number of records");
        }
        if self.contributors != expected.contributors {
            return mismatch("contributors, counts or roots");
        }
        let numbered = match self.parent {
            None => self.version == 1,
            Some(_) => self.version > 1,
        };
        if !numbered || !version.continues_parent() {
            return mismatch("a version number or parent");
        }
        Ok(())
    }
}

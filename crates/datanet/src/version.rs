//! Versions of a Datanet: ordered records under one Merkle root.

use std::collections::{BTreeMap, HashMap};

use openledger_primitives::{Address, B256, merkle};
use serde::{Deserialize, Serialize};

use crate::{Contributor, Error, Fingerprint, Ingest, Licence, Record, RecordProof};

/// Records in one version.
pub const VERSION_RECORDS_MAX: usize = 10_000_000;

/// One version. It begins with all records of the version before it, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    number: u32,
    parent: Option<Parent>,
    licence: Licence,
    source: Fingerprint,
    labels: BTreeMap<Address, String>,
    records: Vec<Record>,
    leaves: Vec<B256>,
    root: B256,
}

/// The version before this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parent {
    /// Its root.
    pub root: B256,
    /// How many records it has: this version's first so many.
    pub records: u64,
}

/// A new version, and the rows that added no record to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// The version.
    pub version: Version,
    /// Rows whose content was already there, in the order of the file.
    pub duplicates: Vec<Duplicate>,
}

/// A row whose content somebody, perhaps its own contributor, had brought before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Duplicate {
    /// Line of the row in its file, from 1.
    pub line: u64,
    /// Who brought it again.
    pub contributor: Contributor,
    /// Position of the record in the version, from 0.
    pub earliest_record: u64,
    /// To whom the content belongs.
    pub earliest_contributor: Contributor,
    /// Whether the content hash is the same, or only the duplicate key (case, width, white space,
    /// invisible characters).
    pub exact: bool,
}

/// One contributor's part of a version: what `DatanetRegistry` is told about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Contribution {
    /// The owner.
    pub contributor: Contributor,
    /// The owner's name, where a wallet was assigned to a name.
    pub label: Option<String>,
    /// Number of the owner's records in this version.
    pub records: u64,
    /// Merkle root over the leaves of the owner's records, in their order.
    pub root: B256,
}

impl Version {
    /// The first version of a Datanet. The earliest row with some content owns it; later ones are
    /// reported as duplicates.
    ///
    /// Errors: [`Error::NothingNew`] if there is no row, [`Error::VersionFull`].
    pub fn first(ingest: Ingest, licence: Licence) -> Result<Built, Error> {
        let (source, labels) = (ingest.source, ingest.labels.clone());
        let (records, duplicates) = join(Vec::new(), ingest)?;
        let version = Self::assemble(1, None, licence, source, labels, records);
        Ok(Built { version, duplicates })
    }

    /// The next version: the records of this one, then the new ones of `ingest`. Content that is already
    /// here stays with whom it belongs to.
    ///
    /// Errors: [`Error::NothingNew`] if every row is a duplicate, [`Error::VersionFull`].
    pub fn append(&self, ingest: Ingest) -> Result<Built, Error> {
        let parent = Parent { root: self.root, records: self.records.len() as u64 };
        let mut labels = self.labels.clone();
        for (address, label) in &ingest.labels {
            labels.entry(*address).or_insert_with(|| label.clone());
        }
        let source = ingest.source;
        let (records, duplicates) = join(self.records.clone(), ingest)?;
        let (number, licence) = (self.number + 1, self.licence.clone());
        let version = Self::assemble(number, Some(parent), licence, source, labels, records);
        Ok(Built { version, duplicates })
    }

    pub(crate) fn assemble(
        number: u32,
        parent: Option<Parent>,
        licence: Licence,
        source: Fingerprint,
        labels: BTreeMap<Address, String>,
        records: Vec<Record>,
    ) -> Self {
        let leaves: Vec<B256> = records.iter().map(Record::leaf).collect();
        let root = merkle::root(&leaves);
        Self { number, parent, licence, source, labels, records, leaves, root }
    }

    /// From 1.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The version before this one; none for the first.
    pub fn parent(&self) -> Option<Parent> {
        self.parent
    }

    /// Terms of use.
    pub fn licence(&self) -> &Licence {
        &self.licence
    }

    /// The file whose records this version added.
    pub fn source(&self) -> Fingerprint {
        self.source
    }

    /// All records, oldest first.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Root over all records.
    pub fn root(&self) -> B256 {
        self.root
    }

    /// Each contributor's part, in the order of their first records.
    pub fn contributions(&self) -> Vec<Contribution> {
        let mut order: Vec<&Contributor> = Vec::new();
        let mut leaves: HashMap<&Contributor, Vec<B256>> = HashMap::new();
        for (record, leaf) in self.records.iter().zip(&self.leaves) {
            let own = leaves.entry(record.contributor()).or_default();
            if own.is_empty() {
                order.push(record.contributor());
            }
            own.push(*leaf);
        }
        let contribution = |contributor: &Contributor| Contribution {
            contributor: contributor.clone(),
            label: self.label(contributor).map(str::to_owned),
            records: leaves[contributor].len() as u64,
            root: merkle::root(&leaves[contributor]),
        };
        order.into_iter().map(contribution).collect()
    }

    /// The name a contributor's wallet was assigned to, or the name itself.
    pub fn label<'a>(&'a self, contributor: &'a Contributor) -> Option<&'a str> {
        match contributor {
            Contributor::Name(name) => Some(name.as_str()),
            Contributor::Wallet(address) => self.labels.get(address).map(String::as_str),
        }
    }

    /// Proof that record `index` stands in this version, against [`root`](Self::root). `None` if there is
    /// no such record.
    pub fn prove(&self, index: usize) -> Option<RecordProof> {
        let record = self.records.get(index)?;
        Some(self.proof(record, merkle::prove(&self.leaves, index)?))
    }

    /// Proof that record `index` of this version stands among its contributor's records, against the root
    /// of that [`Contribution`]. `None` if there is no such record.
    pub fn prove_in_contribution(&self, index: usize) -> Option<RecordProof> {
        let record = self.records.get(index)?;
        let is_own = |i: &usize| self.records[*i].contributor() == record.contributor();
        let leaves: Vec<B256> =
            (0..self.records.len()).filter(is_own).map(|i| self.leaves[i]).collect();
        let place = (0..index).filter(is_own).count();
        Some(self.proof(record, merkle::prove(&leaves, place)?))
    }

    fn proof(&self, record: &Record, merkle: merkle::Proof) -> RecordProof {
        RecordProof {
            contributor: record.contributor().clone(),
            content_hash: record.canonical().content_hash(),
            merkle,
        }
    }

    /// Whether this version's first records are those its parent was committed with.
    pub(crate) fn continues_parent(&self) -> bool {
        self.parent.is_none_or(|parent| {
            let before = usize::try_from(parent.records).ok().and_then(|n| self.leaves.get(..n));
            before.is_some_and(|leaves| merkle::root(leaves) == parent.root)
                && (parent.records as usize) < self.leaves.len()
        })
    }
}

/// Adds the rows of `ingest` whose content is not among `records` yet.
fn join(mut records: Vec<Record>, ingest: Ingest) -> Result<(Vec<Record>, Vec<Duplicate>), Error> {
    let before = records.len();
    let mut owner: HashMap<B256, usize> = HashMap::with_capacity(before + ingest.rows.len());
    for (index, record) in records.iter().enumerate() {
        owner.entry(record.canonical().duplicate_key()).or_insert(index);
    }
    let mut duplicates = Vec::new();
    for row in ingest.rows {
        let key = row.canonical.duplicate_key();
        if let Some(index) = owner.get(&key) {
            let earliest = &records[*index];
            duplicates.push(Duplicate {
                line: row.line,
                contributor: row.contributor,
                earliest_record: *index as u64,
                earliest_contributor: earliest.contributor().clone(),
                exact: earliest.canonical().content_hash() == row.canonical.content_hash(),
            });
            continue;
        }
        if records.len() == VERSION_RECORDS_MAX {
            return Err(Error::VersionFull { limit: VERSION_RECORDS_MAX });
        }
        owner.insert(key, records.len());
        records.push(Record::new(row.contributor, row.canonical));
    }
    if records.len() == before {
        return Err(Error::NothingNew);
    }
    Ok((records, duplicates))
}

#[cfg(test)]
mod tests;

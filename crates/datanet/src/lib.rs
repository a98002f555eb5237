//! Datanets: community-owned data sets whose every record has an owner and a proof.
//!
//! Takes a contributor's file, returns canonical records; puts records into versions with a Merkle root;
//! proves that a record stands in a version; keeps a version in a folder. What it is *not*: it knows no
//! chain, no network, no model and no tokens. Committing a root on chain is the caller's step.
//!
//! ```text
//! JSONL ─▶ read_jsonl ─▶ Ingest { rows, rejected } ─▶ Version::first / append ─▶ Built { version, duplicates }
//!                                                                                    │
//!                     contributions (address, records, root) for DatanetRegistry ◀───┤
//!                     prove ─▶ RecordProof ─▶ verify(root)                       ◀───┤
//!                     save_version ─▶ records.jsonl + manifest.json ─▶ load_version ◀┘
//! ```
//!
//! Only the folder functions touch the disk. `docs/datanets.md` has every format byte by byte.
//!
//! **Invariant:** a [`Canonical`] comes from the canonicaliser alone, which is idempotent.
//! **Invariant:** a malformed row never costs a good one: good rows are kept, bad ones are listed.
//! **Invariant:** content belongs to whoever brought it first; a copy adds no record.
//! **Invariant:** a version never loses or reorders the records of the version before it.
//! **Invariant:** every limit is checked before the bytes it limits are parsed or kept.

mod canonical;
mod contributor;
mod duplicate_key;
mod error;
mod fingerprint;
mod folder;
mod ingest;
mod json;
mod licence;
mod limits;
mod lines;
mod manifest;
mod proof;
mod record;
mod row;
mod row_error;
mod version;

pub use canonical::{CONTENT_BYTES_MAX, Canonical, Message, Role};
pub use contributor::{CONTRIBUTOR_NAME_BYTES_MAX, Contributor, ContributorError, ContributorName};
pub use error::Error;
pub use fingerprint::Fingerprint;
pub use folder::{MANIFEST_FILE, RECORDS_FILE, load_version, save_version};
pub use ingest::{BadRow, EXCERPT_BYTES_MAX, Ingest, IngestOptions, Rejected, read_jsonl};
pub use licence::{LICENCE_BYTES_MAX, Licence};
pub use limits::Limits;
pub use manifest::{MANIFEST_FORMAT, Manifest, ManifestContributor};
pub use proof::RecordProof;
pub use record::Record;
pub use row::{FieldMapping, Row};
pub use row_error::RowError;
pub use version::{Built, Contribution, Duplicate, Parent, VERSION_RECORDS_MAX, Version};

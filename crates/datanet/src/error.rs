//! What stops a whole file, version or folder, as opposed to one row.

use std::io;
use std::path::PathBuf;

use openledger_primitives::B256;

/// Everything that can go wrong in this crate beyond a single row.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Reading failed.
    #[error("the data could not be read: {0}")]
    Read(#[source] io::Error),
    /// More bytes than [`Limits::file_bytes`](crate::Limits::file_bytes).
    #[error("the file is larger than {limit} bytes; split it or raise the limit")]
    FileTooLarge {
        /// The limit.
        limit: u64,
    },
    /// More good rows than [`Limits::records`](crate::Limits::records).
    #[error("the file has more than {limit} records; split it or raise the limit")]
    TooManyRecords {
        /// The limit.
        limit: usize,
    },
    /// More contributors than [`Limits::contributors`](crate::Limits::contributors).
    #[error(
        "the file names more than {limit} contributors; check that the contributor field is the right one"
    )]
    TooManyContributors {
        /// The limit.
        limit: usize,
    },
    /// The file is UTF-16.
    #[error("the file is UTF-16; save it as UTF-8")]
    Utf16,
    /// A named contributor has no wallet to be paid to.
    #[error("no wallet is given for the contributor {name:?}; add one")]
    NoWallet {
        /// The contributor.
        name: String,
    },
    /// The licence is not an SPDX expression.
    #[error(
        "{text:?} is no SPDX licence expression; write for example CC0-1.0, CC-BY-4.0 or LicenseRef-custom"
    )]
    BadLicence {
        /// What was given.
        text: String,
    },
    /// A version without records, or one that adds none.
    #[error("there is nothing to put into a version: no good row that is new")]
    NothingNew,
    /// More records than [`VERSION_RECORDS_MAX`](crate::VERSION_RECORDS_MAX) in one version.
    #[error("a version holds at most {limit} records; start another Datanet")]
    VersionFull {
        /// The limit.
        limit: usize,
    },
    /// The folder already holds something, and a version never changes.
    #[error("{} already exists; a version is never overwritten, choose another folder", path.display())]
    AlreadyExists {
        /// The folder.
        path: PathBuf,
    },
    /// A file of a version's folder could not be read or written.
    #[error("{} could not be {doing}: {source}", path.display())]
    Folder {
        /// What was being done: "read", "written" and the like.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The manifest is not one.
    #[error("{} is no manifest of a version: {reason}", path.display())]
    BadManifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A stored record is not what was stored.
    #[error("record {line} of {} is damaged or was changed: {reason}", path.display())]
    RecordChanged {
        /// The records file.
        path: PathBuf,
        /// Line, from 1.
        line: u64,
        /// What is wrong.
        reason: String,
    },
    /// The records do not give the root the manifest states.
    #[error(
        "the records give the root {computed}, the manifest states {stated}: one of them was changed"
    )]
    RootMismatch {
        /// Root in the manifest.
        stated: B256,
        /// Root of the records.
        computed: B256,
    },
    /// Root and records agree, but another statement of the manifest does not follow from them.
    #[error("the manifest states {field} that do not follow from its records")]
    ManifestMismatch {
        /// What differs.
        field: &'static str,
    },
}

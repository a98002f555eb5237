//! What the Hub says a repository holds.

use crate::name::is_name;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Largest list of files that is read.
pub(crate) const LISTING_BYTES_MAX: u64 = 16 << 20;
/// Hexadecimal digits of a SHA-256.
const SHA256_DIGITS: usize = 64;

/// The files of one commit.
#[derive(Debug)]
pub(crate) struct Listing {
    pub(crate) commit: String,
    pub(crate) files: BTreeMap<String, RemoteFile>,
}

/// One of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct RemoteFile {
    pub(crate) bytes: Option<u64>,
    /// Its name among the cache's contents: SHA-256 of a large file, git's id of a small one.
    pub(crate) content_name: Option<String>,
}

#[derive(Deserialize)]
struct Answer {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    blob_id: Option<String>,
    lfs: Option<LargeFile>,
}

#[derive(Deserialize)]
struct LargeFile {
    sha256: Option<String>,
    size: Option<u64>,
}

impl Listing {
    /// Reads `/api/models/org/name/revision/main?blobs=true`. Errors say what is wrong with it.
    pub(crate) fn from_json(json: &[u8]) -> Result<Self, String> {
        let answer: Answer = serde_json::from_slice(json)
            .map_err(|error| format!("its list of files cannot be read: {error}"))?;
        if !is_name(&answer.sha) {
            return Err(format!("{:?} is no commit", answer.sha));
        }
        let file = |sibling: Sibling| {
            let (sha256, lfs_bytes) =
                sibling.lfs.map_or((None, None), |lfs| (lfs.sha256, lfs.size));
            let content_name = sha256.or(sibling.blob_id).filter(|name| is_name(name));
            (sibling.rfilename, RemoteFile { bytes: lfs_bytes.or(sibling.size), content_name })
        };
        Ok(Self { commit: answer.sha, files: answer.siblings.into_iter().map(file).collect() })
    }
}

/// Whether a name among the contents is the SHA-256 of one.
pub(crate) fn is_sha256(name: &str) -> bool {
    name.len() == SHA256_DIGITS && name.bytes().all(|c| c.is_ascii_hexdigit())
}

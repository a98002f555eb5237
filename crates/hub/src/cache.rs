//! The cache of Hugging Face's tools.
//!
//! ```text
//! cache ─▶ models--org--name ─▶ refs/main: a commit ─▶ snapshots/<commit>: the folder ─▶ blobs/<etag>: the files
//! ```
//!
//! **Invariant:** a name leads to a folder inside the cache.

use crate::name::is_name;
use crate::repository::RemoteFile;
use crate::wanted::{Content, WeightsIn, shards};
use crate::{Error, HubName};
use openledger_model::{WEIGHT_FILE, WEIGHT_INDEX_BYTES_MAX, WEIGHT_INDEX_FILE};
use std::fs;
use std::path::{Path, PathBuf};

/// Largest file that names a commit.
const REF_BYTES_MAX: u64 = 256;

/// One repository in the cache.
#[derive(Debug)]
pub(crate) struct CachedRepository {
    /// `models--org--name`.
    pub(crate) folder: PathBuf,
}

impl CachedRepository {
    pub(crate) fn of(cache: &Path, name: &HubName) -> Self {
        Self { folder: cache.join(name.folder()) }
    }

    pub(crate) fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    /// The folder that a branch, tag or commit stands for; it may be missing.
    pub(crate) fn snapshot_of(&self, revision: &str) -> PathBuf {
        let named = read_capped(&self.folder.join("refs").join(revision), REF_BYTES_MAX);
        let named = named.map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned());
        self.snapshot(
            &named.filter(|commit| is_name(commit)).unwrap_or_else(|| revision.to_owned()),
        )
    }

    /// Notes which commit a branch stands for.
    pub(crate) fn set_ref(&self, revision: &str, commit: &str) -> Result<(), Error> {
        let folder = self.folder.join("refs");
        fs::create_dir_all(&folder).map_err(Error::file(&folder))?;
        let (path, temporary) = (folder.join(revision), folder.join(format!(".{revision}")));
        fs::write(&temporary, commit).map_err(Error::file(&temporary))?;
        fs::rename(&temporary, &path).map_err(Error::file(path))
    }

    /// Whether a file's content is here already, of another commit.
    pub(crate) fn has_content(&self, file: &RemoteFile) -> Option<PathBuf> {
        let path = self.folder.join("blobs").join(file.content_name.as_deref()?);
        let bytes = fs::metadata(&path).ok()?.len();
        (file.bytes == Some(bytes)).then_some(path)
    }

    /// Makes `content` a file of the cache, and of a snapshot under `file`. `content` is moved.
    pub(crate) fn publish(&self, content: &Path, commit: &str, file: &str) -> Result<(), Error> {
        let blobs = self.folder.join("blobs");
        let blob = blobs.join(content.file_name().expect("content is a file"));
        fs::create_dir_all(&blobs).map_err(Error::file(&blobs))?;
        if content != blob {
            fs::rename(content, &blob).map_err(Error::file(&blob))?;
        }
        let snapshot = self.snapshot(commit);
        fs::create_dir_all(&snapshot).map_err(Error::file(&snapshot))?;
        let (pointer, temporary) = (snapshot.join(file), snapshot.join(format!(".{file}")));
        point(&blob, &temporary).map_err(Error::file(&temporary))?;
        fs::rename(&temporary, &pointer).map_err(Error::file(&pointer))
    }
}

/// A link to a file in `blobs`, from a folder in `snapshots`.
#[cfg(unix)]
fn point(blob: &Path, link: &Path) -> std::io::Result<()> {
    match fs::remove_file(link) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let name = blob.file_name().expect("a blob has a name");
    std::os::unix::fs::symlink(Path::new("../../blobs").join(name), link)
}

/// Where links need rights, as on Windows, the file itself.
#[cfg(not(unix))]
fn point(blob: &Path, link: &Path) -> std::io::Result<()> {
    fs::rename(blob, link)
}

/// The first file that a folder lacks to be used; `None` if it has all.
pub(crate) fn first_missing(folder: &Path, content: Content) -> Option<PathBuf> {
    let has = |file: &str| folder.join(file).is_file();
    let mut needed = content.files().iter().filter(|file| file.needed);
    if let Some(file) = needed.find(|file| !has(file.name)) {
        return Some(folder.join(file.name));
    }
    if content == Content::Adapter {
        return None;
    }
    match WeightsIn::of(has) {
        None => Some(folder.join(WEIGHT_FILE)),
        Some(WeightsIn::OneFile) => None,
        Some(WeightsIn::Shards) => {
            let index = read_capped(&folder.join(WEIGHT_INDEX_FILE), WEIGHT_INDEX_BYTES_MAX);
            // A bad index is the loader's to name.
            let shards = shards(&index.unwrap_or_default()).unwrap_or_default();
            shards.into_iter().find(|shard| !has(shard)).map(|shard| folder.join(shard))
        }
    }
}

/// A file that has at most `max` bytes.
pub(crate) fn read_capped(path: &Path, max: u64) -> Option<Vec<u8>> {
    (fs::metadata(path).ok()?.len() <= max).then(|| fs::read(path).ok()).flatten()
}

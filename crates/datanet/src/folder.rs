//! A version in a folder: `records.jsonl` and `manifest.json`.
//!
//! Written beside its place, synced, then renamed, so that a folder of that name is whole or absent
//! whatever happens in between. Loading recomputes every hash up to the root.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use openledger_primitives::B256;
use serde::{Deserialize, Serialize};

use crate::fingerprint::Running;
use crate::{
    CONTENT_BYTES_MAX, Canonical, Contributor, Error, Fingerprint, MANIFEST_FORMAT, Manifest,
    Record, Role, VERSION_RECORDS_MAX, Version,
};

/// The records, one per line, in order.
pub const RECORDS_FILE: &str = "records.jsonl";

/// The manifest.
pub const MANIFEST_FILE: &str = "manifest.json";

/// Bytes of a manifest that are read.
const MANIFEST_BYTES_MAX: u64 = 64 << 20;

/// Bytes of a stored line that are read: JSON may write one byte as six (`\u001f`), and a record of many
/// short messages needs more for their frames than for their texts.
const STORED_LINE_BYTES_MAX: u64 = 16 * CONTENT_BYTES_MAX as u64;

/// Tells apart the temporary folders of threads that store at the same time.
static SEQUENCE: AtomicU64 = AtomicU64::new(0);

/// A record as it is stored. `prompt` and `completion`, or `messages`: never both.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredRecord {
    contributor: Contributor,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prompt: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    completion: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    messages: Option<Vec<StoredMessage>>,
    hash: B256,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredMessage {
    role: String,
    content: String,
}

/// Stores `version` as the new folder `dir`. Returns its manifest.
///
/// Errors: [`Error::AlreadyExists`] if `dir` exists, for a version never changes; [`Error::Folder`].
pub fn save_version(version: &Version, dir: &Path) -> Result<Manifest, Error> {
    let exists = || Error::AlreadyExists { path: dir.to_owned() };
    if dir.symlink_metadata().is_ok() {
        return Err(exists());
    }
    let (parent, name) = match (dir.parent(), dir.file_name()) {
        (Some(parent), Some(name)) => (parent, name),
        _ => return Err(exists()),
    };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    fs::create_dir_all(parent).map_err(at("created", parent))?;
    let mut temporary = name.to_owned();
    let sequence = SEQUENCE.fetch_add(1, Ordering::Relaxed);
    temporary.push(format!(".{}-{sequence}.tmp", std::process::id()));
    let temporary = parent.join(temporary);
    if temporary.exists() {
        // Left behind by a process of this id that was killed; nobody else uses the name.
        fs::remove_dir_all(&temporary).map_err(at("removed", &temporary))?;
    }
    let written = write_and_rename(version, &temporary, dir, parent);
    if written.is_err() {
        // The error in hand says what went wrong; a leftover folder does no harm.
        let _ = fs::remove_dir_all(&temporary);
    }
    written
}

fn write_and_rename(
    version: &Version,
    temporary: &Path,
    dir: &Path,
    parent: &Path,
) -> Result<Manifest, Error> {
    fs::create_dir(temporary).map_err(at("created", temporary))?;
    let records = temporary.join(RECORDS_FILE);
    let fingerprint = write_records(version, &records).map_err(at("written", &records))?;
    let manifest = Manifest::of(version, fingerprint);
    let path = temporary.join(MANIFEST_FILE);
    write_manifest(&manifest, &path).map_err(at("written", &path))?;
    sync(temporary)?;
    // A folder cannot take the place of one that holds files, so a race ends in an error here.
    fs::rename(temporary, dir).map_err(|error| match error.kind() {
        io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists => {
            Error::AlreadyExists { path: dir.to_owned() }
        }
        _ => at("renamed", dir)(error),
    })?;
    sync(parent)?;
    Ok(manifest)
}

fn write_records(version: &Version, path: &Path) -> io::Result<Fingerprint> {
    let mut file = BufWriter::new(File::create_new(path)?);
    let mut fingerprint = Running::default();
    for record in version.records() {
        let mut line = serde_json::to_vec(&StoredRecord::from(record))?;
        line.push(b'\n');
        fingerprint.update(&line);
        file.write_all(&line)?;
    }
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    Ok(fingerprint.finish())
}

fn write_manifest(manifest: &Manifest, path: &Path) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    let mut text = serde_json::to_vec_pretty(manifest)?;
    text.push(b'\n');
    file.write_all(&text)?;
    file.sync_all()
}

/// Makes what was created in or renamed into `dir` survive a power cut.
fn sync(dir: &Path) -> Result<(), Error> {
    File::open(dir).and_then(|file| file.sync_all()).map_err(at("synced", dir))
}

/// Loads the version stored in `dir`, and believes nothing: texts must be canonical, every hash and the
/// root are recomputed, and the manifest must state what follows from the records.
///
/// Errors: [`Error::Folder`], [`Error::BadManifest`], [`Error::RecordChanged`], [`Error::RootMismatch`],
/// [`Error::ManifestMismatch`].
pub fn load_version(dir: &Path) -> Result<Version, Error> {
    let manifest = read_manifest(&dir.join(MANIFEST_FILE))?;
    let path = dir.join(RECORDS_FILE);
    let (records, fingerprint) = read_records(&path, manifest.records)?;
    let labels = manifest.labels();
    let licence = manifest.licence.clone();
    let (number, parent, source) = (manifest.version, manifest.parent, manifest.source);
    let version = Version::assemble(number, parent, licence, source, labels, records);
    manifest.check(&version)?;
    if fingerprint != manifest.records_file {
        return Err(Error::ManifestMismatch { field: "bytes of the records file" });
    }
    Ok(version)
}

fn read_manifest(path: &Path) -> Result<Manifest, Error> {
    let bad = |reason| Error::BadManifest { path: path.to_owned(), reason };
    let file = File::open(path).map_err(at("opened", path))?;
    let length = file.metadata().map_err(at("read", path))?.len();
    if length > MANIFEST_BYTES_MAX {
        return Err(bad(format!("it has more than {MANIFEST_BYTES_MAX} bytes")));
    }
    let manifest: Manifest =
        serde_json::from_reader(BufReader::new(file)).map_err(|error| bad(error.to_string()))?;
    if manifest.format != MANIFEST_FORMAT {
        return Err(bad(format!("format {:?} is not {MANIFEST_FORMAT:?}", manifest.format)));
    }
    if manifest.records > VERSION_RECORDS_MAX as u64 {
        return Err(bad(format!("it states more than {VERSION_RECORDS_MAX} records")));
    }
    Ok(manifest)
}

fn read_records(path: &Path, stated: u64) -> Result<(Vec<Record>, Fingerprint), Error> {
    let mut file = BufReader::new(File::open(path).map_err(at("opened", path))?);
    let (mut records, mut fingerprint) = (Vec::new(), Running::default());
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut bounded = io::Read::take(&mut file, STORED_LINE_BYTES_MAX);
        if bounded.read_until(b'\n', &mut line).map_err(at("read", path))? == 0 {
            break;
        }
        let number = records.len() as u64 + 1;
        let changed = |reason| Error::RecordChanged { path: path.to_owned(), line: number, reason };
        if number > stated {
            return Err(changed(format!("the manifest states {stated} records")));
        }
        if line.last() != Some(&b'\n') {
            return Err(changed("the line is cut off or too long".into()));
        }
        fingerprint.update(&line);
        let stored: StoredRecord =
            serde_json::from_slice(&line).map_err(|error| changed(error.to_string()))?;
        records.push(stored.verify().map_err(changed)?);
    }
    Ok((records, fingerprint.finish()))
}

impl From<&Record> for StoredRecord {
    fn from(record: &Record) -> Self {
        let content = record.canonical();
        let (prompt, completion, messages) = match content.prompt() {
            Some(prompt) => (Some(prompt.to_owned()), Some(content.completion().to_owned()), None),
            None => {
                let stored = content.messages().iter().map(|message| StoredMessage {
                    role: message.role().as_str().to_owned(),
                    content: message.text().to_owned(),
                });
                (None, None, Some(stored.collect()))
            }
        };
        let contributor = record.contributor().clone();
        Self { contributor, prompt, completion, messages, hash: content.content_hash() }
    }
}

impl StoredRecord {
    /// The record, if its text is canonical and has the stored hash.
    fn verify(self) -> Result<Record, String> {
        let canonical = match (&self.prompt, &self.completion, &self.messages) {
            (Some(prompt), Some(completion), None) => {
                Canonical::prompt_completion(prompt, completion)
            }
            (None, None, Some(messages)) => {
                let messages = messages
                    .iter()
                    .map(|m| Role::parse(&m.role).map(|role| (role, m.content.as_str())))
                    .collect::<Option<Vec<_>>>()
                    .ok_or("it has an unknown role")?;
                Canonical::conversation(&messages)
            }
            _ => return Err("it has neither a prompt with its completion nor messages".into()),
        }
        .map_err(|error| error.to_string())?;
        if canonical.content_hash() != self.hash {
            return Err("its text does not have the hash stored with it".into());
        }
        Ok(Record::new(self.contributor, canonical))
    }
}

fn at(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error + use<> {
    let path: PathBuf = path.to_owned();
    move |source| Error::Folder { doing, path, source }
}

#[cfg(test)]
mod tests;

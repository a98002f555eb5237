//! All adapters that can be named, whether in memory or not.
//!
//! A registered adapter is a name, a place and a size: a few hundred bytes, so a hundred thousand of them
//! take some tens of megabytes. What is read of it before the first request is the length of one file.
//!
//! Adapters come from folders, which are read again after an eviction, or from memory. The latter have no
//! other place to come back from, so the adapter itself is kept here, outside the engine's memory budget,
//! until it is unregistered.
//!
//! An adapter that was unregistered, or replaced under its name, can be named no longer, but is kept until
//! the answers that were promised it have ended: they may have to read it yet.
//!
//! **Invariant:** a name stands for one content: a folder whose content changed while it was registered is
//! refused, because cached prefixes of the old content may be in use.
//! **Invariant:** a broken adapter is not read again before its back-off has passed.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use openledger_model::Adapter;

use crate::{AdapterHash, AdapterId, AdapterRef, Error};

/// Longest name of an adapter, in bytes.
pub const ADAPTER_NAME_BYTES_MAX: usize = 256;

/// How long a broken adapter is left alone at first. Doubled with each failure.
const BACK_OFF_MIN: Duration = Duration::from_secs(1);
/// How long at most.
const BACK_OFF_MAX: Duration = Duration::from_secs(300);

/// Where an adapter is read from.
#[derive(Debug, Clone)]
pub enum AdapterSource {
    /// It is here.
    Memory(Arc<Adapter>),
    /// A PEFT folder.
    Folder(PathBuf),
    /// A packed file of `openledger_model::serving`: mapped, not read.
    Packed(PathBuf),
}

/// What is known of a registered adapter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdapterInfo {
    /// The name it was registered under; its hash where it has no other.
    pub name: String,
    /// Its content, once it was read.
    pub hash: Option<AdapterHash>,
    /// Folder or file it is read from.
    pub path: Option<PathBuf>,
    /// Length of the file that holds its numbers.
    pub file_bytes: u64,
    /// Whether it stays in memory.
    pub pinned: bool,
    /// Memory it takes now; `None` while it is not in memory.
    pub resident_bytes: Option<usize>,
    /// Why it could not be read the last time.
    pub broken: Option<String>,
}

#[derive(Debug)]
enum Name {
    /// Named by its content, as folders of hashes are.
    Hash,
    Text(Arc<str>),
}

#[derive(Debug)]
enum Place {
    Memory(Arc<Adapter>),
    /// A subfolder, with the adapter's name, of a folder that was scanned.
    Scanned(u32),
    /// A packed file there, with the adapter's name and `.adapter`.
    ScannedFile(u32),
    Folder(Box<Path>),
    File(Box<Path>),
}

#[derive(Debug)]
struct Broken {
    why: String,
    until: Duration,
    failures: u32,
}

#[derive(Debug)]
struct Entry {
    name: Name,
    hash: Option<AdapterHash>,
    place: Place,
    file_bytes: u64,
    resident_bytes: usize,
    pinned: bool,
    broken: Option<Box<Broken>>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct AdapterCatalog {
    /// By number. Numbers of unregistered adapters stay empty.
    entries: Vec<Option<Box<Entry>>>,
    /// Those that were unregistered, or that others took the names of, until they are let go.
    unnamed: HashMap<AdapterId, Box<Entry>>,
    by_hash: HashMap<AdapterHash, AdapterId>,
    by_name: HashMap<Arc<str>, AdapterId>,
    scanned: Vec<PathBuf>,
}

impl AdapterCatalog {
    /// Adapters that can be named.
    pub(crate) fn len(&self) -> usize {
        self.entries.iter().flatten().count()
    }

    /// Registers an adapter that is in memory. Twice is once.
    pub(crate) fn register(&mut self, adapter: Arc<Adapter>) -> AdapterId {
        let hash = AdapterHash(adapter.hash());
        if let Some(id) = self.by_hash.get(&hash).copied() {
            // Scoring reads it from memory from now on.
            self.entry_mut(id).place = Place::Memory(adapter);
            return id;
        }
        let file_bytes = adapter.bytes() as u64;
        let id = self.push(Name::Hash, Some(hash), Place::Memory(adapter), file_bytes);
        self.by_hash.insert(hash, id);
        id
    }

    /// Registers one PEFT folder, or one packed file, under a name. Errors: [`Error::NameTaken`],
    /// [`Error::Invalid`] if there is no adapter.
    pub(crate) fn register_folder(&mut self, name: &str, path: &Path) -> Result<AdapterId, Error> {
        if name.is_empty() || name.len() > ADAPTER_NAME_BYTES_MAX {
            let why = format!("a name has 1 to {ADAPTER_NAME_BYTES_MAX} bytes");
            return Err(Error::Invalid { field: "lora_name", why });
        }
        let packed = path.is_file();
        let file = if packed { path.to_owned() } else { path.join(WEIGHT_FILE_OF_ADAPTER) };
        let file_bytes = fs::metadata(&file).map_err(|error| Error::Invalid {
            field: "lora_path",
            why: format!("{} cannot be read: {error}", file.display()),
        })?;
        let place = if packed { Place::File(path.into()) } else { Place::Folder(path.into()) };
        self.add(name, place, file_bytes.len()).ok_or_else(|| Error::NameTaken(name.to_owned()))
    }

    /// As [`Self::register_folder`], but what has the name already gives way. Returns the new one, and the one
    /// that gave way, which is kept until [`Self::let_go`].
    pub(crate) fn replace_folder(
        &mut self,
        name: &str,
        path: &Path,
    ) -> Result<(AdapterId, Option<AdapterId>), Error> {
        let Some(old) = self.named(name) else {
            return self.register_folder(name, path).map(|id| (id, None));
        };
        let entry = self.take(old);
        match self.register_folder(name, path) {
            Ok(id) => {
                self.unnamed.insert(old, entry);
                Ok((id, Some(old)))
            }
            Err(error) => {
                self.put_back(old, entry);
                Err(error)
            }
        }
    }

    /// Forgets an adapter that has no name any more.
    pub(crate) fn let_go(&mut self, id: AdapterId) {
        self.unnamed.remove(&id);
    }

    /// Registers every PEFT folder and every packed file in `folder` under its name. Returns how many are
    /// new. Names that are taken, or are no text, are passed over.
    pub(crate) fn scan(&mut self, folder: &Path) -> std::io::Result<usize> {
        let number = u32::try_from(self.scanned.len()).expect("fewer folders than that");
        self.scanned.push(folder.to_owned());
        let mut new = 0;
        for found in fs::read_dir(folder)? {
            let found = found?;
            let name = found.file_name();
            let Some(name) = name.to_str().filter(|name| name.len() <= ADAPTER_NAME_BYTES_MAX)
            else {
                continue;
            };
            let (name, file, place) = match name.strip_suffix(PACKED_SUFFIX) {
                Some(stem) => (stem, found.path(), Place::ScannedFile(number)),
                None => (name, found.path().join(WEIGHT_FILE_OF_ADAPTER), Place::Scanned(number)),
            };
            if let Ok(file) = fs::metadata(file).and_then(|file| only_files(&file)) {
                new += usize::from(self.add(name, place, file).is_some());
            }
        }
        Ok(new)
    }

    /// Takes an adapter's name away; it is kept until it is let go. Errors: [`Error::UnknownAdapter`].
    pub(crate) fn unregister(&mut self, adapter: &AdapterRef) -> Result<AdapterId, Error> {
        let id = self.find(adapter)?;
        let entry = self.take(id);
        self.unnamed.insert(id, entry);
        Ok(id)
    }

    /// Errors: [`Error::UnknownAdapter`].
    pub(crate) fn find(&self, adapter: &AdapterRef) -> Result<AdapterId, Error> {
        let found = match adapter {
            AdapterRef::Hash(hash) => self.by_hash.get(hash),
            AdapterRef::Name(name) => match AdapterHash::parse(name) {
                Some(hash) => self.by_hash.get(&hash).or_else(|| self.by_name.get(name)),
                None => self.by_name.get(name),
            },
        };
        found.copied().ok_or_else(|| Error::UnknownAdapter(adapter.clone()))
    }

    /// Where an adapter is read from, and how large its file is.
    pub(crate) fn source(&self, id: AdapterId) -> Option<(AdapterSource, u64)> {
        let entry = self.entry(id)?;
        let source = match &entry.place {
            Place::Memory(adapter) => AdapterSource::Memory(Arc::clone(adapter)),
            Place::Folder(path) => AdapterSource::Folder(path.to_path_buf()),
            Place::File(path) => AdapterSource::Packed(path.to_path_buf()),
            Place::Scanned(number) => {
                AdapterSource::Folder(self.scanned[*number as usize].join(entry.name()))
            }
            Place::ScannedFile(number) => {
                let file = entry.name() + PACKED_SUFFIX;
                AdapterSource::Packed(self.scanned[*number as usize].join(file))
            }
        };
        Some((source, entry.file_bytes))
    }

    /// Notes what was read. Errors: why it is not the adapter that was registered.
    pub(crate) fn arrived(
        &mut self,
        id: AdapterId,
        hash: AdapterHash,
        bytes: usize,
    ) -> Result<(), String> {
        let Some(entry) = self.known_mut(id) else {
            return Err("it was unregistered while it was read".to_owned());
        };
        if let Some(known) = entry.hash.filter(|known| *known != hash) {
            return Err(format!("its content is {hash}, it was registered as {known}"));
        }
        (entry.hash, entry.resident_bytes, entry.broken) = (Some(hash), bytes, None);
        if !self.unnamed.contains_key(&id) {
            self.by_hash.entry(hash).or_insert(id);
        }
        Ok(())
    }

    /// Notes whether an adapter stays in memory.
    pub(crate) fn set_pinned(&mut self, id: AdapterId, pinned: bool) {
        if let Some(entry) = self.known_mut(id) {
            entry.pinned = pinned;
        }
    }

    /// What the adapters of a blend are called.
    pub(crate) fn names(&self, blend: &[(AdapterId, f32)]) -> Vec<Arc<str>> {
        let name = |id: AdapterId| match self.entry(id) {
            Some(Entry { name: Name::Text(name), .. }) => Arc::clone(name),
            Some(entry) => entry.name().into(),
            None => "unregistered".into(),
        };
        blend.iter().map(|(id, _)| name(*id)).collect()
    }

    /// Notes that an adapter is no longer in memory.
    pub(crate) fn gone(&mut self, id: AdapterId) {
        if let Some(entry) = self.known_mut(id) {
            entry.resident_bytes = 0;
        }
    }

    /// Notes that an adapter could not be read. Returns what its requests are told.
    pub(crate) fn failed(&mut self, id: AdapterId, why: String, now: Duration) -> Error {
        let Some(entry) = self.known_mut(id) else {
            let adapter = "unregistered".to_owned();
            return Error::BrokenAdapter { adapter, why, retry_after_ms: 0 };
        };
        let failures = entry.broken.as_ref().map_or(0, |broken| broken.failures);
        let back_off = BACK_OFF_MIN.saturating_mul(1 << failures.min(16)).min(BACK_OFF_MAX);
        let broken = Broken { why, until: now + back_off, failures: failures + 1 };
        entry.broken = Some(Box::new(broken));
        self.check(id, now).expect_err("the back-off has just begun")
    }

    /// Errors: [`Error::BrokenAdapter`] while the back-off of a broken adapter lasts.
    pub(crate) fn check(&self, id: AdapterId, now: Duration) -> Result<(), Error> {
        let Some(entry) = self.entry(id) else { return Ok(()) };
        match &entry.broken {
            Some(broken) if now < broken.until => Err(Error::BrokenAdapter {
                adapter: entry.name(),
                why: broken.why.clone(),
                retry_after_ms: (broken.until - now).as_millis() as u64,
            }),
            _ => Ok(()),
        }
    }

    /// What is known of one adapter.
    pub(crate) fn info(&self, id: AdapterId) -> Option<AdapterInfo> {
        let entry = self.entry(id)?;
        let path = match self.source(id)?.0 {
            AdapterSource::Memory(_) => None,
            AdapterSource::Folder(path) | AdapterSource::Packed(path) => Some(path),
        };
        Some(AdapterInfo {
            name: entry.name(),
            hash: entry.hash,
            path,
            file_bytes: entry.file_bytes,
            pinned: entry.pinned,
            resident_bytes: (entry.resident_bytes > 0).then_some(entry.resident_bytes),
            broken: entry.broken.as_ref().map(|broken| broken.why.clone()),
        })
    }

    /// Registered adapters in the order of their registration: at most `limit` after the first `skip`.
    pub(crate) fn list(&self, skip: usize, limit: usize) -> Vec<AdapterInfo> {
        let ids = (0u32..).zip(&self.entries).filter(|(_, entry)| entry.is_some());
        ids.skip(skip).take(limit).filter_map(|(id, _)| self.info(AdapterId(id))).collect()
    }

    fn add(&mut self, name: &str, place: Place, file_bytes: u64) -> Option<AdapterId> {
        match AdapterHash::parse(name).filter(|hash| hex(*hash) == name) {
            Some(hash) => {
                if self.by_hash.contains_key(&hash) {
                    return None;
                }
                let id = self.push(Name::Hash, Some(hash), place, file_bytes);
                self.by_hash.insert(hash, id);
                Some(id)
            }
            None => {
                if self.by_name.contains_key(name) {
                    return None;
                }
                let name: Arc<str> = name.into();
                let id = self.push(Name::Text(Arc::clone(&name)), None, place, file_bytes);
                self.by_name.insert(name, id);
                Some(id)
            }
        }
    }

    fn push(
        &mut self,
        name: Name,
        hash: Option<AdapterHash>,
        place: Place,
        file_bytes: u64,
    ) -> AdapterId {
        let id = AdapterId(u32::try_from(self.entries.len()).expect("fewer adapters than that"));
        let entry =
            Entry { name, hash, place, file_bytes, resident_bytes: 0, pinned: false, broken: None };
        self.entries.push(Some(Box::new(entry)));
        id
    }

    /// What is registered under exactly this name: a hash only names what was registered by it.
    fn named(&self, name: &str) -> Option<AdapterId> {
        match AdapterHash::parse(name).filter(|hash| hex(*hash) == name) {
            Some(hash) => {
                let id = self.by_hash.get(&hash).copied()?;
                self.entry(id).is_some_and(|entry| matches!(entry.name, Name::Hash)).then_some(id)
            }
            None => self.by_name.get(name).copied(),
        }
    }

    /// Takes an adapter and its names out.
    fn take(&mut self, id: AdapterId) -> Box<Entry> {
        let entry = self.entries[id.0 as usize].take().expect("names lead to adapters");
        if let Some(hash) = entry.hash
            && self.by_hash.get(&hash) == Some(&id)
        {
            self.by_hash.remove(&hash);
        }
        if let Name::Text(name) = &entry.name {
            self.by_name.remove(name);
        }
        entry
    }

    /// Undoes [`Self::take`].
    fn put_back(&mut self, id: AdapterId, entry: Box<Entry>) {
        if let Some(hash) = entry.hash {
            self.by_hash.entry(hash).or_insert(id);
        }
        if let Name::Text(name) = &entry.name {
            self.by_name.insert(Arc::clone(name), id);
        }
        self.entries[id.0 as usize] = Some(entry);
    }

    fn entry(&self, id: AdapterId) -> Option<&Entry> {
        let registered = self.entries.get(id.0 as usize)?.as_deref();
        registered.or_else(|| self.unnamed.get(&id).map(|entry| &**entry))
    }

    fn known_mut(&mut self, id: AdapterId) -> Option<&mut Entry> {
        let registered = self.entries.get_mut(id.0 as usize)?.as_deref_mut();
        registered.or_else(|| self.unnamed.get_mut(&id).map(|entry| &mut **entry))
    }

    fn entry_mut(&mut self, id: AdapterId) -> &mut Entry {
        self.entries[id.0 as usize].as_deref_mut().expect("names lead to adapters")
    }
}

impl Entry {
    fn name(&self) -> String {
        match (&self.name, self.hash) {
            (Name::Text(name), _) => name.to_string(),
            (Name::Hash, hash) => hex(hash.expect("what is named by its hash has one")),
        }
    }
}

/// The file that holds an adapter's numbers.
const WEIGHT_FILE_OF_ADAPTER: &str = "adapter_model.safetensors";

/// How the name of a packed file ends.
const PACKED_SUFFIX: &str = ".adapter";

/// The length of a file; an error for anything else.
fn only_files(found: &fs::Metadata) -> std::io::Result<u64> {
    if found.is_file() { Ok(found.len()) } else { Err(std::io::ErrorKind::InvalidInput.into()) }
}

fn hex(hash: AdapterHash) -> String {
    hash.to_string().split_off(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with(root: &Path, name: &str) {
        let folder = root.join(name);
        fs::create_dir(&folder).expect("writable");
        fs::write(folder.join(WEIGHT_FILE_OF_ADAPTER), [0; 10]).expect("writable");
    }

    fn named(name: &str) -> AdapterRef {
        AdapterRef::Name(name.into())
    }

    #[test]
    fn a_scan_registers_names_and_reads_nothing_else() {
        let root = tempfile::tempdir().expect("writable");
        let hash = AdapterHash([0xab; 32]);
        folder_with(root.path(), "poet");
        folder_with(root.path(), &hex(hash));
        fs::write(root.path().join("packed.adapter"), [0; 7]).expect("writable");
        fs::create_dir(root.path().join("empty")).expect("writable");
        let mut catalog = AdapterCatalog::default();
        assert_eq!(catalog.scan(root.path()).expect("readable"), 3);
        let packed = catalog.find(&named("packed")).expect("registered");
        let (AdapterSource::Packed(path), 7) = catalog.source(packed).expect("there") else {
            panic!("it is a file")
        };
        assert_eq!(path, root.path().join("packed.adapter"));
        assert_eq!(catalog.scan(root.path()).expect("readable"), 0);
        let poet = catalog.find(&named("poet")).expect("registered");
        let (AdapterSource::Folder(path), bytes) = catalog.source(poet).expect("there") else {
            panic!("it is in a folder")
        };
        assert_eq!((path, bytes), (root.path().join("poet"), 10));
        assert!(catalog.find(&AdapterRef::Hash(hash)).is_ok());
        assert!(catalog.find(&named("empty")).is_err());
        assert_eq!(catalog.len(), 3);
    }

    #[test]
    fn what_was_read_can_be_named_by_its_hash_and_must_stay_the_same() {
        let root = tempfile::tempdir().expect("writable");
        folder_with(root.path(), "poet");
        let mut catalog = AdapterCatalog::default();
        let id = catalog.register_folder("poet", &root.path().join("poet")).expect("new");
        assert_eq!(catalog.arrived(id, AdapterHash([1; 32]), 5), Ok(()));
        assert_eq!(catalog.find(&AdapterRef::Hash(AdapterHash([1; 32]))), Ok(id));
        assert!(
            catalog.arrived(id, AdapterHash([2; 32]), 5).is_err_and(|why| why.contains("content"))
        );
        assert_eq!(catalog.unregister(&named("poet")), Ok(id));
        assert!(catalog.find(&AdapterRef::Hash(AdapterHash([1; 32]))).is_err());
        // Who was promised it may have to read it yet.
        assert!(catalog.source(id).is_some());
        catalog.let_go(id);
        assert!(catalog.source(id).is_none());
    }

    #[test]
    fn a_broken_adapter_is_left_alone_for_longer_each_time() {
        let root = tempfile::tempdir().expect("writable");
        folder_with(root.path(), "poet");
        let mut catalog = AdapterCatalog::default();
        let id = catalog.register_folder("poet", &root.path().join("poet")).expect("new");
        let (mut now, mut waits) = (Duration::ZERO, Vec::new());
        for _ in 0..12 {
            let Error::BrokenAdapter { retry_after_ms, .. } = catalog.failed(id, "bad".into(), now)
            else {
                panic!("broken")
            };
            assert!(catalog.check(id, now).is_err());
            now += Duration::from_millis(retry_after_ms);
            assert_eq!(catalog.check(id, now), Ok(()));
            waits.push(retry_after_ms / 1000);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        assert_eq!(catalog.arrived(id, AdapterHash([1; 32]), 5), Ok(()));
        assert_eq!(catalog.info(id).and_then(|info| info.broken), None);
    }

    #[test]
    fn what_was_replaced_is_kept_without_its_name_until_it_is_let_go() {
        let root = tempfile::tempdir().expect("writable");
        folder_with(root.path(), "poet");
        folder_with(root.path(), "better");
        let (folder, better) = (root.path().join("poet"), root.path().join("better"));
        let mut catalog = AdapterCatalog::default();
        assert_eq!(catalog.replace_folder("poet", &folder), Ok((AdapterId(0), None)));
        let (old, hash) = (AdapterId(0), AdapterHash([1; 32]));
        assert_eq!(catalog.arrived(old, hash, 5), Ok(()));

        let missing = catalog.replace_folder("poet", &root.path().join("missing"));
        assert!(matches!(missing, Err(Error::Invalid { field: "lora_path", .. })), "{missing:?}");
        assert_eq!(catalog.find(&named("poet")), Ok(old));
        assert_eq!(catalog.find(&hash.into()), Ok(old));

        assert_eq!(catalog.replace_folder("poet", &better), Ok((AdapterId(1), Some(old))));
        assert_eq!(catalog.find(&named("poet")), Ok(AdapterId(1)));
        assert!(catalog.find(&hash.into()).is_err());
        assert_eq!((catalog.len(), catalog.list(0, 10).len()), (1, 1));
        let Some((AdapterSource::Folder(path), _)) = catalog.source(old) else { panic!("kept") };
        assert_eq!(path, folder);
        // Evicted and read again for an answer that waited: not to be found by its hash all the same.
        catalog.gone(old);
        assert_eq!(catalog.arrived(old, hash, 5), Ok(()));
        assert!(catalog.arrived(old, AdapterHash([2; 32]), 5).is_err());
        assert!(catalog.find(&hash.into()).is_err());
        catalog.let_go(old);
        assert!(catalog.source(old).is_none());
    }

    #[test]
    fn a_hash_that_is_the_name_of_an_adapter_does_not_replace_another_of_that_content() {
        let root = tempfile::tempdir().expect("writable");
        folder_with(root.path(), "poet");
        let folder = root.path().join("poet");
        let mut catalog = AdapterCatalog::default();
        let hash = AdapterHash([0xab; 32]);
        let poet = catalog.register_folder("poet", &folder).expect("new");
        assert_eq!(catalog.arrived(poet, hash, 5), Ok(()));
        let taken = catalog.replace_folder(&hex(hash), &folder);
        assert_eq!(taken, Err(Error::NameTaken(hex(hash))));
        assert_eq!(catalog.find(&named("poet")), Ok(poet));
    }

    #[test]
    fn a_name_is_taken_once() {
        let root = tempfile::tempdir().expect("writable");
        folder_with(root.path(), "poet");
        let mut catalog = AdapterCatalog::default();
        let folder = root.path().join("poet");
        assert!(catalog.register_folder("poet", &folder).is_ok());
        assert_eq!(catalog.register_folder("poet", &folder), Err(Error::NameTaken("poet".into())));
        let nowhere = catalog.register_folder("x", Path::new("nowhere"));
        assert!(nowhere.is_err_and(|error| error.to_string().starts_with("lora_path")));
    }
}

//! A directory in memory that fails when it is told to, and remembers what a power cut would leave.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Arc, Mutex, MutexGuard},
};

use super::{disk::Disk, file::LogFile};

/// What goes wrong with a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DirectoryFault {
    /// The operation fails and does nothing.
    Nothing,
    /// A write fails when half of it is written. Other operations fail and do nothing.
    Half,
    /// The operation does what it should, and then fails.
    Done,
    /// The power goes in the middle of the operation.
    PowerCut,
}

/// A directory in memory.
#[derive(Clone, Default)]
pub(crate) struct TestDirectory(Arc<Mutex<Directory>>);

#[derive(Default)]
struct Directory {
    files: Vec<File>,
    names: Names,
    synced_names: Names,
    operations: usize,
    fault: Option<(usize, DirectoryFault)>,
    dead: bool,
}

/// Names with the numbers of their files.
type Names = BTreeMap<String, usize>;

#[derive(Clone, Default)]
struct File {
    live: Vec<u8>,
    synced: Vec<u8>,
    /// What happened since the last sync. After a power cut, any of it may be missing.
    unsynced: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Truncate(usize),
}

/// The file variants of [`TestDirectory::crash_images`].
const FILE_VARIANTS: usize = 6;

impl File {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.live);
        self.unsynced.push(change);
    }

    fn sync(&mut self) {
        self.synced = self.live.clone();
        self.unsynced.clear();
    }

    /// What may be left of the file.
    fn variant(&self, variant: usize) -> Vec<u8> {
        let all = self.unsynced.len();
        let mut changes = match variant {
            0 => Vec::new(),
            2 => self.unsynced[..all / 2].to_vec(),
            // The later ones only, in whatever order they were made.
            3 => self.unsynced[all.saturating_sub(1)..].to_vec(),
            4 => self.unsynced[all.min(1)..].to_vec(),
            _ => self.unsynced.clone(),
        };
        if variant == 5
            && let Some(Change::Write { bytes, .. }) = changes.last_mut()
        {
            bytes.truncate(bytes.len() / 2);
        }
        let mut bytes = self.synced.clone();
        changes.iter().for_each(|change| change.apply(&mut bytes));
        bytes
    }
}

impl Change {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes } => {
                let end = offset + bytes.len();
                if to.len() < end {
                    to.resize(end, 0);
                }
                to[*offset..end].copy_from_slice(bytes);
            }
            Self::Truncate(len) => to.truncate(*len),
        }
    }
}

impl TestDirectory {
    /// Changing operations so far.
    pub(crate) fn operations(&self) -> usize {
        self.directory().operations
    }

    /// Lets the operation with this number go wrong.
    pub(crate) fn fail(&self, operation: usize, fault: DirectoryFault) {
        self.directory().fault = Some((operation, fault));
    }

    /// What may be on the disk after a power cut: all that was synced, and of the rest all, nothing,
    /// a part, or the later part only.
    pub(crate) fn crash_images(&self) -> Vec<Self> {
        let directory = self.directory();
        let mut images = BTreeSet::new();
        for names in [&directory.synced_names, &directory.names] {
            for variant in 0..=FILE_VARIANTS {
                let content = |file: usize| {
                    // The last one is a different variant for each file.
                    let variant = if variant == FILE_VARIANTS { file % variant } else { variant };
                    directory.files[file].variant(variant)
                };
                let image = names.iter().map(|(name, file)| (name.clone(), content(*file)));
                images.insert(image.collect::<BTreeMap<_, _>>());
            }
        }
        images.into_iter().map(Self::holding).collect()
    }

    /// A directory that holds these files, durably.
    pub(crate) fn holding(files: BTreeMap<String, Vec<u8>>) -> Self {
        let names: Names = files.keys().cloned().zip(0..).collect();
        let file =
            |bytes: Vec<u8>| File { live: bytes.clone(), synced: bytes, unsynced: Vec::new() };
        let files = files.into_values().map(file).collect();
        let synced_names = names.clone();
        let directory = Directory { files, names, synced_names, ..Directory::default() };
        Self(Arc::new(Mutex::new(directory)))
    }

    /// What the files hold now.
    pub(crate) fn content(&self) -> BTreeMap<String, Vec<u8>> {
        let directory = self.directory();
        let live = |file: &usize| directory.files[*file].live.clone();
        directory.names.iter().map(|(name, file)| (name.clone(), live(file))).collect()
    }

    fn directory(&self) -> MutexGuard<'_, Directory> {
        self.0.lock().unwrap()
    }

    /// One operation, for which `whole` does everything and `half` a part.
    fn operate<T>(
        &self,
        whole: impl FnOnce(&mut Directory) -> T,
        half: impl FnOnce(&mut Directory),
    ) -> io::Result<T> {
        let mut directory = self.directory();
        let now = directory.operations;
        directory.operations += 1;
        let fault = directory.fault.take_if(|(at, _)| *at == now).map(|(_, fault)| fault);
        match fault {
            _ if directory.dead => {}
            None => return Ok(whole(&mut directory)),
            Some(DirectoryFault::Nothing) => {}
            Some(DirectoryFault::Half) => half(&mut directory),
            Some(DirectoryFault::Done) => drop(whole(&mut directory)),
            Some(DirectoryFault::PowerCut) => {
                half(&mut directory);
                directory.dead = true;
            }
        }
        Err(io::ErrorKind::StorageFull.into())
    }

    fn handle(&self, file: usize) -> Arc<dyn LogFile> {
        Arc::new(Handle { directory: self.clone(), file })
    }
}

impl Disk for TestDirectory {
    fn open(&self, name: &str) -> io::Result<Option<Arc<dyn LogFile>>> {
        let file = self.directory().names.get(name).copied();
        Ok(file.map(|file| self.handle(file)))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        let create = |directory: &mut Directory| {
            if let Some(file) = directory.names.get(name).copied() {
                directory.files[file].change(Change::Truncate(0));
                return file;
            }
            directory.files.push(File::default());
            let file = directory.files.len() - 1;
            directory.names.insert(name.to_owned(), file);
            file
        };
        Ok(self.handle(self.operate(create, |_| {})?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let rename = |directory: &mut Directory| {
            let file = directory.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
            directory.names.insert(to.to_owned(), file);
            Ok(())
        };
        self.operate(rename, |_| {})?
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let remove = |directory: &mut Directory| {
            directory.names.remove(name).map(drop).ok_or(io::ErrorKind::NotFound.into())
        };
        self.operate(remove, |_| {})?
    }

    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.directory().names.keys().cloned().collect())
    }

    fn sync(&self) -> io::Result<()> {
        self.operate(|directory| directory.synced_names = directory.names.clone(), |_| {})
    }
}

/// An open file, whatever its name is by now.
struct Handle {
    directory: TestDirectory,
    file: usize,
}

impl LogFile for Handle {
    fn len(&self) -> io::Result<u64> {
        Ok(self.directory.directory().files[self.file].live.len() as u64)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let directory = self.directory.directory();
        let from = usize::try_from(offset).unwrap();
        let bytes = directory.files[self.file].live.get(from..from + buffer.len());
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        let write = |part: &[u8]| Change::Write { offset, bytes: part.to_vec() };
        self.directory.operate(
            |directory| directory.files[self.file].change(write(bytes)),
            |directory| directory.files[self.file].change(write(&bytes[..bytes.len() / 2])),
        )
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).unwrap();
        let truncate =
            |directory: &mut Directory| directory.files[self.file].change(Change::Truncate(len));
        self.directory.operate(truncate, |_| {})
    }

    fn sync(&self) -> io::Result<()> {
        self.directory.operate(|directory| directory.files[self.file].sync(), |_| {})
    }
}

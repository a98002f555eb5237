//! The directory that a chain lives in.
//!
//! ```text
//! LOCK               held while a node runs; names its process
//! genesis.json       what the chain began with
//! blocks.log         every block since
//! blocks.index       where each block is in the log; made anew from the log if it is lost
//! snapshot-N.state   the state after block N; the log alone would do, more slowly
//! pool.journal       acknowledged transactions that are not in a block yet
//! ```

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    disk::{Directory, Disk},
    file::LogFile,
};
use crate::{Error, Genesis};

const GENESIS: &str = "genesis.json";

/// A data directory that this process has to itself.
pub(crate) struct DataDir {
    path: PathBuf,
    disk: Arc<dyn Disk>,
    _lock: Option<File>,
}

/// Why a file could not be replaced.
#[derive(Debug)]
pub(crate) enum ReplaceError {
    /// The old one is still there.
    Kept(Error),
    /// After a power cut it may be the old one or the new one.
    Unknown(Error),
}

impl From<ReplaceError> for Error {
    fn from(error: ReplaceError) -> Self {
        let (ReplaceError::Kept(error) | ReplaceError::Unknown(error)) = error;
        error
    }
}

impl DataDir {
    /// Creates the directory if it is absent, and locks it.
    ///
    /// Errors: [`Error::DataDirLocked`] if another node has it, [`Error::Io`].
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        fs::create_dir_all(path).map_err(Error::io("create", path))?;
        let lock_path = path.join("LOCK");
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(Error::io("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let pid =
                    lock.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
                return Err(Error::DataDirLocked { path: path.to_owned(), pid });
            }
            Err(TryLockError::Error(source)) => return Err(Error::io("lock", &lock_path)(source)),
        }
        lock.set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| write!(lock, "{}", std::process::id()))
            .map_err(Error::io("write", &lock_path))?;
        let disk = Arc::new(Directory(path.to_owned()));
        Ok(Self { path: path.to_owned(), disk, _lock: Some(lock) })
    }

    /// A data directory on another disk.
    #[cfg(test)]
    pub(crate) fn on(disk: Arc<dyn Disk>) -> Self {
        Self { path: "test".into(), disk, _lock: None }
    }

    /// The names of all files.
    #[cfg(test)]
    pub(crate) fn names(&self) -> Vec<String> {
        self.disk.names().unwrap()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the file with this name is, for messages.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(super) fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    /// The genesis that this chain began with, or `None` in a new directory.
    pub(crate) fn load_genesis(&self) -> Result<Option<Genesis>, Error> {
        let path = self.file(GENESIS);
        let read = || {
            let Some(file) = self.disk.open(GENESIS)? else { return Ok(None) };
            let mut json = vec![0; usize::try_from(file.len()?).unwrap_or(usize::MAX)];
            file.read_exact_at(&mut json, 0)?;
            Ok(Some(json))
        };
        let json = read().map_err(Error::io("read", &path))?;
        let parse = |json: Vec<u8>| serde_json::from_slice(&json);
        json.map(parse)
            .transpose()
            .map_err(|error| Error::InvalidGenesis(format!("{}: {error}", path.display())))
    }

    /// Remembers the genesis of a new chain.
    pub(crate) fn store_genesis(&self, genesis: &Genesis) -> Result<(), Error> {
        let json = serde_json::to_vec_pretty(genesis)
            .map_err(|error| Error::InvalidGenesis(error.to_string()))?;
        Ok(self.replace(GENESIS, &json).map(drop)?)
    }

    /// Puts a file with `bytes` in the place of `name`, all or nothing, and opens it.
    pub(crate) fn replace(
        &self,
        name: &str,
        bytes: &[u8],
    ) -> Result<Arc<dyn LogFile>, ReplaceError> {
        let temporary = format!("{name}.tmp");
        let write = || {
            let file = self.disk.create(&temporary)?;
            file.write_all_at(bytes, 0)?;
            Ok(file)
        };
        let file = write()
            .map_err(Error::io("write", self.file(&temporary)))
            .map_err(ReplaceError::Kept)?;
        self.put(&*file, &temporary, name)?;
        Ok(file)
    }

    /// Makes `file` durable, and gives it another name, all or nothing.
    pub(super) fn put(&self, file: &dyn LogFile, from: &str, to: &str) -> Result<(), ReplaceError> {
        file.sync()
            .map_err(Error::io("sync", self.file(from)))
            .and_then(|()| self.disk.rename(from, to).map_err(Error::io("replace", self.file(to))))
            .map_err(ReplaceError::Kept)?;
        // The new name is durable only with its directory.
        self.disk.sync().map_err(Error::io("sync", &self.path)).map_err(ReplaceError::Unknown)
    }

    /// Opens a file, creating it with `initial` bytes if it is absent.
    pub(crate) fn open_or_create(
        &self,
        name: &str,
        initial: &[u8],
    ) -> Result<Arc<dyn LogFile>, Error> {
        match self.disk.open(name).map_err(Error::io("open", self.file(name)))? {
            Some(file) => Ok(file),
            None => Ok(self.replace(name, initial)?),
        }
    }

    /// Gives a file another name.
    pub(super) fn put_aside(&self, name: &str, aside: &str) -> Result<(), Error> {
        self.disk.rename(name, aside).map_err(Error::io("rename", self.file(name)))
    }
}

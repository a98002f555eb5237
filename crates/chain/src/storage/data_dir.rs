//! The directory that a chain lives in.
//!
//! ```text
//! LOCK            held while a node runs; names its process
//! genesis.json    what the chain began with
//! blocks.log      every block since
//! pool.journal    acknowledged transactions that are not in a block yet
//! ```

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    path::{Path, PathBuf},
};

use crate::{Error, Genesis};

/// A data directory that this process has to itself.
pub(crate) struct DataDir {
    path: PathBuf,
    _lock: File,
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
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn block_log(&self) -> PathBuf {
        self.path.join("blocks.log")
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.path.join("pool.journal")
    }

    /// The genesis that this chain began with, or `None` in a new directory.
    pub(crate) fn load_genesis(&self) -> Result<Option<Genesis>, Error> {
        let path = self.path.join("genesis.json");
        match fs::read(&path) {
            Ok(json) => serde_json::from_slice(&json)
                .map(Some)
                .map_err(|error| Error::InvalidGenesis(format!("{}: {error}", path.display()))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("read", path)(error)),
        }
    }

    /// Remembers the genesis of a new chain.
    pub(crate) fn store_genesis(&self, genesis: &Genesis) -> Result<(), Error> {
        let json = serde_json::to_vec_pretty(genesis)
            .map_err(|error| Error::InvalidGenesis(error.to_string()))?;
        self.replace(&self.path.join("genesis.json"), &json).map(drop)
    }

    /// Puts a file with `bytes` in the place of `path`, all or nothing, and opens it.
    pub(crate) fn replace(&self, path: &Path, bytes: &[u8]) -> Result<File, Error> {
        let temporary = path.with_extension("tmp");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&temporary)
            .map_err(Error::io("create", &temporary))?;
        file.write_all(bytes)
            .and_then(|()| file.sync_all())
            .map_err(Error::io("write", &temporary))?;
        fs::rename(&temporary, path).map_err(Error::io("replace", path))?;
        // The new name is durable only with its directory.
        File::open(&self.path)
            .and_then(|dir| dir.sync_all())
            .map_err(Error::io("sync", &self.path))?;
        Ok(file)
    }

    /// Opens `path`, creating it with `initial` bytes if it is absent.
    pub(crate) fn open_or_create(&self, path: &Path, initial: &[u8]) -> Result<File, Error> {
        match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => Ok(file),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                self.replace(path, initial)
            }
            Err(error) => Err(Error::io("open", path)(error)),
        }
    }
}

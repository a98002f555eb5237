//! The few things that storage asks of a directory, so that tests can put a failing disk under it.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::PathBuf,
    sync::Arc,
};

use super::file::LogFile;

/// A directory of files that can be made durable.
///
/// What a file holds is durable when the file was synced; that it has its name, when the directory
/// was.
pub(crate) trait Disk: Send + Sync {
    /// Opens a file, or `None` if there is none with this name.
    fn open(&self, name: &str) -> io::Result<Option<Arc<dyn LogFile>>>;
    /// Creates an empty file in the place of any that has this name.
    fn create(&self, name: &str) -> io::Result<Arc<dyn LogFile>>;
    /// Gives a file another name, in the place of any that has it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// The names of all files.
    fn names(&self) -> io::Result<Vec<String>>;
    /// Returns once all names are durable.
    fn sync(&self) -> io::Result<()>;
}

/// A directory of the file system.
pub(super) struct Directory(pub(super) PathBuf);

impl Disk for Directory {
    fn open(&self, name: &str) -> io::Result<Option<Arc<dyn LogFile>>> {
        match OpenOptions::new().read(true).write(true).open(self.0.join(name)) {
            Ok(file) => Ok(Some(Arc::new(file))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(true).clone();
        Ok(Arc::new(options.open(self.0.join(name))?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.0.join(from), self.0.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.0.join(name))
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let entries = fs::read_dir(&self.0)?;
        // A name that is not Unicode is none of ours.
        entries
            .filter_map(|entry| entry.map(|entry| entry.file_name().into_string().ok()).transpose())
            .collect()
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }
}

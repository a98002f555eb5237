//! A file that is there whole, or as it was before, whatever happens meanwhile.

use crate::train_error::TrainError;
use std::fs::File;
use std::io::Write;
use std::path::Path;

/// Writes beside the file, makes that durable, renames it over the file, makes the name durable.
pub(crate) fn write_durably(path: &Path, bytes: &[u8]) -> Result<(), TrainError> {
    let temporary = path.with_extension("part");
    let write = || {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
            _ => File::open(".")?.sync_all(),
        }
    };
    write().map_err(|source| TrainError::File { path: path.into(), source })
}

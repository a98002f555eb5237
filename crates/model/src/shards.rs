//! The weight files of a model folder: one, or several with an index.

use crate::tensor_file::TensorFile;
use crate::weight_files::{WEIGHT_BYTES_MAX, WEIGHT_FILE, read_capped};
use crate::{Error, Named};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Component, Path};

/// The index of a folder with several weight files.
pub const WEIGHT_INDEX_FILE: &str = "model.safetensors.index.json";
/// Largest index that is read.
pub const WEIGHT_INDEX_BYTES_MAX: u64 = 4 << 20;
/// Most weight files of a model.
pub const SHARDS_MAX: usize = 256;
/// Names that an error lists.
const NAMED_MAX: usize = 4;

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Every weight file of a folder, open, its tensors known and nothing else read.
#[derive(Debug)]
pub(crate) struct Shards {
    files: Vec<TensorFile<File>>,
    /// Bytes of all files.
    pub(crate) bytes: u64,
    unused: BTreeSet<String>,
}

impl Shards {
    /// Opens `model.safetensors`, or the files that the index names.
    ///
    /// Errors: a file over its limit, one outside the folder, a header that is wrong, a tensor that is not where
    /// the index says.
    pub(crate) fn open(dir: &Path) -> Result<Self, Error> {
        let index_path = dir.join(WEIGHT_INDEX_FILE);
        let one_file = dir.join(WEIGHT_FILE);
        if one_file.exists() || !index_path.exists() {
            return Self::open_files(dir, [WEIGHT_FILE.to_owned()].into());
        }
        let wrong = |why: String| Error::Weights(format!("{WEIGHT_INDEX_FILE}: {why}"));
        let json = read_capped(&index_path, WEIGHT_INDEX_BYTES_MAX)?;
        let index: Index = serde_json::from_slice(&json).map_err(|e| wrong(e.to_string()))?;
        let names: BTreeSet<String> = index.weight_map.values().cloned().collect();
        if names.is_empty() || names.len() > SHARDS_MAX {
            return Err(wrong(format!("{} files, must be 1 to {SHARDS_MAX}", names.len())));
        }
        if let Some(name) = names.iter().find(|name| !is_plain_file_name(name)) {
            return Err(wrong(format!("{name:?} is not the name of a file in this folder")));
        }
        let shards = Self::open_files(dir, names.clone())?;
        let places: BTreeMap<&String, usize> = names.iter().zip(0..).collect();
        for (tensor, file) in &index.weight_map {
            if !shards.files[places[file]].header.has(tensor) {
                return Err(wrong(format!("{tensor} is not in {file}")));
            }
        }
        Ok(shards)
    }

    fn open_files(dir: &Path, names: BTreeSet<String>) -> Result<Self, Error> {
        let mut shards = Self { files: Vec::new(), bytes: 0, unused: BTreeSet::new() };
        for name in names {
            let path = dir.join(&name);
            let bytes = std::fs::metadata(&path).map_err(Error::file(&path))?.len();
            if bytes > WEIGHT_BYTES_MAX {
                return Err(Error::TooLarge { path, bytes, max: WEIGHT_BYTES_MAX });
            }
            let file = TensorFile::open(&path)
                .map_err(|why| Error::Weights(format!("{}: {why}", path.display())))?;
            for tensor in file.header.names() {
                if !shards.unused.insert(tensor.to_owned()) {
                    return Err(Error::Weights(format!("{tensor} is in two files")));
                }
            }
            shards.bytes += bytes;
            shards.files.push(file);
        }
        Ok(shards)
    }

    /// The first of some names that there is a tensor of.
    pub(crate) fn find(&self, mut names: impl Iterator<Item = String>) -> Option<String> {
        names.find(|name| self.files.iter().any(|file| file.header.has(name)))
    }

    /// Reads a tensor that stands in the files as `name`. Errors: [`Error::Weights`].
    pub(crate) fn read(&mut self, name: &str, to: &mut Named<&mut [f32]>) -> Result<(), Error> {
        self.unused.remove(name);
        let wrong = |why: String| Error::Weights(format!("{name}: {why}"));
        self.file(name)?.read(name, to).map_err(wrong)
    }

    /// Whether a tensor holds these values. Errors: [`Error::Weights`].
    pub(crate) fn holds(
        &mut self,
        name: &str,
        shape: &[usize],
        values: &[f32],
    ) -> Result<bool, Error> {
        self.unused.remove(name);
        let wrong = |why: String| Error::Weights(format!("{name}: {why}"));
        let (mut rest, mut same) = (values, true);
        let compare = |piece: &[f32]| {
            let (now, later) = rest.split_at(piece.len());
            same &= now == piece;
            rest = later;
            Ok(())
        };
        self.file(name)?.read_chunks(name, shape, compare).map_err(wrong)?;
        Ok(same)
    }

    fn file(&mut self, name: &str) -> Result<&mut TensorFile<File>, Error> {
        let file = self.files.iter_mut().find(|file| file.header.has(name));
        file.ok_or_else(|| Error::Weights(format!("{name} is missing")))
    }

    /// Errors: [`Error::Weights`] naming tensors that nothing read and that `may_be_left` does not excuse.
    pub(crate) fn nothing_left(&self, may_be_left: impl Fn(&str) -> bool) -> Result<(), Error> {
        let left: Vec<&str> =
            self.unused.iter().map(String::as_str).filter(|name| !may_be_left(name)).collect();
        if left.is_empty() {
            return Ok(());
        }
        let why = "have no place in the model that config.json describes";
        Err(Error::Weights(format!("{} {why}", list(&left))))
    }
}

/// Some names, and how many more.
pub(crate) fn list(names: &[&str]) -> String {
    let mut text = names[..names.len().min(NAMED_MAX)].join(", ");
    if names.len() > NAMED_MAX {
        text += &format!(" and {} more", names.len() - NAMED_MAX);
    }
    text
}

/// One component, no way out of the folder, of the type that is read.
fn is_plain_file_name(name: &str) -> bool {
    let mut components = Path::new(name).components();
    let plain =
        matches!(components.next(), Some(Component::Normal(_))) && components.next().is_none();
    plain && !name.contains(['/', '\\', '\0']) && name.ends_with(".safetensors")
}

//! The two files that are committed.

use std::{fs, path::Path};

use alloy_primitives::hex;
use eyre::{Result, WrapErr};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::{alloc::Alloc, inputs::Inputs};

/// File names and contents.
pub(crate) struct Output([(&'static str, String); 2]);

impl Output {
    pub(crate) fn new(alloc: &Alloc, inputs: &Inputs) -> Result<Self> {
        let predeploys = format!("{}\n", serde_json::to_string_pretty(alloc)?);
        // In the order of the names: whether objects are sorted is decided by whoever is built beside.
        let manifest = json!({
            "packages": inputs.versions()?,
            "predeploys.json": hex::encode(Sha256::digest(&predeploys)),
            "sha256": inputs.digests(),
        });
        let manifest = format!("{}\n", serde_json::to_string_pretty(&manifest)?);
        Ok(Self([("predeploys.json", predeploys), ("manifest.json", manifest)]))
    }

    /// Names of the files in `folder` that are not as they should be.
    pub(crate) fn stale(&self, folder: &Path) -> Result<Vec<&'static str>> {
        let is_stale = |name: &str, content: &str| match fs::read(folder.join(name)) {
            Ok(there) => Ok(there != content.as_bytes()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(true),
            Err(error) => Err(error),
        };
        let mut stale = Vec::new();
        for (name, content) in &self.0 {
            if is_stale(name, content)? {
                stale.push(*name);
            }
        }
        Ok(stale)
    }

    /// Writes those that are stale and returns their names.
    pub(crate) fn write(&self, folder: &Path) -> Result<Vec<&'static str>> {
        fs::create_dir_all(folder)?;
        let stale = self.stale(folder)?;
        for (name, content) in self.0.iter().filter(|(name, _)| stale.contains(name)) {
            let path = folder.join(name);
            fs::write(&path, content).wrap_err_with(|| format!("writing {}", path.display()))?;
        }
        Ok(stale)
    }
}

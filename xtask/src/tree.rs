//! The files of the project, as git sees them: committed, or new and not ignored.

use std::fs;
use std::path::Path;
use std::process::Command;

use eyre::{Result, WrapErr, ensure};

/// Larger files are measured but not read; no rule looks into them.
const READ_BYTES_MAX: u64 = 4 << 20;

/// One file of the project.
#[derive(Clone, Debug)]
pub(crate) struct ProjectFile {
    /// Relative to the root, with `/`.
    pub(crate) path: String,
    pub(crate) bytes: u64,
    /// Empty for binary and very large files.
    pub(crate) text: String,
}

impl ProjectFile {
    /// The part of the file name after its last dot, or nothing.
    pub(crate) fn extension(&self) -> &str {
        self.name().rsplit_once('.').map_or("", |(_, extension)| extension)
    }

    /// The last part of the path.
    pub(crate) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

#[cfg(test)]
impl ProjectFile {
    /// A file for a test of a rule.
    pub(crate) fn for_test(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), bytes: text.len() as u64, text: text.to_owned() }
    }
}

/// Every file of the project below `root`. Files deleted but not yet committed are left out.
pub(crate) fn project_files(root: &Path) -> Result<Vec<ProjectFile>> {
    let listing = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"])
        .current_dir(root)
        .output()
        .wrap_err("could not start git, which lists the files of the project")?;
    ensure!(
        listing.status.success(),
        "git ls-files failed; tidy needs a git checkout: {}",
        String::from_utf8_lossy(&listing.stderr).trim()
    );
    let listing = String::from_utf8(listing.stdout).wrap_err("a file name is not UTF-8")?;
    let mut files = Vec::new();
    for path in listing.split('\0').filter(|path| !path.is_empty()) {
        if let Some(file) = read(root, path)? {
            files.push(file);
        }
    }
    Ok(files)
}

fn read(root: &Path, path: &str) -> Result<Option<ProjectFile>> {
    let full = root.join(path);
    let Ok(metadata) = fs::symlink_metadata(&full) else { return Ok(None) };
    if !metadata.is_file() {
        return Ok(None);
    }
    let text = if metadata.len() <= READ_BYTES_MAX {
        let bytes = fs::read(&full).wrap_err_with(|| format!("could not read {path}"))?;
        String::from_utf8(bytes).unwrap_or_default()
    } else {
        String::new()
    };
    Ok(Some(ProjectFile { path: path.to_owned(), bytes: metadata.len(), text }))
}

//! A file is named for what it holds, so names that hold anything are refused.

use crate::finding::Finding;
use crate::tree::ProjectFile;

/// Names that say nothing about the contents.
const EMPTY_NAMES: [&str; 7] = ["util", "utils", "helper", "helpers", "common", "manager", "misc"];

/// Finds source files and folders with such a name.
pub(crate) fn check(files: &[ProjectFile]) -> Vec<Finding> {
    let sources = files.iter().filter(|f| {
        ["rs", "sol", "ts", "svelte", "mjs", "js", "py", "sh"].contains(&f.extension())
    });
    sources.filter_map(empty_name).collect()
}

fn empty_name(file: &ProjectFile) -> Option<Finding> {
    let parts = file.path.split('/').map(|part| part.split('.').next().unwrap_or(part));
    let name = parts.map(str::to_ascii_lowercase).find(|p| EMPTY_NAMES.contains(&p.as_str()))?;
    Some(Finding::new(&file.path, format!("`{name}` says nothing: name it for what it holds")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_holds_anything_is_refused_as_file_and_as_folder() {
        let files = [
            ProjectFile::for_test("crates/chain/src/utils.rs", ""),
            ProjectFile::for_test("crates/chain/tests/common/mod.rs", ""),
            ProjectFile::for_test("contracts/src/Manager.sol", ""),
            ProjectFile::for_test("crates/chain/src/fee_split.rs", ""),
            ProjectFile::for_test("docs/common.md", ""),
        ];
        let places: Vec<_> = check(&files).into_iter().map(|f| f.place).collect();
        assert_eq!(
            places,
            [
                "crates/chain/src/utils.rs",
                "crates/chain/tests/common/mod.rs",
                "contracts/src/Manager.sol"
            ]
        );
    }
}

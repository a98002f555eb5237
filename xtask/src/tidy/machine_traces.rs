//! Traces of one machine: absolute paths of its folders, addresses of the registries it uses.

use crate::finding::Finding;
use crate::tree::ProjectFile;

/// Folders that exist on somebody's machine only. Put together from parts, so that a search for them
/// does not find this table.
const MACHINE_FOLDERS: [&str; 5] = [
    concat!("/", "home/"),
    concat!("/", "root/"),
    concat!("/", "work/"),
    concat!("/", "Users/"),
    concat!("C:", "\\Users\\"),
];

/// How a package manager's file names a registry.
const REGISTRY_SETTINGS: [&str; 5] =
    ["\"resolved\": \"http", "registry=", "registry =", "index-url", "replace-with"];

/// The one source that `Cargo.lock` may name.
const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Finds absolute paths of a machine in any text file, and registry addresses in the files that
/// package managers read.
pub(crate) fn check(files: &[ProjectFile]) -> Vec<Finding> {
    files.iter().flat_map(file_findings).collect()
}

fn file_findings(file: &ProjectFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        if let Some(folder) = MACHINE_FOLDERS.iter().find(|folder| names_folder(line, folder)) {
            let message = format!("a path below {folder} exists on one machine only");
            findings.push(Finding::at(&file.path, index, message));
        }
        if names_registry(file, line) {
            let message =
                "a registry address: each machine has its own, configured outside the project";
            findings.push(Finding::at(&file.path, index, message));
        }
    }
    findings
}

/// Whether an absolute path into `folder` begins somewhere in `line`; `a/home/b` and a URL do not.
fn names_folder(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|c| !c.is_alphanumeric() && !"/._-~*})]>:".contains(c))
    })
}

fn names_registry(file: &ProjectFile, line: &str) -> bool {
    if file.name() == "Cargo.lock" {
        return line.starts_with("source = ") && !line.contains(CRATES_IO);
    }
    let read_by_a_package_manager = ["package-lock.json", ".npmrc"].contains(&file.name())
        || ["toml", "cfg", "conf"].contains(&file.extension());
    // deny.toml names the registries that are allowed, which is the opposite of using another one.
    read_by_a_package_manager
        && file.name() != "deny.toml"
        && REGISTRY_SETTINGS.iter().any(|setting| line.contains(setting))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings_in(path: &str, text: &str) -> usize {
        check(&[ProjectFile::for_test(path, text)]).len()
    }

    #[test]
    fn a_path_of_this_machine_is_found_and_a_path_of_the_project_is_not() {
        for folder in MACHINE_FOLDERS {
            assert_eq!(findings_in("a.rs", &format!("open(\"{folder}x\")")), 1, "{folder}");
            assert_eq!(findings_in("a.rs", &format!("open(\"crates{folder}x\")")), 0, "{folder}");
        }
        assert_eq!(findings_in("a.md", concat!("https://example.org/", "home/x")), 0);
    }

    #[test]
    fn a_lock_file_names_no_registry_of_its_own() {
        assert_eq!(
            findings_in("contracts/package-lock.json", "\"resolved\": \"https://x/y.tgz\""),
            1
        );
        assert_eq!(findings_in(".npmrc", "registry=https://x"), 1);
        assert_eq!(findings_in(".npmrc", "omit-lockfile-registry-resolved=true"), 0);
        assert_eq!(findings_in("Cargo.lock", "source = \"git+https://x\""), 1);
        assert_eq!(findings_in("Cargo.lock", &format!("source = \"{CRATES_IO}\"")), 0);
    }
}

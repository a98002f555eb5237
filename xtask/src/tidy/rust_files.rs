//! What every crate has: a description, the workspace's lints, a header that is a map, and its line
//! in the code map of ARCHITECTURE.md.

use crate::finding::Finding;
use crate::tree::ProjectFile;
use crate::workspace::Package;

const CODE_MAP: &str = "ARCHITECTURE.md";

/// Finds crates that lack one of these.
pub(crate) fn check(packages: &[Package], files: &[ProjectFile]) -> Vec<Finding> {
    let text = |path: &str| files.iter().find(|file| file.path == path).map(|f| f.text.as_str());
    let code_map = text(CODE_MAP).unwrap_or_default();
    let mut findings = Vec::new();
    for package in packages {
        if package.description.trim().is_empty() {
            findings.push(Finding::new(&package.name, "has no description in its Cargo.toml"));
        }
        let manifest = text(&format!("{}/Cargo.toml", package.folder)).unwrap_or_default();
        if !manifest.contains("[lints]\nworkspace = true") {
            let message = "does not take the lints of the workspace: [lints] workspace = true";
            findings.push(Finding::new(&package.name, message));
        }
        let roots = ["lib.rs", "main.rs"].map(|root| format!("{}/src/{root}", package.folder));
        let headless = roots.into_iter().find(|path| text(path).is_some_and(|t| !has_header(t)));
        findings.extend(headless.map(|path| {
            Finding::new(
                path,
                "begins with no //! header: what the crate is for, and what it is not",
            )
        }));
        if !code_map.contains(&format!("`{}", package.folder)) {
            let message = format!("has no line in the code map of {CODE_MAP}");
            findings.push(Finding::new(&package.folder, message));
        }
    }
    findings
}

fn has_header(source: &str) -> bool {
    source.starts_with("//! ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crate_with(description: &str, manifest: &str, header: &str, map: &str) -> Vec<Finding> {
        let package = Package {
            name: "openledger-chain".to_owned(),
            folder: "crates/chain".to_owned(),
            description: description.to_owned(),
            dependencies: Vec::new(),
        };
        let files = [
            ProjectFile::for_test("crates/chain/Cargo.toml", manifest),
            ProjectFile::for_test("crates/chain/src/lib.rs", header),
            ProjectFile::for_test(CODE_MAP, map),
        ];
        check(&[package], &files)
    }

    #[test]
    fn each_thing_a_crate_lacks_is_found() {
        let lints = "[lints]\nworkspace = true\n";
        assert_eq!(crate_with("A node", lints, "//! A node.\n", "`crates/chain/`"), []);
        assert_eq!(crate_with("", lints, "//! A node.\n", "`crates/chain/`").len(), 1);
        assert_eq!(crate_with("A node", "", "//! A node.\n", "`crates/chain/`").len(), 1);
        assert_eq!(crate_with("A node", lints, "mod a;\n", "`crates/chain/`").len(), 1);
        assert_eq!(crate_with("A node", lints, "//! A node.\n", "").len(), 1);
    }
}

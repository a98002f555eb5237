//! Every direct dependency is explained in `docs/dependencies.md`, and nothing else is.
//!
//! A dependency is explained by a table row: its name in backquotes in the first cell (several names
//! where one reason covers them), then what it is for, why this one, what would replace it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::finding::Finding;
use crate::tree::ProjectFile;
use crate::workspace::Package;

const PAGE: &str = "docs/dependencies.md";

/// Name, what for, why this one, what would replace it.
const CELLS: usize = 4;

/// Finds dependencies without a row, rows without a dependency, and rows with an empty cell.
pub(crate) fn check(packages: &[Package], files: &[ProjectFile]) -> Vec<Finding> {
    let Some(page) = files.iter().find(|file| file.path == PAGE) else {
        return vec![Finding::new(PAGE, "is missing: it explains every direct dependency")];
    };
    let (explained, mut findings) = explained(&page.text);
    let mut used = rust_dependencies(packages);
    for manifest in files.iter().filter(|file| file.name() == "package.json") {
        match npm_dependencies(manifest) {
            Ok(dependencies) => used.extend(dependencies),
            Err(finding) => findings.push(finding),
        }
    }
    for (name, user) in used.iter().filter(|(name, _)| !explained.contains(*name)) {
        findings.push(Finding::new(PAGE, format!("has no row for `{name}`, which {user} uses")));
    }
    for name in explained.iter().filter(|name| !used.contains_key(*name)) {
        findings
            .push(Finding::new(PAGE, format!("explains `{name}`, which nothing uses directly")));
    }
    findings
}

/// Every foreign crate that a crate of ours names, with one of its users.
fn rust_dependencies(packages: &[Package]) -> BTreeMap<String, String> {
    let edges = packages.iter().flat_map(|package| {
        let foreign = package.dependencies.iter().filter(|dependency| !dependency.ours);
        foreign.map(|dependency| (dependency.name.clone(), package.name.clone()))
    });
    edges.collect()
}

fn npm_dependencies(manifest: &ProjectFile) -> Result<BTreeMap<String, String>, Finding> {
    let json: Value = serde_json::from_str(&manifest.text)
        .map_err(|error| Finding::new(&manifest.path, format!("is not JSON: {error}")))?;
    let kinds = ["dependencies", "devDependencies", "optionalDependencies"];
    let tables = kinds.iter().filter_map(|kind| json[kind].as_object());
    Ok(tables.flat_map(|t| t.keys().map(|name| (name.clone(), manifest.path.clone()))).collect())
}

/// Names in the first cell of each row, and findings about rows that say too little.
fn explained(page: &str) -> (BTreeSet<String>, Vec<Finding>) {
    let mut names = BTreeSet::new();
    let mut findings = Vec::new();
    for (index, line) in page.lines().enumerate().filter(|(_, line)| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
        if cells.len() != CELLS || cells.iter().any(|cell| cell.is_empty()) {
            let message =
                format!("a row has {CELLS} cells: name, what for, why this one, replacement");
            findings.push(Finding::at(PAGE, index, message));
        }
        names.extend(cells[0].split('`').skip(1).step_by(2).map(str::to_owned));
    }
    (names, findings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::{Dependency, Kind};

    fn package_using(name: &str) -> Package {
        Package {
            name: "openledger-chain".to_owned(),
            folder: "crates/chain".to_owned(),
            description: String::new(),
            dependencies: vec![Dependency { name: name.to_owned(), kind: Kind::Test, ours: false }],
        }
    }

    fn findings_with(page: &str) -> Vec<Finding> {
        check(&[package_using("revm")], &[ProjectFile::for_test(PAGE, page)])
    }

    #[test]
    fn a_dependency_without_a_row_and_a_row_without_a_dependency_are_found() {
        assert_eq!(findings_with("| `revm` | EVM | reference | evmone |"), []);
        assert!(findings_with("no table")[0].message.contains("no row for `revm`"));
        let stale = findings_with("| `revm`, `sled` | a | b | c |");
        assert_eq!(stale.len(), 1);
        assert!(stale[0].message.contains("`sled`, which nothing uses"));
    }

    #[test]
    fn a_row_must_say_everything() {
        assert_eq!(findings_with("| `revm` | EVM | reference | |").len(), 1);
        assert_eq!(findings_with("| `revm` | EVM |").len(), 1);
    }

    #[test]
    fn npm_packages_need_a_row_too() {
        let manifest = ProjectFile::for_test(
            "contracts/package.json",
            r#"{"devDependencies": {"solc": "0.8.30"}}"#,
        );
        let page = ProjectFile::for_test(PAGE, "");
        let findings = check(&[], &[manifest, page]);
        assert_eq!(findings.len(), 1);
        assert!(findings[0].message.contains("`solc`, which contracts/package.json uses"));
    }
}

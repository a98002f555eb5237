//! The crates of the workspace and what each depends on directly, from `cargo metadata`.

use std::path::Path;
use std::process::Command;

use eyre::{ContextCompat, Result, WrapErr, ensure};
use serde_json::Value;

/// When a dependency is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Part of what is shipped.
    Normal,
    /// Needed by a build script.
    Build,
    /// Needed by tests only.
    Test,
}

/// One direct dependency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dependency {
    /// Its name in the registry, or in this workspace.
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// Whether it is a crate of this workspace.
    pub(crate) ours: bool,
}

/// One crate of the workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) name: String,
    /// Folder relative to the root, with `/`.
    pub(crate) folder: String,
    pub(crate) description: String,
    pub(crate) dependencies: Vec<Dependency>,
}

/// Every crate of the workspace at `root`. Reads manifests only; resolves and downloads nothing.
pub(crate) fn packages(root: &Path) -> Result<Vec<Package>> {
    let metadata = Command::new("cargo")
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root)
        .output()
        .wrap_err("could not start cargo")?;
    ensure!(
        metadata.status.success(),
        "cargo metadata failed: {}",
        String::from_utf8_lossy(&metadata.stderr).trim()
    );
    let metadata: Value =
        serde_json::from_slice(&metadata.stdout).wrap_err("cargo metadata is not JSON")?;
    parse(&metadata)
}

fn parse(metadata: &Value) -> Result<Vec<Package>> {
    let root = text(metadata, "workspace_root")?;
    let mut packages = Vec::new();
    for package in list(metadata, "packages")? {
        let manifest = text(package, "manifest_path")?;
        let folder = manifest.trim_start_matches(root).trim_end_matches("Cargo.toml");
        let dependencies: Result<Vec<_>> =
            list(package, "dependencies")?.iter().map(dependency).collect();
        packages.push(Package {
            name: text(package, "name")?.to_owned(),
            folder: folder.trim_matches('/').to_owned(),
            description: package["description"].as_str().unwrap_or_default().to_owned(),
            dependencies: dependencies?,
        });
    }
    Ok(packages)
}

fn dependency(entry: &Value) -> Result<Dependency> {
    let kind = match entry["kind"].as_str() {
        Some("dev") => Kind::Test,
        Some("build") => Kind::Build,
        _ => Kind::Normal,
    };
    Ok(Dependency {
        name: text(entry, "name")?.to_owned(),
        kind,
        ours: entry["path"].as_str().is_some(),
    })
}

fn text<'a>(value: &'a Value, key: &str) -> Result<&'a str> {
    value[key].as_str().wrap_err_with(|| format!("cargo metadata has no text {key}"))
}

fn list<'a>(value: &'a Value, key: &str) -> Result<&'a [Value]> {
    let values = value[key].as_array().wrap_err_with(|| format!("cargo metadata has no {key}"))?;
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_package_keeps_its_folder_and_the_kind_of_each_dependency() {
        let metadata = json!({
            "workspace_root": "/somewhere",
            "packages": [{
                "name": "openledger-chain",
                "manifest_path": "/somewhere/crates/chain/Cargo.toml",
                "description": null,
                "dependencies": [
                    {"name": "revm", "kind": null},
                    {"name": "proptest", "kind": "dev"},
                    {"name": "openledger-primitives", "kind": null, "path": "/somewhere/crates/primitives"},
                ],
            }],
        });
        let packages = parse(&metadata).unwrap();
        assert_eq!(packages[0].folder, "crates/chain");
        assert_eq!(packages[0].description, "");
        let kinds: Vec<_> =
            packages[0].dependencies.iter().map(|d| (d.name.as_str(), d.kind, d.ours)).collect();
        assert_eq!(
            kinds,
            [
                ("revm", Kind::Normal, false),
                ("proptest", Kind::Test, false),
                ("openledger-primitives", Kind::Normal, true),
            ]
        );
    }
}

//! The rules of this repository that no compiler checks, each as a function of values.
//!
//! A rule takes the files or the crates and returns what it found; it reads nothing itself, so its
//! test beside it can show it a breach. Exceptions stand in a table beside the rule, with the reason.

mod dependency_docs;
mod directions;
mod file_sizes;
mod leftovers;
mod machine_traces;
mod names;
mod rust_code;
mod rust_files;
mod unsafe_code;

use std::path::Path;
use std::process::ExitCode;

use eyre::Result;

use crate::finding::Finding;
use crate::{tree, workspace};

/// Runs every rule on the project at `root` and prints what was found.
pub(crate) fn run(root: &Path) -> Result<ExitCode> {
    let findings = findings(root)?;
    for finding in &findings {
        println!("{finding}");
    }
    if findings.is_empty() {
        println!("tidy: nothing found");
        return Ok(ExitCode::SUCCESS);
    }
    println!("tidy: {} found", findings.len());
    Ok(ExitCode::FAILURE)
}

/// What every rule together finds, sorted by place.
pub(crate) fn findings(root: &Path) -> Result<Vec<Finding>> {
    let files = tree::project_files(root)?;
    let packages = workspace::packages(root)?;
    let mut findings = Vec::new();
    findings.extend(directions::check(&packages));
    findings.extend(dependency_docs::check(&packages, &files));
    findings.extend(rust_files::check(&packages, &files));
    findings.extend(unsafe_code::check(&files));
    findings.extend(file_sizes::check(&files));
    findings.extend(names::check(&files));
    findings.extend(leftovers::check(&files));
    findings.extend(machine_traces::check(&files));
    findings.sort();
    Ok(findings)
}

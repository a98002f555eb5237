//! Unsafe code lives in one crate, where it is tested against its scalar version.

use super::rust_code::code_only;
use crate::finding::Finding;
use crate::tree::ProjectFile;

/// The only folder in which the keyword may stand.
const UNSAFE_HOME: &str = "crates/tensor/";

/// Finds the keyword `unsafe` outside the tensor crate.
pub(crate) fn check(files: &[ProjectFile]) -> Vec<Finding> {
    let elsewhere =
        files.iter().filter(|f| f.extension() == "rs" && !f.path.starts_with(UNSAFE_HOME));
    let mut findings = Vec::new();
    for file in elsewhere {
        for (index, line) in code_only(&file.text).lines().enumerate() {
            let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
            if words.any(|word| word == "unsafe") {
                let message =
                    format!("unsafe code belongs in {UNSAFE_HOME} behind a safe function");
                findings.push(Finding::at(&file.path, index, message));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_code_outside_the_tensor_crate_is_found_and_prose_is_not() {
        let block = "// unsafe in prose\n#![forbid(unsafe_code)]\nfn f() { unsafe { g() } }\n";
        let files = [
            ProjectFile::for_test("crates/chain/src/lib.rs", block),
            ProjectFile::for_test("crates/tensor/src/lib.rs", block),
        ];
        let findings = check(&files);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].place, "crates/chain/src/lib.rs:3");
    }
}

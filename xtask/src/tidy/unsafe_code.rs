//! Unsafe code lives where it is tested against something safe: in one crate, and in the driver of devices.

use super::rust_code::code_only;
use crate::finding::Finding;
use crate::tree::ProjectFile;

/// The only places in which the keyword may stand: the float kernels, the calls of the CUDA driver, the device that
/// the processor plays in tests, and the settings of the allocator.
const UNSAFE_HOMES: [&str; 4] = [
    "crates/tensor/",
    "crates/cuda/src/driver.rs",
    "crates/cuda/src/emulator.rs",
    "crates/allocator/src/lib.rs",
];

/// Finds the keyword `unsafe` outside its homes.
pub(crate) fn check(files: &[ProjectFile]) -> Vec<Finding> {
    let elsewhere = files.iter().filter(|f| {
        f.extension() == "rs" && !UNSAFE_HOMES.iter().any(|home| f.path.starts_with(home))
    });
    let mut findings = Vec::new();
    for file in elsewhere {
        for (index, line) in code_only(&file.text).lines().enumerate() {
            let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
            if words.any(|word| word == "unsafe") {
                let homes = UNSAFE_HOMES.join(", ");
                let message = format!("unsafe code belongs in {homes} behind a safe function");
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
            ProjectFile::for_test("crates/cuda/src/driver.rs", block),
        ];
        let findings = check(&files);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].place, "crates/chain/src/lib.rs:3");
    }
}

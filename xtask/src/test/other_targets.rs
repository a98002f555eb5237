//! Another processor, emulated, on which the float path must give the bits it gives here.
//!
//! The target has its own C library, linked statically with the linker that comes with Rust, so neither a
//! cross compiler nor a foreign system root is needed: only Rust's standard library for it and an emulator.

use std::path::Path;
use std::process::Command;

use eyre::{Result, WrapErr, ensure};

use super::machine::{Program, install_missing, succeed};

/// The target, in Rust's name for it.
pub(super) const TRIPLE: &str = "aarch64-unknown-linux-musl";

/// How cargo links for the target and runs what it linked.
pub(super) const ENVIRONMENT: &[(&str, &str)] = &[
    ("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER", "rust-lld"),
    ("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_RUNNER", EMULATOR.name),
];

/// What the step that prepares it is called in the plan.
pub(super) const DESCRIPTION: &str = "AArch64: its emulator, Rust's standard library for it";

const EMULATOR: Program = Program {
    name: "qemu-aarch64",
    package: "qemu-user",
    needed_for: "running the float kernels on another processor",
};

/// Installs what is missing. Errors say what is missing and how to get it.
pub(super) fn prepare() -> Result<()> {
    install_missing(&[EMULATOR])?;
    if has_standard_library(&library_folder()?) {
        return Ok(());
    }
    println!("installing the Rust target {TRIPLE}");
    succeed(Command::new("rustup").args(["target", "add", TRIPLE])).wrap_err_with(|| {
        format!("this Rust has no standard library for {TRIPLE}; install it as rust-std-{TRIPLE}")
    })?;
    let folder = library_folder()?;
    ensure!(has_standard_library(&folder), "rustup added {TRIPLE}, but not to {folder}");
    Ok(())
}

/// Where the compiler that cargo calls looks for the target's standard library.
fn library_folder() -> Result<String> {
    let arguments = ["--print", "target-libdir", "--target", TRIPLE];
    let output =
        Command::new("rustc").args(arguments).output().wrap_err("could not start rustc")?;
    ensure!(output.status.success(), "rustc does not know the target {TRIPLE}");
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn has_standard_library(folder: &str) -> bool {
    let is_std = |name: &str| name.starts_with("libstd-") && name.ends_with(".rlib");
    let files = Path::new(folder).read_dir().into_iter().flatten().flatten();
    files.into_iter().any(|file| file.file_name().to_str().is_some_and(is_std))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_the_standard_library_is_told_from_one_with_it() {
        assert!(!has_standard_library("/no/such/folder"));
        assert!(!has_standard_library(env!("CARGO_MANIFEST_DIR")));
        let arguments = ["--print", "target-libdir"];
        let output = Command::new("rustc").args(arguments).output().expect("rustc starts");
        assert!(has_standard_library(String::from_utf8_lossy(&output.stdout).trim()));
    }

    #[test]
    fn cargo_is_told_of_the_linker_and_the_emulator_by_the_name_of_the_target() {
        let prefix = format!("CARGO_TARGET_{}_", TRIPLE.to_uppercase().replace('-', "_"));
        assert!(ENVIRONMENT.iter().all(|(name, _)| name.starts_with(&prefix)));
        assert!(ENVIRONMENT.iter().any(|(_, value)| *value == EMULATOR.name));
    }
}

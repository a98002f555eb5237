//! Other processors, on which the float path must give the bits that it gives here: AArch64 in an
//! emulator, and WebAssembly, which has neither vector instructions here nor a fused multiply-add.
//!
//! Both targets bring their own C library and are linked with the linker that comes with Rust, so neither
//! a cross compiler nor a foreign system root is needed: only Rust's standard library for them.

use std::path::Path;
use std::process::Command;

use eyre::{Result, WrapErr, ensure};

use super::machine::{Program, install_missing, succeed};

/// A target and how its programs come to run on this machine.
pub(super) struct Target {
    /// Rust's name for it.
    pub(super) triple: &'static str,
    /// How cargo links for it and runs what it linked.
    pub(super) environment: &'static [(&'static str, &'static str)],
}

/// Run by an emulator, with its vector instructions.
pub(super) const AARCH64: Target = Target {
    triple: "aarch64-unknown-linux-musl",
    environment: &[
        ("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER", "rust-lld"),
        ("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_RUNNER", EMULATOR.name),
    ],
};

/// Run by Node, on the portable path and one thread.
pub(super) const WASM: Target = Target {
    triple: "wasm32-wasip1",
    environment: &[("CARGO_TARGET_WASM32_WASIP1_RUNNER", "xtask/wasi.mjs")],
};

/// What the step that prepares them is called in the plan.
pub(super) const DESCRIPTION: &str =
    "AArch64 with its emulator, WebAssembly: Rust's standard library for both";

const EMULATOR: Program = Program {
    name: "qemu-aarch64",
    package: "qemu-user",
    needed_for: "running the float kernels on another processor",
};

/// Installs what is missing. Errors say what is missing and how to get it.
pub(super) fn prepare() -> Result<()> {
    install_missing(&[EMULATOR])?;
    [AARCH64, WASM].iter().try_for_each(|target| install_standard_library(target.triple))
}

fn install_standard_library(triple: &str) -> Result<()> {
    if has_standard_library(&library_folder(triple)?) {
        return Ok(());
    }
    println!("installing the Rust target {triple}");
    succeed(Command::new("rustup").args(["target", "add", triple])).wrap_err_with(|| {
        format!("this Rust has no standard library for {triple}; install it as rust-std-{triple}")
    })?;
    let folder = library_folder(triple)?;
    ensure!(has_standard_library(&folder), "rustup added {triple}, but not to {folder}");
    Ok(())
}

/// Where the compiler that cargo calls looks for a target's standard library.
fn library_folder(triple: &str) -> Result<String> {
    let arguments = ["--print", "target-libdir", "--target", triple];
    let output =
        Command::new("rustc").args(arguments).output().wrap_err("could not start rustc")?;
    ensure!(output.status.success(), "rustc does not know the target {triple}");
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
    fn a_target_that_the_compiler_does_not_know_is_an_error_that_names_it() {
        let error = install_standard_library("no-such-target").expect_err("refused").to_string();
        assert!(error.contains("no-such-target"), "{error}");
    }

    #[test]
    fn cargo_is_told_how_to_run_a_target_under_the_name_of_the_target() {
        for Target { triple, environment } in [AARCH64, WASM] {
            let prefix = format!("CARGO_TARGET_{}_", triple.to_uppercase().replace('-', "_"));
            assert!(environment.iter().all(|(name, _)| name.starts_with(&prefix)));
            let runner = format!("{prefix}RUNNER");
            assert!(environment.iter().any(|(name, _)| *name == runner), "{triple}");
        }
    }

    #[test]
    fn the_program_that_runs_webassembly_is_in_the_project() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a folder above");
        assert!(WASM.environment.iter().all(|(_, runner)| root.join(runner).is_file()));
    }
}

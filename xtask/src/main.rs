//! Developer commands: `cargo xtask test` runs every check of every language, `cargo xtask tidy`
//! only the rules of this repository.
//!
//! Not a build system: cargo, npm and forge do the work, and each step prints the command it runs, so
//! that any of them can be repeated by hand. It depends on no crate of ours, so it builds in seconds
//! and still runs when they do not compile.
//!
//! ```text
//! test ─▶ machine (what is missing is installed) ─▶ plan ─▶ step, step, … ─▶ summary, exit code
//! tidy ─▶ tree (files) + workspace (crates) ─▶ one function per rule ─▶ findings
//! ```
//!
//! **Invariant:** a step that cannot run is a failure, never a silent success.
//! **Invariant:** every rule of `tidy` is a function of values and has a test that sees it fail.

#![expect(clippy::print_stdout, reason = "a command-line tool: its report is its output")]

mod finding;
mod test;
mod tidy;
mod tree;
mod workspace;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use eyre::{ContextCompat, Result};

const USAGE: &str = "\
usage: cargo xtask <command>

  test          every check and test that a change must pass
  test --full   the same, and the slow suites: long fuzzing, ignored tests, documentation
  tidy          only the rules of this repository: dependency directions, file sizes, names, leftovers
";

/// Exit code of a wrong command line, as `openledger` itself has it.
const EXIT_USAGE: u8 = 2;

fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let root = workspace_root()?;
    match arguments.as_slice() {
        ["test"] => test::run(&root, test::Extent::Everyday),
        ["test", "--full"] => test::run(&root, test::Extent::Full),
        ["tidy"] => tidy::run(&root),
        ["help" | "-h" | "--help"] => {
            print!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        _ => {
            eprint!("{USAGE}");
            Ok(ExitCode::from(EXIT_USAGE))
        }
    }
}

fn workspace_root() -> Result<PathBuf> {
    let manifest_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    Ok(manifest_dir.parent().wrap_err("xtask lies in a folder of the workspace")?.to_path_buf())
}

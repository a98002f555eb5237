//! A Python of our own with the packages that tests ask for, under `target`.

use std::path::Path;
use std::process::Command;

use eyre::Result;

use super::machine::{Program, install_missing, succeed};

pub(super) const DESCRIPTION: &str =
    "a Python environment with tests/sdk/requirements.txt and crates/cuda/requirements.txt";

/// What is installed: the official Python client, and NVRTC, which comes as a Python package.
const REQUIREMENTS: [&str; 2] = ["tests/sdk/requirements.txt", "crates/cuda/requirements.txt"];

/// Relative to the workspace; tests look for it there.
const FOLDER: &str = "target/python";

const PROGRAMS: &[Program] =
    &[Program { name: "python3", package: "python3", needed_for: "the Python client of the API" }];

/// Makes the environment if it is not there, and installs what is missing in it.
pub(super) fn prepare(root: &Path) -> Result<()> {
    install_missing(PROGRAMS)?;
    let folder = root.join(FOLDER);
    if !folder.join("bin/pip").exists() {
        let environment = || {
            let mut command = Command::new("python3");
            command.args(["-m", "venv", "--clear"]).arg(&folder);
            command
        };
        // Debian keeps what this needs in a package of its own, and no program tells whether it is there.
        if succeed(&mut environment()).is_err() {
            let venv = Program { name: "python3-venv", package: "python3-venv", ..PROGRAMS[0] };
            install_missing(&[venv])?;
            succeed(&mut environment())?;
        }
    }
    let mut pip = Command::new(folder.join("bin/pip"));
    pip.args(["install", "-q"]);
    for requirements in REQUIREMENTS {
        pip.arg("-r").arg(root.join(requirements));
    }
    succeed(&mut pip)
}

//! Pythons of our own with the packages that tests ask for, under `target`.

use std::fmt;
use std::path::Path;
use std::process::Command;

use eyre::Result;

use super::machine::{Program, install_missing, succeed};

/// A Python with pinned packages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Environment {
    /// Relative to the workspace; tests look for it there.
    folder: &'static str,
    requirements: &'static [&'static str],
    /// A variable that names a Python which has them already, so that nothing is installed.
    instead: Option<&'static str>,
}

/// The official client of the API, and NVRTC, which compiles the CUDA kernels and comes as a Python package.
pub(super) const CLIENT: Environment = Environment {
    folder: "target/python",
    requirements: &["tests/sdk/requirements.txt", "crates/cuda/requirements.txt"],
    instead: None,
};

/// What models and adapters are compared with. Apart from the client, because it is large.
pub(super) const MODELS: Environment = Environment {
    folder: "target/python-models",
    requirements: &["crates/model/tests/parity/requirements.txt"],
    instead: Some("OPENLEDGER_PYTHON"),
};

const PROGRAMS: &[Program] =
    &[Program { name: "python3", package: "python3", needed_for: "what the tests compare with" }];

impl Environment {
    /// Makes the environment if it is not there, and installs what is missing in it.
    pub(super) fn prepare(self, root: &Path) -> Result<()> {
        if let Some(python) = self.given() {
            println!("{} is used, nothing is installed", python.display());
            return Ok(());
        }
        install_missing(PROGRAMS)?;
        let folder = root.join(self.folder);
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
        for requirements in self.requirements {
            pip.arg("-r").arg(root.join(requirements));
        }
        succeed(&mut pip)
    }

    fn given(self) -> Option<std::path::PathBuf> {
        std::env::var_os(self.instead?).filter(|python| !python.is_empty()).map(Into::into)
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, with {}", self.folder, self.requirements.join(" and "))?;
        self.instead.map_or(Ok(()), |variable| write!(f, "; or what {variable} names"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_is_pinned() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace");
        for environment in [CLIENT, MODELS] {
            for requirements in environment.requirements {
                let requirements = std::fs::read_to_string(root.join(requirements)).unwrap();
                let packages =
                    requirements.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
                let pinned: Vec<bool> = packages.map(|package| package.contains("==")).collect();
                assert!(!pinned.is_empty() && pinned.iter().all(|pinned| *pinned), "{environment}");
            }
        }
    }
}

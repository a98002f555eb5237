//! What the machine must have before anything is built, and how it comes by what it lacks.
//!
//! Nothing is installed that is already there. Debian packages need root; without it the message says
//! what to install by hand.

use std::process::{Command, Stdio};

use eyre::{Result, WrapErr, bail, ensure};

/// A program the steps call.
pub(super) struct Program {
    pub(super) name: &'static str,
    /// The Debian package that brings it.
    pub(super) package: &'static str,
    pub(super) needed_for: &'static str,
}

const PROGRAMS: &[Program] = &[
    Program { name: "git", package: "git", needed_for: "listing the files of the project" },
    Program {
        name: "cc",
        package: "build-essential",
        needed_for: "the C parts of the signature and database libraries",
    },
    Program { name: "node", package: "nodejs", needed_for: "compiling the contracts" },
    Program { name: "npm", package: "npm", needed_for: "installing the contract tools" },
];

/// Parts of a Rust toolchain that a minimal one lacks: the program to ask, the component.
const RUST_COMPONENTS: [(&str, &str); 2] = [("cargo-fmt", "rustfmt"), ("cargo-clippy", "clippy")];

/// The oldest Node that the contract tools run on.
const NODE_MAJOR_MIN: u32 = 20;

/// Installs what is missing. Errors say what is missing, what it is needed for and how to get it.
pub(super) fn prepare() -> Result<()> {
    install_missing(PROGRAMS)?;
    for (program, component) in RUST_COMPONENTS {
        if !answers(program) {
            println!("installing the Rust component {component}");
            succeed(Command::new("rustup").args(["component", "add", component]))?;
        }
    }
    require_node(&version_of_node()?)
}

/// Installs those of `programs` that do not answer.
pub(super) fn install_missing(programs: &[Program]) -> Result<()> {
    let missing = missing(programs, answers);
    if missing.is_empty() { Ok(()) } else { install_debian_packages(&missing) }
}

fn missing(programs: &[Program], present: impl Fn(&str) -> bool) -> Vec<&Program> {
    programs.iter().filter(|program| !present(program.name)).collect()
}

/// Whether a program of this name starts and can say its version.
fn answers(program: &str) -> bool {
    let status = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

fn install_debian_packages(missing: &[&Program]) -> Result<()> {
    let packages: Vec<&str> = missing.iter().map(|program| program.package).collect();
    for program in missing {
        println!("{} is missing, needed for {}", program.name, program.needed_for);
    }
    let by_hand = format!("apt-get install {}", packages.join(" "));
    ensure!(answers("apt-get"), "this is no Debian machine: install what {by_hand} would bring");
    ensure!(is_root()?, "installing needs root; as root, run: {by_hand}");
    succeed(Command::new("apt-get").args(["update", "-q"]))?;
    let options = ["install", "-q", "-y", "--no-install-recommends"];
    succeed(
        Command::new("apt-get")
            .args(options)
            .args(packages)
            .env("DEBIAN_FRONTEND", "noninteractive"),
    )
}

fn is_root() -> Result<bool> {
    let id = Command::new("id").arg("-u").output().wrap_err("could not start id")?;
    Ok(id.stdout.trim_ascii() == b"0")
}

/// Runs `command`; its failure is ours.
pub(super) fn succeed(command: &mut Command) -> Result<()> {
    let shown = format!("{command:?}");
    let status = command.status().wrap_err_with(|| format!("could not start {shown}"))?;
    ensure!(status.success(), "{shown} ended with {status}");
    Ok(())
}

fn version_of_node() -> Result<String> {
    let node = Command::new("node").arg("--version").output().wrap_err("could not start node")?;
    Ok(String::from_utf8_lossy(&node.stdout).trim().to_owned())
}

/// `version` as node prints it: `v20.11.1`.
fn require_node(version: &str) -> Result<()> {
    let major =
        version.trim_start_matches('v').split('.').next().and_then(|m| m.parse::<u32>().ok());
    match major {
        Some(major) if major >= NODE_MAJOR_MIN => Ok(()),
        Some(_) => bail!("node is {version}; the contract tools need {NODE_MAJOR_MIN} or newer"),
        None => bail!("node says its version is {version:?}, which is none"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_is_installed() {
        let absent = missing(PROGRAMS, |name| name != "npm");
        let names: Vec<_> = absent.iter().map(|program| program.name).collect();
        assert_eq!(names, ["npm"]);
        assert!(missing(PROGRAMS, |_| true).is_empty());
    }

    #[test]
    fn an_old_node_is_refused_with_the_version_it_should_have() {
        assert!(require_node("v20.11.1").is_ok());
        assert!(require_node("v18.20.4").unwrap_err().to_string().contains("need 20 or newer"));
        assert!(require_node("").is_err());
    }
}

//! One command of the plan: shown as a person would type it, run, its tests counted as they pass by.

use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use eyre::{ContextCompat, Result, WrapErr};

use super::Failure;
use super::counts::TestCounts;

/// A program with its arguments, fixed when the plan was written.
#[derive(Clone, Copy, Debug)]
pub(super) struct CommandLine {
    pub(super) program: &'static str,
    pub(super) arguments: &'static [&'static str],
    /// Relative to the root of the workspace; empty for the root itself.
    pub(super) folder: &'static str,
    pub(super) environment: &'static [(&'static str, &'static str)],
}

impl CommandLine {
    /// Runs the command below `root`. What it writes on stdout goes to `shown` as it comes, and the
    /// test results in it are counted; stderr is ours.
    pub(super) fn run(&self, root: &Path, shown: &mut impl Write) -> Result<TestCounts, Failure> {
        let folder = root.join(self.folder);
        let mut child = Command::new(self.program)
            .args(self.arguments)
            .envs(self.environment.iter().copied())
            .current_dir(&folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .wrap_err_with(|| format!("could not start {} in {}/", self.program, self.folder))?;
        let output = child.stdout.take().wrap_err("the output of the command was not piped")?;
        let tests = pass_on_and_count(output, shown)?;
        let status = child.wait().wrap_err("could not wait for the command")?;
        if status.success() {
            return Ok(tests);
        }
        Err(Failure { reason: status.to_string(), tests })
    }
}

impl fmt::Display for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.folder.is_empty() {
            write!(f, "cd {} && ", self.folder)?;
        }
        for (name, value) in self.environment {
            write!(f, "{name}='{value}' ")?;
        }
        write!(f, "{}", self.program)?;
        self.arguments.iter().try_for_each(|argument| write!(f, " {argument}"))
    }
}

/// Line by line, so that progress is seen while it happens.
fn pass_on_and_count(output: impl Read, shown: &mut impl Write) -> Result<TestCounts> {
    let mut tests = TestCounts::default();
    let mut lines = BufReader::new(output);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).wrap_err("could not read the command's output")? > 0 {
        tests.add_line(&String::from_utf8_lossy(&line));
        shown.write_all(&line).wrap_err("could not pass the output on")?;
        line.clear();
    }
    Ok(tests)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINT_A_RESULT: CommandLine = CommandLine {
        program: "sh",
        arguments: &[
            "-c",
            "echo 'test result: FAILED. 2 passed; 1 failed; 0 ignored;'; exit $CODE",
        ],
        folder: "",
        environment: &[("CODE", "3")],
    };

    #[test]
    fn a_failed_command_still_tells_which_tests_ran() {
        let mut shown = Vec::new();
        let failure = PRINT_A_RESULT.run(Path::new("."), &mut shown).unwrap_err();
        assert_eq!((failure.tests.passed, failure.tests.failed), (2, 1));
        assert!(failure.reason.contains("exit status: 3"), "{}", failure.reason);
        assert!(shown.starts_with(b"test result: FAILED."));
    }

    #[test]
    fn a_program_that_does_not_exist_is_a_failure_that_names_it() {
        let absent = CommandLine { program: "no-such-program", ..PRINT_A_RESULT };
        let failure = absent.run(Path::new("."), &mut Vec::new()).unwrap_err();
        assert!(failure.reason.contains("no-such-program"), "{}", failure.reason);
    }

    #[test]
    fn a_command_is_shown_as_it_would_be_typed() {
        let long = CommandLine {
            program: "npm",
            arguments: &["test"],
            folder: "contracts",
            environment: &[("PROPTEST_CASES", "9")],
        };
        assert_eq!(long.to_string(), "cd contracts && PROPTEST_CASES='9' npm test");
    }
}

//! What `cargo xtask test` runs, in which order, and what depends on what.
//!
//! One profile is compiled: release, which is what is shipped. Clippy checks in that profile too, so
//! build scripts and procedural macros are built once. Only what computes with floats is compiled again:
//! in the debug profile, and in the full run for other processors, to see that all give the same bits.

use std::fmt;

use super::command_line::CommandLine;
use super::other_targets;
use super::python;

/// How much is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// What a change must pass.
    Everyday,
    /// That, and the slow suites.
    Full,
}

/// One step of the plan.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) name: &'static str,
    pub(super) work: Work,
    /// Earlier steps without which this one says nothing.
    pub(super) needs: &'static [&'static str],
    /// Whether it runs tests; then at least one must run.
    pub(super) counts_tests: bool,
}

/// What a step does.
#[derive(Clone, Copy, Debug)]
pub(super) enum Work {
    /// Sees to it that the machine has what the other steps call.
    Machine,
    /// Sees to it that programs for other processors can be compiled and run.
    OtherTargets,
    /// Sees to it that a Python with its packages is there.
    Python(python::Environment),
    /// The rules of this repository.
    Tidy,
    /// A program.
    Command(CommandLine),
}

const EVERYDAY: &[Step] = &[
    Step { name: "machine", work: Work::Machine, needs: &[], counts_tests: false },
    check("tidy", Work::Tidy),
    check("format", command("cargo", &["fmt", "--all", "--check"])),
    check("contract tools", in_contracts(&["ci", "--ignore-scripts", "--no-audit", "--no-fund"])),
    Step {
        name: "contract artifacts",
        work: in_contracts(&["run", "check"]),
        needs: &["machine", "contract tools"],
        counts_tests: false,
    },
    Step {
        name: "contract tests",
        work: in_contracts(&["test"]),
        needs: &["machine", "contract tools"],
        counts_tests: true,
    },
    check(
        "clippy",
        command(
            "cargo",
            &[
                "clippy",
                "--release",
                "--locked",
                "--workspace",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ],
        ),
    ),
    // Apart from running, so that the table shows where the time goes.
    check(
        "compile",
        command("cargo", &["test", "--release", "--locked", "--workspace", "--no-run"]),
    ),
    Step {
        name: "tests",
        work: command("cargo", &["test", "--release", "--locked", "--workspace", "--no-fail-fast"]),
        needs: &["machine", "compile"],
        counts_tests: true,
    },
    check("genesis inputs", in_predeploys(&["ci", "--ignore-scripts", "--no-audit", "--no-fund"])),
    // A test, so that it has the features of the workspace and nothing is compiled twice.
    Step {
        name: "genesis",
        work: command(
            "cargo",
            &[
                "test",
                "--release",
                "--locked",
                "--workspace",
                "--bin",
                "openledger-predeploys",
                "--",
                "--include-ignored",
            ],
        ),
        needs: &["machine", "compile", "genesis inputs"],
        counts_tests: true,
    },
    check("client tools", in_sdk_tests(&["ci", "--ignore-scripts", "--no-audit", "--no-fund"])),
    Step {
        name: "OpenAI client",
        work: command(
            "cargo",
            &[
                "test",
                "--release",
                "--locked",
                "--workspace",
                "--test",
                "it",
                "--",
                "--include-ignored",
                "the_official_javascript_client",
            ],
        ),
        needs: &["machine", "compile", "client tools"],
        counts_tests: true,
    },
    Step {
        name: "same bits in debug",
        work: command(
            "cargo",
            &["test", "--locked", "-p", "openledger-tensor", "-p", "openledger-model"],
        ),
        needs: &["machine"],
        counts_tests: true,
    },
    Step {
        name: "same training in debug",
        work: command(
            "cargo",
            &["test", "--locked", "-p", "openledger-factory", "--test", "training", "golden"],
        ),
        needs: &["machine"],
        counts_tests: true,
    },
];

/// Tests of the kernels in the emulator of the device. One case takes up to seconds, elsewhere milliseconds: with the
/// number of cases that the other properties have in the full run these alone would take five hours of a core.
const EMULATED: [&str; 3] = ["tests::whole_model::", "tests::attention::", "tests::products::"];

const SLOW: &[Step] = &[
    check(
        "documentation",
        Work::Command(CommandLine {
            program: "cargo",
            arguments: &["doc", "--release", "--locked", "--workspace", "--no-deps"],
            folder: "",
            environment: &[("RUSTDOCFLAGS", "-D warnings")],
        }),
    ),
    check("other targets", Work::OtherTargets),
    Step {
        name: "same bits on AArch64",
        work: Work::Command(CommandLine {
            program: "cargo",
            arguments: &[
                "test",
                "--release",
                "--locked",
                "--no-fail-fast",
                "--target",
                other_targets::AARCH64.triple,
                "-p",
                "openledger-tensor",
                "-p",
                "openledger-factory",
                "--lib",
                "--test",
                "golden",
                "--test",
                "kernels",
                "--test",
                "training",
            ],
            folder: "",
            environment: other_targets::AARCH64.environment,
        }),
        needs: &["machine", "other targets"],
        counts_tests: true,
    },
    Step {
        name: "same bits in WebAssembly",
        work: Work::Command(CommandLine {
            program: "cargo",
            arguments: &[
                "test",
                "--release",
                "--locked",
                "--target",
                other_targets::WASM.triple,
                "-p",
                "openledger-tensor",
                "--test",
                "golden",
            ],
            folder: "",
            environment: other_targets::WASM.environment,
        }),
        needs: &["machine", "other targets"],
        counts_tests: true,
    },
    Step {
        name: "long contract fuzzing",
        work: in_contracts(&["run", "test:full"]),
        needs: &["machine", "contract tools"],
        counts_tests: true,
    },
    Step {
        name: "long properties",
        work: Work::Command(CommandLine {
            program: "cargo",
            arguments: &[
                "test",
                "--release",
                "--locked",
                "--workspace",
                "--no-fail-fast",
                "--",
                "--skip",
                EMULATED[0],
                "--skip",
                EMULATED[1],
                "--skip",
                EMULATED[2],
            ],
            folder: "",
            environment: &[("PROPTEST_CASES", "4096")],
        }),
        needs: &["machine", "compile"],
        counts_tests: true,
    },
    Step {
        name: "long emulated properties",
        work: Work::Command(CommandLine {
            program: "cargo",
            arguments: &[
                "test",
                "--release",
                "--locked",
                "--workspace",
                "--lib",
                "--no-fail-fast",
                "--",
                EMULATED[0],
                EMULATED[1],
                EMULATED[2],
            ],
            folder: "",
            environment: &[("PROPTEST_CASES", "128")],
        }),
        needs: &["machine", "compile"],
        counts_tests: true,
    },
    check("Python client", Work::Python(python::CLIENT)),
    Step {
        name: "slow tests",
        work: command(
            "cargo",
            &[
                "test",
                "--release",
                "--locked",
                "--workspace",
                "--no-fail-fast",
                "--",
                "--ignored",
                "--skip",
                "transformers_and_peft",
                // What writes committed files, for whoever changes a definition, is no test; nor is what only measures.
                "--skip",
                "write_the_",
                "--skip",
                "_costs",
            ],
        ),
        needs: &["machine", "compile", "genesis inputs", "client tools", "Python client"],
        counts_tests: false,
    },
    check("Python models", Work::Python(python::MODELS)),
    Step {
        name: "same as transformers",
        work: command(
            "cargo",
            &[
                "test",
                "--release",
                "--locked",
                "--workspace",
                "--test",
                "it",
                "--",
                "--ignored",
                "transformers_and_peft",
            ],
        ),
        needs: &["machine", "compile", "Python models"],
        counts_tests: true,
    },
];

/// The steps of `extent`, in the order they run.
pub(super) fn plan(extent: Extent) -> Vec<Step> {
    match extent {
        Extent::Everyday => EVERYDAY.to_vec(),
        Extent::Full => [EVERYDAY, SLOW].concat(),
    }
}

/// A step that runs no tests and needs only the machine.
const fn check(name: &'static str, work: Work) -> Step {
    Step { name, work, needs: &["machine"], counts_tests: false }
}

const fn command(program: &'static str, arguments: &'static [&'static str]) -> Work {
    Work::Command(CommandLine { program, arguments, folder: "", environment: &[] })
}

/// npm, where the artifacts that the genesis is made from are installed.
const fn in_predeploys(arguments: &'static [&'static str]) -> Work {
    let folder = "crates/predeploys";
    Work::Command(CommandLine { program: "npm", arguments, folder, environment: &[] })
}

/// npm, where the official clients of the API are installed.
const fn in_sdk_tests(arguments: &'static [&'static str]) -> Work {
    let folder = "tests/sdk";
    Work::Command(CommandLine { program: "npm", arguments, folder, environment: &[] })
}

/// npm, with the scripts that `contracts/package.json` names.
const fn in_contracts(arguments: &'static [&'static str]) -> Work {
    Work::Command(CommandLine { program: "npm", arguments, folder: "contracts", environment: &[] })
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Machine => write!(f, "compilers, Node, Rust components"),
            Self::OtherTargets => write!(f, "{}", other_targets::DESCRIPTION),
            Self::Python(environment) => write!(f, "{environment}"),
            Self::Tidy => write!(f, "cargo xtask tidy"),
            Self::Command(command) => write!(f, "{command}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_needs_only_earlier_steps_and_names_are_unique() {
        let steps = plan(Extent::Full);
        for (index, step) in steps.iter().enumerate() {
            let earlier: Vec<_> = steps[..index].iter().map(|step| step.name).collect();
            assert!(!earlier.contains(&step.name), "{} comes twice", step.name);
            for needed in step.needs {
                assert!(
                    earlier.contains(needed),
                    "{} needs {needed}, which is not earlier",
                    step.name
                );
            }
        }
    }

    #[test]
    fn the_full_run_begins_with_the_everyday_run() {
        let names = |extent| plan(extent).iter().map(|step| step.name).collect::<Vec<_>>();
        let (everyday, full) = (names(Extent::Everyday), names(Extent::Full));
        assert!(full.starts_with(&everyday) && full.len() > everyday.len());
    }

    #[test]
    fn the_workspace_is_compiled_in_release_only() {
        let others = ["same bits in debug", "same training in debug", "format"];
        for step in plan(Extent::Full).iter().filter(|step| !others.contains(&step.name)) {
            if let Work::Command(CommandLine { program: "cargo", arguments, .. }) = &step.work {
                assert!(arguments.contains(&"--release"), "{}", step.name);
            }
        }
    }
}

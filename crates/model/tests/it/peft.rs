//! The comparisons with transformers and PEFT.
//!
//! `cargo xtask test --full` makes a Python for them in `target/python-models`; `OPENLEDGER_PYTHON` names another.

use std::path::PathBuf;
use std::process::Command;

fn python() -> PathBuf {
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/python-models/bin/python");
    std::env::var_os("OPENLEDGER_PYTHON").map_or_else(|| own.into(), PathBuf::from)
}

fn run(script: &str) {
    let script = format!("{}/tests/{script}", env!("CARGO_MANIFEST_DIR"));
    let python = python();
    let status = Command::new(&python).arg(&script).status();
    let status = status.unwrap_or_else(|error| {
        panic!(
            "{}: {error}; `cargo xtask test --full` makes it, OPENLEDGER_PYTHON names another",
            python.display()
        )
    });
    assert!(status.success(), "{script}: {status}: the logits differ, or a package is missing");
}

#[test]
#[ignore = "needs Python with torch, transformers and PEFT, which a step of `--full` makes"]
fn transformers_and_peft_give_the_same_logits() {
    run("peft_parity.py");
}

#[test]
#[ignore = "needs Python with torch, transformers and PEFT, which a step of `--full` makes"]
fn transformers_and_peft_give_the_same_logits_for_every_family() {
    run("parity/families.py");
}

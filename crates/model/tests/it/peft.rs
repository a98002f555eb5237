//! The comparisons with transformers and PEFT, where Python has them.

use std::process::Command;

/// What a script returns where torch, transformers or PEFT is not installed.
const SKIPPED: i32 = 77;

fn run(script: &str) {
    let script = format!("{}/tests/{script}", env!("CARGO_MANIFEST_DIR"));
    match Command::new("python3").arg(&script).status().ok().and_then(|status| status.code()) {
        Some(0) => {}
        Some(SKIPPED) | None => eprintln!("SKIPPED: Python has no torch, transformers or PEFT"),
        Some(code) => panic!("{script} ended with {code}: the logits differ"),
    }
}

#[test]
#[ignore = "loads torch, transformers and PEFT; run by `cargo xtask test --full`"]
fn transformers_and_peft_give_the_same_logits() {
    run("peft_parity.py");
}

#[test]
#[ignore = "loads torch, transformers and PEFT; run by `cargo xtask test --full`"]
fn transformers_and_peft_give_the_same_logits_for_every_family() {
    run("parity/families.py");
}

//! The comparison with transformers and PEFT, where Python has them.

use std::process::Command;

/// What the script returns where torch, transformers or PEFT is not installed.
const SKIPPED: i32 = 77;

#[test]
#[ignore = "loads torch, transformers and PEFT; run by `cargo xtask test --full`"]
fn transformers_and_peft_give_the_same_logits() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peft_parity.py");
    match Command::new("python3").arg(script).status().ok().and_then(|status| status.code()) {
        Some(0) => {}
        Some(SKIPPED) | None => eprintln!("SKIPPED: Python has no torch, transformers or PEFT"),
        Some(code) => panic!("{script} ended with {code}: the logits differ"),
    }
}

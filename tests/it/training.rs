//! Training as the chain and an auditor see it.

use std::{fs, process::Stdio, thread, time::Duration};

use openledger_gateway::Ledger;
use serde_json::{Value, json};

use crate::machine::{Machine, Up};

/// How often a file is looked for, and the pause in between.
const LOOKS_MAX: usize = 1_200;
const PAUSE: Duration = Duration::from_millis(50);

/// `openledger audit …` against a running node: exit code, document, and what it says on stderr.
fn audit(machine: &Machine, up: &Up, args: &[&str]) -> (Option<i32>, Value, String) {
    let all = [&["audit"], args, &["--json", "--data-dir", "data", "--rpc", up.text("rpc_url")]];
    let output = machine.run(&all.concat());
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let document = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output.status.code(), document, errors)
}

/// Starts a first `up` and kills it as soon as the published adapter has a checkpoint.
fn killed_while_training(machine: &Machine) {
    let mut args = vec!["up".to_owned(), "--json".to_owned()];
    args.extend(["--data-dir", "data", "--rpc-addr", "127.0.0.1:0"].map(str::to_owned));
    args.extend(["--api-addr", "127.0.0.1:0"].map(str::to_owned));
    args.extend(machine.records("records.jsonl"));
    let mut child = machine.command(&args).stdout(Stdio::null()).spawn().unwrap();
    let checkpoint = machine.path("data/models/records.training/published");
    let seen = (0..LOOKS_MAX).any(|_| {
        thread::sleep(PAUSE);
        checkpoint.exists()
    });
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(seen, "no checkpoint within a minute");
    assert!(!machine.path("data/models/records/model.json").exists(), "it was not finished");
}

#[tokio::test]
async fn a_training_killed_without_warning_goes_on_as_the_job_that_it_announced() {
    let machine = Machine::new();
    killed_while_training(&machine);
    let up = machine.up(&[]);
    let ledger = Ledger::connect(up.text("rpc_url"), None, []).await.unwrap();
    let model = ledger.model(1).await.unwrap();
    assert_eq!(model.jobId.to_string(), "1");
    assert!(ledger.training_job(2).await.is_err(), "nothing was announced twice");
    let job = ledger.training_job(1).await.unwrap();
    assert!(job.announcedAt < model.registeredAt);
    // Each run of the design but the base, and no state twice.
    let committed = ledger.committed_states(1).await.unwrap();
    let mut runs: Vec<usize> = committed.iter().map(|states| states.run).collect();
    runs.sort_unstable();
    runs.dedup();
    assert_eq!(runs, [0, 1, 2, 3, 5, 6, 7]);
    let mut steps: Vec<_> = committed.iter().map(|states| (states.run, states.step)).collect();
    steps.sort_unstable();
    steps.dedup();
    assert_eq!(steps.len(), committed.len());

    let retrain = ["retrain", "--model", "records", "--run", "5", "--segment", "2"];
    let (exit, report, errors) = audit(&machine, &up, &retrain);
    assert_eq!((exit, &report["equal"]), (Some(0), &json!(true)), "{errors}");
    a_trace_that_was_not_committed_is_noticed(&machine, &up, &retrain);
}

/// A manifest whose traces and trace root go together, but not with the chain.
fn a_trace_that_was_not_committed_is_noticed(machine: &Machine, up: &Up, retrain: &[&str]) {
    let path = machine.path("data/models/records/model.json");
    let manifest = fs::read_to_string(&path).unwrap();
    let mut other: Value = serde_json::from_str(&manifest).unwrap();
    other["traces"][5][0] = format!("0x{}", "11".repeat(32)).into();
    let traces: Vec<Vec<openledger_primitives::B256>> =
        serde_json::from_value(other["traces"].clone()).unwrap();
    other["trace_root"] = openledger_gateway::trace_root(&traces).to_string().into();
    fs::write(&path, other.to_string()).unwrap();
    let (exit, _, errors) = audit(machine, up, retrain);
    assert_eq!(exit, Some(1), "{errors}");
    assert!(errors.contains("the chain holds another trace root"), "{errors}");
    fs::write(&path, manifest).unwrap();
}

#[tokio::test]
async fn held_out_subsets_are_those_that_the_block_of_registration_draws() {
    let machine = Machine::new();
    let up = machine.up_with("four.jsonl", &["--certify", "4"]);
    let (exit, report, errors) =
        audit(&machine, &up, &["certificate", "--model", "four", "--retrain"]);
    assert_eq!((exit, &report["verified"]), (Some(0), &json!(true)), "{report} {errors}");
    assert_eq!(report["checks"].as_array().unwrap().len(), 5);

    let path = machine.path("data/models/four/certificate.json");
    let certificate = fs::read_to_string(&path).unwrap();
    let refused = |change: &dyn Fn(&mut Value), step: &str| {
        let mut other: Value = serde_json::from_str(&certificate).unwrap();
        change(&mut other);
        fs::write(&path, other.to_string()).unwrap();
        let (exit, _, errors) = audit(&machine, &up, &["certificate", "--model", "four"]);
        assert_eq!(exit, Some(1), "{errors}");
        assert!(errors.contains(&format!("at step \"{step}\"")), "{errors}");
    };
    // Subsets that somebody chose.
    refused(&|other| other["seed"] = 1.into(), "seed");
    refused(
        &|other| {
            let last = other["subsets"].as_array_mut().unwrap().pop().unwrap();
            other["subsets"].as_array_mut().unwrap().insert(0, last);
        },
        "subsets",
    );
    refused(&|other| other["lds_ppm"] = 1_000_000.into(), "chain");
}

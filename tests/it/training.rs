//! Training as the chain and an auditor see it.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Stdio},
    thread,
    time::Duration,
};

use openledger_gateway::Ledger;
use serde_json::{Value, json};

use crate::machine::{Machine, QUESTION, Up, json_file};

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

/// Starts a first `up`, which trains, and waits until a file is in its work folder.
fn training(machine: &Machine, extra: &[&str], file: &str) -> Child {
    let mut args = vec!["up".to_owned(), "--json".to_owned()];
    args.extend(["--data-dir", "data", "--rpc-addr", "127.0.0.1:0"].map(str::to_owned));
    args.extend(["--api-addr", "127.0.0.1:0"].map(str::to_owned));
    args.extend(extra.iter().map(|arg| (*arg).to_owned()));
    args.extend(machine.records("records.jsonl"));
    let child = machine.command(&args).stdout(Stdio::piped()).spawn().unwrap();
    let file = machine.path("data/models/records.training").join(file);
    let seen = (0..LOOKS_MAX).any(|_| {
        thread::sleep(PAUSE);
        file.exists()
    });
    assert!(seen, "no {} within a minute", file.display());
    child
}

/// Starts a first `up` and kills it as soon as the published adapter has a checkpoint.
fn killed_while_training(machine: &Machine) {
    let mut child = training(machine, &[], "published");
    child.kill().unwrap();
    child.wait().unwrap();
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

#[test]
fn a_second_process_helps_to_train_and_changes_no_bit() {
    let (alone, shared) = (Machine::new(), Machine::new());
    alone.demo("records.jsonl", &["--ask", QUESTION, "--data-dir", "data", "--workers", "2"]);
    let mut leader = training(&shared, &["--workers", "1", "--threads", "1"], "job");
    let output = shared.run(&["worker", "--data-dir", "data", "--threads", "1", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let helped: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(helped["trainings"], 1);
    assert!(helped["runs"].as_u64() > Some(0), "{helped}");
    let mut line = String::new();
    BufReader::new(leader.stdout.take().unwrap()).read_line(&mut line).unwrap();
    leader.kill().unwrap();
    leader.wait().unwrap();
    assert!(line.contains("api_url"), "{line}");
    let adapters = |machine: &Machine| {
        json_file(&machine.path("data/models/records/model.json"))["runs"].clone()
    };
    assert_eq!(adapters(&shared), adapters(&alone));
}

#[tokio::test]
async fn a_training_under_way_is_shown_with_its_progress() {
    let machine = Machine::new();
    // A port of its own, so that the API can be asked before the command says where it is.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let mut args = vec!["up", "--json", "--data-dir", "data", "--rpc-addr", "127.0.0.1:0"];
    args.extend(["--api-addr", &address]);
    let records = machine.records("records.jsonl");
    args.extend(records.iter().map(String::as_str));
    let mut child = machine.command(&args).stdout(Stdio::null()).spawn().unwrap();
    let url = format!("http://{address}/v1/training/jobs");
    let mut shown = Value::Null;
    for _ in 0..LOOKS_MAX {
        if let Ok(response) = reqwest::get(&url).await {
            let jobs: Value = response.json().await.unwrap();
            if jobs["data"][0]["seconds_left"].is_u64() {
                shown = jobs["data"][0].clone();
                break;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!((&shown["job_id"], &shown["model"]), (&json!(1), &json!("records")), "{shown}");
    assert!(shown["steps_done"].as_u64() <= shown["steps"].as_u64(), "{shown}");
}

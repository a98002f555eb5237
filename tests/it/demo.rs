use std::fs;

use serde_json::Value;

use crate::machine::{Machine, QUESTION, json_file};

pub(crate) fn wei(value: &Value) -> u128 {
    value.as_str().unwrap().parse().unwrap()
}

fn demo(machine: &Machine, extra: &[&str]) -> Value {
    machine.demo("records.jsonl", extra)
}

/// Every wei of one answer's fee has an owner, and the wallets rose by what is stated.
pub(crate) fn check_the_money(answer: &Value) {
    let paid: u128 = answer["shares"].as_array().unwrap().iter().map(|s| wei(&s["paid_wei"])).sum();
    let parts = ["platform_wei", "compute_wei", "model_wei", "stakers_wei", "commons_wei"];
    let sum = paid + parts.iter().map(|part| wei(&answer[part])).sum::<u128>();
    assert_eq!(sum, wei(&answer["fee_wei"]));
    assert!(sum > 0);
    for share in answer["shares"].as_array().unwrap() {
        let rose = wei(&share["balance_after_wei"]) - wei(&share["balance_before_wei"]);
        assert_eq!(rose, wei(&share["paid_wei"]), "{share}");
    }
}

#[test]
fn the_life_of_a_payment_ends_with_the_right_contributor_paid_and_a_receipt_that_verifies() {
    let machine = Machine::new();
    let second = "What is a quern?";
    let document = demo(&machine, &["--ask", QUESTION, "--ask", second]);
    let answers = document["answers"].as_array().unwrap();
    assert_eq!(answers.len(), 2);
    for (answer, owner) in answers.iter().zip(["ann", "cleo"]) {
        assert_eq!(answer["verified"], true, "{}", answer["checks"]);
        check_the_money(answer);
        let shares = answer["shares"].as_array().unwrap();
        let top = shares.iter().max_by_key(|share| share["share_ppm"].as_u64()).unwrap();
        assert_eq!(top["contributor"], owner, "{shares:?}");
        assert!(wei(&top["paid_wei"]) > 0);
    }

    // The receipt in the document is the file that `audit verify` takes, in any JSON layout.
    let pretty = serde_json::to_string_pretty(&answers[0]["receipt"]).unwrap();
    fs::write(machine.path("pretty.json"), pretty).unwrap();
    for file in ["receipt.json", "pretty.json"] {
        let output = machine.run(&["audit", "verify", file]);
        assert!(output.status.success(), "{file}: {}", String::from_utf8_lossy(&output.stdout));
    }
    one_changed_byte_fails_and_names_the_step(&machine);
}

fn one_changed_byte_fails_and_names_the_step(machine: &Machine) {
    let original = fs::read(machine.path("receipt.json")).unwrap();
    // Primes, so that keys, hashes, numbers, text and signatures are all met.
    for at in (0..original.len()).step_by(original.len() / 97 + 1) {
        let mut changed = original.clone();
        changed[at] ^= 1;
        fs::write(machine.path("changed.json"), &changed).unwrap();
        let output = machine.run(&["audit", "verify", "changed.json"]);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "byte {at} changed unnoticed: {errors}");
        assert!(errors.contains("at step"), "byte {at}: {errors}");
    }
}

#[test]
fn a_named_folder_keeps_the_chain_the_model_and_the_receipts() {
    let machine = Machine::new();
    let document = demo(&machine, &["--ask", QUESTION, "--data-dir", "data"]);
    check_the_money(&document);
    // Started again it finds everything: nothing is trained or registered twice.
    let again = demo(&machine, &["--ask", QUESTION, "--data-dir", "data"]);
    assert_eq!(again["answer"], document["answer"]);
    assert_eq!(again["receipt"]["receipt"]["modelId"], "0x1");
    let document = again;
    assert_eq!(json_file(&machine.path("receipt.json")), document["receipt"]);
    // With the model at hand the likelihoods themselves are recomputed.
    let output = machine.run(&["audit", "verify", "receipt.json", "--data-dir", "data", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["verified"], true, "{report}");
    let steps: Vec<_> =
        report["checks"].as_array().unwrap().iter().map(|check| &check["step"]).collect();
    assert!(steps.iter().any(|step| *step == "likelihoods"), "{steps:?}");

    // Why the contributor was paid, with the records that resemble the answer.
    let show = ["attribution", "show", "receipt.json", "--data-dir", "data"];
    let output = machine.run(&[&show[..], &["--json"]].concat());
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
    let first = &shown["explanation"]["contributors"][0];
    assert_eq!(first["contributor"], "ann", "{shown}");
    let paid = document["shares"].as_array().unwrap().iter().find(|s| s["contributor"] == "ann");
    assert_eq!(first["paid_wei"], paid.unwrap()["paid_wei"]);
    let closest = &first["records"][0];
    assert_eq!(closest["similarity_ppm"], 1_000_000, "the answer is one of ann's records: {shown}");
    assert!(document["answer"].as_str().unwrap().contains(closest["text"].as_str().unwrap()));
    let text = String::from_utf8(machine.run(&show).stdout).unwrap();
    assert!(text.contains(first["sentence"].as_str().unwrap()), "{text}");
    the_training_can_be_repeated_segment_by_segment(&machine);
}

#[test]
fn a_budget_of_runs_buys_precision_and_one_that_is_too_small_is_refused_with_what_fits() {
    let machine = Machine::new();
    let document = machine.demo("four.jsonl", &["--ask", QUESTION, "--runs", "16"]);
    assert_eq!(document["verified"], true, "{}", document["checks"]);
    let evidence = &document["receipt"]["evidence"];
    assert_eq!(evidence["attribution"]["inputs"]["values"].as_array().unwrap().len(), 16);
    assert_eq!(evidence["attribution"]["inputs"]["design"]["order"], 8);
    let adapters = evidence["model"]["adapters"].as_array().unwrap();
    assert_eq!(adapters.iter().filter(|adapter| adapter.is_null()).count(), 1, "the base");

    let mut args = vec!["demo".to_owned(), "--runs".to_owned(), "4".to_owned()];
    args.extend(machine.records("four.jsonl"));
    let output = machine.run(&args);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(errors.contains("into at most 2 players"), "{errors}");
    // As many players as fit: four contributors are grouped into two.
    args.extend(["--players".to_owned(), "2".to_owned(), "--json".to_owned()]);
    let output = machine.run(&args);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_certificate_says_how_well_the_shares_predict_retraining_and_is_on_the_chain() {
    let machine = Machine::new();
    let run = |records: &str, extra: &[&str]| {
        let mut args = vec!["demo".to_owned(), "--json".to_owned()];
        args.extend(machine.records(records));
        args.extend(extra.iter().map(|arg| (*arg).to_owned()));
        machine.run(&args)
    };
    // Three contributors have eight subsets, and the design trains all of them.
    let refused = run("records.jsonl", &["--certify", "4"]);
    let errors = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{errors}");
    assert!(errors.contains("cannot be certified"), "{errors}");

    let question = ["--ask", QUESTION, "--certify", "4", "--data-dir", "certified"];
    let output = run("four.jsonl", &question);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["verified"], true, "{}", document["checks"]);
    let show = ["attribution", "show", "receipt.json", "--data-dir", "certified"];
    let shown: Value =
        serde_json::from_slice(&machine.run(&[&show[..], &["--json"]].concat()).stdout).unwrap();
    let certificate = &shown["certificate"];
    let figure = |name: &str| certificate[name].as_i64().unwrap();
    assert!(figure("low_ppm") <= figure("lds_ppm") && figure("lds_ppm") <= figure("high_ppm"));
    assert_eq!(certificate["subsets"].as_array().unwrap().len(), 4);
    let text = String::from_utf8(machine.run(&show).stdout).unwrap();
    assert!(text.contains("Fidelity  "), "{text}");
}

fn the_training_can_be_repeated_segment_by_segment(machine: &Machine) {
    let retrain = |more: &[&str]| {
        let args = ["audit", "retrain", "--json", "--data-dir", "data", "--model", "records"];
        machine.run(&[&args[..], more].concat())
    };
    for run in ["0", "1"] {
        let report: Value = serde_json::from_slice(&retrain(&["--run", run]).stdout).unwrap();
        assert_eq!(report["equal"], true, "{report}");
        assert!(report["segments"].as_array().unwrap().len() > 1, "{report}");
    }
    let refused = |more: &[&str], why: &str| {
        let output = retrain(more);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(errors.contains(why), "{errors}");
    };
    refused(&["--segment", "99"], "has the segments 1 to");
    // Changed records give another state: the trace is that of the committed ones.
    let folder = machine.path("data").join("models/records");
    let manifest = fs::read_to_string(folder.join("model.json")).unwrap();
    let mut other: Value = serde_json::from_str(&manifest).unwrap();
    other["recipe"]["learning_rate"] = 0.002.into();
    fs::write(folder.join("model.json"), other.to_string()).unwrap();
    refused(&["--segment", "1"], "segment 1 of run 0 does not give the recorded state");
    refused(&["--segment", "2"], "it belongs to another recipe");
    other["traces"][0][0] = format!("0x{}", "00".repeat(32)).into();
    fs::write(folder.join("model.json"), other.to_string()).unwrap();
    refused(&["--segment", "1"], "are not what its trace root commits to");
}

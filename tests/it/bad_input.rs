use std::fs;

use crate::machine::Machine;

#[test]
fn bad_rows_are_listed_by_line_and_the_good_ones_are_used() {
    let machine = Machine::new();
    let good = fs::read_to_string(machine.path("records.jsonl")).unwrap();
    let broken = format!("{{\"q\": \"no end\n{good}{{\"q\": 7, \"a\": \"x\", \"who\": \"ann\"}}\n");
    fs::write(machine.path("broken.jsonl"), broken).unwrap();
    let mut args = vec!["demo".to_owned(), "--json".to_owned()];
    args.extend(machine.records("broken.jsonl"));
    let output = machine.run(&args);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    assert!(errors.contains("12 rows kept, 2 left out"), "{errors}");
    assert!(errors.contains("line 1") && errors.contains("line 14"), "{errors}");
}

#[test]
fn each_fault_has_one_clear_sentence_and_its_exit_code() {
    let machine = Machine::new();
    fs::write(machine.path("empty.jsonl"), "").unwrap();
    fs::write(machine.path("a-file"), "").unwrap();
    let cases: &[(&[&str], i32, &str)] = &[
        (&["demo", "--records", "missing.jsonl"], 3, "cannot read missing.jsonl"),
        (&["demo", "--records", "empty.jsonl"], 2, "holds no usable record"),
        (&["demo", "--base", "missing"], 3, "there is no base model missing"),
        (
            &["up", "--base", "missing", "--api-addr", "127.0.0.1:0"],
            3,
            "there is no base model missing",
        ),
        (&["demo", "--base", "."], 1, "cannot load the base model"),
        (&["bench", "serve", "--base", "missing"], 3, "there is no base model missing"),
        (&["up", "--data-dir", "a-file"], 1, "a-file"),
        (&["audit", "verify", "missing.json"], 3, "cannot read missing.json"),
        (&["audit", "verify", "a-file"], 1, "at step \"format\""),
        (&["attribution", "show", "missing.json"], 3, "cannot read missing.json"),
        (&["attribution", "show", "a-file"], 1, "at step \"format\""),
        (&["nonsense"], 2, "nonsense"),
    ];
    for (args, exit, sentence) in cases {
        let output = machine.run(args);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(*exit), "{args:?}: {errors}");
        assert!(errors.contains(sentence), "{args:?}: {errors}");
    }
}

#[test]
fn a_port_in_use_is_named_with_the_way_out() {
    let machine = Machine::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    for option in ["--api-addr", "--rpc-addr"] {
        let other = if option == "--api-addr" { "--rpc-addr" } else { "--api-addr" };
        let args = ["up", "--data-dir", "data", option, &addr, other, "127.0.0.1:0"];
        let output = machine.run(&args);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(5), "{errors}");
        assert!(errors.contains(option), "{errors}");
    }
}

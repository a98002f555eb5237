//! More contributors than one design holds: they are grouped, and every one of them is paid its own.

use std::fs;

use serde_json::Value;

use crate::{
    demo::{check_the_money, wei},
    machine::{CROWD, Machine, QUESTION, crowd_question},
};

const CHOSEN: usize = 40;

#[test]
fn more_contributors_than_a_design_holds_are_grouped_and_each_is_paid_its_part() {
    let machine = Machine::new();
    let question = crowd_question(CHOSEN);
    let extra = ["--ask", &question, "--players", "4", "--data-dir", "data"];
    let document = machine.demo("crowd.jsonl", &extra);
    assert_eq!(document["verified"], true, "{}", document["checks"]);
    check_the_money(&document);
    let shares = document["shares"].as_array().unwrap();
    assert_eq!(shares.len(), CROWD + 3);

    let evidence = &document["receipt"]["evidence"];
    let outcome = &evidence["attribution"]["outcome"];
    let division = &evidence["division"];
    assert_eq!(division["players"].as_array().unwrap().len(), 4);
    // To the last part of 2^32, members get what their player gets.
    let members_get = |player: &Value| -> u64 {
        let numbers = player.as_array().unwrap().iter().map(|m| m["contributor"].as_u64().unwrap());
        let share = |number: u64| division["shares"][number as usize]["share"].as_u64().unwrap();
        numbers.map(share).sum()
    };
    for (player, share) in division["players"]
        .as_array()
        .unwrap()
        .iter()
        .zip(outcome["shares"]["players"].as_array().unwrap())
    {
        assert_eq!(members_get(player), share.as_u64().unwrap());
    }
    // The contributor whose record was asked for is in a group, and its group was paid.
    let chosen = format!("town{CHOSEN}");
    let paid = shares.iter().find(|share| share["contributor"] == chosen.as_str()).unwrap();
    assert!(wei(&paid["paid_wei"]) > 0, "{}\n{shares:?}", document["answer"]);
    assert!(paid["measured_ppm"].as_u64() <= paid["share_ppm"].as_u64());

    // The records themselves give these weights.
    let verify = ["audit", "verify", "receipt.json", "--data-dir", "data", "--json"];
    let report: Value = serde_json::from_slice(&machine.run(&verify).stdout).unwrap();
    assert_eq!(report["verified"], true, "{report}");
    the_parts_are_told_apart(&machine, &chosen);
    a_changed_part_is_noticed(&machine, &document["receipt"]);
}

fn the_parts_are_told_apart(machine: &Machine, chosen: &str) {
    let shown = machine.run(&["attribution", "show", "receipt.json", "--data-dir", "data"]);
    let text = String::from_utf8(shown.stdout).unwrap();
    assert!(text.contains(chosen), "{text}");
    assert!(text.contains("apportioned in a group of"), "{text}");
}

fn a_changed_part_is_noticed(machine: &Machine, receipt: &Value) {
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut other = receipt.clone();
        change(&mut other["evidence"]["division"]);
        fs::write(machine.path("changed.json"), other.to_string()).unwrap();
        let output = machine.run(&["audit", "verify", "changed.json"]);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(errors.contains("at step \"members\""), "{errors}");
    };
    changed(&|division| {
        let share = division["shares"][CHOSEN + 3]["share"].as_u64().unwrap();
        division["shares"][CHOSEN + 3]["share"] = (share + 1).into();
    });
    changed(&|division| {
        division["players"][0].as_array_mut().unwrap().pop();
    });
    changed(&|division| division["shares"][0]["contributor"] = 1.into());
}

#[test]
fn the_groups_that_earned_are_opened_and_their_members_are_measured_from_then_on() {
    let machine = Machine::new();
    let ask = ["--ask", "What is a quern?", "--ask", "How deep is lake Orrin?", "--ask", QUESTION];
    let in_data = ["--players", "2", "--data-dir", "data"];
    let open = ["attribution", "open", "--data-dir", "data", "--model", "four", "--json"];
    let before = machine.demo("four.jsonl", &[&ask[..], &in_data].concat());
    assert!(before["answers"][0]["receipt"]["evidence"]["opened"].is_null());

    let output = machine.run(&open);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let opened: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(opened["opening"], 0);
    let players = opened["players"].as_array().unwrap();
    assert!(players.len() > 1 && players.iter().all(|one| one.as_array().unwrap().len() == 1));
    // Nothing was earned since.
    let again = machine.run(&open);
    assert_eq!(again.status.code(), Some(3), "{}", String::from_utf8_lossy(&again.stderr));

    let after = machine.demo("four.jsonl", &[&ask[..], &in_data].concat());
    let mut measured = 0;
    for (before, after) in
        before["answers"].as_array().unwrap().iter().zip(after["answers"].as_array().unwrap())
    {
        assert_eq!(after["verified"], true, "{}", after["checks"]);
        check_the_money(after);
        let (old, new) = (&before["receipt"]["evidence"], &after["receipt"]["evidence"]);
        assert_eq!(new["attribution"]["inputs"]["values"], old["attribution"]["inputs"]["values"]);
        let runs = new["opened"]["inputs"]["values"].as_array().unwrap().len();
        assert_eq!(new["opened"]["adapters"].as_array().unwrap().len(), runs);
        let members = new["division"]["players"].as_array().unwrap().iter();
        let several = members.filter(|members| members.as_array().unwrap().len() > 1);
        let of_basis = several.flat_map(|members| members.as_array().unwrap());
        measured += of_basis.filter(|member| member["basis"] == "measured").count();
    }
    assert!(measured > 0, "no member's effect cleared the floor in three answers");
    fs::write(machine.path("opened.json"), after["answers"][0]["receipt"].to_string()).unwrap();
    let verify = ["audit", "verify", "opened.json", "--data-dir", "data", "--json"];
    let report: Value = serde_json::from_slice(&machine.run(&verify).stdout).unwrap();
    assert_eq!(report["verified"], true, "{report}");
}

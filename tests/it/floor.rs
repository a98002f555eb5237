//! The governance floor: a model that is not certified to reach it pays for repeated text alone.

use openledger_gateway::{DevSigners, Ledger};
use serde_json::{Value, json};

use crate::machine::{Machine, QUESTION, Up};

/// How often the market is asked whether the floor holds, and the pause in between: it is announced half a
/// minute ahead.
const LOOKS_MAX: usize = 600;
const PAUSE: std::time::Duration = std::time::Duration::from_millis(100);

async fn evidence_of_an_answer(up: &Up) -> Value {
    let question =
        json!({ "model": "records", "messages": [{ "role": "user", "content": QUESTION }] });
    let (status, body) = up.post("/chat/completions", None, &question).await;
    assert_eq!(status, 200, "{body}");
    let answer: Value = serde_json::from_str(&body).unwrap();
    let receipt = answer["attribution"]["receipt_url"].as_str().unwrap().to_owned();
    let (status, document) = up.get(receipt.trim_start_matches("/v1")).await;
    assert_eq!(status, 200);
    document["evidence"]["attribution"].clone()
}

fn parts(shares: &Value) -> Vec<u64> {
    shares.as_array().unwrap().iter().map(|share| share.as_u64().unwrap()).collect()
}

#[tokio::test]
async fn a_model_below_the_floor_pays_repeated_text_and_the_effects_part_goes_to_the_commons() {
    let machine = Machine::new();
    let up = machine.up(&[]);
    let before = evidence_of_an_answer(&up).await;
    assert_eq!(before["inputs"]["influence"], "paid");

    let signers = DevSigners::derive().unwrap();
    let governance = signers.governance.address();
    let ledger = Ledger::connect(up.text("rpc_url"), None, [signers.governance]).await.unwrap();
    ledger.set_fidelity_floor(governance, 900_000).await.unwrap();
    let mut after = Value::Null;
    for _ in 0..LOOKS_MAX {
        let head = up.rpc("eth_getBlockByNumber", json!(["latest", false])).await;
        let time = u64::from_str_radix(&head["timestamp"].as_str().unwrap()[2..], 16).unwrap();
        let paid = ledger.influence_at(1, time).await.unwrap();
        if paid == openledger_attribution::Influence::Commons {
            after = evidence_of_an_answer(&up).await;
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    assert_eq!(after["inputs"]["influence"], "commons", "the floor holds within a minute");

    // The same answer, measured to the same numbers, and only its repeated text is paid.
    assert_eq!(after["inputs"]["values"], before["inputs"]["values"]);
    let (paid, credited) = (
        parts(&after["outcome"]["shares"]["players"]),
        parts(&after["outcome"]["credit"]["per_player"]),
    );
    for (paid, credited) in paid.iter().zip(&credited) {
        assert_eq!(*paid > 0, *credited > 0);
    }
    let commons = |evidence: &Value| evidence["outcome"]["shares"]["commons"].as_u64().unwrap();
    assert!(commons(&after) >= commons(&before));
    let with_effect = parts(&before["outcome"]["shares"]["players"]).iter().sum::<u64>();
    assert_eq!(commons(&after), commons(&before) + with_effect - paid.iter().sum::<u64>());
}

use openledger_gateway::{DevSigners, Ledger};
use openledger_primitives::OpenAmount;
use serde_json::{Value, json};

use crate::machine::{Machine, QUESTION, Up};

fn question(stream: bool) -> Value {
    json!({
        "model": "records", "stream": stream, "stream_options": { "include_usage": true },
        "messages": [{ "role": "user", "content": QUESTION }],
    })
}

async fn settled(up: &Up, path: &str) -> Value {
    for _ in 0..200 {
        let (status, document) = up.get(path).await;
        assert_eq!(status, 200);
        if !document["settlement"].is_null() {
            return document;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("not settled within 20 s");
}

#[tokio::test]
async fn a_node_killed_without_warning_continues_with_its_blocks_models_and_receipts() {
    let machine = Machine::new();
    let up = machine.up(&[]);
    let (status, body) = up.post("/chat/completions", None, &question(false)).await;
    assert_eq!(status, 200, "{body}");
    let answer: Value = serde_json::from_str(&body).unwrap();
    let receipt = answer["attribution"]["receipt_url"].as_str().unwrap().to_owned();
    let receipt = receipt.trim_start_matches("/v1").to_owned();
    let announced = up.block().await;
    let hash =
        up.rpc("eth_getBlockByNumber", json!([format!("{announced:#x}"), false])).await["hash"]
            .clone();
    up.kill();

    let up = machine.up(&[]);
    assert!(up.block().await >= announced);
    let again = up.rpc("eth_getBlockByNumber", json!([format!("{announced:#x}"), false])).await;
    assert_eq!(again["hash"], hash, "block {announced} was announced and must still be there");
    // Whether or not the settlement had happened before the kill, it has happened once.
    let document = settled(&up, &receipt).await;
    assert_eq!(document["receipt"], answer["attribution"]["receipt"]["receipt"]);
    assert_eq!(up.interrupt(), Some(0));

    // The third start answers with the model of the first.
    let up = machine.up(&[]);
    let (status, body) = up.post("/chat/completions", None, &question(false)).await;
    assert_eq!(status, 200, "{body}");
    let third: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(third["choices"], answer["choices"]);
}

#[tokio::test]
async fn the_api_speaks_openai_and_refuses_what_it_must_before_any_work() {
    let machine = Machine::new();
    let up = machine.up(&[]);

    let (status, models) = up.get("/models").await;
    assert_eq!((status, &models["data"][0]["id"]), (200, &json!("records")));

    let (status, body) = up.post("/chat/completions", None, &question(true)).await;
    assert_eq!(status, 200);
    streamed_answer_is_complete(&body);

    let refused = async |key, body: Value, status, code: &str| {
        let (found, text) = up.post("/chat/completions", key, &body).await;
        let error: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((found, &error["error"]["code"]), (status, &json!(code)), "{text}");
    };
    let mut unknown = question(false);
    unknown["model"] = json!("nobody");
    refused(None, unknown, 404, "model_not_found").await;
    refused(Some("sk-ol-wrong"), question(false), 401, "invalid_api_key").await;
    let mut long = question(false);
    long["messages"][0]["content"] = json!("word ".repeat(2_000));
    refused(None, long, 400, "context_length_exceeded").await;

    let (status, error) = up.get("/receipts/0x00").await;
    assert_eq!((status, &error["error"]["code"]), (404, &json!("not_found")));

    payer_takes_its_consent_back(&up).await;
    refused(None, question(false), 429, "insufficient_quota").await;
}

/// The payer lowers the operator's spending limit to nothing, on chain.
async fn payer_takes_its_consent_back(up: &Up) {
    let signers = DevSigners::derive().unwrap();
    let (payer, operator) = (signers.payer.address(), signers.operator.address());
    let ledger = Ledger::connect(up.text("rpc_url"), None, [signers.payer]).await.unwrap();
    let far = 1 << 40;
    ledger.set_spending_limit(payer, operator, OpenAmount::ZERO, far).await.unwrap();
}

fn streamed_answer_is_complete(body: &str) {
    let events: Vec<&str> = body.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    assert_eq!(events.last(), Some(&"[DONE]"));
    let chunks: Vec<Value> =
        events[..events.len() - 1].iter().map(|e| serde_json::from_str(e).unwrap()).collect();
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    let usage = chunks.last().unwrap();
    assert!(usage["usage"]["completion_tokens"].as_u64() > Some(0), "{usage}");
    let finish = &chunks[chunks.len() - 2];
    assert!(finish["choices"][0]["finish_reason"].is_string(), "{finish}");
    assert!(finish["attribution"]["receipt"]["signature"].is_string(), "{finish}");
}

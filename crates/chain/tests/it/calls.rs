//! Calls against other blocks and states, access lists, and the limits of what a call may cost.

use std::time::{Duration, Instant};

use alloy_primitives::{Address, B256, U256, address, hex};
use openledger_chain::Config;
use serde_json::{Value, json};

use super::support::{KEPT, TestNode, call_tx, manual, number, sign, signer, with_contracts};

const NOBODY: Address = address!("0x00000000000000000000000000000000000000ee");
/// JUMPDEST PUSH1 0 JUMP, for ever.
const ENDLESS: &str = "0x5b600056";
/// Returns number, time, coinbase, randomness, gas limit, base fee and the hash of block 1.
const BLOCK_CONTEXT: &str =
    "0x43600052426020524160405244606052456080524860a05260014060c05260e06000f3";

fn words(output: &Value) -> Vec<B256> {
    let bytes = hex::decode(output.as_str().unwrap()).unwrap();
    bytes.chunks(32).map(B256::from_slice).collect()
}

#[tokio::test]
async fn a_call_sees_the_block_that_it_asks_for() {
    let node = manual().await;
    let code = json!({ NOBODY.to_string(): { "code": BLOCK_CONTEXT } });
    let hash = B256::repeat_byte(7);
    let block = json!({
        "number": "0x5",
        "time": "0x1234",
        "feeRecipient": Address::repeat_byte(1),
        "prevRandao": B256::repeat_byte(2),
        "gasLimit": "0x1111111",
        "baseFeePerGas": "0x9",
        "blockHash": { "1": hash },
    });
    let payer = signer(0).address();
    let priced = json!({ "from": payer, "to": NOBODY, "gas": "0x100000", "gasPrice": "0x9" });
    let seen = node.rpc("eth_call", json!([priced, "latest", code, block])).await;
    let word = |value: u64| B256::from(U256::from(value));
    let expected = [
        word(5),
        word(0x1234),
        Address::repeat_byte(1).into_word(),
        B256::repeat_byte(2),
        word(0x1111111),
        word(9),
        hash,
    ];
    assert_eq!(words(&seen.unwrap()), expected);
    // A call without a price has no base fee either, as in geth.
    let free = node.rpc("eth_call", json!([{ "to": NOBODY }, "latest", code, block])).await;
    assert_eq!(words(&free.unwrap())[5], word(0));
    let gas = node.rpc("eth_estimateGas", json!([{ "to": NOBODY }, "latest", code, block])).await;
    assert!(number(&gas.unwrap()) > 21_000);
    let beacon = json!({ "beaconRoot": hash });
    let (code, message) =
        node.refused("eth_call", json!([{ "to": NOBODY }, "latest", code, beacon])).await;
    assert_eq!(code, -32602);
    assert!(message.contains("beaconRoot"), "{message}");
}

#[tokio::test]
async fn a_precompile_moves_where_it_is_told() {
    let node = manual().await;
    let sha256 = address!("0x0000000000000000000000000000000000000002");
    let ripemd = address!("0x0000000000000000000000000000000000000003");
    let moved = json!({ sha256.to_string(): { "movePrecompileToAddress": NOBODY } });
    let call = |to: Address| json!([{ "to": to, "data": "0x" }, "latest", moved]);
    // SHA-256 of nothing.
    let digest = "0xe3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(node.rpc("eth_call", call(NOBODY)).await.unwrap(), digest);
    assert_eq!(node.rpc("eth_call", call(sha256)).await.unwrap(), "0x");

    let refused = async |overrides: Value| {
        node.refused("eth_call", json!([{ "to": NOBODY }, "latest", overrides])).await
    };
    let to = |address: Address| json!({ "movePrecompileToAddress": address });
    let (code, _) = refused(json!({ sha256.to_string(): to(sha256) })).await;
    assert_eq!(code, -38022);
    // Of two that move to one place the one with the greater address stays there.
    let both = json!({ ripemd.to_string(): to(NOBODY), sha256.to_string(): to(NOBODY) });
    let there = node.rpc("eth_call", json!([{ "to": NOBODY }, "latest", both])).await.unwrap();
    let usual = node.rpc("eth_call", json!([{ "to": ripemd }, "latest"])).await.unwrap();
    assert_eq!(there, usual);
    let (code, message) = refused(json!({ NOBODY.to_string(): to(sha256) })).await;
    assert_eq!(code, -32000);
    assert!(message.ends_with("is not a precompile"), "{message}");
    // Code takes a precompile's place.
    let code =
        json!({ sha256.to_string(): { "code": "0x60016000526020 6000f3".replace(' ', "") } });
    let one = node.rpc("eth_call", json!([{ "to": sha256 }, "latest", code])).await.unwrap();
    assert_eq!(one, json!(B256::with_last_byte(1)));
}

#[tokio::test]
async fn an_access_list_names_what_is_touched_and_saves_its_gas() {
    let node = with_contracts(|config| config).await;
    // Calls the keeper with nothing, which reads slot 0.
    let reader = json!({ NOBODY.to_string(): { "code": "0x6000600060006000600060b05af100" } });
    let from = signer(0).address();
    let call = json!({ "from": from, "to": NOBODY });
    let list = node.rpc("eth_createAccessList", json!([call, "latest", reader])).await.unwrap();
    assert_eq!(list["accessList"], json!([{ "address": KEPT, "storageKeys": [B256::ZERO] }]));
    assert!(list.get("error").is_none());

    let gas = async |call: Value| {
        let block = json!({ "stateOverrides": reader, "calls": [call] });
        let blocks = json!([{ "blockStateCalls": [block] }]);
        let simulated = node.rpc("eth_simulateV1", blocks).await.unwrap();
        number(&simulated[0]["calls"][0]["gasUsed"])
    };
    let without = gas(call).await;
    let with = gas(json!({ "from": from, "to": NOBODY, "accessList": list["accessList"] })).await;
    // Named: 2400 for the address and 1900 for the slot, then 100 each to use them. Not named: 2600
    // and 2100.
    assert_eq!(without - with, 200);
    assert_eq!(number(&list["gasUsed"]), with);

    // A call that reverts has a list too.
    let reverts = json!([{ "to": KEPT, "data": "0x00" }]);
    let list = node.rpc("eth_createAccessList", reverts).await.unwrap();
    assert_eq!(list["error"], "execution reverted: no");
    assert_eq!(list["accessList"], json!([]));
}

/// A node on which gas is no limit, and time is a short one.
async fn impatient() -> TestNode {
    with_contracts(|config| Config { call_gas_max: 1 << 60, call_time_max_ms: 200, ..config }).await
}

#[tokio::test]
async fn an_endless_loop_ends_when_its_time_is_up() {
    let node = impatient().await;
    let code = json!({ NOBODY.to_string(): { "code": ENDLESS } });
    let call = json!({ "to": NOBODY, "gas": "0xfffffffffffffff" });
    let block = json!({
        "blockOverrides": { "gasLimit": "0xffffffffffffffff" },
        "stateOverrides": code,
        "calls": [{ "to": NOBODY }],
    });
    let noop = json!({ "tracer": "noopTracer", "stateOverrides": code });
    let cases = [
        ("eth_call", json!([call, "latest", code]), -32000),
        ("eth_estimateGas", json!([call, "latest", code]), -32000),
        ("eth_createAccessList", json!([call, "latest", code]), -32000),
        ("debug_traceCall", json!([call, "latest", noop]), -32000),
        ("eth_simulateV1", json!([{ "blockStateCalls": [block] }]), -32016),
    ];
    for (method, params, expected) in cases {
        let start = Instant::now();
        let (code, message) = node.refused(method, params).await;
        assert_eq!(
            (code, &*message),
            (expected, "execution aborted (timeout = 200ms)"),
            "{method}"
        );
        assert!(start.elapsed() < Duration::from_secs(20), "{method}: {:?}", start.elapsed());
    }
    // A caller may ask for less time, not for more.
    for (timeout, expected) in [("50ms", "50ms"), ("1h", "200ms")] {
        let options = json!({ "tracer": "noopTracer", "stateOverrides": code, "timeout": timeout });
        let (_, message) = node.refused("debug_traceCall", json!([call, "latest", options])).await;
        assert_eq!(message, format!("execution aborted (timeout = {expected})"));
    }
}

#[tokio::test]
async fn a_trace_that_records_too_much_is_refused() {
    let patient = with_contracts(|config| Config { call_time_max_ms: 60_000, ..config }).await;
    let code = json!({ NOBODY.to_string(): { "code": ENDLESS } });
    let options = json!({ "stateOverrides": code });
    let (code, message) =
        patient.refused("debug_traceCall", json!([{ "to": NOBODY }, "latest", options])).await;
    assert_eq!(code, -32005);
    assert!(message.contains("larger than 50331648 bytes"), "{message}");
}

#[tokio::test]
async fn contradictory_requests_are_refused() {
    let node = with_contracts(|config| config).await;
    let cases = [
        json!([{ "to": KEPT, "data": "0x00", "input": "0x01" }]),
        json!([{ "to": KEPT, "gasPrice": "0x1", "maxFeePerGas": "0x1" }]),
        json!([{ "to": KEPT, "chainId": "0x1" }]),
        json!([{ "to": KEPT, "maxFeePerBlobGas": "0x1" }]),
        json!([{ "to": KEPT }, "latest", { KEPT.to_string(): { "state": {}, "stateDiff": {} } }]),
        json!([{ "to": KEPT }, "latest", {}, { "baseFeePerGas": "0x10000000000000000" }]),
        json!([{ "to": KEPT }, "latest", "overrides"]),
        json!([{ "to": KEPT }, "latest", {}, []]),
        json!([[]]),
    ];
    for params in cases {
        for method in ["eth_call", "eth_estimateGas"] {
            let (code, message) = node.refused(method, params.clone()).await;
            assert_eq!(code, -32602, "{method} {params}: {message}");
        }
    }
    let overrides: serde_json::Map<_, _> = (0..1_001u64)
        .map(|n| (Address::from_word(U256::from(n).into()).to_string(), json!({})))
        .collect();
    let (code, _) = node.refused("eth_call", json!([{ "to": KEPT }, "latest", overrides])).await;
    assert_eq!(code, -32005);
    // And the node is well.
    let raw = sign(&signer(0), call_tx(0, KEPT, vec![0; 32]));
    node.send(&raw).await.unwrap();
}

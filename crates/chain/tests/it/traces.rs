//! What happened inside transactions, in the shapes of geth and of Parity.

use alloy_primitives::{Address, B256, U256, address};
use openledger_chain::Config;
use serde_json::{Value, json};

use super::support::{
    FORWARDER, KEEPER, KEPT, TestNode, call_tx, number, sign, signer, transfer, with_contracts,
};

const NOBODY: Address = address!("0x00000000000000000000000000000000000000ee");

/// `Error("no")`, as the keeper reverts.
const NO: &str = "0x08c379a0\
    0000000000000000000000000000000000000000000000000000000000000020\
    0000000000000000000000000000000000000000000000000000000000000002\
    6e6f000000000000000000000000000000000000000000000000000000000000";

async fn trace(node: &TestNode, hash: B256, options: Value) -> Value {
    node.rpc("debug_traceTransaction", json!([hash, options])).await.unwrap()
}

async fn gas_used(node: &TestNode, hash: B256) -> u64 {
    let receipt = node.rpc("eth_getTransactionReceipt", json!([hash])).await.unwrap();
    number(&receipt["gasUsed"])
}

#[tokio::test]
async fn the_call_tracer_shows_a_call_within_a_call_and_its_revert() {
    let node = with_contracts(|config| config).await;
    let hash = node.mine(call_tx(0, FORWARDER, vec![0])).await;
    let from = signer(0).address();
    let mut frame = trace(&node, hash, json!({ "tracer": "callTracer" })).await;
    assert_eq!(number(&frame["gasUsed"]), gas_used(&node, hash).await);
    assert_eq!(frame["gas"], "0x30d40");
    let mut inner = frame["calls"][0].take();
    frame
        .as_object_mut()
        .unwrap()
        .retain(|key, _| !["calls", "gas", "gasUsed", "output"].contains(&&**key));
    assert_eq!(
        frame,
        json!({ "type": "CALL", "from": from, "to": FORWARDER, "value": "0x0", "input": "0x00" })
    );
    assert!(number(&inner["gasUsed"]) < number(&inner["gas"]));
    inner.as_object_mut().unwrap().retain(|key, _| !["gas", "gasUsed"].contains(&&**key));
    assert_eq!(
        inner,
        json!({
            "type": "CALL",
            "from": FORWARDER,
            "to": KEPT,
            "value": "0x0",
            "input": "0x00",
            "output": NO,
            "error": "execution reverted",
            "revertReason": "no",
        })
    );
    let top = json!({ "tracer": "callTracer", "tracerConfig": { "onlyTopCall": true } });
    assert!(trace(&node, hash, top).await.get("calls").is_none());

    let stored = node.mine(call_tx(1, FORWARDER, vec![0; 32])).await;
    let logs = json!({ "tracer": "callTracer", "tracerConfig": { "withLog": true } });
    let frame = trace(&node, stored, logs).await;
    let log = &frame["calls"][0]["logs"][0];
    assert_eq!(
        (&log["address"], &log["topics"]),
        (&json!(KEPT), &json!([B256::with_last_byte(1)]))
    );
}

#[tokio::test]
async fn the_instruction_log_shows_every_step() {
    let node = with_contracts(|config| config).await;
    let hash = node.mine(call_tx(0, FORWARDER, vec![0])).await;
    let log = trace(&node, hash, json!({})).await;
    assert_eq!(log["failed"], false);
    assert_eq!(log["gas"], gas_used(&node, hash).await);
    assert_eq!(log["returnValue"], "0x");
    let steps = log["structLogs"].as_array().unwrap();
    let outer: Vec<_> = steps.iter().filter(|step| step["depth"] == 1).collect();
    let ops: Vec<_> = outer.iter().map(|step| step["op"].as_str().unwrap()).collect();
    assert_eq!(
        ops.join(" "),
        "CALLDATASIZE PUSH1 PUSH1 CALLDATACOPY PUSH1 PUSH1 CALLDATASIZE PUSH1 CALLVALUE PUSH1 GAS \
         CALL PUSH1 SSTORE STOP"
    );
    // 21000, and 4 for the byte of data, which is zero.
    assert_eq!(outer[0]["gas"], 200_000 - 21_004);
    assert_eq!((&outer[0]["pc"], &outer[0]["gasCost"]), (&json!(0), &json!(2)));
    assert_eq!(outer[1]["stack"], json!(["0x1"]));
    let sstore = outer[13];
    assert_eq!(sstore["storage"], json!({ B256::ZERO.to_string(): B256::ZERO }));
    assert!(steps.iter().any(|step| step["op"] == "REVERT" && step["depth"] == 2));
    let bare = json!({ "disableStack": true, "disableStorage": true, "enableMemory": true });
    let log = trace(&node, hash, bare).await;
    let steps = log["structLogs"].as_array().unwrap();
    assert!(steps.iter().all(|step| step.get("stack").is_none() && step.get("storage").is_none()));
    assert!(steps.iter().any(|step| step.get("memory").is_some()));
}

#[tokio::test]
async fn the_prestate_tracer_shows_before_and_after() {
    let node = with_contracts(|config| config).await;
    let from = signer(0).address();
    let key = from.to_string().to_lowercase();
    let balance = async || node.rpc("eth_getBalance", json!([from, "latest"])).await.unwrap();
    let before = balance().await;
    let hash = node.mine(transfer(0, NOBODY, U256::from(5))).await;
    let after = balance().await;

    let state = trace(&node, hash, json!({ "tracer": "prestateTracer" })).await;
    assert_eq!(state[&key], json!({ "balance": before }));
    let nobody = NOBODY.to_string().to_lowercase();
    assert!(state.get(&nobody).is_none(), "there was nobody before");
    let all = json!({ "tracer": "prestateTracer", "tracerConfig": { "includeEmpty": true } });
    let state = trace(&node, hash, all).await;
    assert_eq!(state[&nobody], json!({ "balance": "0x0" }));

    let config = json!({ "tracer": "prestateTracer", "tracerConfig": { "diffMode": true } });
    let diff = trace(&node, hash, config).await;
    assert_eq!(diff["pre"][&key], json!({ "balance": before }));
    assert_eq!(diff["post"][&key], json!({ "balance": after, "nonce": 1 }));
    assert!(diff["pre"].get(&nobody).is_none());
    assert_eq!(diff["post"][&nobody], json!({ "balance": "0x5" }));
}

#[tokio::test]
async fn the_other_tracers_answer_and_javascript_is_refused_by_name() {
    let node = with_contracts(|config| config).await;
    let hash = node.mine(call_tx(0, FORWARDER, vec![0; 32])).await;
    let of = |tracer: &str| json!({ "tracer": tracer });
    let selectors = json!({ "0x00000000-28": 2 });
    assert_eq!(trace(&node, hash, of("4byteTracer")).await, selectors);
    assert_eq!(trace(&node, hash, of("noopTracer")).await, json!({}));
    let mux = json!({
        "tracer": "muxTracer",
        "tracerConfig": { "4byteTracer": null, "callTracer": { "onlyTopCall": true } },
    });
    let both = trace(&node, hash, mux).await;
    assert_eq!(both["4byteTracer"], selectors);
    assert_eq!(both["callTracer"]["to"], json!(FORWARDER));
    let flat = trace(&node, hash, of("flatCallTracer")).await;
    assert_eq!(flat.as_array().unwrap().len(), 2);

    let script = "{result: function() { return 1 }, fault: function() {}}";
    for tracer in [script, "prestatetracer"] {
        let (code, message) =
            node.refused("debug_traceTransaction", json!([hash, of(tracer)])).await;
        assert_eq!(code, -32602);
        assert!(message.contains("JavaScript") && message.contains("callTracer"), "{message}");
    }
    let bad = json!([hash, { "tracer": "callTracer", "timeout": "soon" }]);
    assert_eq!(node.refused("debug_traceTransaction", bad).await.0, -32602);
    let bad = json!([hash, { "tracer": "callTracer", "tracerConfig": { "onlyTopCall": 7 } }]);
    assert_eq!(node.refused("debug_traceTransaction", bad).await.0, -32602);
    let (code, message) = node.refused("debug_traceTransaction", json!([B256::ZERO])).await;
    assert_eq!((code, &*message), (-32000, "transaction not found"));
}

#[tokio::test]
async fn a_block_executed_again_uses_the_gas_that_its_receipts_say() {
    let node = with_contracts(|config| config).await;
    let deploy = alloy_consensus::TxEip1559 {
        to: alloy_primitives::TxKind::Create,
        ..call_tx(2, NOBODY, KEEPER)
    };
    let txs = [
        call_tx(0, FORWARDER, vec![7; 32]),
        call_tx(1, FORWARDER, vec![0]),
        deploy,
        transfer(3, FORWARDER.create(9), U256::from(3)),
        call_tx(4, FORWARDER, vec![]),
    ];
    for tx in txs {
        node.send(&sign(&signer(0), tx)).await.unwrap();
    }
    let head = node.node.mine_block().await.unwrap();
    let receipts = node.rpc("eth_getBlockReceipts", json!(["latest"])).await.unwrap();
    let receipts = receipts.as_array().unwrap();
    assert_eq!(receipts.len(), 6, "the attributes deposit and five transactions");
    let tracer = json!({ "tracer": "callTracer" });
    let traces = node.rpc("debug_traceBlockByNumber", json!(["0x1", tracer])).await.unwrap();
    let by_hash = node.rpc("debug_traceBlockByHash", json!([head.hash, tracer])).await.unwrap();
    assert_eq!(traces, by_hash);
    for (trace, receipt) in traces.as_array().unwrap().iter().zip(receipts) {
        assert_eq!(trace["txHash"], receipt["transactionHash"]);
        assert_eq!(trace["result"]["gasUsed"], receipt["gasUsed"]);
        let alone = node.rpc("debug_traceTransaction", json!([trace["txHash"], tracer])).await;
        assert_eq!(alone.unwrap(), trace["result"]);
    }
}

#[tokio::test]
async fn a_block_whose_parent_state_is_gone_cannot_be_traced() {
    let node = with_contracts(|config| Config { history_blocks: 2, ..config }).await;
    let hash = node.mine(call_tx(0, FORWARDER, vec![0])).await;
    for _ in 0..4 {
        node.node.mine_block().await.unwrap();
    }
    let tracer = json!({ "tracer": "callTracer" });
    for (method, params) in [
        ("debug_traceTransaction", json!([hash, tracer])),
        ("debug_traceBlockByNumber", json!(["0x3", tracer])),
        ("trace_block", json!(["0x3"])),
        ("trace_transaction", json!([hash])),
    ] {
        let (code, message) = node.refused(method, params).await;
        assert_eq!(code, -32002, "{method}");
        assert!(message.contains("the oldest that is kept is block 3"), "{method}: {message}");
    }
    assert!(node.rpc("debug_traceBlockByNumber", json!(["0x4", tracer])).await.is_ok());
    let (_, message) = node.refused("debug_traceBlockByNumber", json!(["0x0"])).await;
    assert_eq!(message, "genesis is not traceable");
    let (_, message) = node.refused("debug_traceBlockByNumber", json!(["0x99"])).await;
    assert_eq!(message, "header not found");
}

#[tokio::test]
async fn a_call_is_traced_with_overrides_and_in_the_middle_of_a_block() {
    let node = with_contracts(|config| config).await;
    // Returns the block number.
    let code = json!({ NOBODY.to_string(): { "code": "0x4360005260206000f3" } });
    let options = json!({
        "tracer": "callTracer",
        "stateOverrides": code,
        "blockOverrides": { "number": "0x63" },
    });
    let call = json!([{ "to": NOBODY }, "latest", options]);
    let frame = node.rpc("debug_traceCall", call).await.unwrap();
    assert_eq!(frame["output"], json!(B256::with_last_byte(0x63)));

    for (nonce, value) in [(0, 7u64), (1, 8)] {
        let input = U256::from(value).to_be_bytes::<32>().to_vec();
        node.send(&sign(&signer(0), call_tx(nonce, KEPT, input))).await.unwrap();
    }
    node.node.mine_block().await.unwrap();
    // Before the deposit and the first call, between the calls, after both.
    for (index, expected) in [("0x0", 0u8), ("0x2", 7), ("0x3", 8)] {
        let options = json!({ "tracer": "callTracer", "txIndex": index });
        let call = json!([{ "to": KEPT }, "latest", options]);
        let frame = node.rpc("debug_traceCall", call).await.unwrap();
        assert_eq!(frame["output"], json!(B256::with_last_byte(expected)), "{index}");
    }
    let options = json!({ "tracer": "callTracer", "txIndex": "0x4" });
    let (code, _) =
        node.refused("debug_traceCall", json!([{ "to": KEPT }, "latest", options])).await;
    assert_eq!(code, -32602);
}

#[tokio::test]
async fn parity_traces_are_shaped_as_explorers_expect() {
    let node = with_contracts(|config| config).await;
    let hash = node.mine(call_tx(0, FORWARDER, vec![0])).await;
    let head = node.node.head();
    let traces = node.rpc("trace_transaction", json!([hash])).await.unwrap();
    let [outer, inner] = &traces.as_array().unwrap()[..] else { panic!("{traces}") };
    assert_eq!((&outer["subtraces"], &outer["traceAddress"]), (&json!(1), &json!([])));
    assert_eq!((&inner["subtraces"], &inner["traceAddress"]), (&json!(0), &json!([0])));
    for trace in [outer, inner] {
        assert_eq!(trace["type"], "call");
        assert_eq!(trace["action"]["callType"], "call");
        assert_eq!(trace["blockHash"], json!(head.hash));
        assert_eq!(trace["blockNumber"], 1);
        assert_eq!(trace["transactionHash"], json!(hash));
        assert_eq!(trace["transactionPosition"], 1);
    }
    assert_eq!(outer["action"]["to"], json!(FORWARDER));
    assert_eq!(inner["action"]["to"], json!(KEPT));
    assert_eq!(inner["error"], "Reverted");
    let at = node.rpc("trace_get", json!([hash, ["0x0"]])).await.unwrap();
    assert_eq!(at, *inner);

    // The attributes deposit comes first; what it does is its own affair.
    let block = node.rpc("trace_block", json!(["latest"])).await.unwrap();
    let block = block.as_array().unwrap();
    let (deposit, ours) = block.split_at(block.len() - 2);
    assert_eq!(ours, [outer.clone(), inner.clone()]);
    assert!(!deposit.is_empty() && deposit.iter().all(|trace| trace["transactionPosition"] == 0));
    let filter = |filter: Value| node.rpc("trace_filter", json!([filter]));
    let to_kept = json!({ "fromBlock": "0x0", "toBlock": "0x1", "toAddress": [KEPT] });
    assert_eq!(filter(to_kept).await.unwrap(), json!([inner]));
    let last = json!({ "fromBlock": "0x1", "toBlock": "0x1", "after": deposit.len(), "count": 1 });
    assert_eq!(filter(last).await.unwrap(), json!([outer]));
    let (code, _) =
        node.refused("trace_filter", json!([{ "fromBlock": "0x9", "toBlock": "0x1" }])).await;
    assert_eq!(code, -32602);
}

#[tokio::test]
async fn a_trace_filter_spans_no_more_blocks_than_the_limit() {
    let node = with_contracts(|config| config).await;
    for _ in 0..1_001 {
        node.node.mine_block().await.unwrap();
    }
    let (code, message) =
        node.refused("trace_filter", json!([{ "fromBlock": "0x0", "toBlock": "0x3e9" }])).await;
    assert_eq!(code, -32005);
    assert!(message.contains("the limit is 1000"), "{message}");
}

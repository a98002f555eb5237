//! Limits and bad requests: refused, by name, and the node goes on.

use alloy_primitives::{Address, U256};
use alloy_provider::{Provider, ProviderBuilder, WsConnect};
use openledger_chain::{BlockProduction, Config, Node};
use serde_json::{Value, json};

use super::support::{config, genesis, manual, rpc};

async fn refused(url: &str, method: &'static str, params: Value) -> (i64, String) {
    let error = rpc(url, method, params).await.unwrap_err();
    (error["code"].as_i64().unwrap(), error["message"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_state_that_is_no_longer_kept_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { history_blocks: 2, ..config(dir.path(), BlockProduction::Manual) };
    let node = Node::start(config, genesis()).await.unwrap();
    for _ in 0..5 {
        node.mine_block().await.unwrap();
    }
    let url = node.rpc_url();
    let at = |block: &str| json!([Address::ZERO, block]);
    for kept in ["0x3", "0x4", "0x5", "latest", "pending", "safe", "finalized"] {
        assert!(rpc(&url, "eth_getBalance", at(kept)).await.is_ok(), "{kept}");
    }
    for pruned in ["0x0", "0x2", "earliest"] {
        let (code, message) = refused(&url, "eth_getBalance", at(pruned)).await;
        assert_eq!(code, -32002);
        assert!(message.contains("the oldest that is kept is block 3"), "{message}");
    }
    let (_, message) = refused(&url, "eth_getBalance", at("0x6")).await;
    assert_eq!(message, "header not found");
    assert!(rpc(&url, "eth_getBlockByNumber", json!(["0x6", false])).await.unwrap().is_null());
    // Its blocks are kept all the same.
    assert!(!rpc(&url, "eth_getBlockByNumber", json!(["0x1", false])).await.unwrap().is_null());
}

#[tokio::test]
async fn requests_beyond_a_limit_are_refused() {
    let node = manual().await;
    let url = node.node.rpc_url();
    let many: Vec<_> = (0..1_001u64).map(U256::from).map(alloy_primitives::B256::from).collect();
    let addresses: Vec<_> = many.iter().map(|word| Address::from_word(*word)).collect();
    let (code, message) = refused(&url, "eth_getLogs", json!([{ "address": addresses }])).await;
    assert_eq!(code, -32005, "{message}");
    let (_, message) =
        refused(&url, "eth_getLogs", json!([{ "fromBlock": "0x5", "toBlock": "0x1" }])).await;
    assert!(message.contains("fromBlock is after toBlock"), "{message}");
    let slots: Vec<_> = many.iter().chain(&many).collect();
    let (code, _) = refused(&url, "eth_getProof", json!([Address::ZERO, slots, "latest"])).await;
    assert_eq!(code, -32005);
    let of_two =
        json!([{ Address::ZERO.to_string(): many, Address::repeat_byte(1).to_string(): many }]);
    let (code, message) = refused(&url, "eth_getStorageValues", of_two).await;
    assert_eq!((code, message.as_str()), (-32005, "too many slots: 2002, the limit is 1024"));
    let (code, _) = refused(&url, "eth_feeHistory", json!(["0x1", "latest", [50, 10]])).await;
    assert_eq!(code, -32602);
    for _ in 0..1_024 {
        rpc(&url, "eth_newBlockFilter", json!([])).await.unwrap();
    }
    let (code, _) = refused(&url, "eth_newBlockFilter", json!([])).await;
    assert_eq!(code, -32005);
}

#[tokio::test]
async fn malformed_requests_get_errors_and_leave_the_node_well() {
    let node = manual().await;
    let url = node.node.rpc_url();
    let cases = [
        ("eth_getBalance", json!([]), -32602),
        ("eth_getBalance", json!(["0x12", "latest"]), -32602),
        ("eth_getBalance", json!([Address::ZERO, "soon"]), -32602),
        ("eth_getBlockByNumber", json!([{ "deep": [[[]]] }, true]), -32602),
        ("eth_sendRawTransaction", json!(["0xzz"]), -32602),
        ("eth_sendRawTransaction", json!(["0x"]), -32000),
        ("eth_call", json!([{ "to": 1 }]), -32602),
        ("eth_getFilterChanges", json!(["0x99"]), -32000),
        ("eth_mineMe", json!([]), -32601),
        ("eth_getStorageValues", json!([{}]), -32602),
        ("eth_getStorageValues", json!([{ Address::ZERO.to_string(): [] }, "latest"]), -32602),
        ("eth_getStorageAt", json!([Address::ZERO, format!("0x{}", "0".repeat(65))]), -32602),
        ("eth_getProof", json!([Address::ZERO, [format!("0x{}", "0".repeat(65))]]), -32602),
        ("debug_getRawTransaction", json!(["1".repeat(64)]), -32602),
    ];
    for (method, params, expected) in cases {
        let (code, message) = refused(&url, method, params).await;
        assert_eq!(code, expected, "{method}: {message}");
    }
    assert_eq!(rpc(&url, "eth_chainId", json!([])).await.unwrap(), "0x27639");
    assert_eq!(rpc(&url, "net_version", json!([])).await.unwrap(), "161337");
    assert_eq!(rpc(&url, "eth_syncing", json!([])).await.unwrap(), false);
    let hash = rpc(&url, "web3_sha3", json!(["0x"])).await.unwrap();
    assert_eq!(hash, json!(alloy_primitives::KECCAK256_EMPTY));
}

#[tokio::test]
async fn a_call_runs_out_of_gas_before_it_runs_out_of_time() {
    let node = manual().await;
    // JUMPDEST PUSH1 0 JUMP, for ever.
    let here = Address::repeat_byte(5);
    let code = json!({ here.to_string(): { "code": "0x5b600056" } });
    let call = json!([{ "to": here, "gas": "0xffffffffffff" }, "latest", code]);
    let (_, message) = refused(&node.node.rpc_url(), "eth_call", call.clone()).await;
    assert!(message.contains("out of gas"), "{message}");
    let (_, message) = refused(&node.node.rpc_url(), "eth_estimateGas", call).await;
    assert!(message.contains("gas required exceeds allowance"), "{message}");
}

#[tokio::test]
async fn subscriptions_over_http_are_told_to_use_a_websocket() {
    let node = manual().await;
    let url = node.node.rpc_url();
    for (method, params) in
        [("eth_subscribe", json!(["newHeads"])), ("eth_unsubscribe", json!(["0x1"]))]
    {
        let (code, message) = refused(&url, method, params).await;
        assert_eq!(code, -32601);
        assert!(message.contains("needs a WebSocket connection"), "{message}");
    }
    let listener =
        ProviderBuilder::new().connect_ws(WsConnect::new(node.node.ws_url())).await.unwrap();
    let id: Value = listener.raw_request("eth_subscribe".into(), ["newHeads"]).await.unwrap();
    assert!(id.is_string(), "a WebSocket is told nothing of the kind: {id}");
}

#[tokio::test]
async fn a_node_stops_while_somebody_listens() {
    let node = manual().await;
    let listener =
        ProviderBuilder::new().connect_ws(WsConnect::new(node.node.ws_url())).await.unwrap();
    let mut heads = listener.subscribe_blocks().await.unwrap();
    let head = node.node.mine_block().await.unwrap();
    assert_eq!(heads.recv().await.unwrap().hash, head.hash);
    node.node.shutdown().await.unwrap();
    node.node.stopped().await.unwrap();
}

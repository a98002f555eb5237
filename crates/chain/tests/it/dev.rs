//! What only a development chain does.

use alloy_primitives::{Address, U256, address, bytes};
use openledger_chain::{BlockProduction, Config, Node, dev_accounts};
use serde_json::{Value, json};

use crate::support::{TestNode, config, genesis, manual, rpc};

/// Returns what its slot 0 holds.
const READER: &str = "0x60005460005260206000f3";
const SOMEBODY: Address = address!("0x00000000000000000000000000000000000000aa");

async fn dev() -> TestNode {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { dev: true, ..config(dir.path(), BlockProduction::Manual) };
    let node = Node::start(config, genesis()).await.unwrap();
    TestNode { node, dir }
}

async fn ask(test: &TestNode, method: &'static str, params: Value) -> Value {
    rpc(&test.node.rpc_url(), method, params).await.unwrap()
}

#[tokio::test]
async fn accounts_are_what_they_are_set_to_and_stay_so() {
    let test = dev().await;
    ask(&test, "anvil_setBalance", json!([SOMEBODY, "0x64"])).await;
    ask(&test, "hardhat_setNonce", json!([SOMEBODY, "0x7"])).await;
    ask(&test, "anvil_setCode", json!([SOMEBODY, READER])).await;
    let (slot, value) = (U256::ZERO, U256::from(42));
    ask(&test, "anvil_setStorageAt", json!([SOMEBODY, slot, value])).await;

    let TestNode { node, dir } = test;
    node.shutdown().await.unwrap();
    let config = Config { dev: true, ..config(dir.path(), BlockProduction::Manual) };
    let test = TestNode { node: Node::start(config, genesis()).await.unwrap(), dir };
    assert_eq!(ask(&test, "eth_getBalance", json!([SOMEBODY, "latest"])).await, "0x64");
    assert_eq!(ask(&test, "eth_getTransactionCount", json!([SOMEBODY, "latest"])).await, "0x7");
    assert_eq!(ask(&test, "eth_getCode", json!([SOMEBODY, "latest"])).await, READER);
    let called = ask(&test, "eth_call", json!([{ "to": SOMEBODY }, "latest"])).await;
    assert_eq!(called, json!(alloy_primitives::B256::from(value)));
}

#[tokio::test]
async fn an_impersonated_contract_sends_without_a_signature() {
    let test = dev().await;
    ask(&test, "anvil_setBalance", json!([SOMEBODY, "0xde0b6b3a7640000"])).await;
    ask(&test, "anvil_setCode", json!([SOMEBODY, READER])).await;
    let to = address!("0x00000000000000000000000000000000000000bb");
    let transfer = json!([{ "from": SOMEBODY, "to": to, "value": "0x5" }]);
    let url = test.node.rpc_url();
    let refused = rpc(&url, "eth_sendTransaction", transfer.clone()).await.unwrap_err();
    assert!(refused.to_string().contains("impersonate"), "{refused}");
    ask(&test, "anvil_impersonateAccount", json!([SOMEBODY])).await;
    let hash = ask(&test, "eth_sendTransaction", transfer.clone()).await;
    ask(&test, "evm_mine", json!([])).await;
    let receipt = ask(&test, "eth_getTransactionReceipt", json!([hash])).await;
    assert_eq!(receipt["status"], "0x1");
    assert_eq!(receipt["from"], json!(SOMEBODY));
    assert_eq!(ask(&test, "eth_getBalance", json!([to, "latest"])).await, "0x5");
    ask(&test, "anvil_stopImpersonatingAccount", json!([SOMEBODY])).await;
    assert!(rpc(&url, "eth_sendTransaction", transfer).await.is_err());
}

#[tokio::test]
async fn the_node_signs_for_the_development_accounts() {
    let test = dev().await;
    let accounts = ask(&test, "eth_accounts", json!([])).await;
    assert_eq!(accounts, json!(dev_accounts()));
    let deploy = json!([{ "from": accounts[3], "data": bytes!("600a600c600039600a6000f3602a60005260206000f3") }]);
    let hash = ask(&test, "eth_sendTransaction", deploy).await;
    ask(&test, "anvil_mine", json!(["0x1"])).await;
    let receipt = ask(&test, "eth_getTransactionReceipt", json!([hash])).await;
    assert_eq!((&receipt["status"], &receipt["from"]), (&json!("0x1"), &accounts[3]));
    assert!(receipt["contractAddress"].is_string());
}

#[tokio::test]
async fn time_moves_when_it_is_told_to() {
    let test = dev().await;
    let time = async |tag: &str| -> u64 {
        let block = ask(&test, "eth_getBlockByNumber", json!([tag, false])).await;
        let hex = block["timestamp"].as_str().unwrap();
        u64::from_str_radix(&hex[2..], 16).unwrap()
    };
    let start = time("latest").await;
    ask(&test, "evm_increaseTime", json!([3_600])).await;
    ask(&test, "evm_increaseTime", json!(["0x3c"])).await;
    ask(&test, "evm_mine", json!([])).await;
    assert_eq!(time("latest").await, start + 1 + 3_660);
    ask(&test, "evm_setNextBlockTimestamp", json!([start + 10_000])).await;
    ask(&test, "evm_mine", json!([])).await;
    assert_eq!(time("latest").await, start + 10_000);
    ask(&test, "evm_mine", json!([start + 20_000])).await;
    assert_eq!(time("latest").await, start + 20_000);
    ask(&test, "hardhat_mine", json!(["0x3", "0xa"])).await;
    assert_eq!(time("latest").await, start + 20_030);
    assert_eq!(test.node.head().number, 6);
    let past = rpc(&test.node.rpc_url(), "evm_setNextBlockTimestamp", json!([start])).await;
    assert!(past.is_err());
}

#[tokio::test]
async fn the_chain_goes_back_to_a_snapshot_and_on_from_there() {
    let test = dev().await;
    let accounts = dev_accounts();
    let pay = async |test: &TestNode, value: &str| {
        let tx = json!([{ "from": accounts[0], "to": SOMEBODY, "value": value }]);
        let hash = ask(test, "eth_sendTransaction", tx).await;
        ask(test, "evm_mine", json!([])).await;
        hash
    };
    let balance =
        async |test: &TestNode| ask(test, "eth_getBalance", json!([SOMEBODY, "latest"])).await;
    let kept = pay(&test, "0x1").await;
    let head = test.node.head();
    let snapshot = ask(&test, "evm_snapshot", json!([])).await;
    let undone = pay(&test, "0x10").await;
    ask(&test, "anvil_setBalance", json!([SOMEBODY, "0x7777"])).await;
    ask(&test, "evm_increaseTime", json!([1_000])).await;
    ask(&test, "evm_mine", json!([])).await;

    assert_eq!(ask(&test, "evm_revert", json!([snapshot])).await, true);
    assert_eq!(test.node.head(), head);
    assert_eq!(balance(&test).await, "0x1");
    let nonce = ask(&test, "eth_getTransactionCount", json!([accounts[0], "pending"])).await;
    assert_eq!(nonce, "0x1");
    assert_eq!(ask(&test, "eth_getTransactionReceipt", json!([undone])).await, Value::Null);
    assert!(ask(&test, "eth_getTransactionReceipt", json!([kept])).await.is_object());
    assert_eq!(ask(&test, "evm_revert", json!([snapshot])).await, false, "it was used");

    pay(&test, "0x100").await;
    let again = test.node.head();
    assert_eq!((again.number, again.timestamp), (head.number + 1, head.timestamp + 1));
    let TestNode { node, dir } = test;
    node.shutdown().await.unwrap();
    let config = Config { dev: true, ..config(dir.path(), BlockProduction::Manual) };
    let test = TestNode { node: Node::start(config, genesis()).await.unwrap(), dir };
    assert_eq!(test.node.head(), again, "the shorter chain is what was kept");
    assert_eq!(balance(&test).await, "0x101");
    assert_eq!(ask(&test, "txpool_status", json!([])).await["pending"], "0x0");
    pay(&test, "0x1000").await;
    assert_eq!(balance(&test).await, "0x1101");
}

#[tokio::test]
async fn another_chain_does_not_know_these_methods() {
    let test = manual().await;
    for method in ["evm_mine", "anvil_setBalance", "eth_sendTransaction"] {
        let refused = rpc(&test.node.rpc_url(), method, json!([])).await.unwrap_err();
        assert!(refused.to_string().contains("-32601"), "{method}: {refused}");
    }
    let accounts = ask(&test, "eth_accounts", json!([])).await;
    assert_eq!(accounts, json!([]));
}

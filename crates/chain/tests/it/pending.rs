//! The block that is being made: what is in it is shown before it is sealed.

use alloy_primitives::{Address, B256, U256, address};
use openledger_chain::{BlockProduction, Genesis, Node};
use serde_json::{Value, json};

use crate::support::{KEEPER, TestNode, config, sign, signer, transfer};

const TO: Address = address!("0x00000000000000000000000000000000000000cc");

/// A node whose next block is not due for years, but which runs transactions as they come.
async fn open() -> TestNode {
    let far = std::time::SystemTime::now() + std::time::Duration::from_secs(1 << 30);
    let far = far.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let dir = tempfile::tempdir().unwrap();
    let genesis = Genesis { timestamp: Some(far), ..Genesis::devnet() };
    let config = config(dir.path(), BlockProduction::EverySecond);
    TestNode { node: Node::start(config, genesis).await.unwrap(), dir }
}

async fn ask(test: &TestNode, method: &'static str, params: Value) -> Value {
    test.rpc(method, params).await.unwrap()
}

/// The receipt at the pending tag, as soon as it is there.
async fn preconfirmed(test: &TestNode, hash: B256) -> Value {
    for _ in 0..10_000 {
        let receipt = ask(test, "eth_getTransactionReceipt", json!([hash, "pending"])).await;
        if !receipt.is_null() {
            return receipt;
        }
        tokio::task::yield_now().await;
    }
    panic!("the transaction was not executed");
}

#[tokio::test]
async fn a_transaction_is_preconfirmed_before_its_block_is_sealed() {
    let test = open().await;
    let hash = test.send(&sign(&signer(0), transfer(0, TO, U256::from(7)))).await.unwrap();
    let early = preconfirmed(&test, hash).await;
    assert_eq!((&early["status"], &early["blockNumber"]), (&json!("0x1"), &json!("0x1")));
    assert_eq!(early["blockHash"], json!(B256::ZERO), "there is no hash yet");

    assert_eq!(test.node.head().number, 0);
    assert_eq!(ask(&test, "eth_getTransactionReceipt", json!([hash])).await, Value::Null);
    for (tag, balance, nonce) in [("latest", "0x0", "0x0"), ("pending", "0x7", "0x1")] {
        assert_eq!(ask(&test, "eth_getBalance", json!([TO, tag])).await, balance);
        let sender = signer(0).address();
        assert_eq!(ask(&test, "eth_getTransactionCount", json!([sender, tag])).await, nonce);
    }
    let block = ask(&test, "eth_getBlockByNumber", json!(["pending", false])).await;
    assert_eq!(block["transactions"][1], json!(hash), "after the deposit");
    let receipts = ask(&test, "eth_getBlockReceipts", json!(["pending"])).await;
    assert_eq!(receipts[1], early);
    let known = ask(&test, "eth_getTransactionByHash", json!([hash])).await;
    assert_eq!(known["blockNumber"], Value::Null, "it is in no block yet");

    let head = test.node.mine_block().await.unwrap();
    let mut sealed = ask(&test, "eth_getTransactionReceipt", json!([hash])).await;
    assert_eq!(sealed["blockHash"], json!(head.hash));
    sealed["blockHash"] = json!(B256::ZERO);
    assert_eq!(sealed, early, "what was pre-confirmed came true");
}

#[tokio::test]
async fn calls_at_the_pending_tag_see_what_was_preconfirmed() {
    let test = open().await;
    let mut deploy = transfer(0, TO, U256::ZERO);
    (deploy.to, deploy.input) = (alloy_primitives::TxKind::Create, KEEPER);
    deploy.gas_limit = 500_000;
    let deployed = test.send(&sign(&signer(1), deploy)).await.unwrap();
    let keeper = preconfirmed(&test, deployed).await["contractAddress"].clone();
    let mut store = transfer(1, keeper.as_str().unwrap().parse().unwrap(), U256::ZERO);
    store.input = B256::from(U256::from(99)).to_vec().into();
    store.gas_limit = 100_000;
    let stored = test.send(&sign(&signer(1), store)).await.unwrap();
    preconfirmed(&test, stored).await;

    let call = json!({ "to": keeper });
    let kept = json!(B256::from(U256::from(99)));
    assert_eq!(ask(&test, "eth_call", json!([call, "pending"])).await, kept);
    assert_eq!(ask(&test, "eth_call", json!([call, "latest"])).await, "0x", "no code yet");
    assert_eq!(ask(&test, "eth_getStorageAt", json!([keeper, "0x0", "pending"])).await, kept);
    assert!(ask(&test, "eth_estimateGas", json!([call, "pending"])).await.is_string());
    test.node.mine_block().await.unwrap();
    assert_eq!(ask(&test, "eth_call", json!([call, "latest"])).await, kept);
}

#[tokio::test]
async fn what_was_preconfirmed_is_in_the_first_block_after_a_stop() {
    let test = open().await;
    let mut hashes = Vec::new();
    for nonce in 0..20 {
        let raw = sign(&signer(2), transfer(nonce, TO, U256::from(1)));
        hashes.push(test.send(&raw).await.unwrap());
    }
    preconfirmed(&test, hashes[19]).await;
    let TestNode { node, dir } = test;
    node.shutdown().await.unwrap();
    let config = config(dir.path(), BlockProduction::EverySecond);
    let genesis = Genesis { timestamp: None, ..Genesis::devnet() };
    let test = TestNode { node: Node::start(config, genesis).await.unwrap(), dir };
    preconfirmed(&test, hashes[19]).await;
    test.node.mine_block().await.unwrap();
    let block = ask(&test, "eth_getBlockByNumber", json!(["0x1", false])).await;
    let sent: Vec<Value> = hashes.iter().map(|hash| json!(hash)).collect();
    assert_eq!(block["transactions"].as_array().unwrap()[1..], sent);
}

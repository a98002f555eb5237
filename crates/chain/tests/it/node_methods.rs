//! What tools ask of the node itself: raw bytes, the pool, the rollup, the operator.

use alloy_consensus::{Block, proofs::ordered_trie_root_with_encoder};
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_rlp::{BufMut, Decodable};
use op_alloy_consensus::OpTxEnvelope;
use openledger_chain::Config;
use serde_json::{Value, json};

use super::support::{
    FORWARDER, KEPT, TestNode, call_tx, manual, sign, signer, transfer, with_contracts,
};

const RECIPIENT: Address = Address::repeat_byte(0xee);

async fn bytes(node: &TestNode, method: &'static str, params: Value) -> Bytes {
    serde_json::from_value(node.rpc(method, params).await.unwrap()).unwrap()
}

#[tokio::test]
async fn raw_bytes_hash_to_what_the_header_says() {
    let node = with_contracts(|config| config).await;
    let hash = node.mine(call_tx(0, FORWARDER, vec![0; 32])).await;
    let block = node.rpc("eth_getBlockByNumber", json!(["0x1", false])).await.unwrap();
    let header = bytes(&node, "debug_getRawHeader", json!(["0x1"])).await;
    assert_eq!(json!(keccak256(&header)), block["hash"]);
    let raw = bytes(&node, "debug_getRawBlock", json!([block["hash"]])).await;
    let decoded = Block::<OpTxEnvelope>::decode(&mut &raw[..]).unwrap();
    assert_eq!(json!(decoded.header.hash_slow()), block["hash"]);
    let hashes: Vec<_> = decoded.body.transactions.iter().map(OpTxEnvelope::tx_hash).collect();
    assert_eq!(json!(hashes), block["transactions"]);
    assert_eq!(json!(format!("0x{:x}", raw.len())), block["size"]);
    let receipts = node.rpc("debug_getRawReceipts", json!(["0x1"])).await.unwrap();
    let receipts: Vec<Bytes> = serde_json::from_value(receipts).unwrap();
    let root = ordered_trie_root_with_encoder(&receipts, |receipt, out| out.put_slice(receipt));
    assert_eq!(json!(root), block["receiptsRoot"]);
    let raw = bytes(&node, "debug_getRawTransaction", json!([hash])).await;
    assert_eq!(keccak256(&raw), hash);
    for (method, id) in [
        ("eth_getRawTransactionByBlockNumberAndIndex", json!("0x1")),
        ("eth_getRawTransactionByBlockHashAndIndex", block["hash"].clone()),
    ] {
        assert_eq!(bytes(&node, method, json!([id, "0x1"])).await, raw);
    }
    for method in ["debug_getRawHeader", "debug_getRawBlock", "debug_getRawReceipts"] {
        assert_eq!(node.refused(method, json!(["0x9"])).await.0, -32000);
        assert_eq!(node.refused(method, json!(["2"])).await.0, -32602);
    }
    let missing = json!([B256::ZERO]);
    assert!(node.rpc("debug_getRawTransaction", missing).await.unwrap().is_null());
    assert_eq!(node.rpc("eth_getUncleCountByBlockNumber", json!(["0x1"])).await.unwrap(), "0x0");
    let uncle = node.rpc("eth_getUncleByBlockNumberAndIndex", json!(["0x1", "0x0"])).await;
    assert!(uncle.unwrap().is_null());
}

#[tokio::test]
async fn the_pool_is_shown_as_geth_shows_it() {
    let node = manual().await;
    let from = signer(0).address().to_checksum(None);
    for nonce in [0, 1, 10] {
        let tx = transfer(nonce, RECIPIENT, U256::from(nonce + 1));
        node.send(&sign(&signer(0), tx)).await.unwrap();
    }
    node.send(&sign(&signer(1), transfer(0, RECIPIENT, U256::from(9)))).await.unwrap();
    let content = node.rpc("txpool_content", json!([])).await.unwrap();
    let keys =
        |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    assert_eq!(keys(&content["pending"][&from]), ["0", "1"]);
    assert_eq!(keys(&content["queued"]), std::slice::from_ref(&from));
    assert_eq!(keys(&content["queued"][&from]), ["10"]);
    let tx = &content["pending"][&from]["1"];
    assert_eq!(tx["nonce"], "0x1");
    for absent in ["blockHash", "blockNumber", "transactionIndex"] {
        assert_eq!(tx.get(absent), Some(&Value::Null), "{absent}");
    }
    let of_one = node.rpc("txpool_contentFrom", json!([from])).await.unwrap();
    assert_eq!(of_one["pending"], content["pending"][&from]);
    assert_eq!(of_one["queued"], content["queued"][&from]);
    let nobody = node.rpc("txpool_contentFrom", json!([RECIPIENT])).await.unwrap();
    assert_eq!(nobody, json!({ "pending": {}, "queued": {} }));
    let lines = node.rpc("txpool_inspect", json!([])).await.unwrap();
    let expected = format!("{}: 11 wei + 21000 gas × 10000000000 wei", RECIPIENT.to_checksum(None));
    assert_eq!(lines["queued"][&from]["10"], json!(expected));
    let status = node.rpc("txpool_status", json!([])).await.unwrap();
    assert_eq!(status, json!({ "pending": "0x3", "queued": "0x1" }));
}

#[tokio::test]
async fn an_output_root_commits_to_the_block() {
    let node = manual().await;
    for _ in 0..14 {
        node.node.mine_block().await.unwrap();
    }
    let config = node.rpc("optimism_rollupConfig", json!([])).await.unwrap();
    assert_eq!(config["genesis"]["l2"]["hash"], json!(node.node.genesis_hash()));
    assert_eq!(config["l2_chain_id"], 161_337);
    let block = node.rpc("eth_getBlockByNumber", json!(["0xe", false])).await.unwrap();
    let output = node.rpc("optimism_outputAtBlock", json!(["0xe"])).await.unwrap();
    let word = |value: &Value| serde_json::from_value::<B256>(value.clone()).unwrap();
    let preimage = [
        B256::ZERO,
        word(&block["stateRoot"]),
        word(&block["withdrawalsRoot"]),
        word(&block["hash"]),
    ];
    assert_eq!(output["outputRoot"], json!(keccak256(preimage.concat())));
    let reference = &output["blockRef"];
    assert_eq!(reference["hash"], block["hash"]);
    assert_eq!(reference["parentHash"], block["parentHash"]);
    // An L1 block every twelve seconds: block 14 is the third on L1 block 1.
    assert_eq!((&reference["sequenceNumber"], &reference["number"]), (&json!(2), &json!(14)));
    let status = node.rpc("optimism_syncStatus", json!([])).await.unwrap();
    assert_eq!(&status["unsafe_l2"], reference);
    assert_eq!(status["head_l1"]["number"], 1);
    assert_eq!(status["head_l1"]["hash"], reference["l1origin"]["hash"]);
    assert_eq!(status["head_l1"]["parentHash"], config["genesis"]["l1"]["hash"]);
    let first = node.rpc("optimism_outputAtBlock", json!(["0x0"])).await.unwrap();
    assert_eq!(first["blockRef"]["l1origin"], config["genesis"]["l1"]);
    assert_eq!(node.refused("optimism_outputAtBlock", json!(["0xff"])).await.0, -32000);
    let version = node.rpc("optimism_version", json!([])).await.unwrap();
    assert!(version.as_str().unwrap().starts_with("openledger/v"));
}

#[tokio::test]
async fn the_node_says_what_it_can() {
    let node = with_contracts(|config| Config { history_blocks: 2, ..config }).await;
    for _ in 0..5 {
        node.node.mine_block().await.unwrap();
    }
    let config = node.rpc("eth_config", json!([])).await.unwrap();
    assert_eq!(config["current"]["chainId"], "0x27639");
    let precompiles = &config["current"]["precompiles"];
    assert_eq!(precompiles["ECREC"], "0x0000000000000000000000000000000000000001");
    assert_eq!(precompiles["P256VERIFY"], "0x0000000000000000000000000000000000000100");
    assert_eq!(precompiles.as_object().unwrap().len(), 18);
    assert!(config["next"].is_null() && config["last"].is_null());
    let can = node.rpc("eth_capabilities", json!([])).await.unwrap();
    assert_eq!(can["head"]["number"], "0x5");
    let window = json!({
        "disabled": false,
        "oldestBlock": "0x3",
        "deleteStrategy": { "type": "window", "retentionBlocks": "0x3" },
    });
    assert_eq!((&can["state"], &can["stateproofs"]), (&window, &window));
    assert_eq!(can["logs"], json!({ "disabled": false, "oldestBlock": "0x0" }));
}

#[tokio::test]
async fn the_operator_stops_and_starts_the_sequencer() {
    let node = with_contracts(|config| Config { admin_rpc: true, ..config }).await;
    let head = node.node.mine_block().await.unwrap();
    let active = async || node.rpc("admin_sequencerActive", json!([])).await.unwrap();
    assert_eq!(active().await, true);
    assert_eq!(node.rpc("admin_stopSequencer", json!([])).await.unwrap(), json!(head.hash));
    assert_eq!(active().await, false);
    let why = node.node.mine_block().await.unwrap_err().to_string();
    assert!(why.contains("admin_startSequencer"), "{why}");
    assert_eq!(node.refused("admin_stopSequencer", json!([])).await.1, "sequencer not running");
    let (_, message) = node.refused("admin_startSequencer", json!([B256::ZERO])).await;
    assert!(message.starts_with("block hash does not match"), "{message}");
    assert!(node.rpc("admin_startSequencer", json!([head.hash])).await.unwrap().is_null());
    assert_eq!(node.node.mine_block().await.unwrap().number, 2);
    let (_, message) = node.refused("admin_startSequencer", json!([head.hash])).await;
    assert_eq!(message, "sequencer already running");

    let closed = manual().await;
    assert_eq!(closed.refused("admin_stopSequencer", json!([])).await.0, -32601);
    assert!(!closed.node.rpc_methods().iter().any(|method| method.starts_with("admin_")));
}

#[tokio::test]
async fn slots_of_several_accounts_come_in_one_answer() {
    let node = with_contracts(|config| config).await;
    let kept = json!(B256::from(U256::from(99)));
    node.mine(call_tx(0, KEPT, B256::from(U256::from(99)).to_vec())).await;
    let (first, absent) = (B256::ZERO, B256::repeat_byte(7));
    let wanted = json!({ KEPT.to_string(): [absent, "0x0"], RECIPIENT.to_string(): [first] });
    let alone = node.rpc("eth_getStorageAt", json!([KEPT, first, "latest"])).await.unwrap();
    assert_eq!(alone, kept);
    let values = node.rpc("eth_getStorageValues", json!([wanted])).await.unwrap();
    assert_eq!(
        values,
        json!({ format!("{KEPT:?}"): [B256::ZERO, alone], format!("{RECIPIENT:?}"): [B256::ZERO] })
    );
    let before = node.rpc("eth_getStorageValues", json!([wanted, "earliest"])).await.unwrap();
    assert_eq!(before[format!("{KEPT:?}")], json!([B256::ZERO, B256::ZERO]));
}

#[tokio::test]
async fn the_base_fee_is_that_of_the_next_block() {
    let node = manual().await;
    let told = node.rpc("eth_baseFee", json!([])).await.unwrap();
    node.node.mine_block().await.unwrap();
    let next = node.rpc("eth_getBlockByNumber", json!(["0x1", false])).await.unwrap();
    assert_eq!(told, next["baseFeePerGas"]);
}

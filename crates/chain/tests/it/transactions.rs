//! Every kind of transaction, and every way to find one again.

use alloy_consensus::{SignableTransaction, TxEip2930, TxEip7702, TxEnvelope, TxLegacy};
use alloy_eips::{
    eip2718::Encodable2718,
    eip2930::{AccessList, AccessListItem},
    eip7702::Authorization,
};
use alloy_network::TxSignerSync;
use alloy_primitives::{B256, Bytes, TxKind, U256, address, bytes};
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;
use openledger_chain::DEVNET_CHAIN_ID;
use serde_json::json;

use super::support::{TestNode, eager, manual, sign, signer, transfer};

const RECIPIENT: alloy_primitives::Address = address!("0x00000000000000000000000000000000000000ee");

fn encode<T>(signer: &PrivateKeySigner, mut tx: T) -> Vec<u8>
where
    T: SignableTransaction<alloy_primitives::Signature>,
    TxEnvelope: From<alloy_consensus::Signed<T>>,
{
    let signature = signer.sign_transaction_sync(&mut tx).unwrap();
    TxEnvelope::from(tx.into_signed(signature)).encoded_2718()
}

/// Sends `raw` and returns its receipt, which must say that it succeeded.
async fn succeeds(node: &TestNode, raw: Vec<u8>) -> serde_json::Value {
    let params = json!([Bytes::from(raw)]);
    let receipt = node.rpc("eth_sendRawTransactionSync", params).await.unwrap();
    assert_eq!(receipt["status"], "0x1", "{receipt}");
    receipt
}

#[tokio::test]
async fn every_kind_of_user_transaction_is_included() {
    let node = eager().await;
    let key = signer(0);
    let (to, gas_price) = (TxKind::Call(RECIPIENT), 10_000_000_000);
    let value = U256::from(1);

    let legacy = TxLegacy {
        chain_id: Some(DEVNET_CHAIN_ID),
        nonce: 0,
        gas_price,
        gas_limit: 21_000,
        to,
        value,
        input: Bytes::new(),
    };
    let unprotected = TxLegacy { chain_id: None, nonce: 1, ..legacy.clone() };
    assert_eq!(succeeds(&node, encode(&key, legacy)).await["type"], "0x0");
    assert_eq!(succeeds(&node, encode(&key, unprotected)).await["type"], "0x0");

    let item = AccessListItem { address: RECIPIENT, storage_keys: vec![B256::ZERO] };
    let listed = TxEip2930 {
        chain_id: DEVNET_CHAIN_ID,
        nonce: 2,
        gas_price,
        gas_limit: 50_000,
        to,
        value,
        access_list: AccessList(vec![item]),
        input: Bytes::new(),
    };
    assert_eq!(succeeds(&node, encode(&key, listed)).await["type"], "0x1");
    assert_eq!(succeeds(&node, sign(&key, transfer(3, RECIPIENT, value))).await["type"], "0x2");

    // Account 1 lends its address to code that the message passer's address does not have: the
    // delegation is what matters here.
    let delegate = address!("0x000F3df6D732807Ef1319fB7B8bB8522d0Beac02");
    let authorization =
        Authorization { chain_id: U256::from(DEVNET_CHAIN_ID), address: delegate, nonce: 0 };
    let lender = signer(1);
    let signature = SignerSync::sign_hash_sync(&lender, &authorization.signature_hash()).unwrap();
    let set_code = TxEip7702 {
        chain_id: DEVNET_CHAIN_ID,
        nonce: 4,
        gas_limit: 100_000,
        max_fee_per_gas: gas_price,
        max_priority_fee_per_gas: 1,
        to: RECIPIENT,
        value,
        access_list: AccessList::default(),
        authorization_list: vec![authorization.into_signed(signature)],
        input: Bytes::new(),
    };
    assert_eq!(succeeds(&node, encode(&key, set_code)).await["type"], "0x4");
    let code = node.rpc("eth_getCode", json!([lender.address(), "latest"])).await.unwrap();
    let expected: Bytes = [&bytes!("ef0100")[..], delegate.as_slice()].concat().into();
    assert_eq!(code, json!(expected));
    // An account with a delegation still sends.
    succeeds(&node, sign(&lender, transfer(1, RECIPIENT, value))).await;

    let balance = node.rpc("eth_getBalance", json!([RECIPIENT, "latest"])).await.unwrap();
    assert_eq!(balance, "0x6");
}

#[tokio::test]
async fn a_transaction_is_visible_from_the_moment_it_is_acknowledged() {
    let node = manual().await;
    let key = signer(0);
    let hash = node.send(&sign(&key, transfer(0, RECIPIENT, U256::from(5)))).await.unwrap();
    let waiting = node.rpc("eth_getTransactionByHash", json!([hash])).await.unwrap();
    assert_eq!(waiting["hash"], json!(hash));
    assert!(waiting["blockHash"].is_null());
    assert!(node.rpc("eth_getTransactionReceipt", json!([hash])).await.unwrap().is_null());
    let nonce = |tag: &str| json!([key.address(), tag]);
    let count = async |tag| node.rpc("eth_getTransactionCount", nonce(tag)).await.unwrap();
    assert_eq!((count("latest").await, count("pending").await), (json!("0x0"), json!("0x1")));

    let head = node.node.mine_block().await.unwrap();
    assert_eq!(head.number, 1);
    assert_eq!((count("latest").await, count("pending").await), (json!("0x1"), json!("0x1")));
    let included = node.rpc("eth_getTransactionByHash", json!([hash])).await.unwrap();
    assert_eq!(included["blockHash"], json!(head.hash));
    for (method, block) in [
        ("eth_getTransactionByBlockNumberAndIndex", json!("0x1")),
        ("eth_getTransactionByBlockHashAndIndex", json!(head.hash)),
    ] {
        assert_eq!(node.rpc(method, json!([block, "0x1"])).await.unwrap(), included);
    }
    let receipt = node.rpc("eth_getTransactionReceipt", json!([hash])).await.unwrap();
    assert_eq!(receipt["status"], "0x1");
    let count = node.rpc("eth_getBlockTransactionCountByNumber", json!(["latest"])).await.unwrap();
    assert_eq!(count, "0x2");
    let none = json!([B256::repeat_byte(7)]);
    assert!(node.rpc("eth_getTransactionByHash", none.clone()).await.unwrap().is_null());
    assert!(node.rpc("eth_getTransactionReceipt", none).await.unwrap().is_null());
}

#[tokio::test]
async fn waiting_for_a_receipt_that_does_not_come_names_the_transaction() {
    let node = manual().await;
    let raw = Bytes::from(sign(&signer(0), transfer(0, RECIPIENT, U256::from(5))));
    let error = node.rpc("eth_sendRawTransactionSync", json!([raw, 10])).await.unwrap_err();
    assert_eq!(error["code"], 4);
    assert_eq!(error["data"], json!(alloy_primitives::keccak256(&raw)));
}

//! What the pool takes and what it refuses, in words that tools look for.

use alloy_consensus::TxEip1559;
use alloy_primitives::{Address, TxKind, U256, bytes};
use serde_json::json;

use super::support::{TestNode, manual, sign, signer, transfer};

const RECIPIENT: Address = Address::repeat_byte(0xee);

async fn refusal(node: &TestNode, tx: TxEip1559) -> String {
    node.send(&sign(&signer(0), tx)).await.unwrap_err()
}

#[tokio::test]
async fn refusals_are_worded_as_tools_expect() {
    let node = manual().await;
    let good = || transfer(0, RECIPIENT, U256::from(1));
    node.send(&sign(&signer(0), good())).await.unwrap();

    let cases = [
        (good(), "already known"),
        (TxEip1559 { gas_limit: 21_001, ..good() }, "replacement transaction underpriced"),
        (TxEip1559 { chain_id: 1, ..good() }, "invalid chain id"),
        (TxEip1559 { gas_limit: 20_999, nonce: 1, ..good() }, "intrinsic gas too low"),
        (TxEip1559 { gas_limit: 60_000_001, nonce: 1, ..good() }, "exceeds block gas limit"),
        (
            TxEip1559 { max_priority_fee_per_gas: 10_000_000_001, nonce: 1, ..good() },
            "max priority fee per gas higher than max fee per gas",
        ),
        (
            TxEip1559 { value: U256::from(10u64).pow(U256::from(22)), nonce: 1, ..good() },
            "insufficient funds for gas * price + value",
        ),
        (TxEip1559 { nonce: 1_000_000, ..good() }, "nonce too high"),
        (
            TxEip1559 {
                to: TxKind::Create,
                input: vec![0; 50_000].into(),
                gas_limit: 5_000_000,
                nonce: 1,
                ..good()
            },
            "max initcode size exceeded",
        ),
    ];
    for (tx, expected) in cases {
        let message = refusal(&node, tx).await;
        assert!(message.starts_with(expected), "{message:?} instead of {expected:?}");
    }
    node.node.mine_block().await.unwrap();
    let message = refusal(&node, TxEip1559 { gas_limit: 21_001, ..good() }).await;
    assert!(message.starts_with("nonce too low"), "{message}");
    let blob = node.send(&[3, 0xc0]).await.unwrap_err();
    assert!(blob.contains("blob"), "{blob}");
    let deposit = node.send(&[0x7e, 0xc0]).await.unwrap_err();
    assert!(deposit.contains("L1"), "{deposit}");
}

#[tokio::test]
async fn what_waits_must_be_paid_for_together() {
    let node = manual().await;
    let six_thousand = U256::from(6) * U256::from(10).pow(U256::from(21));
    node.send(&sign(&signer(0), transfer(0, RECIPIENT, six_thousand))).await.unwrap();
    let message = refusal(&node, transfer(1, RECIPIENT, six_thousand)).await;
    assert!(message.starts_with("insufficient funds"), "{message}");
}

#[tokio::test]
async fn a_replacement_takes_the_place_of_the_one_it_outbids() {
    let node = manual().await;
    let first = node.send(&sign(&signer(0), transfer(0, RECIPIENT, U256::from(1)))).await.unwrap();
    let better = TxEip1559 {
        max_fee_per_gas: 11_000_000_000,
        max_priority_fee_per_gas: 1_100_000,
        ..transfer(0, RECIPIENT, U256::from(2))
    };
    let second = node.send(&sign(&signer(0), better)).await.unwrap();
    assert!(node.rpc("eth_getTransactionByHash", json!([first])).await.unwrap().is_null());
    node.node.mine_block().await.unwrap();
    let receipt = node.rpc("eth_getTransactionReceipt", json!([second])).await.unwrap();
    assert_eq!(receipt["blockNumber"], "0x1");
}

#[tokio::test]
async fn a_block_takes_the_best_tips_first_and_each_sender_in_order() {
    let node = manual().await;
    let tipped = |nonce, tip| TxEip1559 {
        max_priority_fee_per_gas: tip,
        ..transfer(nonce, RECIPIENT, U256::from(1))
    };
    // Account 0 tips little and then much, account 1 something between, account 2 as much as 1 but
    // later; account 3's second transaction has nothing before it.
    let sent = [
        (0, tipped(0, 10)),
        (0, tipped(1, 1_000)),
        (1, tipped(0, 100)),
        (2, tipped(0, 100)),
        (3, tipped(1, 10_000)),
    ];
    let mut hashes = Vec::new();
    for (account, tx) in sent {
        hashes.push(node.send(&sign(&signer(account), tx)).await.unwrap());
    }
    let status = node.rpc("txpool_status", json!([])).await.unwrap();
    assert_eq!(status, json!({ "pending": "0x4", "queued": "0x1" }));
    node.node.mine_block().await.unwrap();
    let block = node.rpc("eth_getBlockByNumber", json!(["latest", false])).await.unwrap();
    let order = json!([hashes[2], hashes[3], hashes[0], hashes[1]]);
    assert_eq!(block["transactions"].as_array().unwrap()[1..], order.as_array().unwrap()[..]);
    let waiting = node.rpc("eth_getTransactionByHash", json!([hashes[4]])).await.unwrap();
    assert!(waiting["blockNumber"].is_null());
}

#[tokio::test]
async fn a_full_block_leaves_the_rest_for_the_next() {
    let node = manual().await;
    // An endless loop uses all the gas that it is given: two of them fill more than one block.
    let endless = |account: u32| {
        let (to, input) = (TxKind::Create, bytes!("5b600056"));
        let tx =
            TxEip1559 { to, input, gas_limit: 40_000_000, ..transfer(0, RECIPIENT, U256::ZERO) };
        sign(&signer(account), tx)
    };
    for account in 0..3 {
        node.send(&endless(account)).await.unwrap();
    }
    for _ in 0..3 {
        node.node.mine_block().await.unwrap();
        let latest = json!(["latest"]);
        let count = node.rpc("eth_getBlockTransactionCountByNumber", latest).await.unwrap();
        assert_eq!(count, "0x2", "the deposit and one more");
    }
    for account in 0..3 {
        let sender = json!([signer(account).address(), "latest"]);
        assert_eq!(node.rpc("eth_getTransactionCount", sender).await.unwrap(), "0x1");
    }
}

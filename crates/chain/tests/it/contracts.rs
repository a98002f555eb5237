//! A contract's life, through the tools that people use: deploy, write, read, revert, listen, prove.

use alloy_eips::BlockNumberOrTag;
use alloy_network::TransactionBuilder;
use alloy_primitives::{B256, U256, address, keccak256};
use alloy_provider::{Provider, ProviderBuilder, WsConnect};
use alloy_rpc_types_eth::{Filter, TransactionRequest};
use alloy_trie::{Nibbles, TrieAccount, proof::verify_proof};
use serde_json::{Value, json};

use super::support::{KEEPER, TestNode, eager, signer};

const TOPIC: B256 = B256::with_last_byte(1);

async fn deploy(node: &TestNode) -> alloy_primitives::Address {
    let wallet = node.wallet(0);
    let deployed = wallet
        .send_transaction(TransactionRequest::default().with_deploy_code(KEEPER))
        .await
        .unwrap()
        .get_receipt()
        .await
        .unwrap();
    assert!(deployed.status());
    deployed.contract_address.unwrap()
}

fn store(keeper: alloy_primitives::Address, value: u64) -> TransactionRequest {
    TransactionRequest::default()
        .with_to(keeper)
        .with_input(U256::from(value).to_be_bytes::<32>().to_vec())
}

#[tokio::test]
async fn a_contract_is_deployed_written_and_read() {
    let node = eager().await;
    let keeper = deploy(&node).await;
    assert_eq!(keeper, signer(0).address().create(0));
    let wallet = node.wallet(0);
    assert_eq!(wallet.get_code_at(keeper).await.unwrap(), KEEPER.slice(12..));

    let receipt =
        wallet.send_transaction(store(keeper, 42)).await.unwrap().get_receipt().await.unwrap();
    assert!(receipt.status());
    let read = TransactionRequest::default().with_to(keeper);
    assert_eq!(U256::from_be_slice(&wallet.call(read.clone()).await.unwrap()), U256::from(42));
    assert_eq!(wallet.get_storage_at(keeper, U256::ZERO).await.unwrap(), U256::from(42));

    let before = receipt.block_number.unwrap() - 1;
    let then = wallet.call(read).number(before).await.unwrap();
    assert_eq!(U256::from_be_slice(&then), U256::ZERO, "the past is still there");
}

#[tokio::test]
async fn a_revert_tells_its_reason_and_its_data() {
    let node = eager().await;
    let keeper = deploy(&node).await;
    let call = json!([{ "to": keeper, "data": "0x00" }, "latest"]);
    for method in ["eth_call", "eth_estimateGas"] {
        let error = node.rpc(method, call.clone()).await.unwrap_err();
        assert_eq!(error["code"], 3, "{method}");
        assert_eq!(error["message"], "execution reverted: no");
        assert!(error["data"].as_str().unwrap().starts_with("0x08c379a0"));
    }
    // Included all the same if the sender insists, and marked as failed.
    let insist =
        TransactionRequest::default().with_to(keeper).with_input(vec![0]).with_gas_limit(100_000);
    let receipt =
        node.wallet(0).send_transaction(insist).await.unwrap().get_receipt().await.unwrap();
    assert!(!receipt.status());
    assert!(receipt.inner.logs().is_empty());
}

#[tokio::test]
async fn an_estimate_is_enough_and_not_one_gas_too_much() {
    let node = eager().await;
    let keeper = deploy(&node).await;
    let request = store(keeper, 7).with_from(signer(0).address());
    let gas = node.wallet(0).estimate_gas(request.clone()).await.unwrap();
    let with = |gas| json!([request.clone().with_gas_limit(gas), "latest"]);
    assert!(node.rpc("eth_call", with(gas)).await.is_ok());
    assert!(node.rpc("eth_call", with(gas - 1)).await.is_err());
}

#[tokio::test]
async fn state_overrides_change_what_a_call_sees_and_nothing_else() {
    let node = eager().await;
    let keeper = deploy(&node).await;
    let slot = B256::ZERO;
    let diff = json!({ keeper.to_string(): { "stateDiff": { slot.to_string(): TOPIC } } });
    let seen = node.rpc("eth_call", json!([{ "to": keeper }, "latest", diff])).await.unwrap();
    assert_eq!(seen, json!(TOPIC));
    let nobody = address!("0x00000000000000000000000000000000000000ee");
    let code = json!({ nobody.to_string(): { "code": KEEPER.slice(12..) } });
    let seen = node.rpc("eth_call", json!([{ "to": nobody }, "latest", code])).await.unwrap();
    assert_eq!(seen, json!(B256::ZERO));
    assert_eq!(
        node.rpc("eth_call", json!([{ "to": nobody }, "latest"])).await.unwrap(),
        json!("0x")
    );
}

#[tokio::test]
async fn logs_are_found_by_query_filter_and_subscription() {
    let node = eager().await;
    let keeper = deploy(&node).await;
    let wallet = node.wallet(0);
    let listener =
        ProviderBuilder::new().connect_ws(WsConnect::new(node.node.ws_url())).await.unwrap();
    let query = Filter::new().address(keeper).event_signature(TOPIC).from_block(0);
    let mut logs = listener.subscribe_logs(&query).await.unwrap();
    let mut heads = listener.subscribe_blocks().await.unwrap();
    let mut hashes = listener.subscribe_pending_transactions().await.unwrap();
    let filter = wallet.new_filter(&query).await.unwrap();

    for value in 1..=3u64 {
        let sent = wallet.send_transaction(store(keeper, value)).await.unwrap();
        let receipt = sent.get_receipt().await.unwrap();
        assert_eq!(hashes.recv().await.unwrap(), receipt.transaction_hash);
        let log = logs.recv().await.unwrap();
        assert_eq!(log.transaction_hash, Some(receipt.transaction_hash));
        assert_eq!(U256::from_be_slice(&log.data().data), U256::from(value));
        let head = heads.recv().await.unwrap();
        assert_eq!(Some(head.hash), receipt.block_hash);
        assert_eq!(head.hash, head.inner.hash_slow(), "the hash is that of the header");
    }

    let found = wallet.get_logs(&query).await.unwrap();
    assert_eq!(found.len(), 3);
    let changes = wallet.get_filter_changes::<alloy_rpc_types_eth::Log>(filter).await.unwrap();
    assert_eq!(changes, found);
    assert!(
        wallet.get_filter_changes::<alloy_rpc_types_eth::Log>(filter).await.unwrap().is_empty()
    );
    assert!(wallet.uninstall_filter(filter).await.unwrap());
    let elsewhere = query.clone().event_signature(B256::with_last_byte(2));
    assert!(wallet.get_logs(&elsewhere).await.unwrap().is_empty());
    let wide = json!([{ "fromBlock": "0x0", "toBlock": "0xfffffff", "address": keeper }]);
    assert_eq!(node.rpc("eth_getLogs", wide).await.unwrap().as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn proofs_of_accounts_and_storage_hold_against_the_header() {
    let node = eager().await;
    let keeper = deploy(&node).await;
    let wallet = node.wallet(0);
    wallet.send_transaction(store(keeper, 42)).await.unwrap().get_receipt().await.unwrap();
    wallet.send_transaction(store(keeper, 43)).await.unwrap().get_receipt().await.unwrap();

    for (number, value) in [(2, 42u64), (3, 43)] {
        let header = wallet
            .get_block_by_number(BlockNumberOrTag::Number(number))
            .await
            .unwrap()
            .unwrap()
            .header;
        let absent = B256::with_last_byte(9);
        let proof =
            wallet.get_proof(keeper, vec![B256::ZERO, absent]).number(number).await.unwrap();
        let account = TrieAccount {
            nonce: proof.nonce,
            balance: proof.balance,
            storage_root: proof.storage_hash,
            code_hash: proof.code_hash,
        };
        assert_eq!(account.code_hash, keccak256(KEEPER.slice(12..)));
        let key = |bytes: &[u8]| Nibbles::unpack(keccak256(bytes));
        verify_proof(
            header.state_root,
            key(keeper.as_slice()),
            Some(alloy_rlp::encode(account)),
            &proof.account_proof,
        )
        .unwrap();
        let [held, missing] = &proof.storage_proof[..] else { panic!("two slots were asked for") };
        assert_eq!(held.value, U256::from(value));
        let expected = Some(alloy_rlp::encode(held.value));
        verify_proof(proof.storage_hash, key(B256::ZERO.as_slice()), expected, &held.proof)
            .unwrap();
        verify_proof(proof.storage_hash, key(absent.as_slice()), None, &missing.proof).unwrap();
    }
    let nobody = address!("0x00000000000000000000000000000000000000ee");
    let proof = wallet.get_proof(nobody, vec![]).await.unwrap();
    let root = wallet.get_block_by_number(BlockNumberOrTag::Latest).await.unwrap().unwrap();
    verify_proof(
        root.header.state_root,
        Nibbles::unpack(keccak256(nobody)),
        None,
        &proof.account_proof,
    )
    .unwrap();
}

#[tokio::test]
async fn blocks_are_shaped_as_isthmus_wants_them() {
    let node = eager().await;
    deploy(&node).await;
    let block = node.rpc("eth_getBlockByNumber", json!(["0x1", true])).await.unwrap();
    let deposit = &block["transactions"][0];
    assert_eq!(deposit["type"], "0x7e");
    assert_eq!(deposit["from"], "0xdeaddeaddeaddeaddeaddeaddeaddeaddead0001");
    assert_eq!(deposit["to"], "0x4200000000000000000000000000000000000015");
    assert_eq!(deposit["input"].as_str().unwrap().len(), 2 + 2 * 176);
    assert!(!deposit["isSystemTx"].as_bool().unwrap_or_default());
    assert_eq!(block["extraData"], "0x00000000fa00000006");
    assert_eq!(block["miner"], "0x4200000000000000000000000000000000000011");
    assert_eq!(block["withdrawals"], json!([]));
    assert_eq!(block["transactions"].as_array().unwrap().len(), 2);

    let receipts = node.rpc("eth_getBlockReceipts", json!(["0x1"])).await.unwrap();
    assert_eq!(receipts[0]["depositNonce"], "0x0");
    assert_eq!(receipts[0]["depositReceiptVersion"], "0x1");
    assert_eq!(receipts[1]["l1Fee"], "0x0", "a devnet has no L1 fee");
    let gas = |value: &Value| u64::from_str_radix(&value.as_str().unwrap()[2..], 16).unwrap();
    assert_eq!(
        gas(&receipts[0]["gasUsed"]) + gas(&receipts[1]["gasUsed"]),
        gas(&receipts[1]["cumulativeGasUsed"]),
    );

    // The base fee went to its vault and the tip to the sequencer's.
    let balance = async |vault: &str| {
        let balance = node.rpc("eth_getBalance", json!([vault, "latest"])).await.unwrap();
        serde_json::from_value::<U256>(balance).unwrap()
    };
    let used = U256::from(gas(&receipts[1]["gasUsed"]));
    let base_fee = U256::from(gas(&block["baseFeePerGas"]));
    let price = U256::from(gas(&receipts[1]["effectiveGasPrice"]));
    assert_eq!(balance("0x4200000000000000000000000000000000000019").await, used * base_fee);
    let tips = balance("0x4200000000000000000000000000000000000011").await;
    assert_eq!(tips, used * (price - base_fee));

    // The protocol's own contracts remember the parent's hash and the beacon root.
    let parent = node.rpc("eth_getBlockByNumber", json!(["0x0", false])).await.unwrap();
    let history = json!(["0x0000F90827F1C53a10cb7A02335B175320002935", "0x0", "latest"]);
    assert_eq!(node.rpc("eth_getStorageAt", history).await.unwrap(), parent["hash"]);
    let slot = U256::from(gas(&block["timestamp"]) % 8191 + 8191);
    let beacon = json!(["0x000F3df6D732807Ef1319fB7B8bB8522d0Beac02", slot, "latest"]);
    assert_eq!(node.rpc("eth_getStorageAt", beacon).await.unwrap(), block["parentBeaconBlockRoot"]);
}

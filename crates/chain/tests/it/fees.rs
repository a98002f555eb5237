//! Fees with every parameter at work: what is charged is what the receipt says, what the oracle quotes
//! and what the vaults receive, to the wei.

use std::collections::BTreeMap;

use alloy_primitives::{Address, Bytes, TxKind, U256, address, keccak256};
use alloy_sol_types::{SolCall, sol};
use openledger_chain::{BlockProduction, Genesis, L1FeeScalars, Node};
use serde_json::{Value, json};

use super::support::{KEEPER, TestNode, config, genesis, sign, signer, transfer};

sol! {
    function isEcotone() returns (bool);
    function isFjord() returns (bool);
    function isIsthmus() returns (bool);
    function getL1Fee(bytes tx) returns (uint256);
    function getL1GasUsed(bytes tx) returns (uint256);
    function getOperatorFee(uint256 gasUsed) returns (uint256);
}

const ORACLE: Address = address!("0x420000000000000000000000000000000000000f");
const SEQUENCER_VAULT: Address = address!("0x4200000000000000000000000000000000000011");
const BASE_FEE_VAULT: Address = address!("0x4200000000000000000000000000000000000019");
const L1_FEE_VAULT: Address = address!("0x420000000000000000000000000000000000001a");
const OPERATOR_VAULT: Address = address!("0x420000000000000000000000000000000000001b");
const RECIPIENT: Address = address!("0x00000000000000000000000000000000000000ee");

const FEES: L1FeeScalars = L1FeeScalars {
    base_fee_scalar: 5_227,
    blob_base_fee_scalar: 1_014_213,
    operator_fee_scalar: 2_345_678,
    operator_fee_constant: 987_654_321,
};
/// The embedded L1's fees.
const L1_BASE_FEE: u64 = 1_000_000_000;
const L1_BLOB_BASE_FEE: u64 = 1;

async fn costly() -> TestNode {
    let dir = tempfile::tempdir().unwrap();
    let genesis = Genesis { l1_fees: FEES, ..genesis() };
    let node = Node::start(config(dir.path(), BlockProduction::Manual), genesis).await.unwrap();
    TestNode { node, dir }
}

fn quantity(value: &Value) -> U256 {
    serde_json::from_value(value.clone()).unwrap_or_else(|_| panic!("{value} is a quantity"))
}

async fn balance(node: &TestNode, of: Address) -> U256 {
    quantity(&node.rpc("eth_getBalance", json!([of, "latest"])).await.unwrap())
}

async fn oracle<C: SolCall>(node: &TestNode, call: C) -> C::Return {
    let call = json!([{ "to": ORACLE, "input": Bytes::from(call.abi_encode()) }, "latest"]);
    let answer: Bytes = serde_json::from_value(node.rpc("eth_call", call).await.unwrap()).unwrap();
    C::abi_decode_returns(&answer).unwrap()
}

/// The Fjord specification: size in millionths of a byte, from the FastLZ length.
fn estimated_size(fastlz: U256) -> U256 {
    let linear = (U256::from(836_500) * fastlz).saturating_sub(U256::from(42_585_600));
    linear.max(U256::from(100_000_000))
}

fn l1_fee(fastlz: U256) -> U256 {
    let scaled = 16 * u128::from(FEES.base_fee_scalar) * u128::from(L1_BASE_FEE)
        + u128::from(FEES.blob_base_fee_scalar) * u128::from(L1_BLOB_BASE_FEE);
    estimated_size(fastlz) * U256::from(scaled) / U256::from(1_000_000_000_000u64)
}

fn operator_fee(gas: U256) -> U256 {
    gas * U256::from(FEES.operator_fee_scalar) / U256::from(1_000_000)
        + U256::from(FEES.operator_fee_constant)
}

/// FastLZ length of `tx` as the oracle's own compressor (in Solidity) has it. It adds 68 bytes for a
/// signature that is not there yet; this takes them off again.
async fn fastlz(node: &TestNode, tx: &[u8]) -> U256 {
    let gas = oracle(node, getL1GasUsedCall { tx: Bytes::copy_from_slice(tx) }).await;
    let gas_of = |length: U256| estimated_size(length) * U256::from(16) / U256::from(1_000_000);
    let lengths: Vec<U256> =
        (0..4_000).map(U256::from).filter(|l| gas_of(l + U256::from(68)) == gas).collect();
    let [length] = lengths[..] else { panic!("{} lengths have this gas", lengths.len()) };
    length
}

/// Noise that does not compress.
fn noise(bytes: usize) -> Bytes {
    let words = (0..bytes.div_ceil(32)).flat_map(|i| keccak256(i.to_be_bytes()).0);
    words.take(bytes).collect::<Vec<_>>().into()
}

#[tokio::test]
async fn a_receipt_says_what_was_charged_and_the_oracle_quotes_it() {
    let node = costly().await;
    let key = signer(0);
    let (l1_fields, head) = (
        json!({
            "l1GasPrice": "0x3b9aca00", "l1BlobBaseFee": "0x1",
            "l1BaseFeeScalar": "0x146b", "l1BlobBaseFeeScalar": "0xf79c5",
            "operatorFeeScalar": "0x23cace", "operatorFeeConstant": "0x3ade68b1",
        }),
        node.node.mine_block().await.unwrap(),
    );
    assert_eq!(head.number, 1);
    assert!(oracle(&node, isEcotoneCall {}).await);
    assert!(oracle(&node, isFjordCall {}).await);
    assert!(oracle(&node, isIsthmusCall {}).await);

    let datas = [Bytes::new(), noise(200), noise(2_000), vec![7u8; 2_000].into()];
    for (nonce, data) in (0..).zip(datas) {
        let mut tx = transfer(nonce, RECIPIENT, U256::ONE);
        (tx.input, tx.gas_limit) = (data, 200_000);
        let raw = sign(&key, tx);
        let before = balance(&node, key.address()).await;
        let hash = node.send(&raw).await.unwrap();
        node.node.mine_block().await.unwrap();
        let receipt = node.rpc("eth_getTransactionReceipt", json!([hash])).await.unwrap();
        assert_eq!(receipt["status"], "0x1");
        for (field, value) in l1_fields.as_object().unwrap() {
            assert_eq!(&receipt[field], value, "{field}");
        }
        let gas = quantity(&receipt["gasUsed"]);
        let execution = gas * quantity(&receipt["effectiveGasPrice"]);
        let spent = before - balance(&node, key.address()).await - U256::ONE;
        let l1 = quantity(&receipt["l1Fee"]);
        assert_eq!(spent, execution + l1 + operator_fee(gas));
        assert_eq!(oracle(&node, getOperatorFeeCall { gasUsed: gas }).await, operator_fee(gas));

        // A short one has the least size there is, whatever its signature.
        if raw.len() < 150 {
            assert_eq!(l1, l1_fee(U256::ZERO));
            assert_eq!(oracle(&node, getL1FeeCall { tx: raw.into() }).await, l1);
            assert_eq!(receipt["l1GasUsed"], "0x640", "1,600: 100 bytes of calldata");
        } else {
            let length = fastlz(&node, &raw).await;
            assert_eq!(l1, l1_fee(length), "{length}");
            let quoted = oracle(&node, getL1FeeCall { tx: raw.into() }).await;
            assert_eq!(quoted, l1_fee(length + U256::from(68)));
            let gas = estimated_size(length) * U256::from(16) / U256::from(1_000_000);
            assert_eq!(quantity(&receipt["l1GasUsed"]), gas);
        }
    }
}

/// Transfers, a creation, storage that is written and cleared again, a revert and one that runs out of
/// gas, several to a block: no OPEN is made or lost, and each part of a fee goes to its vault.
#[tokio::test]
async fn every_wei_of_every_fee_is_in_a_vault() {
    let node = costly().await;
    let keys = [signer(0), signer(1), signer(2)];
    let keeper = keys[0].address().create(0);
    let vaults = [SEQUENCER_VAULT, BASE_FEE_VAULT, L1_FEE_VAULT, OPERATOR_VAULT];
    let people: Vec<Address> =
        keys.iter().map(|key| key.address()).chain([RECIPIENT, keeper]).chain(vaults).collect();
    let total = async || {
        let mut total = U256::ZERO;
        for account in &people {
            total += balance(&node, *account).await;
        }
        total
    };
    let supply = total().await;

    let word = |value: u64| Bytes::from(U256::from(value).to_be_bytes::<32>());
    let rounds = [
        vec![(0, TxKind::Create, KEEPER, 300_000)],
        vec![
            (0, TxKind::Call(keeper), word(5), 100_000),
            (1, TxKind::Call(RECIPIENT), Bytes::new(), 21_000),
            (2, TxKind::Call(RECIPIENT), noise(700), 100_000),
        ],
        vec![
            // Clears the slot: a refund.
            (1, TxKind::Call(keeper), word(0), 100_000),
            // Reverts, and runs out of gas.
            (2, TxKind::Call(keeper), Bytes::from_static(&[1]), 100_000),
            (0, TxKind::Call(keeper), word(9), 22_000),
        ],
    ];
    let mut expected: BTreeMap<Address, U256> = vaults.map(|vault| (vault, U256::ZERO)).into();
    let mut nonces = [0u64; 3];
    let mut failed = 0;
    for round in rounds {
        for (who, to, input, gas_limit) in &round {
            let value = U256::from(u64::from(*to == TxKind::Call(RECIPIENT)) * 1_000);
            let mut tx = transfer(nonces[*who], RECIPIENT, value);
            (tx.to, tx.input, tx.gas_limit) = (*to, input.clone(), *gas_limit);
            nonces[*who] += 1;
            node.send(&sign(&keys[*who], tx)).await.unwrap();
        }
        node.node.mine_block().await.unwrap();
        assert_eq!(total().await, supply, "no OPEN is made or lost");

        let block = node.rpc("eth_getBlockByNumber", json!(["latest", false])).await.unwrap();
        let receipts = node.rpc("eth_getBlockReceipts", json!(["latest"])).await.unwrap();
        let receipts = receipts.as_array().unwrap();
        assert_eq!(receipts.len(), 1 + round.len(), "{receipts:?}");
        let base_fee = quantity(&block["baseFeePerGas"]);
        for receipt in &receipts[1..] {
            let gas = quantity(&receipt["gasUsed"]);
            let tip = quantity(&receipt["effectiveGasPrice"]) - base_fee;
            failed += u32::from(receipt["status"] == "0x0");
            for (vault, fee) in [
                (SEQUENCER_VAULT, gas * tip),
                (BASE_FEE_VAULT, gas * base_fee),
                (L1_FEE_VAULT, quantity(&receipt["l1Fee"])),
                (OPERATOR_VAULT, operator_fee(gas)),
            ] {
                assert!(!fee.is_zero());
                *expected.entry(vault).or_default() += fee;
            }
        }
        // The deposit pays nothing.
        assert_eq!(receipts[0]["type"], "0x7e");
        for (vault, fees) in &expected {
            assert_eq!(balance(&node, *vault).await, *fees, "{vault}");
        }
    }
    assert_eq!(failed, 2);
}

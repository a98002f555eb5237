//! Blocks that might follow (`eth_simulateV1`).

use alloy_consensus::Header;
use alloy_primitives::{Address, B256, U256, address, b256};
use serde_json::{Value, json};

use super::support::{
    FORWARDER, GENESIS_TIME, KEPT, TestNode, manual, number, signer, with_contracts,
};

const ALICE: Address = address!("0xc000000000000000000000000000000000000000");
const BOB: Address = address!("0xc100000000000000000000000000000000000000");
const CAROL: Address = address!("0xc200000000000000000000000000000000000000");
const EMITTER: Address = address!("0xeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee");
const TRANSFER: B256 = b256!("0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef");

async fn simulate(node: &TestNode, payload: Value) -> Value {
    node.rpc("eth_simulateV1", json!([payload, "latest"])).await.unwrap()
}

async fn refused(node: &TestNode, payload: Value) -> i64 {
    node.refused("eth_simulateV1", json!([payload, "latest"])).await.0
}

#[tokio::test]
async fn two_blocks_follow_the_head_and_see_each_other() {
    let node = manual().await;
    let head = node.node.mine_block().await.unwrap();
    let blocks = simulate(
        &node,
        json!({
            "blockStateCalls": [
                {
                    "stateOverrides": { ALICE.to_string(): { "balance": "0x7d0" } },
                    "calls": [
                        { "from": ALICE, "to": BOB, "value": "0x3e8" },
                        { "from": ALICE, "to": BOB, "value": "0x1" },
                    ],
                },
                { "calls": [{ "from": BOB, "to": CAROL, "value": "0x190" }] },
            ],
            "traceTransfers": true,
        }),
    )
    .await;
    let [first, second] = &blocks.as_array().unwrap()[..] else { panic!("{blocks}") };
    assert_eq!((number(&first["number"]), number(&second["number"])), (2, 3));
    assert_eq!(number(&first["timestamp"]), GENESIS_TIME + 2);
    assert_eq!(number(&second["timestamp"]), GENESIS_TIME + 3);
    assert_eq!(first["parentHash"], json!(head.hash));
    assert_eq!(second["parentHash"], first["hash"]);
    assert_ne!(first["stateRoot"], second["stateRoot"]);
    for block in [first, second] {
        let header: Header = serde_json::from_value(block.clone()).unwrap();
        assert_eq!(json!(header.hash_slow()), block["hash"], "the hash is that of the header");
        assert_eq!(block["baseFeePerGas"], "0x0", "nothing is validated");
        assert_eq!(block["uncles"], json!([]));
        assert_eq!(block["withdrawals"], json!([]));
    }
    assert_eq!(first["gasUsed"], "0xa410");
    assert_eq!(first["transactions"].as_array().unwrap().len(), 2);

    let call = &first["calls"][1];
    let log = json!({
        "address": EMITTER,
        "topics": [TRANSFER, ALICE.into_word(), BOB.into_word()],
        "data": B256::with_last_byte(1),
        "blockNumber": "0x2",
        "blockHash": first["hash"],
        "blockTimestamp": first["timestamp"],
        "transactionHash": first["transactions"][1],
        "transactionIndex": "0x1",
        "logIndex": "0x1",
        "removed": false,
    });
    assert_eq!(
        call,
        &json!({
            "returnData": "0x",
            "logs": [log],
            "gasUsed": "0x5208",
            "maxUsedGas": "0x5208",
            "status": "0x1",
        })
    );
    // Logs of transfers are no logs of the block.
    let none = json!(format!("0x{}", "0".repeat(512)));
    assert_eq!(first["logsBloom"], none);
    assert_eq!(second["calls"][0]["logs"][0]["topics"][2], json!(CAROL.into_word()));

    // Nothing of it happened.
    let balance = node.rpc("eth_getBalance", json!([CAROL, "latest"])).await.unwrap();
    assert_eq!(balance, "0x0");
    let silent = json!({ "blockStateCalls": [{ "calls": [{ "from": signer(0).address(),
        "to": BOB, "value": "0x1" }] }] });
    assert_eq!(simulate(&node, silent).await[0]["calls"][0]["logs"], json!([]));
}

#[tokio::test]
async fn logs_and_transfers_of_a_call_that_reverts_are_gone() {
    let node = with_contracts(|config| config).await;
    let from = signer(0).address();
    let call = |data: &str| json!({ "from": from, "to": FORWARDER, "value": "0x5", "data": data });
    let word = format!("0x{}", "00".repeat(32));
    let payload = json!({
        "blockStateCalls": [{ "calls": [
            call("0x00"),
            call(&word),
            { "from": from, "to": KEPT, "data": "0x00", "value": "0x5" },
            { "from": from, "data": "0xfe" },
        ] }],
        "traceTransfers": true,
    });
    let blocks = simulate(&node, payload).await;
    let calls = blocks[0]["calls"].as_array().unwrap();
    let emitters = |call: &Value| -> Vec<Value> {
        call["logs"].as_array().unwrap().iter().map(|log| log["address"].clone()).collect()
    };
    // To the forwarder; what it forwarded was reverted.
    assert_eq!(emitters(&calls[0]), [json!(EMITTER)]);
    assert_eq!(calls[0]["status"], "0x1");
    // To the forwarder, on to the keeper, and the keeper's own log.
    assert_eq!(emitters(&calls[1]), [json!(EMITTER), json!(EMITTER), json!(KEPT)]);
    assert_eq!(calls[1]["logs"][2]["logIndex"], "0x3");
    assert_eq!(emitters(&calls[2]), Vec::<Value>::new());
    assert_eq!(calls[2]["status"], "0x0");
    assert_eq!(calls[2]["error"]["code"], 3);
    assert_eq!(calls[2]["error"]["message"], "execution reverted: no");
    assert!(calls[2]["error"]["data"].as_str().unwrap().starts_with("0x08c379a0"), "Error(string)");
    assert_eq!(calls[2]["returnData"], "0x", "the data is in the error only");
    assert_eq!(calls[3]["error"], json!({ "code": -32015, "message": "invalid opcode: INVALID" }));
    // Only the keeper's log is in the receipts, so in the bloom.
    assert_ne!(blocks[0]["logsBloom"], json!(format!("0x{}", "0".repeat(512))));
}

#[tokio::test]
async fn what_a_simulated_block_is_told_it_is() {
    let node = manual().await;
    // Number, time, coinbase, randomness, base fee, and the hash of the block before.
    let code =
        "0x43600052426020524160405244606052486080526001430340 60a05260c06000f3".replace(' ', "");
    let payload = json!({
        "blockStateCalls": [
            { "blockOverrides": { "number": "0x4", "time": "0xffffffffff" } },
            {
                "blockOverrides": {
                    "feeRecipient": BOB, "prevRandao": B256::repeat_byte(9), "baseFeePerGas": "0x7",
                    "gasLimit": "0x2000000",
                },
                "stateOverrides": { ALICE.to_string(): { "code": code } },
                "calls": [{ "to": ALICE }],
            },
        ],
        "returnFullTransactions": true,
    });
    let blocks = simulate(&node, payload).await;
    let numbers: Vec<_> =
        blocks.as_array().unwrap().iter().map(|block| number(&block["number"])).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5], "the gap is filled");
    assert_eq!(number(&blocks[0]["timestamp"]), GENESIS_TIME + 1);
    let last = &blocks[4];
    assert_eq!(last["miner"], json!(BOB));
    assert_eq!(last["gasLimit"], "0x2000000");
    assert_eq!(last["mixHash"], json!(B256::repeat_byte(9)));
    let output = last["calls"][0]["returnData"].as_str().unwrap();
    let word = |n: usize| {
        B256::from_slice(&alloy_primitives::hex::decode(output).unwrap()[32 * n..][..32])
    };
    assert_eq!(word(0), B256::with_last_byte(5));
    assert_eq!(word(1), B256::from(U256::from(0x100_0000_0000u64)));
    assert_eq!(word(2), BOB.into_word());
    assert_eq!(word(3), B256::repeat_byte(9));
    assert_eq!(word(4), B256::with_last_byte(7));
    assert_eq!(json!(word(5)), blocks[3]["hash"]);
    let tx = &last["transactions"][0];
    assert_eq!((&tx["from"], &tx["to"]), (&json!(Address::ZERO), &json!(ALICE)));
    assert_eq!((&tx["type"], &tx["nonce"]), (&json!("0x2"), &json!("0x0")));
    assert_eq!(tx["blockHash"], last["hash"]);
}

#[tokio::test]
async fn a_valid_block_pays_its_base_fee_and_keeps_nonces() {
    let node = manual().await;
    let from = signer(0).address();
    let call = json!({ "from": from, "to": BOB, "value": "0x1", "maxFeePerGas": "0x77359400",
        "gas": "0x5208" });
    let payload = json!({ "blockStateCalls": [{ "calls": [call, call] }], "validation": true });
    let blocks = simulate(&node, payload).await;
    let next = node.rpc("eth_feeHistory", json!(["0x1", "latest", []])).await.unwrap();
    assert_eq!(blocks[0]["baseFeePerGas"], next["baseFeePerGas"][1]);
    assert_eq!(blocks[0]["gasUsed"], "0xa410");
    assert_eq!(blocks[0]["calls"][1]["status"], "0x1", "the nonce went up by itself");
}

#[tokio::test]
async fn every_fault_has_its_code() {
    let node = with_contracts(|config| config).await;
    let from = signer(0).address();
    let one = |call: Value| json!({ "blockStateCalls": [{ "calls": [call] }] });
    let valid =
        |call: Value| json!({ "blockStateCalls": [{ "calls": [call] }], "validation": true });
    let blocks = |overrides: &[Value]| {
        let blocks: Vec<_> = overrides.iter().map(|o| json!({ "blockOverrides": o })).collect();
        json!({ "blockStateCalls": blocks })
    };
    let fee = "0x77359400";
    let many: Vec<_> = (0..257).map(|_| json!({})).collect();
    let cases = [
        (json!({ "blockStateCalls": [] }), -32602),
        (json!({ "blockStateCalls": [{ "calls": 7 }] }), -32602),
        (json!({ "blockStateCalls": many }), -38026),
        (blocks(&[json!({ "number": "0x101" })]), -38026),
        (blocks(&[json!({ "number": "0x0" })]), -38020),
        (blocks(&[json!({ "number": "0x5" }), json!({ "number": "0x5" })]), -38020),
        (blocks(&[json!({ "number": "0x10000000000000000" })]), -32602),
        (blocks(&[json!({ "time": "0x1" })]), -38021),
        (blocks(&[json!({ "time": "0xffffffffffffffff" }), json!({})]), -32602),
        (one(json!({ "from": CAROL, "to": BOB, "value": "0x1" })), -38014),
        (one(json!({ "from": from, "to": BOB, "gas": "0x5207" })), -38013),
        (one(json!({ "from": from, "to": BOB, "gas": "0x3938701" })), -38015),
        (
            one(json!({ "from": from, "maxFeePerGas": "0x1", "maxPriorityFeePerGas": "0x2" })),
            -32602,
        ),
        (one(json!({ "from": from, "blobVersionedHashes": [B256::ZERO] })), -32602),
        (one(json!({ "from": from, "data": format!("0x{}", "00".repeat(49_153)) })), -38025),
        (valid(json!({ "from": from, "to": BOB, "maxFeePerGas": "0x1" })), -38012),
        (valid(json!({ "from": from, "to": BOB, "maxFeePerGas": fee, "nonce": "0x1" })), -38011),
        (
            json!({
                "blockStateCalls": [{
                    "stateOverrides": { from.to_string(): { "nonce": "0x5" } },
                    "calls": [{ "from": from, "to": BOB, "maxFeePerGas": fee, "nonce": "0x4" }],
                }],
                "validation": true,
            }),
            -38010,
        ),
    ];
    for (payload, expected) in cases {
        let shown: String = payload.to_string().chars().take(300).collect();
        assert_eq!(refused(&node, payload).await, expected, "{shown}");
    }
    // The nonce is looked at before the fee.
    let last = json!({
        "blockStateCalls": [{
            "stateOverrides": { from.to_string(): { "nonce": "0xffffffffffffffff" } },
            "calls": [{ "from": from, "to": BOB }],
        }],
        "validation": true,
    });
    assert_eq!(refused(&node, last).await, -32603);
    let early = valid(json!({ "from": from, "to": BOB, "maxFeePerGas": "0x1", "nonce": "0x1" }));
    assert_eq!(refused(&node, early).await, -38011);
    // Without validation a nonce may be anything.
    let odd = one(json!({ "from": from, "to": BOB, "nonce": "0x63" }));
    assert_eq!(simulate(&node, odd).await[0]["calls"][0]["status"], "0x1");
    let calls: Vec<_> = (0..10_001).map(|_| json!({})).collect();
    assert_eq!(refused(&node, json!({ "blockStateCalls": [{ "calls": calls }] })).await, -38026);
}

#[tokio::test]
async fn without_validation_zero_comes_after_the_last_nonce() {
    let node = manual().await;
    let from = signer(0).address();
    let call = json!({ "from": from, "to": BOB });
    let payload = json!({
        "blockStateCalls": [{
            "stateOverrides": { from.to_string(): { "nonce": "0xffffffffffffffff" } },
            "calls": [call, call],
        }],
        "returnFullTransactions": true,
    });
    let blocks = simulate(&node, payload).await;
    let nonces: Vec<_> = blocks[0]["transactions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tx| tx["nonce"].clone())
        .collect();
    assert_eq!(nonces, [json!("0xffffffffffffffff"), json!("0x0")]);
    assert_eq!(blocks[0]["calls"][0]["status"], "0x1");
    assert_eq!(blocks[0]["calls"][1]["status"], "0x1");
}

#[tokio::test]
async fn the_new_place_of_a_precompile_is_cold_and_its_old_place_stays_warm() {
    let node = manual().await;
    let identity = Address::with_last_byte(4);
    // GAS, a look at the balance of an address, GAS: the difference is returned.
    let probe = |address: Address| {
        format!("0x5a73{}31505a900360005260206000f3", alloy_primitives::hex::encode(address))
    };
    let spent = async |looked_at: Address| {
        let overrides = json!({
            identity.to_string(): { "movePrecompileToAddress": CAROL },
            ALICE.to_string(): { "code": probe(looked_at) },
        });
        let block = json!({ "stateOverrides": overrides, "calls": [{ "to": ALICE }] });
        let blocks = simulate(&node, json!({ "blockStateCalls": [block] })).await;
        number(&blocks[0]["calls"][0]["returnData"])
    };
    assert_eq!(spent(CAROL).await - spent(identity).await, 2_600 - 100);
}

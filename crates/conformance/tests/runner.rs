//! The runner on small fixtures written by hand in the official formats.

#![allow(clippy::unwrap_used)]

use std::{fs, path::Path};

use alloy_consensus::{
    EMPTY_OMMER_ROOT_HASH, EMPTY_ROOT_HASH, Header, constants::KECCAK_EMPTY,
    proofs::calculate_withdrawals_root,
};
use alloy_eips::eip1559::BaseFeeParams;
use alloy_primitives::{Address, B256, U256, address, hex, keccak256};
use alloy_rlp::Encodable;
use alloy_trie::{TrieAccount, root::state_root_unhashed};
use openledger_conformance::{Error, ExpectedFailures, Report, Suite, run};
use serde_json::{Value, json};

/// The key of every hand-written transaction, and its account.
const KEY: &str = "0x45a915e4d060149eb4365960e6a7a45f334393093061116b197e3240065ff2d8";
const SENDER: Address = address!("0xa94f5374Fce5edBC8E2a8697C15331677e6EbF0B");
const COINBASE: Address = address!("0x2adc25665018aa1fe0e6bc666dac8fc2697ff9ba");
const RECEIVER: Address = address!("0x1000000000000000000000000000000000000000");
const ETHER: u64 = 1_000_000_000_000_000_000;

fn write(root: &Path, file: &str, content: &Value) {
    let path = root.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content.to_string()).unwrap();
}

fn run_on(root: &Path, suite: Suite, expected: &str) -> Report {
    run(root, &[suite], &ExpectedFailures::parse(expected).unwrap()).unwrap()
}

/// One suite on one file.
fn result(suite: Suite, file: &str, content: &Value, expected: &str) -> Report {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), file, content);
    run_on(root.path(), suite, expected)
}

fn account(nonce: u64, balance: u64) -> TrieAccount {
    let (storage_root, code_hash) = (EMPTY_ROOT_HASH, KECCAK_EMPTY);
    TrieAccount { nonce, balance: U256::from(balance), storage_root, code_hash }
}

const TRIE: &str = "tests/TrieTests/a_secureTrie.json";

fn tries(root_of_empty: B256) -> Value {
    json!({ "emptied": { "in": [["dog", "puppy"], ["0x646f67", null]], "root": root_of_empty } })
}

#[test]
fn a_trie_with_the_right_root_passes_and_one_with_another_fails() {
    let right = result(Suite::Trie, TRIE, &tries(EMPTY_ROOT_HASH), "");
    assert!(right.is_as_expected());
    assert_eq!(right.suites[0].passed, 1);
    let wrong = result(Suite::Trie, TRIE, &tries(B256::ZERO), "");
    assert!(!wrong.is_as_expected());
    let failed: Vec<_> = wrong.suites[0].failed.keys().collect();
    assert_eq!(failed, ["tests/TrieTests/a_secureTrie.json::emptied"]);
}

#[test]
fn a_listed_failure_is_expected_and_a_listed_pass_fails_the_run() {
    let list = "tests/TrieTests/a_secureTrie.json::emptied | by way of example";
    let failing = result(Suite::Trie, TRIE, &tries(B256::ZERO), list);
    assert!(failing.is_as_expected());
    assert_eq!(failing.suites[0].expected_failures.len(), 1);
    let passing = result(Suite::Trie, TRIE, &tries(EMPTY_ROOT_HASH), list);
    assert!(!passing.is_as_expected());
    assert_eq!(passing.suites[0].unexpected_passes.len(), 1);
    let stale = "tests/TrieTests/gone.json::x | by way of example";
    let stale = result(Suite::Trie, TRIE, &tries(EMPTY_ROOT_HASH), stale);
    assert!(!stale.is_as_expected());
}

#[test]
fn keys_that_are_not_hashed_are_not_supported_and_not_passed() {
    let report = result(Suite::Trie, "tests/TrieTests/plain.json", &tries(EMPTY_ROOT_HASH), "");
    assert_eq!(report.suites[0].passed, 0);
    assert_eq!(report.suites[0].not_supported.values().sum::<usize>(), 1);
    assert!(!report.is_as_expected(), "a suite that ran nothing is no success");
}

#[test]
fn without_fixtures_nothing_is_said_to_pass() {
    let root = tempfile::tempdir().unwrap();
    let error = run(root.path(), &Suite::ALL, &ExpectedFailures::default()).unwrap_err();
    assert!(matches!(&error, Error::NoFixtures { .. }));
    assert!(error.to_string().contains("tests/TrieTests"), "{error}");
}

#[test]
fn a_file_that_cannot_be_read_is_a_failure() {
    for broken in [json!([1, 2]), json!({ "a": { "in": 7 } }), json!({ "a": null })] {
        let report = result(Suite::Rlp, "tests/RLPTests/a.json", &broken, "");
        assert_eq!(report.suites[0].failed.len(), 1, "{broken}");
    }
}

#[test]
fn rlp_items_are_encoded_and_bad_ones_refused() {
    let fixture = json!({
        "list": { "in": ["dog", [4], 1], "out": "0xc783646f67c10401" },
        "number": { "in": "#256", "out": "0x820100" },
        "not minimal": { "in": "INVALID", "out": "0x8101" },
        "nothing": { "in": "INVALID", "out": "" },
    });
    let report = result(Suite::Rlp, "tests/RLPTests/a.json", &fixture, "");
    assert!(report.is_as_expected(), "{report}");
    let wrong = json!({ "minimal after all": { "in": "INVALID", "out": "0x01" } });
    assert!(!result(Suite::Rlp, "tests/RLPTests/a.json", &wrong, "").is_as_expected());
}

#[test]
fn the_difficulty_rises_after_a_quick_block() {
    let test = |current: &str| {
        json!({ "d": { "Homestead": { "one": {
            "parentTimestamp": "0x00", "parentDifficulty": "0x100000", "parentUncles": "0x00",
            "currentTimestamp": "0x01", "currentBlockNumber": "0x01", "currentDifficulty": current,
        } } } })
    };
    let file = "tests/DifficultyTests/a.json";
    assert!(result(Suite::Difficulty, file, &test("0x100200"), "").is_as_expected());
    assert!(!result(Suite::Difficulty, file, &test("0x100000"), "").is_as_expected());
}

/// A transfer of one ether at 10 wei per gas, without transaction bytes as in the oldest fixtures.
fn transfer(network: &str, root: B256) -> Value {
    let balance = format!("{:#x}", 3 * ETHER);
    json!({ "transfer": {
        "env": {
            "currentNumber": "0x01", "currentTimestamp": "0x03e8", "currentCoinbase": COINBASE,
            "currentGasLimit": "0xff112233445566", "currentDifficulty": "0x020000",
        },
        "pre": { SENDER.to_string(): {
            "balance": balance, "nonce": "0x00", "code": "0x", "storage": {},
        } },
        "transaction": {
            "data": ["0x"], "gasLimit": ["0x5208"], "gasPrice": "0x0a", "nonce": "0x00",
            "secretKey": KEY, "to": RECEIVER, "value": [format!("{ETHER:#x}")],
        },
        "post": { network: [{
            "hash": root, "logs": keccak256([0xc0]),
            "indexes": { "data": 0, "gas": 0, "value": 0 },
        }] },
    } })
}

#[test]
fn a_transfer_leads_to_the_reference_root() {
    let fee = 21_000 * 10;
    let root = state_root_unhashed([
        (SENDER, account(1, 2 * ETHER - fee)),
        (COINBASE, account(0, fee)),
        (RECEIVER, account(0, ETHER)),
    ]);
    let file = "tests/GeneralStateTests/a.json";
    let passed = result(Suite::State, file, &transfer("Istanbul", root), "");
    assert!(passed.is_as_expected(), "{passed}");
    let wrong = result(Suite::State, file, &transfer("Istanbul", B256::ZERO), "");
    assert!(wrong.suites[0].failed.values().all(|reason| reason.contains("state root")));
    let unknown = result(Suite::State, file, &transfer("Atlantis", root), "");
    assert_eq!(unknown.suites[0].not_supported.len(), 1);
}

/// A chain of one empty Shanghai block with a withdrawal of one gwei to [`RECEIVER`].
fn chain(change: impl FnOnce(&mut Header), valid: bool) -> Value {
    let state = |gwei: u64| {
        let paid = (gwei > 0).then(|| (RECEIVER, account(0, gwei * 1_000_000_000)));
        state_root_unhashed([(SENDER, account(0, ETHER))].into_iter().chain(paid))
    };
    let withdrawal =
        alloy_eips::eip4895::Withdrawal { address: RECEIVER, amount: 1, ..Default::default() };
    let genesis = Header {
        ommers_hash: EMPTY_OMMER_ROOT_HASH,
        state_root: state(0),
        transactions_root: EMPTY_ROOT_HASH,
        receipts_root: EMPTY_ROOT_HASH,
        withdrawals_root: Some(EMPTY_ROOT_HASH),
        gas_limit: 30_000_000,
        base_fee_per_gas: Some(1_000),
        ..Header::default()
    };
    let mut header = Header {
        parent_hash: genesis.hash_slow(),
        state_root: state(1),
        withdrawals_root: Some(calculate_withdrawals_root(&[withdrawal])),
        number: 1,
        timestamp: 12,
        base_fee_per_gas: genesis.next_block_base_fee(BaseFeeParams::ethereum()),
        ..genesis.clone()
    };
    change(&mut header);
    let mut block = json!({ "rlp": block_rlp(&header, &[withdrawal]) });
    if valid {
        block["blockHeader"] = json!({ "hash": header.hash_slow() });
    } else {
        block["expectException"] = json!("BlockException");
    }
    let head = if valid { &header } else { &genesis };
    json!({ "chain": {
        "network": "Shanghai", "sealEngine": "NoProof",
        "pre": { SENDER.to_string(): { "balance": format!("{ETHER:#x}"), "nonce": "0x00" } },
        "genesisBlockHeader": { "hash": genesis.hash_slow() },
        "genesisRLP": block_rlp(&genesis, &[]),
        "blocks": [block], "lastblockhash": head.hash_slow(), "postStateHash": head.state_root,
    } })
}

fn block_rlp(header: &Header, withdrawals: &[alloy_eips::eip4895::Withdrawal]) -> String {
    let mut payload = Vec::new();
    header.encode(&mut payload);
    payload.extend_from_slice(&[0xc0, 0xc0]);
    alloy_rlp::encode_list(withdrawals, &mut payload);
    let mut block = Vec::new();
    alloy_rlp::Header { list: true, payload_length: payload.len() }.encode(&mut block);
    block.extend_from_slice(&payload);
    hex::encode_prefixed(block)
}

#[test]
fn a_valid_block_is_taken_and_one_with_any_wrong_field_is_not() {
    let import = |fixture| result(Suite::Blockchain, "tests/BlockchainTests/a.json", &fixture, "");
    let valid = import(chain(|_| {}, true));
    assert!(valid.is_as_expected(), "{valid}");
    assert!(!import(chain(|_| {}, false)).is_as_expected(), "a valid block counts as valid");
    let breaks: [fn(&mut Header); 14] = [
        |header| header.number += 1,
        |header| header.timestamp = 0,
        |header| header.gas_limit += header.gas_limit / 1_024,
        |header| header.gas_used = 1,
        |header| header.base_fee_per_gas = Some(1_000),
        |header| header.difficulty = U256::from(1),
        |header| header.nonce.0[0] = 1,
        |header| header.state_root.0[0] ^= 1,
        |header| header.receipts_root.0[0] ^= 1,
        |header| header.transactions_root.0[0] ^= 1,
        |header| header.withdrawals_root = Some(EMPTY_ROOT_HASH),
        |header| header.logs_bloom.0[0] ^= 1,
        |header| header.extra_data = vec![0; 33].into(),
        |header| header.ommers_hash.0[0] ^= 1,
    ];
    for (index, change) in breaks.into_iter().enumerate() {
        let report = import(chain(change, false));
        assert!(report.is_as_expected(), "change {index}: {report}");
    }
}

#[test]
fn a_seal_of_proof_of_work_is_not_supported() {
    let mut fixture = chain(|_| {}, true);
    fixture["chain"]["sealEngine"] = json!("Ethash");
    let report = result(Suite::Blockchain, "tests/BlockchainTests/a.json", &fixture, "");
    assert_eq!(report.suites[0].not_supported.len(), 1);
    assert_eq!(report.suites[0].passed, 0);
}

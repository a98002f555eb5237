//! Starting, stopping, and starting on what is there.

use std::{fs, path::Path};

use alloy_primitives::{Address, U256};
use openledger_chain::{
    BlockProduction, Config, DEV_BALANCE, Error, Genesis, GenesisAccount, Node, dev_accounts,
};
use serde_json::json;

use super::support::{GENESIS_TIME, config, genesis, manual, rpc, sign, signer, transfer};

fn manual_config(dir: &Path) -> Config {
    config(dir, BlockProduction::Manual)
}

#[test]
fn the_development_accounts_are_those_of_the_mnemonic() {
    for (index, address) in (0..).zip(dev_accounts()) {
        assert_eq!(signer(index).address(), address);
        assert_eq!(Genesis::devnet().alloc[&address].balance, DEV_BALANCE);
    }
}

#[tokio::test]
async fn a_chain_goes_on_where_it_stopped() {
    let first = manual().await;
    let dir = first.dir.path();
    let recipient = Address::repeat_byte(7);
    let raw = sign(&signer(0), transfer(0, recipient, U256::from(9)));
    first.send(&raw).await.unwrap();
    first.node.mine_block().await.unwrap();
    let head = first.node.mine_block().await.unwrap();
    let waiting =
        first.send(&sign(&signer(0), transfer(1, recipient, U256::from(9)))).await.unwrap();
    let block_1 = first.rpc("eth_getBlockByNumber", json!(["0x1", true])).await.unwrap();
    let receipts_1 = first.rpc("eth_getBlockReceipts", json!(["0x1"])).await.unwrap();
    first.node.shutdown().await.unwrap();
    assert!(matches!(first.node.mine_block().await, Err(Error::Stopped)));

    let again = Node::start(manual_config(dir), genesis()).await.unwrap();
    assert_eq!(again.head(), head);
    let url = again.rpc_url();
    let get = async |method, params| rpc(&url, method, params).await.unwrap();
    assert_eq!(get("eth_getBlockByNumber", json!(["0x1", true])).await, block_1);
    assert_eq!(get("eth_getBlockReceipts", json!(["0x1"])).await, receipts_1);
    assert_eq!(get("eth_getBalance", json!([recipient, "latest"])).await, "0x9");
    let kept = get("eth_getTransactionByHash", json!([waiting])).await;
    assert_eq!(kept["hash"], json!(waiting), "an acknowledged transaction is still waiting");
    let next = again.mine_block().await.unwrap();
    assert_eq!((next.number, next.timestamp), (head.number + 1, GENESIS_TIME + 3));
    assert_eq!(get("eth_getBalance", json!([recipient, "latest"])).await, "0x12");
    again.shutdown().await.unwrap();
}

#[tokio::test]
async fn two_chains_with_equal_genesis_and_transactions_are_equal() {
    let (a, b) = (manual().await, manual().await);
    for node in [&a, &b] {
        for nonce in 0..3 {
            let to = Address::with_last_byte(200);
            node.send(&sign(&signer(0), transfer(nonce, to, U256::from(1)))).await.unwrap();
            node.node.mine_block().await.unwrap();
        }
    }
    assert_eq!(a.node.head(), b.node.head());
}

#[tokio::test]
async fn a_genesis_without_a_time_is_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let start = async || Node::start(manual_config(dir.path()), Genesis::devnet()).await.unwrap();
    let node = start().await;
    let hash = node.genesis_hash();
    node.shutdown().await.unwrap();
    assert_eq!(start().await.genesis_hash(), hash);
}

#[tokio::test]
async fn a_directory_has_one_node_and_one_genesis() {
    let first = manual().await;
    let dir = first.dir.path();
    let start = async |genesis| Node::start(manual_config(dir), genesis).await.unwrap_err();

    let Error::DataDirLocked { pid, .. } = start(genesis()).await else { panic!("not locked") };
    assert_eq!(pid, Some(std::process::id()));
    first.node.shutdown().await.unwrap();

    let other_chain = Genesis { chain_id: 5, ..genesis() };
    let error = start(other_chain).await;
    assert!(matches!(error, Error::ChainIdMismatch { expected: 5, found: 161_337, .. }), "{error}");
    let mut other_alloc = genesis();
    other_alloc.extend_alloc([(Address::ZERO, GenesisAccount::default())].into());
    let error = start(other_alloc).await;
    assert!(matches!(error, Error::GenesisMismatch { .. }), "{error}");
    let no_gas = Genesis { gas_limit: 1, ..genesis() };
    assert!(matches!(start(no_gas).await, Error::InvalidGenesis(_)));
    Node::start(manual_config(dir), genesis()).await.unwrap();
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let first = manual().await;
    let dir = tempfile::tempdir().unwrap();
    let config = Config { rpc_addr: first.node.rpc_addr(), ..manual_config(dir.path()) };
    let error = Node::start(config, genesis()).await.unwrap_err();
    assert!(matches!(error, Error::PortInUse { addr } if addr == first.node.rpc_addr()));
}

#[tokio::test]
async fn a_newer_format_is_refused_by_its_number() {
    let first = manual().await;
    first.node.shutdown().await.unwrap();
    let path = first.dir.path().join("blocks.log");
    let mut bytes = fs::read(&path).unwrap();
    bytes[11] = 9;
    let check = alloy_primitives::keccak256(&bytes[..44]);
    bytes[44..52].copy_from_slice(&check[..8]);
    fs::write(&path, bytes).unwrap();
    let error = Node::start(manual_config(first.dir.path()), genesis()).await.unwrap_err();
    assert!(matches!(error, Error::FormatTooNew { found: 9, .. }), "{error}");
}

/// Damage anywhere gives an error or a shorter chain, never another one.
#[tokio::test]
async fn a_damaged_log_gives_an_error_or_a_prefix_of_the_chain() {
    let first = manual().await;
    let mut hashes = vec![first.node.genesis_hash()];
    for nonce in 0..4 {
        let to = Address::with_last_byte(200);
        first.send(&sign(&signer(0), transfer(nonce, to, U256::from(1)))).await.unwrap();
        hashes.push(first.node.mine_block().await.unwrap().hash);
    }
    first.node.shutdown().await.unwrap();
    let path = first.dir.path().join("blocks.log");
    let intact = fs::read(&path).unwrap();
    let open = async || {
        let opened = Node::start(manual_config(first.dir.path()), genesis()).await;
        let head = match opened {
            Ok(node) => {
                let head = node.head();
                let url = node.rpc_url();
                let paid = json!([Address::with_last_byte(200), "latest"]);
                let balance = rpc(&url, "eth_getBalance", paid).await.unwrap();
                assert_eq!(balance, json!(U256::from(head.number)));
                node.shutdown().await.unwrap();
                Some(head)
            }
            Err(Error::LogDamaged { .. }) => None,
            Err(error) => panic!("{error}"),
        };
        if let Some(head) = head {
            assert_eq!(head.hash, hashes[usize::try_from(head.number).unwrap()]);
        }
        head
    };

    let mut refused = 0;
    for at in (0..intact.len()).step_by(97) {
        let mut damaged = intact.clone();
        damaged[at] ^= 0x40;
        fs::write(&path, damaged).unwrap();
        match open().await {
            None => refused += 1,
            // Only in the last record can damage not be told from a write that was cut short.
            Some(head) => assert_eq!(head.number, 3),
        }
    }
    assert!(refused > 20, "{refused}");

    let mut prefixes = 0;
    for len in (0..intact.len()).step_by(211) {
        fs::write(&path, &intact[..len]).unwrap();
        prefixes += usize::from(open().await.is_some());
    }
    assert!(prefixes > 10, "{prefixes}");
}

#[tokio::test]
async fn a_damaged_journal_is_put_aside_and_the_chain_starts() {
    let first = manual().await;
    let dir = first.dir.path();
    for nonce in 0..2 {
        let tx = transfer(nonce, Address::repeat_byte(7), U256::from(1));
        first.send(&sign(&signer(0), tx)).await.unwrap();
    }
    first.node.shutdown().await.unwrap();
    let path = dir.join("pool.journal");
    let mut bytes = fs::read(&path).unwrap();
    bytes[100] ^= 1;
    fs::write(&path, &bytes).unwrap();

    let node = Node::start(manual_config(dir), genesis()).await.unwrap();
    assert_eq!(fs::read(path.with_extension("damaged")).unwrap(), bytes);
    let status = rpc(&node.rpc_url(), "txpool_status", json!([])).await.unwrap();
    assert_eq!(status["pending"], "0x0");
}

#[tokio::test]
async fn the_journal_forgets_what_is_in_a_block() {
    let first = manual().await;
    let dir = first.dir.path();
    let tx = |nonce| sign(&signer(0), transfer(nonce, Address::repeat_byte(7), U256::from(1)));
    first.send(&tx(0)).await.unwrap();
    first.node.mine_block().await.unwrap();
    first.send(&tx(1)).await.unwrap();
    first.node.shutdown().await.unwrap();
    let before = fs::metadata(dir.join("pool.journal")).unwrap().len();
    let node = Node::start(manual_config(dir), genesis()).await.unwrap();
    node.shutdown().await.unwrap();
    let after = fs::metadata(dir.join("pool.journal")).unwrap().len();
    assert!(after < before && after > 100, "{before} → {after}");
}

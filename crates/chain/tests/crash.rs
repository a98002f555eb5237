//! Kills a real node with SIGKILL at random moments, many times, and checks after each restart that
//! nothing was lost that it had announced or acknowledged.
//!
//! The program runs itself as the node. `OPENLEDGER_CRASH_KILLS` and `OPENLEDGER_CRASH_SEED` choose
//! how many kills there are and when they come; both are printed.

#![allow(clippy::unwrap_used, clippy::print_stdout)]
#![allow(dead_code, reason = "the scenarios use the rest of the support module")]

#[path = "it/support.rs"]
mod support;

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use alloy_primitives::{Address, B256, Bytes, U64, U256, keccak256};
use alloy_provider::{Provider, RootProvider};
use openledger_chain::{BlockProduction, Genesis, Node};
use serde_json::json;
use support::{config, sign, signer, transfer};

const KILLS_DEFAULT: u64 = 24;
const SENDERS: u32 = 4;
/// A node lives this long under load before it is killed.
const LIFE_MS: std::ops::Range<u64> = 5..250;

fn main() {
    let mut args = std::env::args().skip(1);
    match (args.next().as_deref(), args.next()) {
        (Some("serve"), Some(dir)) => serve(Path::new(&dir)),
        _ => kill_again_and_again(),
    }
}

/// The node that is killed.
fn serve(dir: &Path) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let config = config(dir, BlockProduction::OnTransaction);
        let node = Node::start(config, Genesis::devnet()).await.unwrap();
        println!("{}", node.rpc_url());
        std::io::stdout().flush().unwrap();
        node.stopped().await.unwrap();
    });
}

/// What the node has told us, and must still know.
#[derive(Default)]
struct Told {
    blocks: BTreeMap<u64, B256>,
    transactions: Vec<B256>,
}

fn kill_again_and_again() {
    let number = |name: &str| std::env::var(name).ok().map(|value| value.parse().unwrap());
    let kills: u64 = number("OPENLEDGER_CRASH_KILLS").unwrap_or(KILLS_DEFAULT);
    let seed: u64 = number("OPENLEDGER_CRASH_SEED").unwrap_or(1);
    println!("{kills} kills, seed {seed}");
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut all = Told::default();
    for kill in 0..kills {
        let (mut child, url) = spawn(dir.path());
        let digest = keccak256([seed.to_be_bytes(), kill.to_be_bytes()].concat());
        let random = u64::from_be_bytes(digest[..8].try_into().unwrap());
        let life = LIFE_MS.start + random % (LIFE_MS.end - LIFE_MS.start);
        let mut told = Told::default();
        runtime.block_on(async {
            let client = RootProvider::new_http(url.parse().unwrap());
            let load = load(&client, &mut told);
            let _ = tokio::time::timeout(Duration::from_millis(life), load).await;
        });
        child.kill().unwrap();
        child.wait().unwrap();

        let (mut child, url) = spawn(dir.path());
        runtime.block_on(check(&url, &told));
        child.kill().unwrap();
        child.wait().unwrap();
        all.blocks.extend(told.blocks);
        all.transactions.extend(told.transactions);
    }
    let (mut child, url) = spawn(dir.path());
    runtime.block_on(check(&url, &all));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(all.transactions.len() as u64 > kills, "the load was too light to show anything");
    println!(
        "ok: {} announced blocks and {} acknowledged transactions survived {kills} kills",
        all.blocks.len(),
        all.transactions.len()
    );
}

fn spawn(dir: &Path) -> (Child, String) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .arg("serve")
        .arg(dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut url = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
    assert!(url.starts_with("http"), "the node did not come up");
    (child, url.trim().to_owned())
}

/// Sends transfers from several accounts and notes what is acknowledged and announced, until the
/// node is gone.
async fn load(client: &RootProvider, told: &mut Told) {
    let keys: Vec<_> = (0..SENDERS).map(signer).collect();
    let mut nonces = Vec::new();
    for key in &keys {
        let params = json!([key.address(), "pending"]);
        let nonce = client.raw_request::<_, U64>("eth_getTransactionCount".into(), params).await;
        nonces.push(nonce.unwrap().to::<u64>());
    }
    loop {
        for (key, nonce) in keys.iter().zip(&mut nonces) {
            let to = Address::from_word(keccak256(nonce.to_be_bytes()));
            let raw = Bytes::from(sign(key, transfer(*nonce, to, U256::from(1))));
            let sent = client.raw_request("eth_sendRawTransaction".into(), json!([raw])).await;
            told.transactions.push(sent.unwrap());
            *nonce += 1;
        }
        let params = json!(["latest", false]);
        let head: serde_json::Value =
            client.raw_request("eth_getBlockByNumber".into(), params).await.unwrap();
        let number: U64 = serde_json::from_value(head["number"].clone()).unwrap();
        let hash: B256 = serde_json::from_value(head["hash"].clone()).unwrap();
        told.blocks.insert(number.to(), hash);
    }
}

async fn check(url: &str, told: &Told) {
    for (number, hash) in &told.blocks {
        let params = json!([U64::from(*number), false]);
        let block = support::rpc(url, "eth_getBlockByNumber", params).await.unwrap();
        assert_eq!(block["hash"], json!(hash), "block {number} was announced");
    }
    for hash in &told.transactions {
        let found = support::rpc(url, "eth_getTransactionByHash", json!([hash])).await.unwrap();
        assert_eq!(found["hash"], json!(hash), "the transaction was acknowledged");
    }
}

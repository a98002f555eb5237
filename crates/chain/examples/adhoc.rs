#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]
use std::{io::{Read, Write}, net::TcpStream, time::{Duration, Instant}, path::Path};
use alloy_consensus::{SignableTransaction, TxEip1559};
use alloy_eips::eip2718::Encodable2718;
use alloy_network::TxSignerSync;
use alloy_primitives::{Address, B256, TxKind, U256, hex, keccak256};
use alloy_signer_local::PrivateKeySigner;
use openledger_chain::*;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let senders: u64 = args[2].parse().unwrap();
    let each: u64 = args[3].parse().unwrap();
    let keys: Vec<_> = (0..senders).map(|n| PrivateKeySigner::from_bytes(&keccak256(n.to_be_bytes())).unwrap()).collect();
    if args[1] == "node" {
        let dir = tempfile::tempdir().unwrap();
        let mut genesis = Genesis { gas_limit: 30_000_000_000, ..Genesis::devnet() };
        let account = |balance| GenesisAccount { balance, ..Default::default() };
        genesis.extend_alloc(keys.iter().map(|k| (k.address(), account(DEV_BALANCE))).collect());
        let extra: u64 = args.get(4).map_or(0, |n| n.parse().unwrap());
        genesis.extend_alloc((0..extra).map(|n| (Address::from_word(keccak256((n << 8).to_be_bytes())), account(U256::from(1)))).collect());
        let config = Config { rpc_addr: ([127,0,0,1], 18545).into(), ..Config::new(dir.path()) };
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let node = Node::start(config, genesis).await.unwrap();
            println!("{}", node.rpc_url());
            tokio::time::sleep(Duration::from_secs(args.get(5).map_or(60, |n| n.parse().unwrap()))).await;
            node.shutdown().await.unwrap();
        });
        let _ = Path::new("x");
        return;
    }
    let conns: usize = args[4].parse().unwrap();
    let batch: usize = args[5].parse().unwrap();
    let mut raws = Vec::new();
    for nonce in 0..each {
        for (i, key) in keys.iter().enumerate() {
            let mut tx = TxEip1559 { chain_id: DEVNET_CHAIN_ID, nonce, gas_limit: 21_000, max_fee_per_gas: 100_000_000_000, max_priority_fee_per_gas: 1,
                to: TxKind::Call(Address::from_word(keccak256((i as u64 * 7919 + nonce).to_be_bytes()))), value: U256::from(1), ..Default::default() };
            let sig = key.sign_transaction_sync(&mut tx).unwrap();
            let env = alloy_consensus::TxEnvelope::from(tx.into_signed(sig));
            raws.push(hex::encode_prefixed(env.encoded_2718()));
        }
    }
    // each connection has its own senders
    let per = raws.len();
    let mut bodies: Vec<Vec<Vec<u8>>> = vec![Vec::new(); conns];
    let mut groups: Vec<Vec<String>> = vec![Vec::new(); conns];
    for (n, raw) in raws.into_iter().enumerate() {
        let c = (n % senders as usize) % conns;
        groups[c].push(format!("{{\"jsonrpc\":\"2.0\",\"id\":{n},\"method\":\"eth_sendRawTransaction\",\"params\":[\"{raw}\"]}}"));
    }
    for (c, g) in groups.into_iter().enumerate() {
        for chunk in g.chunks(batch) {
            let body = if batch == 1 { chunk[0].clone() } else { format!("[{}]", chunk.join(",")) };
            bodies[c].push(format!("POST / HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes());
        }
    }
    println!("signed {per}");
    let start = Instant::now();
    std::thread::scope(|s| for b in &bodies { s.spawn(move || {
        let mut t = TcpStream::connect("127.0.0.1:18545").unwrap(); t.set_nodelay(true).unwrap();
        let mut buf = vec![0u8; 1 << 20];
        for body in b { t.write_all(body).unwrap(); 
            let mut have = 0;
            loop { let n = t.read(&mut buf[have..]).unwrap(); have += n; let text = &buf[..have];
                if let Some(p) = text.windows(4).position(|w| w == b"\r\n\r\n") {
                    let head = std::str::from_utf8(&text[..p]).unwrap().to_lowercase();
                    let len: usize = head.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap().parse().unwrap();
                    if have >= p + 4 + len { let b = std::str::from_utf8(&text[p+4..p+4+len]).unwrap(); if b.contains("error") { println!("{}", &b[..200.min(b.len())]); } break; } } } }
    }); });
    let sent = start.elapsed();
    loop { let mut t = TcpStream::connect("127.0.0.1:18545").unwrap();
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"txpool_status","params":[]}"#;
        t.write_all(format!("POST / HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len()).as_bytes()).unwrap();
        let mut s = String::new(); t.read_to_string(&mut s).unwrap(); if s.contains("\"pending\":\"0x0\"") && s.contains("\"queued\":\"0x0\"") { break } std::thread::sleep(Duration::from_millis(20)); }
    let all = start.elapsed();
    println!("sent {:.0}/s, included {:.0}/s", per as f64 / sent.as_secs_f64(), per as f64 / all.as_secs_f64());
    let _ = B256::ZERO;
}

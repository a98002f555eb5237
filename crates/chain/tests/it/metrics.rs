//! What a node tells of itself on its metrics address.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use alloy_primitives::{Address, U256};
use alloy_provider::{Provider, ProviderBuilder, WsConnect};
use openledger_chain::{BlockProduction, Config, Handle, Node};
use serde_json::json;

use super::support::{TestNode, config, genesis, sign, signer, transfer};

async fn watched() -> TestNode {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        metrics_addr: Some(([127, 0, 0, 1], 0).into()),
        ..config(dir.path(), BlockProduction::Manual)
    };
    let node = Node::start(config, genesis()).await.unwrap();
    TestNode { node, dir }
}

fn metrics_addr(node: &Handle) -> SocketAddr {
    node.metrics_url().unwrap().trim_start_matches("http://").parse().unwrap()
}

/// Sends `request` as it is and returns all that comes back.
async fn raw(addr: SocketAddr, request: String) -> String {
    let exchange = move || {
        let mut stream = TcpStream::connect(addr).unwrap();
        let mut answer = String::new();
        // A request that is too long may be cut off: what was answered before that counts.
        let _ = stream.write_all(request.as_bytes());
        let _ = stream.read_to_string(&mut answer);
        answer
    };
    tokio::task::spawn_blocking(exchange).await.unwrap()
}

async fn get(node: &Handle, path: &str) -> String {
    raw(metrics_addr(node), format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await
}

#[track_caller]
fn has(text: &str, line: &str) {
    assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
}

#[tokio::test]
async fn what_becomes_of_transactions_is_counted() {
    let watched = watched().await;
    let tx = |nonce| sign(&signer(0), transfer(nonce, Address::repeat_byte(7), U256::from(1)));
    watched.send(&tx(0)).await.unwrap();
    watched.send(&tx(1)).await.unwrap();
    watched.send(&tx(3)).await.unwrap();
    watched.send(&tx(0)).await.unwrap_err();
    watched.send(&[1, 2, 3]).await.unwrap_err();
    let text = get(&watched.node, "/metrics").await;
    has(&text, "openledger_transactions_received_total 5");
    has(&text, "openledger_transactions_refused_total{reason=\"already_known\"} 1");
    has(&text, "openledger_transactions_refused_total{reason=\"malformed\"} 1");
    has(&text, "openledger_pool_pending 2");
    has(&text, "openledger_pool_queued 1");
    has(&text, "openledger_blocks_total 0");

    watched.node.mine_block().await.unwrap();
    watched.send(&tx(0)).await.unwrap_err();
    let text = get(&watched.node, "/metrics").await;
    has(&text, "openledger_blocks_total 1");
    has(&text, "openledger_head_block 1");
    has(&text, "openledger_transactions_included_total 2");
    has(&text, "openledger_transactions_refused_total{reason=\"nonce_too_low\"} 1");
    has(&text, "openledger_pool_pending 0");
    has(&text, "openledger_block_build_seconds_count 1");
    has(&text, "openledger_state_root_seconds_count 1");
    has(&text, "openledger_disk_sync_seconds_count 1");
    let sent = "method=\"eth_sendRawTransaction\"";
    has(&text, &format!("openledger_rpc_requests_total{{{sent},outcome=\"ok\"}} 3"));
    has(&text, &format!("openledger_rpc_requests_total{{{sent},outcome=\"client_error\"}} 3"));
    has(&text, &format!("openledger_rpc_request_seconds_count{{{sent}}} 6"));
    let log = watched.dir.path().join("blocks.log").metadata().unwrap().len();
    has(&text, &format!("openledger_block_log_bytes {log}"));
    assert!(text.contains("application/openmetrics-text"), "{text}");
}

#[tokio::test]
async fn each_call_of_a_batch_is_counted() {
    let watched = watched().await;
    let call = |id: u32, method: &str| json!({ "jsonrpc": "2.0", "id": id, "method": method });
    let batch = json!([call(1, "eth_blockNumber"), call(2, "eth_blockNumber"), call(3, "eth_no")]);
    let body = batch.to_string();
    let request = format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = raw(watched.node.rpc_addr(), request).await;
    assert!(answer.contains("\"id\":3") && answer.contains("-32601"), "{answer}");
    let text = get(&watched.node, "/metrics").await;
    has(&text, "openledger_rpc_requests_total{method=\"eth_blockNumber\",outcome=\"ok\"} 2");
    has(&text, "openledger_rpc_requests_total{method=\"unknown\",outcome=\"client_error\"} 1");
}

#[tokio::test]
async fn a_connection_and_its_subscription_are_counted_while_they_are_open() {
    let watched = watched().await;
    let url = watched.node.ws_url();
    let provider = ProviderBuilder::new().connect_ws(WsConnect::new(url)).await.unwrap();
    let mut heads = provider.subscribe_blocks().await.unwrap();
    watched.node.mine_block().await.unwrap();
    heads.recv().await.unwrap();
    let text = get(&watched.node, "/metrics").await;
    has(&text, "openledger_rpc_connections 1");
    has(&text, "openledger_rpc_subscriptions 1");
    drop((heads, provider));
    // The server hears of it when the socket closes.
    for _ in 0..500 {
        let text = get(&watched.node, "/metrics").await;
        if text.contains("\nopenledger_rpc_connections 0\n") {
            return has(&text, "openledger_rpc_subscriptions 0");
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the connection is still counted");
}

#[tokio::test]
async fn the_metrics_address_answers_what_it_knows_and_nothing_else() {
    let watched = watched().await;
    let addr = metrics_addr(&watched.node);
    assert!(get(&watched.node, "/health").await.starts_with("HTTP/1.1 200 "));
    let ready = get(&watched.node, "/ready").await;
    assert!(ready.starts_with("HTTP/1.1 200 ") && ready.contains("\"ready\":true"), "{ready}");
    assert!(get(&watched.node, "/other").await.starts_with("HTTP/1.1 404 "));
    let post = "POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n".to_owned();
    assert!(raw(addr, post).await.starts_with("HTTP/1.1 405 "));
    let other = "GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n".to_owned();
    assert!(raw(addr, other).await.starts_with("HTTP/1.1 403 "));
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(64 << 10));
    assert!(!raw(addr, long).await.starts_with("HTTP/1.1 200 "));

    watched.node.shutdown().await.unwrap();
    std::net::TcpListener::bind(addr).expect("the port is free again");
}

#[tokio::test]
async fn a_metrics_port_that_is_taken_is_named_and_nothing_is_started() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        metrics_addr: Some(addr),
        ..config(&dir.path().join("chain"), BlockProduction::Manual)
    };
    let error = Node::start(config, genesis()).await.unwrap_err();
    assert!(error.to_string().contains(&addr.to_string()), "{error}");
    assert!(!dir.path().join("chain").exists());
}

//! Malformed JSON-RPC: every method, thousands of requests that are wrong in every way, against the
//! real server. It answers each, panics at none, and its memory stays where it was.
//!
//! 5,000 requests; `OPENLEDGER_MALFORMED_REQUESTS` asks for another number.

#![allow(clippy::unwrap_used, dead_code)]

#[path = "it/support.rs"]
mod support;

use std::{
    fs,
    sync::atomic::{AtomicUsize, Ordering},
};

use alloy_primitives::{Address, B256, Bytes};
use openledger_chain::Config;
use serde_json::{Value, json};
use support::{FORWARDER, KEPT, call_tx, sign, signer, with_contracts};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Requests unless told otherwise.
const REQUESTS: usize = 5_000;
/// By how much resident memory may grow after the first fifth of the requests.
const GROWTH_BYTES_MAX: usize = 64 << 20;

static PANICS: AtomicUsize = AtomicUsize::new(0);

/// A stream of numbers that is the same every time (xorshift64*).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }
}

/// Parameters with which `method` would succeed.
fn params(method: &str, known: &Known) -> Value {
    let call = json!({ "from": known.account, "to": FORWARDER, "data": "0x00", "value": "0x1" });
    let tracer = json!({ "tracer": "callTracer", "tracerConfig": { "withLog": true } });
    let overrides = json!({ KEPT.to_string(): { "balance": "0x1", "stateDiff": {} } });
    let block = json!({ "number": "0x9", "time": "0xffffffff", "baseFeePerGas": "0x1" });
    let logs =
        json!([{ "fromBlock": "0x0", "toBlock": "0x2", "address": [KEPT], "topics": [null] }]);
    match method {
        "eth_call" | "eth_estimateGas" => json!([call, "latest", overrides, block]),
        "eth_createAccessList" => json!([call, "latest", overrides]),
        "eth_simulateV1" => json!([{
            "blockStateCalls": [{
                "blockOverrides": block, "stateOverrides": overrides, "calls": [call, call],
            }],
            "traceTransfers": true, "validation": false, "returnFullTransactions": true,
        }, "latest"]),
        "debug_traceCall" => json!([call, "latest", tracer]),
        "debug_traceTransaction" => json!([known.tx, tracer]),
        "debug_traceBlockByHash" => json!([known.block, tracer]),
        "debug_traceBlockByNumber" => json!(["0x1", tracer]),
        "trace_get" => json!([known.tx, ["0x0"]]),
        "trace_filter" => json!([{ "fromBlock": "0x0", "toBlock": "0x1", "toAddress": [KEPT] }]),
        "eth_getLogs" | "eth_newFilter" => logs,
        "eth_subscribe" => json!(["logs", logs[0]]),
        "eth_getProof" => json!([KEPT, [B256::ZERO], "latest"]),
        "eth_getStorageValues" => json!([{ KEPT.to_string(): ["0x0"] }, "latest"]),
        "eth_getStorageAt" => json!([KEPT, "0x0", "latest"]),
        "eth_getBalance" | "eth_getCode" | "eth_getTransactionCount" | "txpool_contentFrom" => {
            json!([KEPT, "latest"])
        }
        "eth_feeHistory" => json!(["0x2", "latest", [10, 50.5]]),
        // Its nonce is used up, so it is refused at once and nothing waits for it.
        "eth_sendRawTransaction" | "eth_sendRawTransactionSync" => json!([known.raw, 1]),
        "web3_sha3" => json!(["0x00"]),
        "eth_getFilterChanges"
        | "eth_getFilterLogs"
        | "eth_uninstallFilter"
        | "eth_unsubscribe" => json!(["0x1"]),
        method if method.ends_with("HashAndIndex") => json!([known.block, "0x0"]),
        method if method.ends_with("NumberAndIndex") => json!(["0x1", "0x0"]),
        method if method.contains("Hash") || method.contains("Receipt") => json!([known.tx, true]),
        method if method.contains("ransaction") => json!([known.tx]),
        _ => json!(["0x1", false]),
    }
}

struct Known {
    account: Address,
    tx: B256,
    block: B256,
    raw: Bytes,
}

/// Something that is hardly ever right.
fn wrong(numbers: &mut Numbers) -> Value {
    let deep = |levels| (0..levels).fold(json!(1), |inner, _| json!([inner]));
    match numbers.below(16) {
        0 => Value::Null,
        1 => json!(true),
        2 => json!(-1),
        3 => json!(u64::MAX),
        4 => json!(1.5e300),
        5 => json!(""),
        6 => json!("0x"),
        7 => json!(format!("0x{}", "f".repeat(numbers.below(200)))),
        8 => json!("0xzz"),
        9 => json!("latest"),
        10 => json!({}),
        11 => json!([]),
        12 => deep(numbers.below(100)),
        13 => json!("x".repeat(numbers.below(10_000))),
        14 => json!({ "blockHash": B256::ZERO, "requireCanonical": 7 }),
        _ => json!(vec![json!("0x0"); numbers.below(2_000)]),
    }
}

/// Replaces, removes or adds something somewhere in `value`.
fn mutate(value: &mut Value, numbers: &mut Numbers) {
    let deeper = numbers.below(4) != 0;
    match value {
        Value::Array(items) if deeper && !items.is_empty() => {
            let at = numbers.below(items.len());
            match numbers.below(6) {
                0 => drop(items.remove(at)),
                1 => items.insert(at, wrong(numbers)),
                _ => mutate(&mut items[at], numbers),
            }
        }
        Value::Object(fields) if deeper && !fields.is_empty() => {
            let keys: Vec<String> = fields.keys().cloned().collect();
            let key = numbers.pick(&keys);
            match numbers.below(6) {
                0 => drop(fields.remove(&key)),
                1 => drop(fields.insert(format!("{key}x"), wrong(numbers))),
                _ => mutate(&mut fields[&key], numbers),
            }
        }
        Value::String(text) if deeper && !text.is_empty() => {
            let mut chars: Vec<char> = text.chars().collect();
            let at = numbers.below(chars.len());
            match numbers.below(3) {
                0 => chars.truncate(at),
                1 => chars[at] = numbers.pick(&['0', 'g', 'é', '"', '\0', 'F']),
                _ => chars.insert(at, numbers.pick(&['0', 'x', ' ', '9'])),
            }
            *text = chars.into_iter().collect();
        }
        other => *other = wrong(numbers),
    }
}

/// The bytes of one request for `method`.
fn request(method: &str, known: &Known, numbers: &mut Numbers) -> Vec<u8> {
    let mut params = params(method, known);
    for _ in 0..=numbers.below(3) {
        mutate(&mut params, numbers);
    }
    let mut request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    if numbers.below(8) == 0 {
        mutate(&mut request, numbers);
    }
    if numbers.below(10) == 0 {
        request = json!([request, request, wrong(numbers)]);
    }
    let mut bytes = request.to_string().into_bytes();
    match numbers.below(12) {
        0 => bytes.truncate(numbers.below(bytes.len())),
        1 => {
            for _ in 0..=numbers.below(8) {
                let at = numbers.below(bytes.len());
                bytes[at] = numbers.next().to_le_bytes()[0];
            }
        }
        2 => {
            let levels = numbers.below(20_000);
            bytes.splice(0..0, vec![b'['; levels]);
        }
        3 => bytes = (0..numbers.below(500)).map(|_| numbers.next().to_le_bytes()[0]).collect(),
        _ => {}
    }
    bytes
}

/// A connection that is kept open, and opened again where the server closed it.
struct Connection {
    addr: std::net::SocketAddr,
    stream: Option<TcpStream>,
}

impl Connection {
    /// Status and body of the answer. The server may close a connection between two requests, or
    /// without reading all of one that it refuses; then the request is made once more on a new one.
    async fn post(&mut self, body: &[u8]) -> (u16, Vec<u8>) {
        if self.stream.is_some()
            && let Ok(answer) = self.try_post(body).await
        {
            return answer;
        }
        self.stream = None;
        self.try_post(body).await.unwrap()
    }

    async fn try_post(&mut self, body: &[u8]) -> std::io::Result<(u16, Vec<u8>)> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => TcpStream::connect(self.addr).await?,
        };
        let head = format!(
            "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body].concat()).await?;
        let mut answer = Vec::new();
        let (end_of_head, length, close) = loop {
            if stream.read_buf(&mut answer).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
                continue;
            };
            let head = String::from_utf8(answer[..end].to_vec()).unwrap().to_lowercase();
            let field =
                |name: &str| head.lines().find_map(|line| line.strip_prefix(name).map(str::trim));
            let length: usize = field("content-length:").map_or(0, |text| text.parse().unwrap());
            break (end + 4, length, field("connection:") == Some("close"));
        };
        while answer.len() < end_of_head + length {
            assert!(stream.read_buf(&mut answer).await? > 0, "half an answer");
        }
        let status = std::str::from_utf8(&answer[9..12]).unwrap().parse().unwrap();
        if !close {
            self.stream = Some(stream);
        }
        Ok((status, answer[end_of_head..end_of_head + length].to_vec()))
    }
}

fn resident_bytes() -> usize {
    let pages = fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[tokio::test(flavor = "multi_thread")]
async fn no_malformed_request_harms_the_node() {
    let count = std::env::var("OPENLEDGER_MALFORMED_REQUESTS");
    let count = count.map_or(REQUESTS, |text| text.parse().unwrap());
    let standard = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        standard(info);
    }));
    let node = with_contracts(|config| Config {
        admin_rpc: true,
        call_time_max_ms: 500,
        call_gas_max: 1_000_000,
        ..config
    })
    .await;
    let raw = sign(&signer(0), call_tx(0, FORWARDER, vec![0; 32]));
    let tx = node.send(&raw).await.unwrap();
    let block = node.node.mine_block().await.unwrap().hash;
    let known = Known { account: signer(0).address(), tx, block, raw: raw.into() };
    let methods = node.node.rpc_methods();
    assert!(methods.len() > 70, "{}", methods.len());

    let mut numbers = Numbers(0x5eed);
    let mut connection = Connection { addr: node.node.rpc_addr(), stream: None };
    let (mut answered, mut refused, mut settled) = (0usize, 0usize, 0usize);
    for index in 0..count {
        if index == count / 5 {
            settled = resident_bytes();
        }
        let method = methods[index % methods.len()];
        let body = request(method, &known, &mut numbers);
        let (status, answer) = connection.post(&body).await;
        let shown = || String::from_utf8_lossy(&body[..body.len().min(400)]).into_owned();
        assert!(status < 500, "{status} for {}", shown());
        if status != 200 {
            refused += 1;
            continue;
        }
        if !answer.is_empty() {
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            let first = if answer.is_array() { &answer[0] } else { &answer };
            // A request that lost its id is a notification, which is not answered.
            if first.is_null() {
                refused += 1;
                continue;
            }
            let error = first.get("error");
            assert!(error.is_some() || first.get("result").is_some(), "{answer}: {}", shown());
            // What a panic in a method becomes, and a subscription over HTTP, which has no way back.
            let internal = error.is_some_and(|error| error["code"] == -32603);
            assert!(!internal || method.ends_with("subscribe"), "{answer}: {}", shown());
            if error.is_some() { refused += 1 } else { answered += 1 }
        }
    }
    let growth = resident_bytes().saturating_sub(settled);
    assert_eq!(PANICS.load(Ordering::Relaxed), 0);
    assert!(growth < GROWTH_BYTES_MAX, "resident memory grew by {growth} bytes");
    assert!(refused > count / 2 && answered > 0, "{answered} answered, {refused} refused");
    let number = node.rpc("eth_blockNumber", json!([])).await.unwrap();
    assert_eq!(number, "0x1");
    node.node.shutdown().await.unwrap();
}

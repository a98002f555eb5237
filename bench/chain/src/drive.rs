//! The closed loop: every connection sends its next request as soon as the last one is answered.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    accounts::SignedTx,
    http::{self, Connection},
    watch::Watch,
};

/// Transactions that a node may hold before the load waits for it. Below the pool limits of all.
const IN_FLIGHT_MAX: u64 = 50_000;
/// Pause of a connection that has to wait.
const BACK_OFF: Duration = Duration::from_millis(2);

/// How transactions are handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Connections that send at the same time.
    pub(crate) connections: usize,
    /// Transactions in a request: 1 is a plain call, more are a JSON-RPC batch.
    pub(crate) batch: usize,
}

impl Shape {
    pub(crate) fn name(self) -> String {
        match self.batch {
            1 => format!("single × {}", self.connections),
            batch => format!("batch {batch} × {}", self.connections),
        }
    }
}

/// A request that is ready to be written.
pub(crate) struct Prebuilt {
    bytes: Vec<u8>,
    txs: usize,
}

/// What came of a load.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    /// Transactions that the node acknowledged.
    pub(crate) accepted: u64,
    /// Transactions that it refused, by reason.
    pub(crate) refused: BTreeMap<String, u64>,
    /// From the first request to the last answer.
    pub(crate) lasted: Duration,
}

/// The requests that hand over `txs`.
pub(crate) fn prebuild(addr: SocketAddr, txs: &[SignedTx], batch: usize) -> Vec<Prebuilt> {
    let chunks = txs.chunks(batch).map(|chunk| {
        let calls: Vec<String> = chunk.iter().enumerate().map(|(id, tx)| call(id, tx)).collect();
        let body = if batch == 1 { calls.concat() } else { format!("[{}]", calls.join(",")) };
        Prebuilt { bytes: http::request(addr, body.as_bytes()), txs: chunk.len() }
    });
    chunks.collect()
}

fn call(id: usize, tx: &SignedTx) -> String {
    let raw = alloy_primitives::hex::encode_prefixed(&tx.raw);
    let method = "eth_sendRawTransaction";
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":["{raw}"]}}"#)
}

/// Sends all of `requests`, or as many as can be sent in `time`.
pub(crate) fn closed_loop(
    addr: SocketAddr,
    requests: &[Prebuilt],
    connections: usize,
    time: Duration,
    watch: &Watch,
) -> Sent {
    let next = AtomicUsize::new(0);
    let accepted = AtomicU64::new(0);
    let refused = Mutex::new(BTreeMap::new());
    let stop = AtomicBool::new(false);
    let begun = Instant::now();
    thread::scope(|scope| {
        for _ in 0..connections {
            scope.spawn(|| {
                let mut connection = Connection::new(addr);
                while !stop.load(Ordering::Relaxed) {
                    if accepted.load(Ordering::Relaxed) > watch.included() + IN_FLIGHT_MAX {
                        thread::sleep(BACK_OFF);
                        if begun.elapsed() > time {
                            break;
                        }
                        continue;
                    }
                    let Some(request) = requests.get(next.fetch_add(1, Ordering::Relaxed)) else {
                        break;
                    };
                    let taken = send(&mut connection, request, &refused);
                    accepted.fetch_add(taken, Ordering::Relaxed);
                    if begun.elapsed() > time {
                        stop.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    Sent {
        accepted: accepted.into_inner(),
        refused: refused.into_inner().unwrap_or_else(PoisonError::into_inner),
        lasted: begun.elapsed(),
    }
}

/// Sends one request and returns how many of its transactions were accepted.
pub(crate) fn send(
    connection: &mut Connection,
    request: &Prebuilt,
    refused: &Mutex<BTreeMap<String, u64>>,
) -> u64 {
    let outcome = connection.exchange(&request.bytes);
    let (taken, reasons) = match &outcome {
        Ok(body) => (count(body, b"\"result\":\"0x"), reasons(body)),
        Err(error) => (0, vec![format!("no answer: {error}")]),
    };
    let lost = request.txs.saturating_sub(taken);
    if lost > 0 {
        let mut refused = refused.lock().unwrap_or_else(PoisonError::into_inner);
        let reason = reasons.into_iter().next().unwrap_or_else(|| "no reason given".to_owned());
        *refused.entry(reason).or_default() += lost as u64;
    }
    taken as u64
}

fn count(body: &[u8], pattern: &[u8]) -> usize {
    let mut found = 0;
    let mut at = 0;
    while at + pattern.len() <= body.len() {
        if body[at] == pattern[0] && body[at..].starts_with(pattern) {
            found += 1;
            at += pattern.len();
        } else {
            at += 1;
        }
    }
    found
}

/// The messages of an answer's errors, with numbers left out, so that equal ones are equal.
fn reasons(body: &[u8]) -> Vec<String> {
    if count(body, b"\"error\":") == 0 {
        return Vec::new();
    }
    let text = String::from_utf8_lossy(body);
    let messages = text.split("\"message\":\"").skip(1).filter_map(|rest| rest.split('"').next());
    let plain = messages.map(|message| {
        let words = message.split(' ').map(|word| {
            let number = word.starts_with("0x") || word.starts_with(|c: char| c.is_ascii_digit());
            if number { "N" } else { word }
        });
        words.collect::<Vec<_>>().join(" ")
    });
    plain.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted_and_refused_transactions_are_told_apart() {
        let body = br#"[{"id":0,"result":"0xab"},{"id":1,"error":{"code":-32000,
            "message":"nonce too low: next nonce 7, tx nonce 3"}},{"id":2,"result":"0xcd"}]"#;
        assert_eq!(count(body, b"\"result\":\"0x"), 2);
        assert_eq!(reasons(body), ["nonce too low: next nonce N tx nonce N"]);
    }

    #[test]
    fn a_batch_is_one_request_and_a_single_call_another() {
        let tx = SignedTx { raw: vec![1, 2], hash: Default::default() };
        let addr = "127.0.0.1:1".parse().unwrap();
        let txs = vec![tx; 5];
        let batches = prebuild(addr, &txs, 2);
        assert_eq!(batches.iter().map(|b| b.txs).collect::<Vec<_>>(), [2, 2, 1]);
        assert!(String::from_utf8_lossy(&batches[0].bytes).contains("\r\n\r\n[{"));
        let singles = prebuild(addr, &txs, 1);
        assert_eq!(singles.len(), 5);
        assert!(String::from_utf8_lossy(&singles[0].bytes).ends_with(r#""params":["0x0102"]}"#));
    }
}

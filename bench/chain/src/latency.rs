//! How long a user waits, while the node carries half of what it can.
//!
//! A steady background of transactions is sent at a fixed rate. Beside it, samplers with senders of
//! their own send one transaction each at times that have nothing to do with the blocks, and ask for
//! its receipt until there is one. Every other sample goes through `eth_sendRawTransactionSync`.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use alloy_primitives::hex;
use eyre::Result;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    accounts::{Account, SignedTx},
    drive::{self, Prebuilt},
    http::Connection,
    rpc::{Client, quantity},
    watch::Watch,
};

/// How long the half load lasts.
pub(crate) const DURATION: Duration = Duration::from_secs(10);
/// Samplers, each with one sample in flight.
pub(crate) const SAMPLERS: usize = 24;
/// A sampler's time for one sample: more than a block, so that slots are not missed.
const SLOT: Duration = Duration::from_millis(1_250);
/// A receipt is asked for often at first, then rarely enough to be no load.
const ASK_OFTEN: Duration = Duration::from_millis(1);
const OFTEN: Duration = Duration::from_millis(40);
const ASK_RARELY: Duration = Duration::from_millis(20);
/// A sample that takes longer is given up.
const SAMPLE_MAX: Duration = Duration::from_secs(20);

/// Waiting times in milliseconds at `rate` transactions per second.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) rate: f64,
    /// From sending to the first receipt, pre-confirmed or final.
    pub(crate) receipt_ms: Vec<f64>,
    /// From sending to the answer of `eth_sendRawTransactionSync`; empty if the node has no such call.
    pub(crate) sync_ms: Vec<f64>,
    /// From sending until the block is the head.
    pub(crate) inclusion_ms: Vec<f64>,
    /// Samples without an answer.
    pub(crate) lost: u64,
}

/// One sample: when it was sent and what was heard of it.
struct Sample {
    sent: Instant,
    through_sync: bool,
    answered: Instant,
    block: u64,
}

/// Measures while `background` is sent at `rate` per second over `connections`.
pub(crate) fn measure(
    addr: SocketAddr,
    rate: f64,
    background: &[Prebuilt],
    connections: usize,
    samples: &[Vec<SignedTx>],
    watch: &Watch,
) -> Result<Latency> {
    let (has_sync, has_pending) = (knows_sync(addr), knows_pending(addr));
    let samples_taken = Mutex::new(Vec::new());
    let lost = Mutex::new(0u64);
    let refused = Mutex::new(BTreeMap::new());
    let stop = AtomicBool::new(false);
    let begun = Instant::now();
    thread::scope(|scope| {
        for offset in 0..connections {
            let (refused, stop) = (&refused, &stop);
            scope.spawn(move || {
                let mut connection = Connection::new(addr);
                for index in (offset..background.len()).step_by(connections) {
                    let due = begun + Duration::from_secs_f64(index as f64 / rate);
                    thread::sleep(due.saturating_duration_since(Instant::now()));
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    drive::send(&mut connection, &background[index], refused);
                }
            });
        }
        let samplers: Vec<_> = samples
            .iter()
            .enumerate()
            .map(|(sampler, txs)| {
                let (samples_taken, lost) = (&samples_taken, &lost);
                scope.spawn(move || {
                    for (slot, tx) in txs.iter().enumerate() {
                        let due = begun + slot_start(sampler, slot);
                        if due > begun + DURATION {
                            break;
                        }
                        thread::sleep(due.saturating_duration_since(Instant::now()));
                        match sample(addr, tx, has_sync && slot % 2 == 1, has_pending) {
                            Some(sample) => push(samples_taken, sample),
                            None => *lost.lock().unwrap_or_else(PoisonError::into_inner) += 1,
                        }
                    }
                })
            })
            .collect();
        for sampler in samplers {
            // A sampler that panicked would be missing from the samples; the scope passes it on.
            let _ = sampler.join();
        }
        stop.store(true, Ordering::Relaxed);
    });
    let samples = samples_taken.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut latency = Latency {
        rate,
        lost: lost.into_inner().unwrap_or_else(PoisonError::into_inner),
        ..Latency::default()
    };
    // The last samples' blocks must have been seen.
    let last = samples.iter().map(|sample| sample.block).max().unwrap_or_default();
    let deadline = Instant::now() + SAMPLE_MAX;
    while watch.blocks().last().is_none_or(|seen| seen.number < last) && Instant::now() < deadline {
        thread::sleep(ASK_RARELY);
    }
    let blocks = watch.blocks();
    for sample in samples {
        let waited = (sample.answered - sample.sent).as_secs_f64() * 1e3;
        match sample.through_sync {
            true => latency.sync_ms.push(waited),
            false => latency.receipt_ms.push(waited),
        }
        if let Some(seen) = blocks.iter().find(|seen| seen.number == sample.block) {
            let included = seen.at.saturating_duration_since(sample.sent);
            latency.inclusion_ms.push(included.as_secs_f64() * 1e3);
        }
    }
    Ok(latency)
}

/// Transactions that each sampler needs.
pub(crate) fn samples_per_sampler() -> usize {
    (DURATION.as_millis() / SLOT.as_millis()) as usize
}

/// Index in the load of the samplers' senders: each has its own, `count` transactions in nonce order.
pub(crate) fn samples_of(
    sign: impl Fn(&[Account], usize) -> Vec<SignedTx>,
    senders: &[Account],
    count: usize,
) -> Vec<Vec<SignedTx>> {
    senders.iter().map(|sender| sign(std::slice::from_ref(sender), count)).collect()
}

/// Spread over the slot, differently in every slot, so that no sampler keeps step with the blocks.
fn slot_start(sampler: usize, slot: usize) -> Duration {
    let scattered = (sampler * 7 + slot * 11) % SAMPLERS;
    SLOT * slot as u32
        + (SLOT / 4) * scattered as u32 / SAMPLERS as u32
        + (SLOT * 3 / 4) * sampler as u32 / SAMPLERS as u32
}

fn knows_sync(addr: SocketAddr) -> bool {
    let answer = Client::new(addr).call("eth_sendRawTransactionSync", json!(["0x00"]));
    // Every node refuses these bytes; one that knows the call does not say that it does not.
    answer.err().is_some_and(|error| {
        let text = format!("{error:#}").to_lowercase();
        !["not supported", "not found", "-32601", "not implemented"]
            .iter()
            .any(|no| text.contains(no))
    })
}

/// Whether a receipt can be asked for in the block that is being made.
fn knows_pending(addr: SocketAddr) -> bool {
    let nobody = format!("0x{}", "0".repeat(64));
    let answer = Client::new(addr).call("eth_getTransactionReceipt", json!([nobody, "pending"]));
    answer.is_ok_and(|receipt: Value| receipt.is_null())
}

fn sample(
    addr: SocketAddr,
    tx: &SignedTx,
    through_sync: bool,
    has_pending: bool,
) -> Option<Sample> {
    let mut client = Client::new(addr);
    // So that the time to open a connection is not part of the sample.
    client.call("eth_chainId", json!([])).ok()?;
    let raw = hex::encode_prefixed(&tx.raw);
    let sent = Instant::now();
    if through_sync {
        let receipt = client.call("eth_sendRawTransactionSync", json!([raw])).ok()?;
        let answered = Instant::now();
        let block = quantity(&receipt["blockNumber"])?;
        return Some(Sample { sent, through_sync, answered, block });
    }
    client.call("eth_sendRawTransaction", json!([raw])).ok()?;
    let asked = if has_pending { json!([tx.hash, "pending"]) } else { json!([tx.hash]) };
    loop {
        let receipt: Value = client.call("eth_getTransactionReceipt", asked.clone()).ok()?;
        let answered = Instant::now();
        if let Some(block) = quantity(&receipt["blockNumber"]) {
            return Some(Sample { sent, through_sync, answered, block });
        }
        let waited = answered - sent;
        if waited > SAMPLE_MAX {
            return None;
        }
        thread::sleep(if waited < OFTEN { ASK_OFTEN } else { ASK_RARELY });
    }
}

fn push<T>(list: &Mutex<Vec<T>>, item: T) {
    list.lock().unwrap_or_else(PoisonError::into_inner).push(item);
}

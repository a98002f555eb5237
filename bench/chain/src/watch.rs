//! Watches a node's head: when each block became visible, and how many of the load's transactions are
//! in it.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use eyre::Result;
use serde_json::json;

use crate::rpc::{Client, quantity};

/// Pause between two looks at the head: what inclusion times are exact to.
const PAUSE: Duration = Duration::from_millis(5);

/// A block that became visible.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) number: u64,
    pub(crate) at: Instant,
    /// Transactions of users in it.
    pub(crate) txs: u64,
}

/// Watches until it is dropped.
pub(crate) struct Watch {
    shared: Arc<Shared>,
    thread: Option<thread::JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    included: AtomicU64,
    blocks: Mutex<Vec<Seen>>,
    stop: AtomicBool,
}

impl Watch {
    /// Watches the blocks after the present head. Each holds `own_txs` of the node itself.
    pub(crate) fn start(addr: SocketAddr, own_txs: u64) -> Result<Self> {
        let mut client = Client::new(addr);
        let mut head = client.quantity("eth_blockNumber", json!([]))?;
        let shared = Arc::new(Shared::default());
        let seen_by = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            while !seen_by.stop.load(Ordering::Relaxed) {
                // A node that is too busy to answer is asked again.
                if let Ok(number) = client.quantity("eth_blockNumber", json!([])) {
                    let at = Instant::now();
                    while head < number {
                        let Some(txs) = block_txs(&mut client, head + 1) else { break };
                        head += 1;
                        seen_by.add(Seen { number: head, at, txs: txs.saturating_sub(own_txs) });
                    }
                }
                thread::sleep(PAUSE);
            }
        });
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Transactions of users in the blocks seen so far.
    pub(crate) fn included(&self) -> u64 {
        self.shared.included.load(Ordering::Relaxed)
    }

    /// The blocks seen so far.
    pub(crate) fn blocks(&self) -> Vec<Seen> {
        self.shared.blocks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until `count` transactions are included, or nothing moves for `patience`. Returns when
    /// the last of them became visible.
    pub(crate) fn wait_for(&self, count: u64, patience: Duration) -> Option<Instant> {
        let (mut moved, mut before) = (Instant::now(), self.included());
        loop {
            let included = self.included();
            if included >= count || moved.elapsed() > patience {
                return self.blocks().iter().rev().find(|seen| seen.txs > 0).map(|seen| seen.at);
            }
            if included != before {
                (moved, before) = (Instant::now(), included);
            }
            thread::sleep(PAUSE);
        }
    }
}

impl Shared {
    fn add(&self, seen: Seen) {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
        self.included.fetch_add(seen.txs, Ordering::Relaxed);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It has nothing to say but what is shared.
            let _ = thread.join();
        }
    }
}

fn block_txs(client: &mut Client, number: u64) -> Option<u64> {
    let params = json!([format!("{number:#x}")]);
    quantity(&client.call("eth_getBlockTransactionCountByNumber", params).ok()?)
}

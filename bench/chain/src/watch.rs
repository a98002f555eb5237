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

/// A node that includes nothing more for this long, and does not work on it either, has stopped.
const IDLE_MAX: Duration = Duration::from_secs(15);
/// A node that works but includes nothing for this long is stuck.
const STUCK_MAX: Duration = Duration::from_secs(90);
/// Processor time that counts as work: more than keeping a clock and answering the watch takes.
const WORK: Duration = Duration::from_secs(1);

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

    /// Waits until `count` transactions are included or the node gives up: for `IDLE_MAX` nothing is
    /// included while it does not work either, or for `STUCK_MAX` nothing is included at all. `work`
    /// tells the node's processor time. Returns when the last transaction became visible.
    pub(crate) fn wait_for(
        &self,
        count: u64,
        work: impl Fn() -> Result<Duration>,
    ) -> Result<Option<Instant>> {
        let (mut included, mut worked) = (self.included(), work()?);
        let (mut moved, mut active) = (Instant::now(), Instant::now());
        while self.included() < count {
            let (included_now, worked_now) = (self.included(), work()?);
            if included_now != included {
                (included, moved, active) = (included_now, Instant::now(), Instant::now());
            }
            if worked_now > worked + WORK {
                (worked, active) = (worked_now, Instant::now());
            }
            if active.elapsed() > IDLE_MAX || moved.elapsed() > STUCK_MAX {
                break;
            }
            thread::sleep(PAUSE);
        }
        Ok(self.blocks().iter().rev().find(|seen| seen.txs > 0).map(|seen| seen.at))
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

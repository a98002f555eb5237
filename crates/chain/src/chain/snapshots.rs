//! Writes snapshots of the state while the chain goes on.

use std::{
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use super::{Chain, Tip};
use crate::{
    Error,
    storage::{
        DataDir,
        snapshot::{self, SnapshotHead},
    },
};

/// How often it is looked whether a snapshot is due.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A snapshot is due when the log has grown by this, whatever the number of blocks.
const GROWN_BYTES: u64 = 256 << 20;
/// When the node stops, a snapshot is worth its time if the next start would replay more than this.
const WORTH_BYTES: u64 = 32 << 20;

/// Writes snapshots.
pub(crate) struct Snapshots {
    chain: Arc<Chain>,
    data_dir: Arc<DataDir>,
    every_blocks: u64,
    /// The block of the last snapshot that was written or tried.
    last: u64,
    stop: mpsc::Receiver<()>,
}

/// A thread that writes snapshots.
pub(crate) struct SnapshotThread {
    stop: mpsc::Sender<()>,
    thread: thread::JoinHandle<()>,
}

impl SnapshotThread {
    /// Ends the thread, after a last snapshot if that is worth its time.
    pub(crate) fn stop(self) {
        let _ = self.stop.send(());
        // A snapshot that fails, in whatever way, costs the next start some time and nothing else.
        let _ = self.thread.join();
    }
}

impl Snapshots {
    /// Starts a thread that writes snapshots of `chain`, one after so many blocks.
    ///
    /// Errors: [`Error::Internal`] if there can be no thread.
    pub(crate) fn start(
        chain: Arc<Chain>,
        data_dir: Arc<DataDir>,
        every_blocks: u64,
    ) -> Result<SnapshotThread, Error> {
        let (sender, stop) = mpsc::channel();
        let snapshots = Self::new(chain, data_dir, every_blocks, stop);
        let thread = thread::Builder::new()
            .name("chain-snapshots".to_owned())
            .spawn(move || snapshots.run())
            .map_err(|error| Error::Internal(format!("cannot start a thread: {error}")))?;
        Ok(SnapshotThread { stop: sender, thread })
    }

    pub(super) fn new(
        chain: Arc<Chain>,
        data_dir: Arc<DataDir>,
        every_blocks: u64,
        stop: mpsc::Receiver<()>,
    ) -> Self {
        let head = chain.head().number();
        let last = snapshot::list(&data_dir).into_iter().rfind(|number| *number <= head);
        let last = last.unwrap_or(0);
        chain.metrics.snapshot(last);
        Self { chain, data_dir, every_blocks: every_blocks.max(1), last, stop }
    }

    fn run(mut self) {
        loop {
            match self.stop.recv_timeout(LOOK_EVERY) {
                Err(mpsc::RecvTimeoutError::Timeout) => self.write_if_grown_by(GROWN_BYTES),
                Ok(()) | Err(mpsc::RecvTimeoutError::Disconnected) => {
                    return self.write_if_grown_by(WORTH_BYTES);
                }
            }
        }
    }

    pub(super) fn write_if_grown_by(&mut self, bytes: u64) {
        let Tip { block, state } = self.chain.tip();
        let grown = self.chain.log_bytes_since(self.last);
        // A development chain may have been taken back behind the last one.
        if block.number().saturating_sub(self.last) < self.every_blocks && grown < bytes {
            return;
        }
        self.last = block.number();
        let head = SnapshotHead {
            number: block.number(),
            hash: block.hash,
            state_root: block.header.state_root,
        };
        let started = Instant::now();
        match snapshot::write(&self.data_dir, self.chain.genesis_hash, &head, &state) {
            Ok(bytes) => {
                self.chain.metrics.snapshot(head.number);
                tracing::info!(
                    block = head.number, bytes, elapsed = ?started.elapsed(), "a snapshot is written"
                );
            }
            Err(error) => tracing::warn!(%error, block = head.number, "no snapshot was written"),
        }
    }
}

//! Acknowledged transactions that are not in a block yet.
//!
//! A transaction is written before it is acknowledged, so it survives the end of the process whatever
//! ends it. One thread makes what was written durable against a power cut too, many transactions at a
//! time; [`JournalSync`] says whether an acknowledgement waits for that.

use std::{
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use alloy_primitives::{B256, Bytes};
use tokio::sync::watch;

use super::{
    data_dir::{DataDir, ReplaceError},
    log::{AppendError, Log, LogKind},
};
use crate::{Error, JournalSync};

const NAME: &str = "pool.journal";
/// Where a damaged journal is put.
const ASIDE: &str = "pool.damaged";
/// The journal's format.
const JOURNAL: LogKind = LogKind { magic: *b"OLpool\0\0", version: 2 };
/// The journal is rewritten with what is still waiting when it has grown to this.
const JOURNAL_BYTES_MAX: u64 = 64 << 20;
/// How long what was written may wait for its sync when nobody waits for it.
const SYNC_INTERVAL: Duration = Duration::from_millis(50);

/// The transactions that are waiting, for rewriting the journal without the others.
pub(crate) type LiveTransactions = Box<dyn Fn() -> Vec<Bytes> + Send + Sync>;

/// The journal. Shared by those who acknowledge transactions.
pub(crate) struct Journal {
    sync: JournalSync,
    path: PathBuf,
    genesis_hash: B256,
    data_dir: Arc<DataDir>,
    inner: Mutex<Inner>,
    /// Something was written, or the thread is to stop.
    news: Condvar,
    /// How many transactions are durable against a power cut.
    synced: watch::Sender<u64>,
}

struct Inner {
    log: Log,
    /// Transactions written since the start.
    written: u64,
    /// Those of them that were synced.
    synced: u64,
    /// Why nothing more can be written.
    broken: Option<String>,
    stop: bool,
}

impl Journal {
    /// Opens the journal and returns the transactions in it. A damaged journal is put aside, with a
    /// warning: it must not keep the chain from starting.
    pub(crate) fn open(
        data_dir: Arc<DataDir>,
        genesis_hash: B256,
        sync: JournalSync,
    ) -> Result<(Self, Vec<Bytes>), Error> {
        let path = data_dir.file(NAME);
        let open = || {
            let file = data_dir.open_or_create(NAME, &Log::file_header(JOURNAL, genesis_hash))?;
            let mut transactions = Vec::new();
            let log = Log::open(file, path.clone(), JOURNAL, genesis_hash, |_, bytes| {
                transactions.push(Bytes::from(bytes));
                Ok(())
            })?;
            Ok((log, transactions))
        };
        let (log, transactions) = match open() {
            Err(error @ Error::LogDamaged { .. }) => {
                tracing::error!(%error, aside = %data_dir.file(ASIDE).display(),
                    "waiting transactions could not be read and are put aside");
                data_dir.put_aside(NAME, ASIDE)?;
                open()?
            }
            result => result?,
        };
        let inner = Mutex::new(Inner { log, written: 0, synced: 0, broken: None, stop: false });
        let (news, synced) = (Condvar::new(), watch::Sender::new(0));
        Ok((Self { sync, path, genesis_hash, data_dir, inner, news, synced }, transactions))
    }

    /// Writes transactions; returns when they may be acknowledged.
    ///
    /// Errors: a description; none of them is in the journal then.
    pub(crate) async fn write(&self, txs: &[Bytes]) -> Result<(), String> {
        let written = {
            let mut inner = self.lock();
            if let Some(reason) = &inner.broken {
                return Err(reason.clone());
            }
            match inner.log.write(txs) {
                Ok(_) => {}
                Err(error @ AppendError::NotWritten(_)) => return Err(error.to_string()),
                Err(error @ AppendError::Unknown(_)) => {
                    return Err(inner.breaks(&error.to_string()));
                }
            }
            let idle = inner.written == inner.synced;
            inner.written += txs.len() as u64;
            if idle || self.sync == JournalSync::BeforeAcknowledging {
                self.news.notify_one();
            }
            inner.written
        };
        match self.sync {
            JournalSync::Background => Ok(()),
            JournalSync::BeforeAcknowledging => {
                let mut synced = self.synced.subscribe();
                let durable = synced.wait_for(|synced| *synced >= written).await;
                durable.map(drop).map_err(|_| "the journal has stopped".to_owned())?;
                self.lock().broken.clone().map_or(Ok(()), Err)
            }
        }
    }

    /// Starts the thread that syncs. `live` gives the transactions that a rewritten journal keeps.
    ///
    /// Errors: [`Error::Internal`] if there can be no thread.
    pub(crate) fn start(
        self: &Arc<Self>,
        live: LiveTransactions,
    ) -> Result<thread::JoinHandle<()>, Error> {
        let journal = Arc::clone(self);
        thread::Builder::new()
            .name("chain-journal".to_owned())
            .spawn(move || journal.run(&live))
            .map_err(|error| Error::Internal(format!("cannot start a thread: {error}")))
    }

    /// Ends the thread, after a last sync.
    pub(crate) fn stop(&self) {
        self.lock().stop = true;
        self.news.notify_one();
    }

    fn run(&self, live: &LiveTransactions) {
        self.rewrite(&mut self.lock(), live);
        loop {
            let mut inner = self.lock();
            while inner.written == inner.synced && !inner.stop {
                inner = self.news.wait(inner).unwrap_or_else(PoisonError::into_inner);
            }
            let stop = inner.stop;
            if inner.log.bytes() > JOURNAL_BYTES_MAX {
                self.rewrite(&mut inner, live);
            }
            drop(inner);
            self.sync_now();
            if stop {
                return;
            }
            if self.sync == JournalSync::Background {
                let waited =
                    self.news.wait_timeout_while(self.lock(), SYNC_INTERVAL, |inner| !inner.stop);
                drop(waited.unwrap_or_else(PoisonError::into_inner));
            }
        }
    }

    /// What the thread does, step by step: whether `tx` may be acknowledged even before a power cut.
    #[cfg(test)]
    pub(crate) fn write_and_sync(&self, tx: Bytes) -> bool {
        use futures_util::FutureExt;
        let written = self.write(&[tx]).now_or_never().expect("nothing is waited for");
        self.sync_now();
        written.is_ok() && self.lock().broken.is_none()
    }

    /// Keeps only `live` in the journal.
    pub(crate) fn shorten(&self, live: &[Bytes]) {
        let live = live.to_vec();
        self.rewrite(&mut self.lock(), &(Box::new(move || live.clone()) as LiveTransactions));
    }

    /// Makes what was written durable against a power cut.
    fn sync_now(&self) {
        let inner = self.lock();
        let (file, written) = (inner.log.file(), inner.written);
        drop(inner);
        if let Err(error) = file.sync() {
            // The system may have dropped what was to be synced: nobody knows what is there.
            self.give_up(&mut self.lock(), &format!("cannot make durable: {error}"));
        }
        self.lock().synced = written;
        self.synced.send_replace(written);
    }

    /// Replaces the journal by one that holds only what is still waiting. If that fails the old one
    /// stays, which is only longer.
    fn rewrite(&self, inner: &mut Inner, live: &LiveTransactions) {
        let payloads: Vec<Vec<u8>> = live().iter().map(|tx| tx.to_vec()).collect();
        let header = Log::file_header(JOURNAL, self.genesis_hash);
        let replaced = self.data_dir.replace(NAME, &Log::encode_after(header, &payloads));
        let reopened = replaced.and_then(|file| {
            let ignore = |_, _| Ok(());
            Log::open(file, self.path.clone(), JOURNAL, self.genesis_hash, ignore)
                .map_err(ReplaceError::Unknown)
        });
        match reopened {
            Ok(log) => inner.log = log,
            Err(ReplaceError::Kept(error)) => {
                tracing::warn!(%error, "the journal could not be shortened");
            }
            // What is written to either file from now on could be lost with it.
            Err(ReplaceError::Unknown(error)) => self.give_up(inner, &error.to_string()),
        }
    }

    fn give_up(&self, inner: &mut Inner, reason: &str) {
        let reason = inner.breaks(reason);
        tracing::error!(reason, path = %self.path.display(),
            "transactions are refused until the node is restarted");
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Refuses everything from now on; returns the reason.
    fn breaks(&mut self, reason: &str) -> String {
        self.broken.get_or_insert_with(|| reason.to_owned()).clone()
    }
}

//! Acknowledged transactions that are not in a block yet.
//!
//! One thread writes them. Those that arrive while it waits for the disk go into the next write
//! together, so that the cost of making them durable is shared.

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, mpsc},
    thread,
};

use alloy_primitives::{B256, Bytes};
use tokio::sync::oneshot;

use super::{
    data_dir::DataDir,
    log::{AppendError, Log, LogKind},
};
use crate::Error;

/// The journal's format.
const JOURNAL: LogKind = LogKind { magic: *b"OLpool\0\0", version: 1 };
/// The journal is rewritten with what is still waiting when it has grown to this.
const JOURNAL_BYTES_MAX: u64 = 64 << 20;
/// The most that go into one write.
const GROUP_MAX: usize = 4096;
/// Requests that may wait for the disk; beyond, senders are told to come back.
const QUEUE_MAX: usize = 16_384;

/// The transactions that are waiting, for rewriting the journal without the others.
pub(crate) type LiveTransactions = Box<dyn Fn() -> Vec<Bytes> + Send>;

/// The journal before its thread is started.
pub(crate) struct Journal {
    log: Log,
    path: PathBuf,
    genesis_hash: B256,
    data_dir: Arc<DataDir>,
}

impl Journal {
    /// Opens the journal and returns the transactions in it. A damaged journal is put aside, with a
    /// warning: it must not keep the chain from starting.
    pub(crate) fn open(
        data_dir: Arc<DataDir>,
        genesis_hash: B256,
    ) -> Result<(Self, Vec<Bytes>), Error> {
        let path = data_dir.journal();
        let open = || {
            let file = data_dir.open_or_create(&path, &Log::file_header(JOURNAL, genesis_hash))?;
            let mut transactions = Vec::new();
            let log =
                Log::open(Arc::new(file), path.clone(), JOURNAL, genesis_hash, |_, bytes| {
                    transactions.push(Bytes::from(bytes));
                    Ok(())
                })?;
            Ok((log, transactions))
        };
        let (log, transactions) = match open() {
            Err(error @ Error::LogDamaged { .. }) => {
                let aside = path.with_extension("damaged");
                tracing::error!(%error, aside = %aside.display(),
                    "waiting transactions could not be read and are put aside");
                fs::rename(&path, &aside).map_err(Error::io("rename", &path))?;
                open()?
            }
            result => result?,
        };
        Ok((Self { log, path, genesis_hash, data_dir }, transactions))
    }

    /// Starts the thread that writes. `live` gives the transactions that a rewritten journal keeps.
    pub(crate) fn start(
        self,
        live: LiveTransactions,
    ) -> Result<(JournalSender, thread::JoinHandle<()>), Error> {
        let (sender, requests) = mpsc::sync_channel(QUEUE_MAX);
        let thread = thread::Builder::new()
            .name("chain-journal".to_owned())
            .spawn(move || self.run(&requests, &live))
            .map_err(|error| Error::Internal(format!("cannot start a thread: {error}")))?;
        Ok((JournalSender { requests: sender }, thread))
    }

    fn run(mut self, requests: &mpsc::Receiver<Message>, live: &LiveTransactions) {
        self.rewrite(live);
        while let Ok(first) = requests.recv() {
            let group: Vec<Message> =
                std::iter::once(first).chain(requests.try_iter().take(GROUP_MAX - 1)).collect();
            let stop = group.iter().any(|message| matches!(message, Message::Stop));
            let writes = || group.iter().filter_map(Message::write);
            let payloads: Vec<Vec<u8>> = writes().map(|write| write.tx.to_vec()).collect();
            let result = self.log.append(&payloads);
            for write in group.into_iter().filter_map(Message::into_write) {
                // A client that has gone does not wait for the answer.
                let _ = write.done.send(result.is_ok());
            }
            if stop {
                return;
            }
            match result {
                Ok(_) if self.log.bytes() > JOURNAL_BYTES_MAX => self.rewrite(live),
                Ok(_) => {}
                Err(error @ AppendError::NotWritten(_)) => {
                    tracing::error!(%error, path = %self.path.display(), "transactions refused");
                }
                Err(error @ AppendError::Unknown(_)) => {
                    tracing::error!(%error, path = %self.path.display(),
                        "transactions are refused until the node is restarted");
                    return;
                }
            }
        }
    }

    /// Replaces the journal by one that holds only what is still waiting. If that fails the old one
    /// stays, which is only longer.
    fn rewrite(&mut self, live: &LiveTransactions) {
        let payloads: Vec<Vec<u8>> = live().iter().map(|tx| tx.to_vec()).collect();
        let rewritten = (|| {
            let header = Log::file_header(JOURNAL, self.genesis_hash);
            let bytes = Log::encode_after(header, &payloads);
            let file = self.data_dir.replace(&self.path, &bytes)?;
            let ignore = |_, _| Ok(());
            Log::open(Arc::new(file), self.path.clone(), JOURNAL, self.genesis_hash, ignore)
        })();
        match rewritten {
            Ok(log) => self.log = log,
            Err(error) => tracing::warn!(%error, "the journal could not be shortened"),
        }
    }
}

struct Write {
    tx: Bytes,
    done: oneshot::Sender<bool>,
}

enum Message {
    Write(Write),
    Stop,
}

impl Message {
    fn write(&self) -> Option<&Write> {
        match self {
            Self::Write(write) => Some(write),
            Self::Stop => None,
        }
    }

    fn into_write(self) -> Option<Write> {
        match self {
            Self::Write(write) => Some(write),
            Self::Stop => None,
        }
    }
}

/// Hands transactions to the journal.
#[derive(Clone)]
pub(crate) struct JournalSender {
    requests: mpsc::SyncSender<Message>,
}

impl JournalSender {
    /// Whether `tx` is durable now. False if the disk refused it or too many are waiting.
    pub(crate) async fn write(&self, tx: Bytes) -> bool {
        let (done, written) = oneshot::channel();
        let message = Message::Write(Write { tx, done });
        self.requests.try_send(message).is_ok() && written.await.unwrap_or(false)
    }

    /// Ends the thread, after what was handed over before.
    pub(crate) fn stop(&self) {
        // If it has ended already there is nothing to do.
        let _ = self.requests.send(Message::Stop);
    }
}

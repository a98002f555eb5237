//! What others ask of the producer, and how it hears of it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Duration,
};

use alloy_primitives::B256;
use tokio::sync::oneshot;

use super::dev::DevAction;
use crate::Error;

/// Where a command is answered. The one who asked may have gone.
pub(crate) type Done = oneshot::Sender<Result<(), Error>>;

/// What others ask of the producer.
pub(crate) enum Command {
    /// Make a block now and say how it went.
    Mine(Done),
    /// Do what only a development chain does, and say when it is in a block.
    Dev(DevAction, Done),
    /// Something can run.
    TransactionArrived,
    /// Whether blocks are made, from now on.
    Sequencing(Sequencing, oneshot::Sender<SequencerState>),
    /// End, without the block that is being made: what is in it stays in the journal.
    Stop,
}

/// What is asked of block production as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sequencing {
    /// Make blocks again.
    Start,
    /// Make no blocks, whatever asks for one.
    Stop,
    /// Leave it as it is.
    Query,
}

/// What has become of block production.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SequencerState {
    pub(crate) active: bool,
    pub(crate) head: B256,
}

/// Tells the producer that something can run. Many tell it at once; it hears it once.
#[derive(Clone)]
pub(crate) struct Bell {
    commands: mpsc::Sender<Command>,
    rung: Arc<AtomicBool>,
}

impl Bell {
    /// If the producer has stopped nothing will run; what was acknowledged is in the journal.
    pub(crate) fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            let _ = self.commands.send(Command::TransactionArrived);
        }
    }
}

/// Commands, from both ends.
pub(crate) fn commands() -> (mpsc::Sender<Command>, Bell, Commands) {
    let (sender, receiver) = mpsc::channel();
    let rung = Arc::new(AtomicBool::new(false));
    let bell = Bell { commands: sender.clone(), rung: Arc::clone(&rung) };
    (sender, bell, Commands { receiver, rung })
}

/// The producer's end of its commands.
pub(crate) struct Commands {
    receiver: mpsc::Receiver<Command>,
    rung: Arc<AtomicBool>,
}

impl Commands {
    /// The next command, or `None` if none came within `timeout` (`None`: however long it takes). News
    /// of transactions are held back for `gather`, so that more of them come together.
    pub(super) fn next(&self, timeout: Option<Duration>, gather: Duration) -> Option<Command> {
        let command = match timeout {
            Some(timeout) => match self.receiver.recv_timeout(timeout) {
                Ok(command) => command,
                Err(mpsc::RecvTimeoutError::Timeout) => return None,
                Err(mpsc::RecvTimeoutError::Disconnected) => Command::Stop,
            },
            None => self.receiver.recv().unwrap_or(Command::Stop),
        };
        if matches!(command, Command::TransactionArrived) {
            if !gather.is_zero() {
                std::thread::sleep(gather.min(timeout.unwrap_or(gather)));
            }
            // Before the pool is looked at: what comes later rings again.
            self.rung.store(false, Ordering::Release);
        }
        Some(command)
    }
}

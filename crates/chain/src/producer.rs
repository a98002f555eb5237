//! Extends the chain: builds blocks, makes them durable, publishes them.
//!
//! ```text
//! due? ─▶ L1 origin ─▶ build (pool) ─▶ log + fsync ─▶ publish
//! ```
//!
//! **Invariant:** a block that was published is durable.
//! **Invariant:** a block's timestamp is its parent's plus one.

use std::{
    sync::{Arc, mpsc},
    time::Duration,
};

use alloy_primitives::B256;
use tokio::sync::oneshot;

use crate::{
    BlockProduction, Error,
    chain::{Chain, Tip},
    clock::Clock,
    execution::{BuiltBlock, CandidateTxs, build_block},
    l1::L1Source,
    storage::{AppendError, Log, encode_block},
    transaction::SignedTx,
};

/// Empty blocks that are made durable together while catching up with the clock.
const CATCH_UP_BATCH: u64 = 256;
/// How long to wait before trying again when the disk refused a block.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What others ask of the producer.
pub(crate) enum Command {
    /// Make a block now and say how it went.
    Mine(oneshot::Sender<Result<(), Error>>),
    /// A transaction came into the pool.
    TransactionArrived,
    /// Whether blocks are made, from now on.
    Sequencing(Sequencing, oneshot::Sender<SequencerState>),
    /// End, after the block that is being made.
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

/// Extends the chain. Owns the block log.
pub(crate) struct Producer {
    pub(crate) chain: Arc<Chain>,
    pub(crate) log: Log,
    pub(crate) l1: Box<dyn L1Source>,
    pub(crate) clock: Box<dyn Clock>,
    pub(crate) production: BlockProduction,
    pub(crate) commands: mpsc::Receiver<Command>,
    /// Whether blocks are made at all.
    pub(crate) active: bool,
}

/// Why a block could not be added.
enum Failure {
    /// The disk refused it; it may be tried again.
    Refused(std::io::Error),
    /// Nothing more can be added.
    Fatal(Error),
}

impl Producer {
    /// Runs until it is stopped.
    ///
    /// Errors: what made it impossible to go on.
    pub(crate) fn run(mut self) -> Result<(), Error> {
        loop {
            let command = match self.wait() {
                Some(timeout) => match self.commands.recv_timeout(timeout) {
                    Ok(command) => Some(command),
                    Err(mpsc::RecvTimeoutError::Timeout) => None,
                    Err(mpsc::RecvTimeoutError::Disconnected) => return Ok(()),
                },
                None => match self.commands.recv() {
                    Ok(command) => Some(command),
                    Err(mpsc::RecvError) => return Ok(()),
                },
            };
            let outcome = match command {
                None => self.produce_due(),
                Some(Command::TransactionArrived) => self.mine_waiting(),
                Some(Command::Stop) => return Ok(()),
                Some(Command::Sequencing(wanted, done)) => {
                    match wanted {
                        Sequencing::Start => self.active = true,
                        Sequencing::Stop => self.active = false,
                        Sequencing::Query => {}
                    }
                    let head = self.chain.head().hash;
                    // The one who asked may have gone.
                    let _ = done.send(SequencerState { active: self.active, head });
                    Ok(())
                }
                Some(Command::Mine(done)) if !self.active => {
                    let why = "block production is stopped: start it with admin_startSequencer";
                    let _ = done.send(Err(Error::Internal(why.to_owned())));
                    Ok(())
                }
                Some(Command::Mine(done)) => {
                    let outcome = self.mine();
                    let answer = match &outcome {
                        Ok(()) => Ok(()),
                        Err(Failure::Refused(error)) => {
                            Err(Error::Internal(format!("the disk refused the block: {error}")))
                        }
                        Err(Failure::Fatal(error)) => Err(Error::Internal(error.to_string())),
                    };
                    // The one who asked may have gone.
                    let _ = done.send(answer);
                    outcome
                }
            };
            match outcome {
                Ok(()) => {}
                Err(Failure::Refused(error)) => {
                    tracing::error!(%error, "the disk refused a block; trying again");
                    std::thread::sleep(RETRY_AFTER);
                }
                Err(Failure::Fatal(error)) => return Err(error),
            }
        }
    }

    /// How long until the next block is due, or `None` if only a command makes blocks.
    fn wait(&self) -> Option<Duration> {
        (self.active && self.production != BlockProduction::Manual).then(|| {
            let due = Duration::from_secs(self.chain.head().header.timestamp + 1);
            due.saturating_sub(self.clock.now())
        })
    }

    /// Makes the blocks up to the present second: empty ones for those that were missed, then one
    /// with what is waiting.
    fn produce_due(&mut self) -> Result<(), Failure> {
        let behind = self.clock.now().as_secs().saturating_sub(self.chain.head().header.timestamp);
        if behind == 0 {
            return Ok(());
        }
        if behind > 1 {
            // Back to `run` after each batch, so that a stop is not kept waiting.
            return self.extend_empty((behind - 1).min(CATCH_UP_BATCH));
        }
        self.mine()
    }

    /// One block, if something waits that can run.
    fn mine_waiting(&mut self) -> Result<(), Failure> {
        if !self.active || self.production != BlockProduction::OnTransaction {
            return Ok(());
        }
        let Tip { block, state } = self.chain.tip();
        let base_fee = self.chain.rules.next_base_fee(&block.header);
        let anything = {
            let mut best = self.chain.pool().best(base_fee, |sender| state.nonce(sender));
            best.next().is_some()
        };
        if anything { self.mine() } else { Ok(()) }
    }

    /// One block with what is waiting.
    fn mine(&mut self) -> Result<(), Failure> {
        let tip = self.chain.tip();
        let base_fee = self.chain.rules.next_base_fee(&tip.block.header);
        let mut best = self.chain.pool().best(base_fee, |sender| tip.state.nonce(sender));
        let built = self.build(&tip, &mut best)?;
        for (tx, reason) in &best.invalid {
            tracing::debug!(hash = %tx.hash(), reason, "dropping a transaction that cannot run");
            self.chain.pool().remove(tx);
        }
        self.append(vec![built])
    }

    /// `count` blocks without users' transactions, made durable together.
    fn extend_empty(&mut self, count: u64) -> Result<(), Failure> {
        let mut tip = self.chain.tip();
        let mut built = Vec::new();
        for _ in 0..count {
            let next = self.build(&tip, &mut NoTransactions)?;
            self.chain.record_hash(&next.block);
            tip = Tip { block: Arc::new(next.block.clone()), state: next.state.clone() };
            built.push(next);
        }
        self.append(built)
    }

    fn build(&self, tip: &Tip, txs: &mut dyn CandidateTxs) -> Result<BuiltBlock, Failure> {
        let origin = self.l1.origin(tip.block.header.timestamp + 1);
        let view = self.chain.view(tip.state.clone());
        build_block(&self.chain.rules, &tip.block, view, &origin, txs).map_err(|reason| {
            Failure::Fatal(Error::Execution { number: tip.block.number() + 1, reason })
        })
    }

    /// Makes blocks durable, then public.
    fn append(&mut self, built: Vec<BuiltBlock>) -> Result<(), Failure> {
        let records: Vec<Vec<u8>> =
            built.iter().map(|built| encode_block(&built.block, &built.diff)).collect();
        let offsets = self.log.append(&records).map_err(|error| match error {
            AppendError::NotWritten(error) => Failure::Refused(error),
            error @ AppendError::Unknown(_) => {
                Failure::Fatal(Error::Internal(format!("block log: {error}")))
            }
        })?;
        for built in &built {
            self.chain.record_hash(&built.block);
        }
        self.chain.publish(built, &offsets);
        Ok(())
    }
}

/// For blocks that only carry the clock forward.
struct NoTransactions;

impl CandidateTxs for NoTransactions {
    fn next(&mut self) -> Option<Arc<SignedTx>> {
        None
    }
    fn included(&mut self) {}
    fn postponed(&mut self) {}
    fn invalid(&mut self, _: String) {}
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::{
        Genesis,
        l1::EmbeddedL1,
        storage::{
            BLOCK_LOG, DataDir,
            test_disk::{Fault, TestDisk},
        },
    };

    const START: u64 = 1_700_000_000;

    #[derive(Clone, Default)]
    struct HeldClock(Arc<AtomicU64>);

    impl Clock for HeldClock {
        fn now(&self) -> Duration {
            Duration::from_secs(self.0.load(Ordering::Relaxed))
        }
    }

    struct Rig {
        producer: Producer,
        clock: HeldClock,
        disk: Arc<TestDisk>,
        _dir: tempfile::TempDir,
    }

    fn rig(production: BlockProduction) -> Rig {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = DataDir::open(dir.path()).unwrap();
        let genesis = Genesis { timestamp: Some(START), ..Genesis::devnet() };
        let chain = Chain::recover(&data_dir, &genesis, START, 8).unwrap().chain;
        let disk = TestDisk::holding(Log::file_header(BLOCK_LOG, chain.genesis_hash));
        let disk = Arc::new(disk);
        let hash = chain.genesis_hash;
        let log =
            Log::open(Arc::<TestDisk>::clone(&disk), "test".into(), BLOCK_LOG, hash, |_, _| Ok(()));
        let clock = HeldClock::default();
        clock.0.store(START, Ordering::Relaxed);
        let producer = Producer {
            chain: Arc::new(chain),
            log: log.unwrap(),
            l1: Box::new(EmbeddedL1::new(genesis.chain_id, START)),
            clock: Box::new(clock.clone()),
            production,
            commands: mpsc::channel().1,
            active: true,
        };
        Rig { producer, clock, disk, _dir: dir }
    }

    #[test]
    fn after_a_pause_the_missed_seconds_are_filled() {
        let Rig { mut producer, clock, .. } = rig(BlockProduction::EverySecond);
        assert_eq!(producer.wait(), Some(Duration::from_secs(1)));
        assert!(producer.produce_due().is_ok());
        assert_eq!(producer.chain.head().number(), 0, "nothing is due yet");

        clock.0.store(START + 1_000, Ordering::Relaxed);
        let mut steps = 0;
        while producer.chain.head().number() < 1_000 {
            assert_eq!(producer.wait(), Some(Duration::ZERO));
            assert!(producer.produce_due().is_ok());
            steps += 1;
        }
        assert!(steps <= 5, "in batches, not one by one: {steps}");
        assert_eq!(producer.wait(), Some(Duration::from_secs(1)));
        for number in 1..=1_000 {
            let block = producer.chain.block(number).unwrap().unwrap();
            assert_eq!(block.header.timestamp, START + number);
            let parent = producer.chain.block(number - 1).unwrap().unwrap();
            assert_eq!(block.header.parent_hash, parent.hash);
        }
        assert!(producer.chain.state(991).is_err(), "eight states are kept beside the latest");
        assert!(producer.chain.state(992).is_ok());
    }

    #[test]
    fn a_block_that_the_disk_refuses_is_not_announced_and_is_tried_again() {
        let Rig { mut producer, clock, disk, .. } = rig(BlockProduction::EverySecond);
        clock.0.store(START + 1, Ordering::Relaxed);
        for fault in [Fault::Nothing, Fault::Half] {
            disk.fail(0, fault);
            assert!(matches!(producer.produce_due(), Err(Failure::Refused(_))));
            assert_eq!(producer.chain.head().number(), 0);
        }
        assert!(producer.produce_due().is_ok());
        assert_eq!(producer.chain.head().number(), 1);
        // A failed sync is another thing: nobody knows what is on the disk.
        clock.0.store(START + 2, Ordering::Relaxed);
        disk.fail(1, Fault::Nothing);
        assert!(matches!(producer.produce_due(), Err(Failure::Fatal(_))));
        assert_eq!(producer.chain.head().number(), 1);
    }

    #[test]
    fn blocks_are_only_made_on_command_in_manual_mode() {
        let Rig { mut producer, clock, .. } = rig(BlockProduction::Manual);
        clock.0.store(START + 100, Ordering::Relaxed);
        assert_eq!(producer.wait(), None);
        assert!(producer.mine().is_ok());
        assert_eq!(producer.chain.head().header.timestamp, START + 1);
    }
}

//! Extends the chain: opens blocks, runs transactions in them as they come, makes them durable,
//! publishes them.
//!
//! ```text
//! L1 origin ─▶ open ─▶ run what the pool offers ─▶ due? ─▶ roots ─▶ log + fsync ─▶ publish
//!                        └▶ pending block                          └▶ again, if the disk refused
//! ```
//!
//! **Invariant:** a block that was published is durable.
//! **Invariant:** a block's timestamp is its parent's plus one, unless a development chain's time is moved.
//! **Invariant:** what was shown in the pending block is in the next block, unless the node stops
//! before.

mod commands;
mod dev;

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use revm::DatabaseRef;
use tokio::sync::oneshot;

pub(crate) use commands::{Bell, Command, Commands, Done, SequencerState, Sequencing, commands};
pub(crate) use dev::DevAction;

use crate::{
    BlockProduction, Error,
    chain::{Chain, Pending, Tip},
    clock::Clock,
    execution::{BuiltBlock, ExecutedBlock, MESSAGE_PASSER, NotIncluded, OpenBlock},
    l1::L1Source,
    storage::{AppendError, Log, encode_block},
};

/// Empty blocks that are made durable together while catching up with the clock.
const CATCH_UP_BATCH: u64 = 256;
/// How long to wait before trying again when the disk refused a block.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How long transactions may gather before they run. Waking this thread for each of them would cost
/// more than running them.
const GATHER: Duration = Duration::from_micros(500);
/// Transactions that run before the clock and the commands are looked at again, and before the
/// pending block shows them.
const RUN_AT_ONCE: usize = 64;

/// Extends the chain. Owns the block log.
pub(crate) struct Producer {
    pub(crate) chain: Arc<Chain>,
    pub(crate) log: Log,
    pub(crate) l1: Box<dyn L1Source>,
    pub(crate) clock: Box<dyn Clock>,
    pub(crate) production: BlockProduction,
    pub(crate) commands: Commands,
    /// How far a development chain's time was moved ahead of the wall clock.
    pub(crate) ahead: Duration,
    /// Seconds that the next block leaves out. Zero but on a development chain.
    pub(crate) skip: u64,
    /// Whether blocks are made at all.
    pub(crate) active: bool,
}

/// Why the producer ends.
enum End {
    /// It was told to.
    Stopped,
    /// Nothing more can be added.
    Fault(Error),
}

/// A block that is being made.
struct Opened {
    tip: Tip,
    block: OpenBlock,
    shown: Arc<Pending>,
    /// Time that was worked on it, for the metrics.
    spent: Duration,
}

impl Producer {
    /// Runs until it is stopped.
    ///
    /// Errors: what made it impossible to go on.
    pub(crate) fn run(mut self) -> Result<(), Error> {
        loop {
            if let Err(end) = self.extend() {
                return match end {
                    End::Stopped => Ok(()),
                    End::Fault(error) => Err(error),
                };
            }
        }
    }

    /// One more block, or a batch of empty ones if seconds were missed.
    fn extend(&mut self) -> Result<(), End> {
        while !self.active {
            match self.commands.next(None, Duration::ZERO) {
                Some(Command::Stop) => return Err(End::Stopped),
                Some(Command::Sequencing(wanted, done)) => self.sequence(wanted, done),
                Some(Command::Mine(done) | Command::Dev(_, done)) => {
                    let reason = "block production is stopped: start it with admin_startSequencer";
                    let _ = done.send(Err(Error::Internal(reason.to_owned())));
                }
                Some(Command::TransactionArrived) | None => {}
            }
        }
        let missed = self.missed();
        if missed > 0 {
            // In batches, so that a stop is not kept waiting.
            self.extend_empty(missed.min(CATCH_UP_BATCH))?;
            return match self.commands.next(Some(Duration::ZERO), Duration::ZERO) {
                Some(Command::Stop) => Err(End::Stopped),
                Some(Command::Mine(done)) => self.fill(vec![done]),
                Some(Command::Dev(_, done)) => {
                    let reason = "the chain is catching up with the clock: try again in a moment";
                    let _ = done.send(Err(Error::Internal(reason.to_owned())));
                    Ok(())
                }
                Some(Command::Sequencing(wanted, done)) => {
                    self.sequence(wanted, done);
                    Ok(())
                }
                Some(Command::TransactionArrived) | None => Ok(()),
            };
        }
        self.fill(Vec::new())
    }

    /// Seconds that should have had a block of their own before the one that comes next.
    fn missed(&self) -> u64 {
        if self.production == BlockProduction::Manual {
            return 0;
        }
        let behind = self.now().as_secs().saturating_sub(self.chain.head().header.timestamp);
        behind.saturating_sub(1)
    }

    /// The chain's idea of the present.
    fn now(&self) -> Duration {
        self.clock.now() + self.ahead
    }

    /// One block with what comes while it is open.
    fn fill(&mut self, mut waiting: Vec<Done>) -> Result<(), End> {
        let mut opened = self.open()?;
        loop {
            let manual = self.production == BlockProduction::Manual;
            let ran = if manual && waiting.is_empty() { 0 } else { self.run_ready(&mut opened)? };
            let eager = self.production == BlockProduction::OnTransaction;
            let asked = !waiting.is_empty() || (eager && !opened.block.is_empty());
            let left = self.left(&opened);
            if left == Some(Duration::ZERO) || (asked && ran < RUN_AT_ONCE) {
                return self.seal(opened, waiting);
            }
            let timeout = if ran < RUN_AT_ONCE { left } else { Some(Duration::ZERO) };
            let gather = if eager { Duration::ZERO } else { GATHER };
            match self.commands.next(timeout, gather) {
                Some(Command::Stop) => return Err(End::Stopped),
                Some(Command::Mine(done)) => waiting.push(done),
                Some(Command::Sequencing(Sequencing::Stop, done)) => {
                    // What is pre-confirmed goes into a last block.
                    if !opened.block.is_empty() {
                        self.seal(opened, waiting)?;
                    }
                    self.sequence(Sequencing::Stop, done);
                    return Ok(());
                }
                Some(Command::Sequencing(wanted, done)) => self.sequence(wanted, done),
                Some(Command::Dev(action, done)) => match self.act(action, &opened) {
                    dev::Then::Seal => waiting.push(done),
                    dev::Then::Rewind(number) => {
                        // Nothing of it is left to run.
                        drop(opened);
                        let _ = done.send(self.rewind(number));
                        return Ok(());
                    }
                    dev::Then::Reopen => {
                        let _ = done.send(Ok(()));
                        return if opened.block.is_empty() {
                            Ok(())
                        } else {
                            self.seal(opened, waiting)
                        };
                    }
                },
                Some(Command::TransactionArrived) | None => {}
            }
        }
    }

    fn sequence(&mut self, wanted: Sequencing, done: oneshot::Sender<SequencerState>) {
        match wanted {
            Sequencing::Start => self.active = true,
            Sequencing::Stop => self.active = false,
            Sequencing::Query => {}
        }
        let head = self.chain.head().hash;
        let _ = done.send(SequencerState { active: self.active, head });
    }

    /// How long until the block is due, or `None` if only a command ends it.
    fn left(&self, opened: &Opened) -> Option<Duration> {
        (self.production != BlockProduction::Manual).then(|| {
            let due = Duration::from_secs(opened.block.header().timestamp);
            due.saturating_sub(self.now())
        })
    }

    /// Opens the next block and shows it as pending.
    fn open(&mut self) -> Result<Opened, End> {
        let started = Instant::now();
        let tip = self.chain.tip();
        let skip = std::mem::take(&mut self.skip);
        let block = self.begin(&tip, skip)?;
        self.chain.pool().begin_block(block.header().base_fee_per_gas.unwrap_or_default());
        let shown = Arc::new(Pending::new(&block));
        self.chain.set_pending(Arc::clone(&shown));
        Ok(Opened { tip, block, shown, spent: started.elapsed() })
    }

    /// Begins the block after `tip`, `skip` seconds later than it would be.
    fn begin(&self, tip: &Tip, skip: u64) -> Result<OpenBlock, End> {
        // Derivation from L1 fixes this: never the wall clock.
        let timestamp = tip.block.header.timestamp + 1 + skip;
        let origin = self.l1.origin(timestamp);
        let state = tip.state.clone();
        OpenBlock::begin(&self.chain.rules, &tip.block, state, &origin, timestamp)
            .map_err(|reason| fault(tip.block.number() + 1, reason))
    }

    /// Runs some of what can run, and shows it. Returns how many transactions were tried.
    fn run_ready(&mut self, opened: &mut Opened) -> Result<usize, End> {
        if opened.block.is_full() {
            return Ok(0);
        }
        let started = Instant::now();
        let ready = self.chain.pool().take(RUN_AT_ONCE);
        let mut stuck = HashSet::new();
        for tx in &ready {
            // A sender's transactions run in order or not at all.
            if stuck.contains(&tx.sender()) {
                self.chain.pool().give_back(tx);
                continue;
            }
            match opened.block.execute(tx) {
                Ok(_) => continue,
                Err(NotIncluded::NoRoom) => self.chain.pool().give_back(tx),
                Err(NotIncluded::Invalid(reason)) => {
                    tracing::debug!(hash = %tx.hash(), reason, "dropping a transaction");
                    let Ok(account) = opened.block.overlay().basic_ref(tx.sender());
                    let nonce = account.map_or(0, |account| account.nonce);
                    self.chain.pool().drop_invalid(tx, nonce);
                }
                Err(NotIncluded::Fault(reason)) => {
                    return Err(fault(opened.block.header().number, reason));
                }
            }
            stuck.insert(tx.sender());
        }
        if !ready.is_empty() {
            opened.shown.extend(&opened.block);
            opened.spent += started.elapsed();
        }
        Ok(ready.len())
    }

    /// Ends the block, makes it durable and public, and tells those who wait.
    fn seal(&mut self, opened: Opened, waiting: Vec<Done>) -> Result<(), End> {
        let started = Instant::now();
        let number = opened.block.header().number;
        let executed = opened.block.finish().map_err(|reason| fault(number, reason))?;
        let built = self.build(executed, opened.spent + started.elapsed());
        self.append(vec![built])?;
        for done in waiting {
            // The one who asked may have gone.
            let _ = done.send(Ok(()));
        }
        Ok(())
    }

    /// `count` blocks without users' transactions, made durable together.
    fn extend_empty(&mut self, count: u64) -> Result<(), End> {
        let mut tip = self.chain.tip();
        let mut built = Vec::new();
        for _ in 0..count {
            let started = Instant::now();
            let open = self.begin(&tip, 0)?;
            let number = open.header().number;
            let executed = open.finish().map_err(|reason| fault(number, reason))?;
            let next = self.build(executed, started.elapsed());
            self.chain.record_hash(&next.block);
            tip = Tip { block: Arc::new(next.block.clone()), state: next.state.clone() };
            built.push(next);
        }
        self.append(built)
    }

    /// Makes blocks durable, then public. A disk that refuses is asked again, for as long as it takes.
    fn append(&mut self, built: Vec<BuiltBlock>) -> Result<(), End> {
        let records: Vec<Vec<u8>> =
            built.iter().map(|built| encode_block(&built.block, &built.diff)).collect();
        let metrics = Arc::clone(&self.chain.metrics);
        let offsets = loop {
            let started = Instant::now();
            match self.log.append(&records) {
                Ok(offsets) => {
                    metrics.disk_synced(started.elapsed(), self.log.bytes());
                    break offsets;
                }
                Err(AppendError::NotWritten(error)) => {
                    metrics.disk_refused();
                    tracing::error!(%error, "the disk refused a block; trying again");
                    match self.commands.next(Some(RETRY_AFTER), Duration::ZERO) {
                        Some(Command::Stop) => return Err(End::Stopped),
                        Some(Command::Mine(done) | Command::Dev(_, done)) => {
                            let reason = format!("the disk refuses blocks: {error}");
                            let _ = done.send(Err(Error::Internal(reason)));
                        }
                        Some(Command::Sequencing(wanted, done)) => self.sequence(wanted, done),
                        Some(Command::TransactionArrived) | None => {}
                    }
                }
                Err(error @ AppendError::Unknown(_)) => {
                    metrics.disk_refused();
                    return Err(End::Fault(Error::Internal(format!("block log: {error}"))));
                }
            }
        };
        for built in &built {
            self.chain.record_hash(&built.block);
        }
        self.chain.publish(built, &offsets);
        Ok(())
    }

    /// Makes a block's changes to the state, and the block with its roots. `spent` was worked on it
    /// before.
    fn build(&self, executed: ExecutedBlock, spent: Duration) -> BuiltBlock {
        let started = Instant::now();
        let world = &self.chain.world;
        let mut root_time = Duration::ZERO;
        let number = executed.number();
        let (block, diff) = executed.seal(|diff| {
            let started = Instant::now();
            let state_root = world.apply(number, diff);
            let withdrawals_root = world.latest().storage_root(MESSAGE_PASSER);
            root_time = started.elapsed();
            (state_root, withdrawals_root)
        });
        self.chain.metrics.block_built(spent + started.elapsed(), root_time);
        BuiltBlock { block, state: world.latest(), diff }
    }
}

fn fault(number: u64, reason: String) -> End {
    End::Fault(Error::Execution { number, reason })
}

#[cfg(test)]
mod tests {
    use std::sync::{
        atomic::{AtomicU64, Ordering},
        mpsc,
    };

    use super::*;
    use crate::{
        Genesis,
        l1::EmbeddedL1,
        state::HistoryLimits,
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
        commands: mpsc::Sender<Command>,
        clock: HeldClock,
        disk: Arc<TestDisk>,
        _dir: tempfile::TempDir,
    }

    fn rig(production: BlockProduction) -> Rig {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = DataDir::open(dir.path()).unwrap();
        let genesis = Genesis { timestamp: Some(START), ..Genesis::devnet() };
        let limits = HistoryLimits { blocks: 8, bytes: 1 << 20 };
        let chain = Chain::recover(&data_dir, &genesis, START, limits).unwrap().chain;
        let disk = TestDisk::holding(Log::file_header(BLOCK_LOG, chain.genesis_hash));
        let disk = Arc::new(disk);
        let hash = chain.genesis_hash;
        let log =
            Log::open(Arc::<TestDisk>::clone(&disk), "test".into(), BLOCK_LOG, hash, |_, _| Ok(()));
        let clock = HeldClock::default();
        clock.0.store(START, Ordering::Relaxed);
        let (sender, _, commands) = commands();
        let producer = Producer {
            chain: Arc::new(chain),
            log: log.unwrap(),
            l1: Box::new(EmbeddedL1::new(genesis.chain_id, START)),
            clock: Box::new(clock.clone()),
            production,
            commands,
            ahead: Duration::ZERO,
            skip: 0,
            active: true,
        };
        Rig { producer, commands: sender, clock, disk, _dir: dir }
    }

    #[test]
    fn after_a_pause_the_missed_seconds_are_filled() {
        let Rig { mut producer, commands, clock, .. } = rig(BlockProduction::EverySecond);
        commands.send(Command::Stop).unwrap();
        assert!(matches!(producer.extend(), Err(End::Stopped)));
        assert_eq!(producer.chain.head().number(), 0, "nothing is due yet");

        clock.0.store(START + 1_000, Ordering::Relaxed);
        let mut steps = 0;
        while producer.chain.head().number() < 1_000 {
            assert!(producer.extend().is_ok());
            steps += 1;
        }
        assert!(steps <= 5, "in batches, not one by one: {steps}");
        assert_eq!(producer.missed(), 0);
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
    fn a_block_that_the_disk_refuses_is_announced_when_it_takes_it() {
        let Rig { mut producer, commands, clock, disk, .. } = rig(BlockProduction::EverySecond);
        for (second, fault) in [(1, Fault::Nothing), (2, Fault::Half)] {
            clock.0.store(START + second, Ordering::Relaxed);
            disk.fail(0, fault);
            let (done, mut answer) = oneshot::channel();
            commands.send(Command::Mine(done)).unwrap();
            assert!(producer.extend().is_ok());
            let refused = answer.try_recv().unwrap().unwrap_err().to_string();
            assert!(refused.contains("the disk refuses blocks"), "{refused}");
            assert_eq!(producer.chain.head().number(), second);
        }
        // A failed sync is another thing: nobody knows what is on the disk.
        clock.0.store(START + 3, Ordering::Relaxed);
        disk.fail(1, Fault::Nothing);
        assert!(matches!(producer.extend(), Err(End::Fault(_))));
        assert_eq!(producer.chain.head().number(), 2);
    }

    #[test]
    fn a_refusing_disk_does_not_keep_the_node_from_stopping() {
        let Rig { mut producer, commands, clock, disk, .. } = rig(BlockProduction::EverySecond);
        clock.0.store(START + 1, Ordering::Relaxed);
        disk.fail(0, Fault::Nothing);
        commands.send(Command::Stop).unwrap();
        assert!(matches!(producer.extend(), Err(End::Stopped)));
        assert_eq!(producer.chain.head().number(), 0);
    }

    #[test]
    fn blocks_are_only_made_on_command_in_manual_mode() {
        let Rig { mut producer, commands, clock, .. } = rig(BlockProduction::Manual);
        clock.0.store(START + 100, Ordering::Relaxed);
        assert_eq!(producer.missed(), 0);
        let (done, mut answer) = oneshot::channel();
        commands.send(Command::Mine(done)).unwrap();
        assert!(producer.extend().is_ok());
        answer.try_recv().unwrap().unwrap();
        assert_eq!(producer.chain.head().header.timestamp, START + 1);
    }
}

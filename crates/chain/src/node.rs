//! Starts, watches and stops a node.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::Duration,
};

use alloy_primitives::{B256, Bytes};
use rayon::prelude::*;
use tokio::sync::{oneshot, watch};

use crate::{
    Config, Error, Genesis, RollupL1,
    chain::{Chain, Snapshots},
    clock::{Clock, SystemClock},
    execution::SealedBlock,
    l1::EmbeddedL1,
    metrics::{Metrics, Monitor, MonitorListener},
    producer::{Bell, Command, Producer, commands},
    rpc::{self, Access, Context, Listener, RpcServer, Settings},
    state::HistoryLimits,
    storage::{DataDir, Journal},
    transaction::SignedTx,
};

/// A rollup node.
#[derive(Debug)]
pub struct Node;

impl Node {
    /// Opens or creates the chain in `config.data_dir`, and starts producing blocks and answering
    /// JSON-RPC. Must be called inside a Tokio runtime, which serves the RPC.
    ///
    /// Errors: [`Error`], each variant with what to do about it.
    pub async fn start(config: Config, genesis: Genesis) -> Result<Handle, Error> {
        let access = Access::new(&config)?;
        // First, so that a port that is taken costs no recovery.
        let listener = Listener::bind(config.rpc_addr)?;
        let metrics = Arc::new(Metrics::default());
        let monitor = config.metrics_addr.map(|addr| {
            let listener = MonitorListener::bind(addr)?;
            let (metrics, hosts) = (Arc::clone(&metrics), access.hosts());
            Monitor::start(listener, metrics, hosts, config.block_production)
        });
        let monitor = monitor.transpose()?;
        let runtime = tokio::task::spawn_blocking(move || open(&config, genesis, metrics));
        let opened = runtime.await.map_err(|error| Error::Internal(error.to_string()))??;
        opened.start(listener, access, monitor)
    }
}

/// A chain that is read back and ready to go on.
struct Opened {
    chain: Arc<Chain>,
    producer: Producer,
    commands: mpsc::Sender<Command>,
    bell: Bell,
    journal: Arc<Journal>,
    data_dir: Arc<DataDir>,
    rpc: Settings,
    snapshot_blocks: u64,
}

fn open(config: &Config, genesis: Genesis, metrics: Arc<Metrics>) -> Result<Opened, Error> {
    genesis.check()?;
    let data_dir = Arc::new(DataDir::open(&config.data_dir)?);
    let clock = SystemClock;
    let genesis = settle_genesis(&data_dir, genesis, &clock)?;
    let timestamp = genesis.timestamp.unwrap_or_default();
    let limits = HistoryLimits { blocks: config.history_blocks, bytes: config.history_bytes };
    let mut recovered = Chain::recover(&data_dir, &genesis, timestamp, limits)?;
    metrics.log_opened(recovered.log.bytes());
    recovered.chain.metrics = metrics;
    recovered.chain.rules.dev = config.dev;
    let chain = Arc::new(recovered.chain);
    let (journal, waiting) =
        Journal::open(Arc::clone(&data_dir), chain.genesis_hash, config.journal_sync)?;
    restore_pool(&chain, waiting);
    let (commands, bell, receiver) = commands();
    let producer = Producer {
        chain: Arc::clone(&chain),
        log: recovered.log,
        l1: Box::new(EmbeddedL1::new(genesis.chain_id, timestamp)),
        clock: Box::new(clock),
        production: config.block_production,
        commands: receiver,
        ahead: if config.dev { ahead(&chain, &SystemClock) } else { Duration::ZERO },
        skip: 0,
        active: true,
    };
    let l1 = RollupL1::embedded(&genesis)?;
    let rpc = Settings {
        call_gas_max: config.call_gas_max,
        call_time_max: Duration::from_millis(config.call_time_max_ms),
        admin: config.admin_rpc,
        dev: config.dev,
        rollup_config: genesis.rollup_document(&l1, timestamp, chain.genesis_hash),
    };
    let (journal, snapshot_blocks) = (Arc::new(journal), config.snapshot_blocks);
    Ok(Opened { chain, producer, commands, bell, journal, data_dir, rpc, snapshot_blocks })
}

/// The genesis with its time: that of the data directory, or for a new one the wall clock, unless
/// it is given. A new directory remembers it; an old one must agree.
fn settle_genesis(
    data_dir: &DataDir,
    mut genesis: Genesis,
    clock: &dyn Clock,
) -> Result<Genesis, Error> {
    let path = data_dir.path().to_owned();
    let Some(stored) = data_dir.load_genesis()? else {
        genesis.timestamp.get_or_insert_with(|| clock.now().as_secs());
        data_dir.store_genesis(&genesis)?;
        return Ok(genesis);
    };
    if stored.chain_id != genesis.chain_id {
        let (expected, found) = (genesis.chain_id, stored.chain_id);
        return Err(Error::ChainIdMismatch { path, expected, found });
    }
    genesis.timestamp = genesis.timestamp.or(stored.timestamp);
    if stored != genesis {
        let timestamp = genesis.timestamp.unwrap_or_default();
        let expected = genesis.hash(timestamp);
        let found = stored.hash(stored.timestamp.unwrap_or_default());
        if expected == found {
            let what = "the fee parameters or the batcher differ from those that the chain in the \
                        data directory was made with";
            return Err(Error::InvalidGenesis(what.to_owned()));
        }
        return Err(Error::GenesisMismatch { path, expected, found });
    }
    Ok(genesis)
}

/// How far a development chain whose time was moved is ahead of the clock.
fn ahead(chain: &Chain, clock: &dyn Clock) -> Duration {
    Duration::from_secs(chain.head().header.timestamp).saturating_sub(clock.now())
}

/// Puts journalled transactions back. Those that are in the chain by now are refused, as they should
/// be.
fn restore_pool(chain: &Chain, waiting: Vec<Bytes>) {
    let decoded: Vec<_> = waiting.into_par_iter().map(SignedTx::decode).collect();
    for decoded in decoded {
        let restored = decoded.map_err(|error| error.to_string()).and_then(|tx| {
            let tx = [Arc::new(tx)];
            let submitted = chain.submit(&tx).into_iter().collect::<Result<(), _>>();
            submitted.map_err(|error| error.to_string())?;
            chain.release(&tx);
            Ok(())
        });
        if let Err(reason) = restored {
            tracing::debug!(reason, "a journalled transaction is not put back");
        }
    }
}

impl Opened {
    fn start(
        self,
        listener: Listener,
        access: Access,
        monitor: Option<Monitor>,
    ) -> Result<Handle, Error> {
        let Self { chain, producer, commands, bell, journal, data_dir, rpc, snapshot_blocks } =
            self;
        let live = Arc::clone(&chain);
        let journal_thread = journal.start(Box::new(move || live.pool().encoded()))?;
        let context =
            Context::new(Arc::clone(&chain), Arc::clone(&journal), commands.clone(), bell, rpc);
        let server = rpc::serve(listener, access, context)?;

        let (status, watching) = watch::channel(Status::Running);
        if let Some(monitor) = &monitor {
            monitor.running(Arc::clone(&chain), watching.clone());
        }
        let head = Head::from(&*chain.head());
        tracing::info!(
            chain_id = chain.rules.chain_id, block = head.number, hash = %head.hash,
            rpc = %server.addr, "the node runs"
        );
        let snapshots =
            Snapshots::start(Arc::clone(&chain), Arc::clone(&data_dir), snapshot_blocks)?;
        let server_handle = server.handle.clone();
        let producer_thread = thread::Builder::new()
            .name("chain-producer".to_owned())
            .spawn(move || {
                let outcome =
                    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| producer.run()));
                let outcome = outcome.unwrap_or_else(|_| {
                    Err(Error::Internal("the block producer panicked".to_owned()))
                });
                // A chain that cannot go on must not look as if it did.
                let _ = server_handle.stop();
                journal.stop();
                let _ = journal_thread.join();
                snapshots.stop();
                drop(data_dir);
                let _ = status.send(match outcome {
                    Ok(()) => Status::Stopped,
                    Err(error) => {
                        tracing::error!(%error, "the node has stopped");
                        Status::Failed(Arc::new(error))
                    }
                });
            })
            .map_err(|error| Error::Internal(format!("cannot start a thread: {error}")))?;
        let threads = Mutex::new(Some(producer_thread));
        Ok(Handle {
            inner: Arc::new(Inner { chain, server, monitor, commands, watching, threads }),
        })
    }
}

/// Whether a node runs.
#[derive(Clone)]
pub(crate) enum Status {
    Running,
    Stopped,
    Failed(Arc<Error>),
}

impl Status {
    pub(crate) fn is_running(&self) -> bool {
        matches!(self, Self::Running)
    }
}

/// A block that is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Block number.
    pub number: u64,
    /// Block hash.
    pub hash: B256,
    /// Block time in seconds.
    pub timestamp: u64,
}

impl From<&SealedBlock> for Head {
    fn from(block: &SealedBlock) -> Self {
        Self { number: block.number(), hash: block.hash, timestamp: block.header.timestamp }
    }
}

/// A running node. Cheap to clone; the node stops when the last handle is dropped.
#[derive(Clone)]
pub struct Handle {
    inner: Arc<Inner>,
}

struct Inner {
    chain: Arc<Chain>,
    server: RpcServer,
    monitor: Option<Monitor>,
    commands: mpsc::Sender<Command>,
    watching: watch::Receiver<Status>,
    threads: Mutex<Option<thread::JoinHandle<()>>>,
}

impl Handle {
    /// Where JSON-RPC is answered over HTTP.
    pub fn rpc_url(&self) -> String {
        format!("http://{}", self.inner.server.addr)
    }

    /// Where JSON-RPC is answered over WebSocket, with subscriptions.
    pub fn ws_url(&self) -> String {
        format!("ws://{}", self.inner.server.addr)
    }

    /// Address of the RPC server, with the port that was chosen if 0 was asked for.
    pub fn rpc_addr(&self) -> SocketAddr {
        self.inner.server.addr
    }

    /// Where `/metrics`, `/health` and `/ready` are, if they are served.
    pub fn metrics_url(&self) -> Option<String> {
        self.inner.monitor.as_ref().map(|monitor| format!("http://{}", monitor.addr()))
    }

    /// Names of the JSON-RPC methods that are answered, in alphabetical order.
    pub fn rpc_methods(&self) -> Vec<&'static str> {
        let mut methods = self.inner.server.methods.clone();
        methods.sort_unstable();
        methods
    }

    /// EIP-155 chain id.
    pub fn chain_id(&self) -> u64 {
        self.inner.chain.rules.chain_id
    }

    /// Hash of block 0.
    pub fn genesis_hash(&self) -> B256 {
        self.inner.chain.genesis_hash
    }

    /// The latest block.
    pub fn head(&self) -> Head {
        Head::from(&*self.inner.chain.head())
    }

    /// Makes one block now, with what is waiting, and returns the head when it is durable.
    ///
    /// Errors: [`Error::Stopped`]; [`Error::Internal`] if the block could not be made.
    pub async fn mine_block(&self) -> Result<Head, Error> {
        let (done, answer) = oneshot::channel();
        self.inner.commands.send(Command::Mine(done)).map_err(|_| Error::Stopped)?;
        answer.await.map_err(|_| Error::Stopped)??;
        Ok(self.head())
    }

    /// Returns when the node has stopped.
    ///
    /// Errors: [`Error::Fault`] if it stopped because it could not go on.
    pub async fn stopped(&self) -> Result<(), Error> {
        let mut watching = self.inner.watching.clone();
        let status = watching.wait_for(|status| !status.is_running()).await;
        match status.map(|status| status.clone()) {
            Ok(Status::Failed(error)) => Err(Error::Fault(error)),
            Ok(Status::Running | Status::Stopped) | Err(_) => Ok(()),
        }
    }

    /// Stops the node. When this returns, the last block is durable, the port is free and another
    /// node may use the data directory.
    ///
    /// Errors: as [`stopped`](Self::stopped).
    pub async fn shutdown(&self) -> Result<(), Error> {
        self.inner.stop();
        self.inner.server.handle.clone().stopped().await;
        let thread = self.inner.threads.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let joined = tokio::task::spawn_blocking(move || thread.join()).await;
            if !matches!(joined, Ok(Ok(()))) {
                return Err(Error::Internal("a thread of the node panicked".to_owned()));
            }
        }
        if let Some(monitor) = &self.inner.monitor {
            monitor.stop().await;
        }
        tracing::info!(
            block = self.head().number,
            "the node has stopped; the last block is durable"
        );
        self.stopped().await
    }
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").field("rpc_addr", &self.inner.server.addr).finish_non_exhaustive()
    }
}

impl Inner {
    fn stop(&self) {
        // Either may have stopped already.
        let _ = self.commands.send(Command::Stop);
        let _ = self.server.handle.stop();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop();
    }
}

//! What the node counts and measures, for Prometheus.
//!
//! ```text
//! chain, producer, RPC ──▶ Metrics ──▶ Monitor: /metrics /health /ready
//! ```
//!
//! To count is one atomic addition, to measure a time one short uncontended lock: call it anywhere.
//! What is only read, such as the pool's size, is looked up when somebody asks.
//!
//! **Invariant:** nothing here decides what is in a block.
//! **Invariant:** labels come from tables in this program, never from a request.

mod monitor;
mod process;
mod rpc;
mod vitals;

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::{Metric, Registry, Unit},
};

pub(crate) use self::{
    monitor::{Monitor, MonitorListener},
    rpc::MethodTable,
};
use self::{process::Process, rpc::RpcMetrics, vitals::age};
use crate::{chain::Chain, execution::SealedBlock};

/// From a tenth of a millisecond, what an empty block takes, to ten block times.
const WORK_SECONDS: [f64; 13] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 10.0];

type Number = Gauge<u64, AtomicU64>;
type ReasonLabel = [(&'static str, &'static str); 1];

/// Everything that one node counts and measures.
#[derive(Debug)]
pub(crate) struct Metrics {
    rpc: RpcMetrics,
    blocks: Counter,
    included: Counter,
    gas_used: Counter,
    received: Counter,
    refused: Family<ReasonLabel, Counter>,
    block_build: Histogram,
    state_root: Histogram,
    disk_sync: Histogram,
    disk_refusals: Counter,
    disk_refuses: AtomicBool,
    connections: Gauge,
    subscriptions: Gauge,
    block_log: Number,
    snapshot: Number,
    looked_up: LookedUp,
    registry: Registry,
}

/// What is read from the chain when somebody asks.
#[derive(Debug)]
struct LookedUp {
    number: Number,
    timestamp: Number,
    age: Gauge<f64, AtomicU64>,
    behind_snapshot: Number,
    pending: Number,
    queued: Number,
    pool: Number,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Process));
        let own = registry.sub_registry_with_prefix("openledger");
        let version = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        own.register("build", "The program that runs", version);
        Self {
            rpc: RpcMetrics::new(own),
            blocks: count(own, "blocks", "Blocks made since the start"),
            included: count(own, "transactions_included", "Users' transactions in those blocks"),
            gas_used: count(own, "gas_used", "Gas that those blocks used"),
            received: count(
                own,
                "transactions_received",
                "Transactions that were sent to this node",
            ),
            refused: plain(own, "transactions_refused", "Of those, the refused ones by reason"),
            block_build: time(own, "block_build", "Work on a block: execution and sealing"),
            state_root: time(own, "state_root", "Of that, applying its changes and the state root"),
            disk_sync: time(own, "disk_sync", "Making blocks durable, fsync included"),
            disk_refusals: count(own, "disk_refusals", "Writes of blocks that the disk refused"),
            disk_refuses: AtomicBool::new(false),
            connections: plain(own, "rpc_connections", "Open connections to the RPC server"),
            subscriptions: plain(own, "rpc_subscriptions", "Open subscriptions"),
            block_log: with_unit(own, "block_log", "Size of the block log", Unit::Bytes),
            snapshot: plain(own, "snapshot_block", "Block of the latest snapshot of the state"),
            looked_up: LookedUp {
                number: plain(own, "head_block", "Number of the latest block"),
                timestamp: with_unit(
                    own,
                    "head_timestamp",
                    "Time of the latest block",
                    Unit::Seconds,
                ),
                age: with_unit(own, "head_age", "Wall clock minus that time", Unit::Seconds),
                behind_snapshot: plain(
                    own,
                    "snapshot_age_blocks",
                    "Blocks since that snapshot, which a start replays",
                ),
                pending: plain(own, "pool_pending", "Waiting transactions that can run now"),
                queued: plain(own, "pool_queued", "Transactions that wait for an earlier nonce"),
                pool: with_unit(
                    own,
                    "pool",
                    "Encoded size of the waiting transactions",
                    Unit::Bytes,
                ),
            },
            registry,
        }
    }
}

impl Metrics {
    /// A block is public.
    pub(crate) fn block_published(&self, block: &SealedBlock) {
        self.blocks.inc();
        // The first transaction is the L1 attributes deposit, not a user's.
        self.included.inc_by(block.txs.len().saturating_sub(1) as u64);
        self.gas_used.inc_by(block.header.gas_used);
    }

    /// A block was built in this time, of which the state root took a part.
    pub(crate) fn block_built(&self, took: Duration, state_root: Duration) {
        self.block_build.observe(took.as_secs_f64());
        self.state_root.observe(state_root.as_secs_f64());
    }

    /// The block log grew to this size, and was made durable in this time.
    pub(crate) fn disk_synced(&self, took: Duration, log_bytes: u64) {
        self.disk_sync.observe(took.as_secs_f64());
        self.block_log.set(log_bytes);
        self.disk_refuses.store(false, Ordering::Relaxed);
    }

    /// The disk refused a block.
    pub(crate) fn disk_refused(&self) {
        self.disk_refusals.inc();
        self.disk_refuses.store(true, Ordering::Relaxed);
    }

    /// Whether the latest write of a block succeeded.
    fn disk_accepts(&self) -> bool {
        !self.disk_refuses.load(Ordering::Relaxed)
    }

    /// The block log has this size.
    pub(crate) fn log_opened(&self, log_bytes: u64) {
        self.block_log.set(log_bytes);
    }

    /// The latest snapshot holds the state after this block; 0 if there is none but the genesis.
    pub(crate) fn snapshot(&self, block: u64) {
        self.snapshot.set(block);
    }

    /// Somebody sent transactions.
    pub(crate) fn txs_received(&self, count: usize) {
        self.received.inc_by(count as u64);
    }

    /// One was refused. `reason` is one of a few fixed words.
    pub(crate) fn tx_refused(&self, reason: &'static str) {
        self.refused.get_or_create(&[("reason", reason)]).inc();
    }

    /// A connection to the RPC server is open until this is dropped.
    pub(crate) fn connection(&self) -> Open {
        Open::new(&self.connections)
    }

    /// A subscription is open until this is dropped.
    pub(crate) fn subscription(&self) -> Open {
        Open::new(&self.subscriptions)
    }

    /// Where calls of these methods are counted.
    pub(crate) fn methods(&self, names: impl Iterator<Item = &'static str>) -> MethodTable {
        self.rpc.table(names)
    }

    /// The text that Prometheus reads (OpenMetrics 1.0). `chain` is absent until it is read back.
    fn text(&self, chain: Option<&Chain>, now: Duration) -> String {
        if let Some(chain) = chain {
            self.looked_up.read(chain, now, self.snapshot.get());
        }
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a string takes everything");
        text
    }
}

impl LookedUp {
    fn read(&self, chain: &Chain, now: Duration, snapshot: u64) {
        let head = chain.head();
        self.number.set(head.number());
        self.behind_snapshot.set(head.number().saturating_sub(snapshot));
        self.timestamp.set(head.header.timestamp);
        self.age.set(age(now, head.header.timestamp).as_secs_f64());
        let (counts, bytes) = {
            let pool = chain.pool();
            (pool.counts(), pool.bytes())
        };
        self.pool.set(bytes as u64);
        self.pending.set(counts.pending as u64);
        self.queued.set(counts.queued as u64);
    }
}

/// Something that is open as long as this lives.
#[derive(Debug)]
pub(crate) struct Open(Gauge);

impl Open {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn plain<M: Metric + Default + Clone>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

fn count(registry: &mut Registry, name: &str, help: &str) -> Counter {
    plain(registry, name, help)
}

fn with_unit<M: Metric + Default + Clone>(
    registry: &mut Registry,
    name: &str,
    help: &str,
    unit: Unit,
) -> M {
    let metric = M::default();
    registry.register_with_unit(name, help, unit, metric.clone());
    metric
}

fn time(registry: &mut Registry, name: &str, help: &str) -> Histogram {
    let histogram = Histogram::new(WORK_SECONDS);
    registry.register_with_unit(name, help, Unit::Seconds, histogram.clone());
    histogram
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_help_and_what_is_counted_is_told() {
        let metrics = Metrics::default();
        metrics.txs_received(1);
        metrics.tx_refused("nonce_too_low");
        metrics.disk_synced(Duration::from_micros(700), 4_096);
        let connection = metrics.connection();
        let text = metrics.text(None, Duration::ZERO);
        for line in [
            "openledger_transactions_received_total 1",
            "openledger_transactions_refused_total{reason=\"nonce_too_low\"} 1",
            "openledger_disk_sync_seconds_bucket{le=\"0.001\"} 1",
            "openledger_disk_sync_seconds_bucket{le=\"0.0005\"} 0",
            "openledger_block_log_bytes 4096",
            "openledger_rpc_connections 1",
            "# UNIT openledger_block_build_seconds seconds",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        drop(connection);
        assert!(metrics.text(None, Duration::ZERO).contains("\nopenledger_rpc_connections 0\n"));

        let mut described = Vec::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').unwrap();
                assert!(help.len() > 10, "{line}");
                described.push(name.to_owned());
            } else if !line.starts_with('#') {
                let name = line.split([' ', '{']).next().unwrap();
                assert!(described.iter().any(|known| name.starts_with(known)), "{line}");
            }
        }
    }
}

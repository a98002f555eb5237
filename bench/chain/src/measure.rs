//! One run: a fresh node, one load, what came of it.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use alloy_primitives::B256;
use eyre::{Result, ensure};
use serde::{Deserialize, Serialize};

use crate::{
    accounts::Account,
    drive::{self, Shape},
    genesis::{self, GenesisFiles},
    latency::{self, Latency},
    nodes::{Node, Running},
    process,
    rpc::Client,
    watch::Watch,
    workload::{self, Prepared, Workload},
};

/// Included transactions whose receipts are looked at.
const CHECKED: usize = 200;

/// How much is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Amount {
    /// At most this many transactions.
    pub(crate) txs: usize,
    /// For at most this long.
    pub(crate) time: Duration,
}

/// What a run gave.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Run {
    /// Included transactions per second, from the first request to the last inclusion.
    pub(crate) tps: f64,
    /// Acknowledged transactions per second while there was something to send.
    pub(crate) sent_per_s: f64,
    /// The node's processor time for an included transaction, µs.
    pub(crate) node_cpu_us: f64,
    /// The load generator's, µs.
    pub(crate) generator_cpu_us: f64,
    /// The node's peak memory, MiB.
    pub(crate) peak_mib: u64,
    pub(crate) accepted: u64,
    pub(crate) included: u64,
    /// By reason.
    pub(crate) refused: BTreeMap<String, u64>,
    /// From its start until the node answered, seconds.
    pub(crate) ready_s: f64,
    /// The system's load average before the run.
    pub(crate) load_average: f64,
    pub(crate) latency: Option<Latency>,
}

/// Senders of the load and of the samples.
pub(crate) struct Senders {
    pub(crate) load: Vec<Account>,
    pub(crate) samplers: Vec<Account>,
}

impl Senders {
    /// `load` senders of the load, and the samplers'.
    pub(crate) fn new(load: usize) -> Self {
        Self {
            load: Account::derive_many("sender", load),
            samplers: Account::derive_many("sampler", latency::SAMPLERS),
        }
    }

    pub(crate) fn all(&self) -> Vec<Account> {
        self.load.iter().chain(&self.samplers).cloned().collect()
    }
}

/// Where things are.
pub(crate) struct Places<'a> {
    pub(crate) peers: &'a Path,
    pub(crate) scratch: &'a Path,
}

/// A node that is ready for a load.
pub(crate) struct Ready {
    pub(crate) running: Running,
    pub(crate) client: Client,
    pub(crate) prepared: Prepared,
}

/// Starts `node` on the given state and puts in place what the load needs.
pub(crate) fn ready(
    node: &Node,
    workload: Workload,
    files: &GenesisFiles,
    senders: &Senders,
    places: &Places<'_>,
) -> Result<Ready> {
    let all = senders.all();
    let running = node.start(files, &all, places.peers, places.scratch)?;
    let mut client = Client::new(running.addr);
    let prepared = workload.prepare(&mut client, genesis::CHAIN_ID, &all)?;
    Ok(Ready { running, client, prepared })
}

/// One throughput run; with `half_load` the waiting times at half of that throughput after it.
pub(crate) fn run(
    ready: &mut Ready,
    senders: &Senders,
    shape: Shape,
    amount: Amount,
    half_load: bool,
) -> Result<Run> {
    let Ready { running, client, prepared } = ready;
    let load_average = process::load_average();
    let txs = prepared.sign(&senders.load, 0, amount.txs);
    let requests = drive::prebuild(running.addr, &txs, shape.batch);
    let watch = Watch::start(running.addr, running.own_txs_per_block)?;

    let (node_cpu, own_cpu) = cpu(running)?;
    let begun = Instant::now();
    let sent = drive::closed_loop(running.addr, &requests, shape.connections, amount.time, &watch);
    let own_cpu_after = process::cpu_time(std::process::id())?;
    let last = watch.wait_for(sent.accepted, || process::cpu_time(running.pid()))?;
    let (node_cpu_after, _) = cpu(running)?;
    drop(requests);

    let included = watch.included();
    ensure!(
        included > 0,
        "nothing was included of {} accepted; refused: {:?}",
        sent.accepted,
        sent.refused
    );
    let lasted = last.map_or(sent.lasted, |last| last - begun);
    let micros = |time: Duration, count: u64| time.as_secs_f64() * 1e6 / count.max(1) as f64;
    let mut outcome = Run {
        tps: included as f64 / lasted.as_secs_f64(),
        sent_per_s: sent.accepted as f64 / sent.lasted.as_secs_f64(),
        node_cpu_us: micros(node_cpu_after.saturating_sub(node_cpu), included),
        generator_cpu_us: micros(own_cpu_after.saturating_sub(own_cpu), sent.accepted),
        peak_mib: process::peak_memory_mib(running.pid())?,
        accepted: sent.accepted,
        included,
        refused: sent.refused,
        ready_s: running.ready_after.as_secs_f64(),
        load_average,
        latency: None,
    };
    let complete = outcome.refused.is_empty() && included == sent.accepted;
    if complete {
        let used = usize::try_from(included).unwrap_or(usize::MAX).min(txs.len());
        let step = (used / CHECKED).max(1);
        let hashes: Vec<B256> = txs[..used].iter().step_by(step).map(|tx| tx.hash).collect();
        workload::check_sample(client, &hashes)?;
    }
    drop(txs);
    if half_load && complete {
        let used = usize::try_from(included).unwrap_or(usize::MAX);
        outcome.latency = Some(measure_latency(
            running,
            prepared,
            senders,
            shape.connections,
            outcome.tps / 2.0,
            used,
            &watch,
        )?);
    }
    Ok(outcome)
}

fn measure_latency(
    running: &Running,
    prepared: &Prepared,
    senders: &Senders,
    connections: usize,
    rate: f64,
    used: usize,
    watch: &Watch,
) -> Result<Latency> {
    let needed = (rate * (latency::DURATION.as_secs_f64() + 2.0)) as usize;
    let txs = prepared.sign(&senders.load, used, needed);
    let background = drive::prebuild(running.addr, &txs, 1);
    let count = latency::samples_per_sampler();
    let samples = latency::samples_of(
        |sender, count| prepared.sign(sender, 0, count),
        &senders.samplers,
        count,
    );
    latency::measure(running.addr, rate, &background, connections, &samples, watch)
}

fn cpu(running: &Running) -> Result<(Duration, Duration)> {
    Ok((process::cpu_time(running.pid())?, process::cpu_time(std::process::id())?))
}

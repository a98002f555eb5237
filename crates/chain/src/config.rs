//! Settings of a node.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

/// Where the node listens unless told otherwise.
const DEFAULT_RPC_ADDR: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8545);

/// About two and a quarter hours of one-second blocks.
const DEFAULT_HISTORY_BLOCKS: u64 = 8192;

/// One hour of one-second blocks.
const DEFAULT_SNAPSHOT_BLOCKS: u64 = 3600;
/// Enough for the default number of blocks at a few hundred transactions each.
const DEFAULT_HISTORY_BYTES: u64 = 1 << 30;
/// What one block holds by default; tools ask for no more.
const DEFAULT_CALL_GAS_MAX: u64 = 60_000_000;

/// As geth's.
const DEFAULT_CALL_TIME_MAX_MS: u64 = 5_000;

/// Settings of a node. Each has a default, so that `Config::new(dir)` is enough.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the chain lives. Created if absent; one node at a time. Default: `openledger-chain` in
    /// the working directory.
    pub data_dir: PathBuf,
    /// Address of the JSON-RPC server, HTTP and WebSocket on one port. Port 0 takes any free port.
    /// Default: 127.0.0.1:8545.
    pub rpc_addr: SocketAddr,
    /// When blocks are made. Default: every second.
    pub block_production: BlockProduction,
    /// How many past states `eth_call`, `eth_getBalance`, `eth_getProof` and the like can see.
    /// Blocks, receipts and logs are kept for ever. Default: 8192.
    pub history_blocks: u64,
    /// Memory that past states may take beside the latest, in bytes, by estimate. Under heavy load it
    /// is this that bounds how far back they reach. Default: 1 GiB.
    pub history_bytes: u64,
    /// What an acknowledged transaction survives at once. Default: the end of the process.
    pub journal_sync: JournalSync,
    /// A development chain: methods that exist for development only are answered, and pages of any
    /// origin may call unless `cors_origins` lists some. Default: false.
    pub dev: bool,
    /// Lets a development chain listen on an address that other machines reach, although everybody
    /// has its keys. Default: false.
    pub dev_public: bool,
    /// Names, beside localhost and every IP address, that requests may call the RPC server and the
    /// metrics by: host names without a port, or `*` for any. Others are refused with status 403, so
    /// that no web page reaches the node through a name of its own (DNS rebinding). Default: none.
    pub allowed_hosts: Vec<String>,
    /// Origins whose pages may call from a browser, such as `https://app.example`, or `*` for any.
    /// Default: none; on a development chain any.
    pub cors_origins: Vec<String>,
    /// Address of `/metrics` (Prometheus), `/health` and `/ready`. Port 0 takes any free port.
    /// Default: absent, and not served.
    pub metrics_addr: Option<SocketAddr>,
    /// Gas that one `eth_call` may use, that an estimate may return, and that all the calls of one
    /// `eth_simulateV1` may use together. Default: 60,000,000.
    pub call_gas_max: u64,
    /// How long one call, trace or simulation may take, in milliseconds. Default: 5000.
    pub call_time_max_ms: u64,
    /// Whether `admin_*` methods are answered, which stop and start block production. Whoever reaches
    /// the RPC address may use them, so only where that is this machine alone. Default: false.
    pub admin_rpc: bool,
    /// After how many blocks the state is written to a file of its own, from which the next start goes
    /// on; sooner when the block log has grown by 256 MiB. Default: 3600.
    pub snapshot_blocks: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self::new("openledger-chain")
    }
}

impl Config {
    /// The defaults, on `data_dir`.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            rpc_addr: DEFAULT_RPC_ADDR,
            block_production: BlockProduction::default(),
            history_blocks: DEFAULT_HISTORY_BLOCKS,
            history_bytes: DEFAULT_HISTORY_BYTES,
            journal_sync: JournalSync::default(),
            dev: false,
            dev_public: false,
            allowed_hosts: Vec::new(),
            cors_origins: Vec::new(),
            metrics_addr: None,
            call_gas_max: DEFAULT_CALL_GAS_MAX,
            call_time_max_ms: DEFAULT_CALL_TIME_MAX_MS,
            admin_rpc: false,
            snapshot_blocks: DEFAULT_SNAPSHOT_BLOCKS,
        }
    }
}

/// When blocks are made. A block's timestamp is its parent's plus one second in every mode, as
/// derivation from L1 demands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BlockProduction {
    /// When the wall clock reaches the block's timestamp. After a pause (the node was off, the
    /// machine asleep) the missed seconds are filled with empty blocks as fast as they can be made,
    /// so that chain time is wall-clock time again before users' transactions are included.
    #[default]
    EverySecond,
    /// The same, and at once whenever a transaction arrives. Chain time then runs ahead of the wall
    /// clock, which an L1 would not accept: for tests and demonstrations only.
    OnTransaction,
    /// Only when [`Handle::mine_block`](crate::Handle::mine_block) is called. Transactions run then too,
    /// so nothing is pre-confirmed.
    Manual,
}

/// When a transaction may be acknowledged that is not in a block yet. Blocks are always synced before
/// they are announced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JournalSync {
    /// When the journal is written: it survives `kill -9` at once, and a power cut as soon as the
    /// journal is synced, 50 ms later at most.
    #[default]
    Background,
    /// When the journal is synced: it survives a power cut too. Acknowledgements then wait for the
    /// disk, several together.
    BeforeAcknowledging,
}

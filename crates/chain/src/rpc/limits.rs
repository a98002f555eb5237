//! Every limit of the JSON-RPC server, by name.

use std::time::Duration;

/// Bytes of a request. A transaction has at most 128 KiB, twice that in hexadecimal.
pub(super) const BODY_BYTES_MAX: u32 = 5 << 20;
/// Bytes of a response.
pub(super) const RESPONSE_BYTES_MAX: u32 = 64 << 20;
/// Requests in one batch.
pub(super) const BATCH_MAX: u32 = 1_000;
/// Open connections.
pub(super) const CONNECTIONS_MAX: u32 = 1_024;
/// Subscriptions of one connection.
pub(super) const SUBSCRIPTIONS_PER_CONNECTION_MAX: u32 = 1_024;
/// Messages that may wait for a slow connection.
pub(super) const MESSAGES_PER_CONNECTION_MAX: u32 = 1_024;

/// Blocks that one log query may span.
pub(super) const LOG_BLOCKS_MAX: u64 = 100_000;
/// Logs that one query returns.
pub(super) const LOGS_MAX: usize = 20_000;
/// Addresses, or alternatives of one topic, in a log query.
pub(super) const FILTER_ALTERNATIVES_MAX: usize = 1_000;
/// Filters that are installed at once.
pub(super) const FILTERS_MAX: usize = 1_024;
/// An installed filter that nobody asks for this long is removed.
pub(super) const FILTER_IDLE_MAX: Duration = Duration::from_secs(300);

/// Calls and estimates that run at once; more are refused at once.
pub(super) const CALLS_AT_ONCE_MAX: usize = 64;
/// Traces that run at once; more are refused at once. Each may hold [`TRACE_BYTES_MAX`] in memory,
/// several times over.
pub(super) const TRACES_AT_ONCE_MAX: usize = 4;
/// Bytes of one trace, of a block's traces together, or of a simulation.
pub(super) const TRACE_BYTES_MAX: usize = 48 << 20;
/// Blocks that one `trace_filter` may span.
pub(super) const TRACE_BLOCKS_MAX: u64 = 1_000;
/// Blocks of one simulation, counting those that fill gaps between their numbers.
pub(super) const SIMULATED_BLOCKS_MAX: usize = 256;
/// Calls of one simulation.
pub(super) const SIMULATED_CALLS_MAX: usize = 10_000;
/// Bytes of the pool's content.
pub(super) const POOL_CONTENT_BYTES_MAX: usize = 60 << 20;
/// Accounts that a call may override.
pub(super) const OVERRIDES_MAX: usize = 1_000;
/// Block hashes that a call may override.
pub(super) const BLOCK_HASHES_MAX: usize = 1_000;
/// How often the access list of a call is tried with what the last try touched.
pub(super) const ACCESS_LIST_TRIES_MAX: usize = 16;
/// Storage slots in one proof request.
pub(super) const PROOF_SLOTS_MAX: usize = 1_024;
/// Storage slots in one `eth_getStorageValues`, all accounts together.
pub(super) const STORAGE_VALUES_MAX: usize = 1_024;
/// Blocks in one fee history.
pub(super) const FEE_HISTORY_BLOCKS_MAX: u64 = 1_024;
/// Percentiles in one fee history.
pub(super) const FEE_PERCENTILES_MAX: usize = 100;

/// How long `eth_sendRawTransactionSync` waits unless told otherwise.
pub(super) const SEND_SYNC_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest that it waits.
pub(super) const SEND_SYNC_TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// Blocks that a development chain makes at one request.
pub(super) const DEV_BLOCKS_MAX: u64 = 10_000;
/// Snapshots that a development chain remembers.
pub(super) const DEV_SNAPSHOTS_MAX: usize = 10_000;

//! What can go wrong with a node as a whole.

use std::{io, net::SocketAddr, path::PathBuf};

use alloy_primitives::B256;

/// Why a node could not start, or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another program listens on the RPC or the metrics address.
    #[error("{addr} is already in use: stop the other program or choose another address")]
    PortInUse {
        /// The address that was asked for.
        addr: SocketAddr,
    },
    /// An address could not be bound for another reason.
    #[error("cannot listen on {addr}: {source}")]
    Listen {
        /// The address that was asked for.
        addr: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// Another node runs on this data directory.
    #[error("{} is in use by another node{}: stop it or choose another data directory",
        path.display(), pid.map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    DataDirLocked {
        /// The data directory.
        path: PathBuf,
        /// The other node's process, where it could be read.
        pid: Option<u32>,
    },
    /// The data directory holds a chain with another id.
    #[error("{} holds chain {found}, not chain {expected}: choose another data directory",
        path.display())]
    ChainIdMismatch {
        /// The data directory.
        path: PathBuf,
        /// The chain id of the given genesis.
        expected: u64,
        /// The chain id of the stored genesis.
        found: u64,
    },
    /// The data directory holds a chain that began with another genesis block.
    #[error("{} holds a chain with genesis {found}, but the given genesis is {expected}: \
        choose another data directory, or the genesis that this one was made with",
        path.display())]
    GenesisMismatch {
        /// The data directory.
        path: PathBuf,
        /// Hash of the given genesis block.
        expected: B256,
        /// Hash of the stored genesis block.
        found: B256,
    },
    /// The data was written by a newer release.
    #[error("{} has format version {found}, this release reads up to {supported}: \
        use the release that wrote it, or a newer one", path.display())]
    FormatTooNew {
        /// The file.
        path: PathBuf,
        /// Its format version.
        found: u32,
        /// The newest version that this release reads.
        supported: u32,
    },
    /// The data was written before the format that this release reads.
    #[error("{} has format version {found}, this release reads {supported} only: \
        use the release that wrote it, or start with an empty data directory", path.display())]
    FormatTooOld {
        /// The file.
        path: PathBuf,
        /// Its format version.
        found: u32,
        /// The version that this release reads.
        supported: u32,
    },
    /// The block log is damaged in a place that a crash cannot explain.
    #[error("{} is damaged at byte {offset}: {reason}. Restore it from a backup; nothing was changed",
        path.display())]
    LogDamaged {
        /// The file.
        path: PathBuf,
        /// Where the damaged record begins.
        offset: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// A file could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// A setting has a value that it cannot have.
    #[error("invalid configuration: {0}")]
    InvalidConfig(String),
    /// A development chain would be open to other machines.
    #[error(
        "{addr} can be reached from other machines, and everybody has the keys of a development \
        chain: listen on 127.0.0.1, or allow it with the setting dev_public"
    )]
    DevOnPublicAddress {
        /// The RPC address that was asked for.
        addr: SocketAddr,
    },
    /// The genesis cannot begin a chain.
    #[error("invalid genesis: {0}")]
    InvalidGenesis(String),
    /// A block could not be executed; the chain stopped before it.
    #[error("block {number} could not be executed: {reason}")]
    Execution {
        /// The block that was being built.
        number: u64,
        /// Why it failed.
        reason: String,
    },
    /// The node stopped because it could not go on.
    #[error("the node has stopped: {0}")]
    Fault(std::sync::Arc<Error>),
    /// The node has stopped.
    #[error("the node has stopped")]
    Stopped,
    /// A thread of the node ended in a way it must not.
    #[error("the node failed: {0}")]
    Internal(String),
}

impl Error {
    /// Adds what was tried, and on which file, to an input/output error.
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, action, source }
    }
}

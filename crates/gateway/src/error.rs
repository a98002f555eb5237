use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// What can go wrong outside of one request.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The chain could not be reached or answered nonsense.
    #[error("the chain at {url} did not answer: {cause}")]
    Chain {
        /// JSON-RPC URL.
        url: String,
        /// What the client saw.
        cause: String,
    },
    /// The node serves another chain.
    #[error("{url} serves chain {found}, not chain {expected}")]
    WrongChain {
        /// JSON-RPC URL.
        url: String,
        /// Chain we were set up for.
        expected: u64,
        /// Chain the node serves.
        found: u64,
    },
    /// A transaction reverted.
    #[error("{action} was refused by the contract: {reason}")]
    Reverted {
        /// What the transaction was to do.
        action: &'static str,
        /// Decoded error, or the raw one.
        reason: String,
    },
    /// The database failed.
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
    /// The database could not be brought up to date.
    #[error("the database could not be brought up to date: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// A file or row does not hold what we wrote.
    #[error("stored data is damaged: {0}")]
    Corrupt(String),
    /// A file operation failed.
    #[error("cannot {action} {}: {cause}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        cause: std::io::Error,
    },
    /// Somebody else listens on the address.
    #[error("{0} is already in use")]
    PortInUse(SocketAddr),
    /// The address cannot be listened on.
    #[error("cannot listen on {addr}: {cause}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// Why not.
        cause: std::io::Error,
    },
    /// More contributors than one version of a Datanet holds.
    #[error("{found} contributors: one version of a Datanet holds {max}; make several of it")]
    TooManyContributors {
        /// In the Datanet.
        found: usize,
        /// [`crate::CONTRIBUTORS_MAX`].
        max: usize,
    },
    /// The name belongs to a model with other adapters.
    #[error("the name {0:?} is registered to another model")]
    NameTaken(String),
    /// A record does not fit the model's context.
    #[error(
        "record {record} has {tokens} tokens, more than the {max} the recipe allows; shorten it"
    )]
    RecordTooLong {
        /// Index of the record.
        record: usize,
        /// Its tokens.
        tokens: usize,
        /// Most tokens of a record.
        max: usize,
    },
    /// The model side failed.
    #[error(transparent)]
    Model(#[from] openledger_model::Error),
    /// Text could not be tokenised.
    #[error(transparent)]
    Text(#[from] openledger_model::TextError),
    /// Training failed.
    #[error(transparent)]
    Factory(#[from] openledger_factory::TrainError),
    /// The Datanet is not usable.
    #[error(transparent)]
    Datanet(#[from] openledger_datanet::Error),
    /// Attribution failed.
    #[error(transparent)]
    Attribution(#[from] openledger_attribution::Error),
    /// The serving engine failed.
    #[error(transparent)]
    Engine(#[from] openledger_openlora::Error),
    /// What was to be audited is not there, or not what it claims to be.
    #[error("{0}")]
    Audit(String),
    /// A signature could not be made.
    #[error("signing failed: {0}")]
    Signing(String),
}

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path, cause: std::io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), cause }
    }
}

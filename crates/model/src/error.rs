//! What can go wrong with a model.

use crate::TextError;
use std::path::PathBuf;

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Text could not be turned into tokens or back.
    #[error(transparent)]
    Text(#[from] TextError),
    /// `config.json` describes a model that this decoder does not run.
    #[error("this model cannot be run: {0}")]
    Config(String),
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is larger than we read.
    #[error("{path} has {bytes} bytes, more than the {max} that are read")]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// A weight file does not hold what the config says.
    #[error("weights do not fit the config: {0}")]
    Weights(String),
    /// An adapter cannot be used with this base.
    #[error("this adapter cannot be used: {0}")]
    Adapter(String),
    /// A request does not fit the model.
    #[error("this request cannot be run: {0}")]
    Request(String),
}

impl Error {
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}

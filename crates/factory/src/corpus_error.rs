//! What can go wrong on the way from data files to training tokens.

use std::path::{Path, PathBuf};

use openledger_model::TextError;

/// Failures of reading a base model's recipe and its text.
#[derive(Debug, thiserror::Error)]
pub enum CorpusError {
    /// A file could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A file could not be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A file is not what its recipe says.
    #[error("{path}: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        reason: String,
    },
    /// A data file is not the one the recipe was written for.
    #[error(
        "{path} has SHA-256 {found}, the recipe was written for {expected}; \
         restore the file, or write a new recipe for a new model"
    )]
    OtherData {
        /// The file.
        path: PathBuf,
        /// Digest in the recipe.
        expected: String,
        /// Digest of the file.
        found: String,
    },
    /// Tokens are stored in 16 bits.
    #[error("token {0} does not fit in 16 bits; use a vocabulary of at most 65,536 tokens")]
    WideToken(u32),
    /// The tokenizer or the chat template failed.
    #[error(transparent)]
    Text(#[from] TextError),
}

impl CorpusError {
    pub(crate) fn read(path: &Path, source: std::io::Error) -> Self {
        Self::Read { path: path.to_owned(), source }
    }

    pub(crate) fn malformed(path: &Path, reason: impl std::fmt::Display) -> Self {
        Self::Malformed { path: path.to_owned(), reason: reason.to_string() }
    }
}

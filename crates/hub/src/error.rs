//! What can go wrong between a name and a folder. Every message ends with what to do.

use crate::HubName;
use std::path::PathBuf;

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither a folder nor a name.
    #[error("there is no folder {0:?}, and it is not a name like org/name or org/name@revision")]
    NoName(String),
    /// No variable says where the cache is.
    #[error(
        "there is no folder {0}, and no cache to look in: HF_HUB_CACHE, HF_HOME and HOME are not set; set one, or \
         give the path of a folder"
    )]
    NoCache(HubName),
    /// It is not in the cache, and no request may be made.
    #[error(
        "{name} is not complete in the cache: there is no {lacks}. HF_HUB_OFFLINE is set, so nothing is asked for: unset \
         it, run `{}` where there is a network and copy the cache, or give the path of a folder", name.command()
    )]
    Offline {
        /// What was asked for.
        name: HubName,
        /// The first file that is missing.
        lacks: PathBuf,
    },
    /// The Hub does not answer.
    #[error(
        "{name} is not in the cache, and {endpoint} cannot be reached: {why}. Without a network run `{}` elsewhere and \
         copy the cache, set HF_ENDPOINT to a mirror, or give the path of a folder", name.command()
    )]
    Unreachable {
        /// What was asked for.
        name: HubName,
        /// Who was asked.
        endpoint: String,
        /// What the connection said.
        why: String,
    },
    /// 401 or 403: private, gated, or not there at all, which the Hub does not tell apart.
    #[error(
        "{endpoint} does not give {name} {} (status {status}): check the name; if it is private or gated, accept its \
         conditions on its page and set HF_TOKEN to a token that may read it",
        if *.token { "for the token that was sent" } else { "without a token" }
    )]
    Refused {
        /// What was asked for.
        name: HubName,
        /// Who was asked.
        endpoint: String,
        /// The answer.
        status: u16,
        /// Whether a token was sent.
        token: bool,
    },
    /// Another answer than the file.
    #[error("{endpoint} has no {what} of {name} (status {status}): {}",
        if *.status == 404 { "check the name and the revision" } else { "try again later, or set HF_ENDPOINT to a mirror" }
    )]
    Status {
        /// What was asked for.
        name: HubName,
        /// Who was asked.
        endpoint: String,
        /// `list of files`, or the file.
        what: String,
        /// The answer.
        status: u16,
    },
    /// The repository lacks a file that is needed.
    #[error(
        "{name} has no {file}, without which it cannot be used here; name another model or revision"
    )]
    NoFile {
        /// What was asked for.
        name: HubName,
        /// The file.
        file: String,
    },
    /// A file is larger than what is read.
    #[error(
        "{file} of {name} has {bytes} bytes, more than the {max} that are read; nothing was fetched"
    )]
    TooLarge {
        /// What was asked for.
        name: HubName,
        /// The file.
        file: String,
        /// Its size.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// The connection ended within a file.
    #[error(
        "{file} of {name} came only in part: {why}. What came is kept; run the command again to go on"
    )]
    Interrupted {
        /// What was asked for.
        name: HubName,
        /// The file.
        file: String,
        /// What the connection said.
        why: String,
    },
    /// A whole file came, and it is not the one that was announced.
    #[error(
        "{file} of {name} is not what was announced: {why}. It was thrown away; run the command again, or fetch it with \
         `{}`", name.command()
    )]
    Damaged {
        /// What was asked for.
        name: HubName,
        /// The file.
        file: String,
        /// The difference.
        why: String,
    },
    /// The answer is none of the Hub's.
    #[error("{endpoint} does not answer as a Hub: {why}; check HF_ENDPOINT")]
    NoHub {
        /// Who was asked.
        endpoint: String,
        /// What is wrong with the answer.
        why: String,
    },
    /// A file of the cache could not be read or written.
    #[error(
        "{path}: {source}; check that the cache can be written and has room, or set HF_HUB_CACHE to another place"
    )]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl Error {
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}

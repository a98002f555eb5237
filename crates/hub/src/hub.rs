//! Where models are looked for, and the way from a name to a folder.

use crate::cache::{CachedRepository, first_missing};
use crate::fetch::Fetch;
use crate::{Content, Error, HubName};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where Hugging Face's tools ask if no variable says otherwise.
const ENDPOINT: &str = "https://huggingface.co";
/// How long a connection may bring nothing.
const PATIENCE: Duration = Duration::from_secs(60);
/// What turns a variable on.
const YES: [&str; 4] = ["1", "true", "yes", "on"];

/// A Hub and the cache of what came from it.
#[derive(Debug, Clone)]
pub struct Hub {
    pub(crate) cache: Option<PathBuf>,
    pub(crate) endpoint: String,
    pub(crate) token: Option<String>,
    pub(crate) offline: bool,
    pub(crate) patience: Duration,
}

/// What goes on while a model is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// Another process fetches the same; it is waited for.
    Waiting,
    /// So much will be fetched.
    Begin {
        /// What.
        name: &'a HubName,
        /// From where.
        endpoint: &'a str,
        /// Files that are not in the cache.
        files: usize,
        /// Their bytes.
        bytes: u64,
    },
    /// So many more bytes are here.
    Bytes(u64),
    /// A file is whole and checked.
    File {
        /// Its name.
        file: &'a str,
        /// Its size.
        bytes: u64,
    },
}

impl Hub {
    /// As the variables of Hugging Face's tools say: `HF_HUB_CACHE` or `HF_HOME`, `HF_ENDPOINT`, `HF_TOKEN` or the file
    /// that their login writes, `HF_HUB_OFFLINE`.
    pub fn from_environment(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let path = |name: &str| set(name).map(PathBuf::from);
        let text = |name: &str| set(name).and_then(|value| value.into_string().ok());
        let home = path("HF_HOME").or_else(|| Some(path("HOME")?.join(".cache/huggingface")));
        let token_file = path("HF_TOKEN_PATH").or_else(|| Some(home.as_ref()?.join("token")));
        let kept = || std::fs::read_to_string(token_file?).ok();
        let token = text("HF_TOKEN").or_else(kept).map(|token| token.trim().to_owned());
        let endpoint = text("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned());
        Self {
            cache: path("HF_HUB_CACHE").or_else(|| Some(home?.join("hub"))),
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            token: token.filter(|token| !token.is_empty()),
            offline: text("HF_HUB_OFFLINE")
                .is_some_and(|value| YES.contains(&value.to_lowercase().as_str())),
            patience: PATIENCE,
        }
    }

    /// Gives up a connection that brings nothing for so long.
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// The folder of a model or adapter: `model` itself where that is a folder, otherwise `org/name[@revision]` in the
    /// cache, fetched first if it is not complete there. Blocks.
    ///
    /// Errors: whatever is missing or refused, with what to do about it. What came before an error is kept and not
    /// fetched again.
    pub fn folder(
        &self,
        model: &str,
        content: Content,
        tell: &mut dyn FnMut(Event<'_>),
    ) -> Result<PathBuf, Error> {
        let path = Path::new(model);
        if path.is_dir() {
            return Ok(path.to_owned());
        }
        let name = HubName::parse(model).ok_or_else(|| Error::NoName(model.to_owned()))?;
        let Some(cache) = &self.cache else { return Err(Error::NoCache(name)) };
        let cached = CachedRepository::of(cache, &name);
        let snapshot = cached.snapshot_of(&name.revision);
        let Some(lacks) = first_missing(&snapshot, content) else { return Ok(snapshot) };
        if self.offline {
            return Err(Error::Offline { name, lacks });
        }
        Fetch::new(self, &name, cached)?.run(content, tell)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(set: &[(&str, &str)]) -> Hub {
        Hub::from_environment(|name| {
            set.iter().find(|(n, _)| *n == name).map(|(_, value)| value.into())
        })
    }

    #[test]
    fn the_cache_is_where_the_variables_of_hugging_face_say() {
        let cache = |set| hub(set).cache;
        assert_eq!(cache(&[]), None);
        assert_eq!(cache(&[("HOME", "h")]), Some("h/.cache/huggingface/hub".into()));
        assert_eq!(cache(&[("HOME", "h"), ("HF_HOME", "f")]), Some("f/hub".into()));
        assert_eq!(cache(&[("HF_HUB_CACHE", "c"), ("HF_HOME", "f")]), Some("c".into()));
    }

    #[test]
    fn endpoint_token_and_offline_are_read_as_hugging_faces_tools_read_them() {
        let home = tempfile::tempdir().expect("a folder");
        std::fs::write(home.path().join("token"), "kept\n").expect("written");
        let home = home.path().to_str().expect("text");
        let plain = hub(&[("HF_HOME", home)]);
        assert_eq!(plain.token.as_deref(), Some("kept"));
        assert_eq!((plain.endpoint.as_str(), plain.offline), (ENDPOINT, false));
        let all = [
            ("HF_HOME", home),
            ("HF_TOKEN", "given"),
            ("HF_ENDPOINT", "http://m/"),
            ("HF_HUB_OFFLINE", "True"),
        ];
        let all = hub(&all);
        assert_eq!(all.token.as_deref(), Some("given"));
        assert_eq!((all.endpoint.as_str(), all.offline), ("http://m", true));
        assert_eq!(hub(&[("HF_HUB_OFFLINE", "0")]).token, None);
        assert!(!hub(&[("HF_HUB_OFFLINE", "0")]).offline);
    }
}

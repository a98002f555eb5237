//! Which files of a repository are read here, and how large each may be.

use crate::repository::RemoteFile;
use openledger_model::{
    ADAPTER_BYTES_MAX, ADAPTER_CONFIG_BYTES_MAX, CONFIG_BYTES_MAX, SHARDS_MAX, TEMPLATE_BYTES_MAX,
    TOKENIZER_BYTES_MAX, TOKENIZER_CONFIG_BYTES_MAX, WEIGHT_BYTES_MAX, WEIGHT_FILE,
    WEIGHT_INDEX_BYTES_MAX, WEIGHT_INDEX_FILE,
};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// What a folder holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// A model with its tokenizer and chat template.
    Base,
    /// A PEFT adapter.
    Adapter,
}

/// A file that is read here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) name: &'static str,
    pub(crate) needed: bool,
    pub(crate) bytes_max: u64,
}

const fn needed(name: &'static str, bytes_max: u64) -> Wanted {
    Wanted { name, needed: true, bytes_max }
}

const fn welcome(name: &'static str, bytes_max: u64) -> Wanted {
    Wanted { name, needed: false, bytes_max }
}

impl Content {
    /// Its files besides the weights of a base. Those that may be absent come first, so that a folder with all
    /// that is needed has them too.
    pub(crate) fn files(self) -> &'static [Wanted] {
        const BASE: &[Wanted] = &[
            welcome("chat_template.jinja", TEMPLATE_BYTES_MAX),
            welcome("tokenizer_config.json", TOKENIZER_CONFIG_BYTES_MAX),
            needed("config.json", CONFIG_BYTES_MAX),
            needed("tokenizer.json", TOKENIZER_BYTES_MAX),
        ];
        const ADAPTER: &[Wanted] = &[
            needed("adapter_config.json", ADAPTER_CONFIG_BYTES_MAX),
            needed("adapter_model.safetensors", ADAPTER_BYTES_MAX),
        ];
        match self {
            Self::Base => BASE,
            Self::Adapter => ADAPTER,
        }
    }
}

/// How the weights of a base are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WeightsIn {
    OneFile,
    Shards,
}

impl WeightsIn {
    /// As the loader chooses: one file where there is one. `None` if there is neither.
    pub(crate) fn of(has: impl Fn(&str) -> bool) -> Option<Self> {
        if has(WEIGHT_FILE) {
            return Some(Self::OneFile);
        }
        has(WEIGHT_INDEX_FILE).then_some(Self::Shards)
    }

    /// The file that says so.
    pub(crate) fn first_file(self) -> Wanted {
        match self {
            Self::OneFile => needed(WEIGHT_FILE, WEIGHT_BYTES_MAX),
            Self::Shards => needed(WEIGHT_INDEX_FILE, WEIGHT_INDEX_BYTES_MAX),
        }
    }
}

/// The files that an index names. Errors say what is wrong with it.
pub(crate) fn shards(index: &[u8]) -> Result<BTreeSet<String>, String> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let index: Index = serde_json::from_slice(index).map_err(|error| error.to_string())?;
    let names: BTreeSet<String> = index.weight_map.into_values().collect();
    if names.is_empty() || names.len() > SHARDS_MAX {
        return Err(format!("it names {} files, 1 to {SHARDS_MAX} are read", names.len()));
    }
    let plain = |name: &str| crate::name::is_name(name) && name.ends_with(".safetensors");
    match names.iter().find(|name| !plain(name)) {
        Some(name) => Err(format!("{name:?} is not the name of a weight file beside it")),
        None => Ok(names),
    }
}

/// Errors: the size, if it is more than is read.
pub(crate) fn check_size(file: &RemoteFile, bytes_max: u64) -> Result<(), u64> {
    file.bytes.filter(|bytes| *bytes > bytes_max).map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_names_files_beside_it_alone() {
        let index =
            |file: &str| format!(r#"{{"weight_map": {{"a": "{file}", "b": "x.safetensors"}}}}"#);
        assert_eq!(shards(index("y.safetensors").as_bytes()).expect("two").len(), 2);
        for bad in ["../y.safetensors", "d/y.safetensors", "y.bin", ".y.safetensors"] {
            assert!(shards(index(bad).as_bytes()).expect_err(bad).contains("beside it"));
        }
        assert!(shards(br#"{"weight_map": {}}"#).expect_err("empty").contains("0 files"));
    }
}

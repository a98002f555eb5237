//! TrieTests: the root of a trie after a list of changes.

use alloy_primitives::{B256, hex};
use openledger_chain::conformance::HashedTrie;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    Case,
    verdict::{Failure, same},
};

#[derive(Deserialize)]
pub(super) struct TrieTest {
    #[serde(rename = "in")]
    changes: Value,
    root: Option<B256>,
}

pub(super) fn cases(file: &str, name: &str, test: TrieTest) -> Vec<Case> {
    vec![Case::run(name, || check(file, test))]
}

fn check(file: &str, test: TrieTest) -> Result<(), Failure> {
    if !file.to_lowercase().contains("secure") {
        return Err(Failure::NotSupported(
            "keys of unequal length: the state trie's keys are 32-byte hashes, so it has no values \
             in branches and no order of unhashed keys"
                .to_owned(),
        ));
    }
    let changes: Vec<(String, Option<String>)> = match test.changes {
        Value::Object(entries) => entries
            .into_iter()
            .map(|(key, value)| (key, value.as_str().map(ToOwned::to_owned)))
            .collect(),
        list => serde_json::from_value(list).map_err(|error| error.to_string())?,
    };
    let mut trie = HashedTrie::default();
    for (key, value) in changes {
        match value {
            Some(value) => trie.insert(&bytes(&key)?, bytes(&value)?),
            None => trie.remove(&bytes(&key)?),
        }
    }
    same("root", &trie.root(), &test.root.ok_or("the fixture names no root")?)
}

/// Hex where it begins with `0x`, else the text itself.
fn bytes(text: &str) -> Result<Vec<u8>, String> {
    match text.strip_prefix("0x") {
        Some(digits) => hex::decode(digits).map_err(|error| format!("{text}: {error}")),
        None => Ok(text.as_bytes().to_vec()),
    }
}

//! The suites: where their files are, and how a file becomes cases.

mod blockchain;
mod difficulty;
mod rlp;
mod rpc;
mod state;
mod transaction;
mod trie;

use std::{collections::BTreeMap, path::Path, str::FromStr};

use serde::de::DeserializeOwned;

use self::rpc::Replay;
use crate::{Case, Verdict, verdict::Failure};

/// A set of fixtures with one format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// Roots of tries over hashed keys.
    Trie,
    /// RLP items, good and bad.
    Rlp,
    /// Transactions, good and bad, under every fork.
    Transactions,
    /// The difficulty of proof-of-work blocks.
    Difficulty,
    /// One transaction on one state.
    State,
    /// Chains of blocks, good and bad.
    Blockchain,
    /// JSON-RPC requests and their answers over an imported chain.
    Rpc,
}

impl Suite {
    /// Every suite, the quick ones first.
    pub const ALL: [Self; 7] = [
        Self::Trie,
        Self::Rlp,
        Self::Transactions,
        Self::Difficulty,
        Self::State,
        Self::Blockchain,
        Self::Rpc,
    ];

    /// The name by which `--suite` asks for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Trie => "trie",
            Self::Rlp => "rlp",
            Self::Transactions => "transactions",
            Self::Difficulty => "difficulty",
            Self::State => "state",
            Self::Blockchain => "blockchain",
            Self::Rpc => "rpc",
        }
    }

    /// Where its files are, below the fixtures' folder.
    pub(crate) fn folders(self) -> &'static [&'static str] {
        match self {
            Self::Trie => &["tests/TrieTests"],
            Self::Rlp => &["tests/RLPTests"],
            Self::Transactions => &["tests/TransactionTests"],
            Self::Difficulty => &["tests/DifficultyTests"],
            Self::State => &[
                "tests/GeneralStateTests",
                "tests/EIPTests/StateTests",
                "legacytests/Cancun/GeneralStateTests",
                "legacytests/Constantinople/GeneralStateTests",
            ],
            Self::Blockchain => &[
                "tests/BlockchainTests",
                "tests/EIPTests/BlockchainTests",
                "legacytests/Cancun/BlockchainTests",
                "legacytests/Constantinople/BlockchainTests",
            ],
            Self::Rpc => &["execution-apis/tests"],
        }
    }

    pub(crate) fn extension(self) -> &'static str {
        if self == Self::Rpc { "io" } else { "json" }
    }

    /// Whether one file may see what an earlier one did, so that they must run in order.
    pub(crate) fn is_ordered(self) -> bool {
        self == Self::Rpc
    }

    /// What is shared by all files of the suite.
    pub(crate) fn prepare(self, root: &Path) -> Prepared {
        let folder = || root.join(self.folders()[0]);
        let replay = (self == Self::Rpc).then(|| Replay::new(&folder()));
        Prepared { suite: self, replay }
    }
}

impl FromStr for Suite {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|suite| suite.name() == name).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|suite| suite.name()).collect();
            format!("there is no suite {name}: choose from {}", names.join(", "))
        })
    }
}

/// A suite that is ready to take files.
pub(crate) struct Prepared {
    suite: Suite,
    /// The imported chain, where the suite has one.
    replay: Option<Result<Replay, String>>,
}

impl Prepared {
    /// Runs every case of one file.
    pub(crate) fn cases(&self, file: &str, text: &str) -> Vec<Case> {
        match self.suite {
            Suite::Trie => each(text, |name, test| trie::cases(file, name, test)),
            Suite::Rlp => each(text, rlp::cases),
            Suite::Transactions => each(text, transaction::cases),
            Suite::Difficulty => each(text, difficulty::cases),
            Suite::State => each(text, |name, test| state::cases(file, name, test)),
            Suite::Blockchain => each(text, |name, test| blockchain::cases(file, name, test)),
            Suite::Rpc => match &self.replay {
                Some(Ok(replay)) => vec![replay.case(text)],
                Some(Err(reason)) => vec![Case::run("", || Err(reason.as_str().into()))],
                None => Vec::new(),
            },
        }
    }
}

/// Errors: the case is for a fork as it was before it was final.
fn refuse_drafts(file: &str, network: &str) -> Result<(), Failure> {
    if file.starts_with("tests/EIPTests/") && network == "Prague" {
        return Err(Failure::NotSupported(
            "Prague as it was drafted: these fixtures were made in 2024, before its gas costs, its \
             precompiles' addresses and its header were final"
                .to_owned(),
        ));
    }
    Ok(())
}

/// Runs `run` on each named test of a file. A file or a test that cannot be read is a failure.
fn each<T: DeserializeOwned>(text: &str, run: impl Fn(&str, T) -> Vec<Case>) -> Vec<Case> {
    let tests: BTreeMap<String, Box<serde_json::value::RawValue>> = match serde_json::from_str(text)
    {
        Ok(tests) => tests,
        Err(error) => return vec![unreadable("", &error)],
    };
    let mut cases = Vec::new();
    for (name, test) in tests {
        match serde_json::from_str(test.get()) {
            Ok(test) => cases.extend(run(&name, test)),
            Err(error) => cases.push(unreadable(&name, &error)),
        }
    }
    cases
}

fn unreadable(name: &str, error: &serde_json::Error) -> Case {
    let verdict = Verdict::Failed(format!("the fixture cannot be read: {error}"));
    Case { name: name.to_owned(), verdict }
}

//! DifficultyTests: the difficulty that follows a parent.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::{
    Case,
    ethereum::{Network, difficulty},
    json::Quantity,
    verdict::{Failure, same},
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DifficultyTest {
    parent_timestamp: Quantity,
    parent_difficulty: Quantity,
    #[serde(default)]
    parent_uncles: Quantity,
    current_timestamp: Quantity,
    current_block_number: Quantity,
    current_difficulty: Quantity,
}

pub(super) fn cases(_: &str, networks: BTreeMap<String, Value>) -> Vec<Case> {
    let mut cases = Vec::new();
    for (network, tests) in networks {
        if network == "_info" {
            continue;
        }
        let Value::Object(tests) = tests else { continue };
        for (name, test) in tests {
            cases.push(Case::run(format!("{network}/{name}"), || check(&network, test)));
        }
    }
    cases
}

fn check(network: &str, test: Value) -> Result<(), Failure> {
    let test: DifficultyTest = serde_json::from_value(test).map_err(|error| error.to_string())?;
    // Petersburg changed nothing about the difficulty, and Constantinople alone is not supported.
    let network = if network == "Constantinople" { "ConstantinopleFix" } else { network };
    let got = difficulty(
        &Network::named(network)?.forks,
        test.current_block_number.u64(),
        test.current_timestamp.u64(),
        test.parent_timestamp.u64(),
        test.parent_difficulty.0,
        !test.parent_uncles.0.is_zero(),
    );
    same("difficulty", &got, &test.current_difficulty.0)
}

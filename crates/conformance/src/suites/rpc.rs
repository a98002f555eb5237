//! execution-apis: requests to a node that has imported a chain, and the answers that they must get.

use std::{collections::BTreeSet, fs, path::Path};

use alloy_consensus::{EMPTY_OMMER_ROOT_HASH, EMPTY_ROOT_HASH, Header};
use alloy_primitives::{Address, B64, B256};
use alloy_rlp::Header as RlpHeader;
use openledger_chain::conformance::{RpcNode, World};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    Case,
    ethereum::{Blockchain, Network, from_geth_config},
    json::{Accounts, Hex, Quantity},
    verdict::Failure,
};

/// A node that has imported the suite's chain.
pub(super) struct Replay {
    node: RpcNode,
    runtime: tokio::runtime::Runtime,
    _data_dir: tempfile::TempDir,
}

/// The suite's genesis.json.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Genesis {
    config: Value,
    nonce: Quantity,
    timestamp: Quantity,
    extra_data: Hex,
    gas_limit: Quantity,
    difficulty: Quantity,
    mix_hash: B256,
    coinbase: Address,
    alloc: Accounts,
}

impl Replay {
    /// Imports genesis.json and chain.rlp from `folder`.
    ///
    /// Errors: why that was not possible.
    pub(super) fn new(folder: &Path) -> Result<Self, String> {
        let read = |name: &str| {
            fs::read(folder.join(name)).map_err(|error| format!("cannot read {name}: {error}"))
        };
        let genesis: Genesis = serde_json::from_slice(&read("genesis.json")?)
            .map_err(|error| format!("genesis.json: {error}"))?;
        let forks = from_geth_config(&genesis.config)?;
        let chain_id = forks.chain_id;
        let alloc = genesis.alloc.alloc()?;
        let world = World::new(alloc.clone());
        let header = Header {
            ommers_hash: EMPTY_OMMER_ROOT_HASH,
            beneficiary: genesis.coinbase,
            state_root: world.root(),
            transactions_root: EMPTY_ROOT_HASH,
            receipts_root: EMPTY_ROOT_HASH,
            difficulty: genesis.difficulty.0,
            gas_limit: genesis.gas_limit.u64(),
            timestamp: genesis.timestamp.u64(),
            extra_data: genesis.extra_data.0,
            mix_hash: genesis.mix_hash,
            nonce: B64::from(genesis.nonce.u64()),
            ..Header::default()
        };
        let network = Network { forks, merge: None };
        let mut chain = Blockchain::new(network, header.clone(), world)?;
        let bytes = read("chain.rlp")?;
        let mut left = bytes.as_slice();
        let mut blocks = Vec::new();
        while !left.is_empty() {
            let block = next_item(&mut left)?;
            let number = blocks.len() + 1;
            let imported = chain
                .import(block)
                .map_err(|error| format!("chain.rlp, block {number}: {error}"))?;
            blocks.push(imported);
        }
        let data_dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        let alloc = alloc.into_iter().collect();
        let node = RpcNode::new(data_dir.path(), chain_id, alloc, header, blocks)
            .map_err(|error| error.to_string())?;
        let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
        Ok(Self { node, runtime, _data_dir: data_dir })
    }

    /// Plays one file.
    pub(super) fn case(&self, text: &str) -> Case {
        Case::run("", || self.play(text))
    }

    fn play(&self, text: &str) -> Result<(), Failure> {
        // Such an answer depends on the node; only its shape is specified.
        let shape_only = text.lines().any(|line| line.starts_with("// speconly"));
        let mut request = None;
        let mut pairs = 0;
        for line in text.lines() {
            if let Some(json) = line.strip_prefix(">>") {
                request = Some(json.trim());
            } else if let Some(json) = line.strip_prefix("<<") {
                let request = request.take().ok_or("an answer without a request")?;
                self.pair(request, json.trim(), shape_only)?;
                pairs += 1;
            }
        }
        if pairs == 0 { Err("the file has no request".into()) } else { Ok(()) }
    }

    fn pair(&self, request: &str, wanted: &str, shape_only: bool) -> Result<(), Failure> {
        let json = |text: &str| {
            serde_json::from_str::<Value>(text).map_err(|error| format!("{error}: {text}"))
        };
        let (parsed, wanted) = (json(request)?, json(wanted)?);
        let method = parsed["method"].as_str().ok_or("a request without a method")?;
        if !self.node.has(method) {
            return Err(Failure::NotSupported(format!("the node has no method {method}")));
        }
        let got = json(&self.runtime.block_on(self.node.answer(request))?)?;
        let same = match (wanted.get("error"), got.get("error")) {
            (Some(wanted), Some(got)) => wanted["code"] == got["code"],
            (None, None) if shape_only => same_shape(&wanted["result"], &got["result"]),
            (None, None) => wanted["result"] == got["result"],
            _ => false,
        };
        if same {
            Ok(())
        } else {
            let refusal = got.get("error").map(|error| format!(" ({error})")).unwrap_or_default();
            let difference = first_difference("", &wanted, &got);
            let calls = if same_calls(&wanted["result"], &got["result"]) {
                let fields = different_fields(&wanted["result"], &got["result"]).join(", ");
                format!("; every simulated call came out the same, the blocks differ in: {fields}")
            } else {
                String::new()
            };
            Err(Failure::Wrong(format!("{method}: {difference}{refusal}{calls}")))
        }
    }
}

/// The bytes of the next RLP item.
fn next_item<'a>(left: &mut &'a [u8]) -> Result<&'a [u8], String> {
    let start = *left;
    let header = RlpHeader::decode(left).map_err(|error| format!("chain.rlp: {error}"))?;
    let (item, rest) = start.split_at(start.len() - left.len() + header.payload_length);
    *left = rest;
    Ok(item)
}

/// Whether two values have the same type, and objects the same keys.
fn same_shape(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => a.keys().eq(b.keys()),
        _ => std::mem::discriminant(a) == std::mem::discriminant(b),
    }
}

/// Whether two answers of `eth_simulateV1` have the same calls in every block, but for the hash and the
/// time of the block, which are a rollup's.
fn same_calls(a: &Value, b: &Value) -> bool {
    let calls = |blocks: &Value| -> Option<Vec<Value>> {
        let blocks = blocks.as_array()?;
        let mut calls: Vec<Value> =
            blocks.iter().map(|block| block.get("calls").cloned()).collect::<Option<_>>()?;
        for log in calls.iter_mut().flat_map(|calls| calls.as_array_mut().into_iter().flatten()) {
            let logs = log.get_mut("logs").and_then(Value::as_array_mut);
            for log in logs.into_iter().flatten().filter_map(Value::as_object_mut) {
                log.remove("blockHash");
                log.remove("blockTimestamp");
            }
        }
        Some(calls)
    };
    calls(a).is_some_and(|calls_of_a| Some(calls_of_a) == calls(b))
}

/// The fields in which blocks of two answers of `eth_simulateV1` differ, without their calls.
fn different_fields(a: &Value, b: &Value) -> Vec<String> {
    let blocks = |blocks: &Value| blocks.as_array().cloned().unwrap_or_default();
    let mut fields = BTreeSet::new();
    for (a, b) in blocks(a).iter().zip(&blocks(b)) {
        let keys = [a, b].into_iter().filter_map(Value::as_object).flat_map(|block| block.keys());
        fields.extend(keys.filter(|key| *key != "calls" && a.get(key) != b.get(key)).cloned());
    }
    fields.into_iter().collect()
}

/// Where `wanted` and `got` differ first, in words.
fn first_difference(path: &str, wanted: &Value, got: &Value) -> String {
    match (wanted, got) {
        (Value::Object(wanted), Value::Object(got)) => {
            let keys = wanted.keys().chain(got.keys().filter(|key| !wanted.contains_key(*key)));
            for key in keys {
                let (wanted, got) = (wanted.get(key), got.get(key));
                if wanted != got {
                    let null = Value::Null;
                    let path = format!("{path}.{key}");
                    return match (wanted, got) {
                        (Some(wanted), Some(got)) => first_difference(&path, wanted, got),
                        (wanted, got) => format!(
                            "{path}: got {}, expected {}",
                            got.unwrap_or(&null),
                            wanted.unwrap_or(&null)
                        ),
                    };
                }
            }
            format!("{path}: equal")
        }
        (Value::Array(wanted), Value::Array(got)) if wanted.len() == got.len() => {
            let pairs = wanted.iter().zip(got).enumerate();
            let different = pairs.into_iter().find(|(_, (wanted, got))| wanted != got);
            different.map_or_else(
                || format!("{path}: equal"),
                |(index, (wanted, got))| first_difference(&format!("{path}[{index}]"), wanted, got),
            )
        }
        (wanted, got) => format!("{path}: got {got}, expected {wanted}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_first_difference_is_told_with_its_place() {
        let (wanted, got) = (json!({ "a": [1, { "b": 2 }] }), json!({ "a": [1, { "b": 3 }] }));
        assert_eq!(first_difference("", &wanted, &got), ".a[1].b: got 3, expected 2");
        let more = json!({ "a": [1, { "b": 2 }], "c": 1 });
        assert_eq!(first_difference("", &wanted, &more), ".c: got 1, expected null");
        assert!(same_shape(&wanted, &got) && !same_shape(&wanted, &more));
    }

    #[test]
    fn simulated_blocks_are_compared_field_by_field() {
        let log = |hash: u8| json!({ "blockHash": hash, "data": "0x1" });
        let block = |hash: u8, root: u8| json!([{ "hash": hash, "stateRoot": root, "size": 1, "calls": [{ "logs": [log(hash)] }] }]);
        assert!(same_calls(&block(1, 2), &block(3, 4)));
        assert_eq!(different_fields(&block(1, 2), &block(3, 4)), ["hash", "stateRoot"]);
        assert!(different_fields(&block(1, 2), &block(1, 2)).is_empty());
        assert!(!same_calls(&block(1, 2), &json!([{ "calls": [] }])));
    }

    #[test]
    fn items_are_cut_from_a_file_one_by_one() {
        let mut bytes: &[u8] = &[0xc1, 0x80, 0x01, 0x82, 1, 2];
        assert_eq!(next_item(&mut bytes).unwrap(), [0xc1, 0x80]);
        assert_eq!(next_item(&mut bytes).unwrap(), [0x01]);
        assert_eq!(next_item(&mut bytes).unwrap(), [0x82, 1, 2]);
        assert!(bytes.is_empty());
    }
}

//! A genesis from the files that other nodes read: geth's `genesis.json`, and op-node's `rollup.json` for what the first
//! does not say, the batcher and the L1 fees.
//!
//! **Invariant:** a file whose block 0 or whose rules would not be this node's is refused by the name of the field.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, Bytes, U64, U256};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::geth::{FORKS_BY_BLOCK, FORKS_BY_TIME};
use super::{BLOCK_TIME_S, Genesis, GenesisAccount, L1FeeScalars};
use crate::Error;

/// Bytes of Holocene's `extraData`: version 0, denominator, elasticity.
const EXTRA_DATA_BYTES: usize = 9;
/// What else stands in `config` and changes no rule from block 0 on.
const HARMLESS: [&str; 4] =
    ["chainId", "terminalTotalDifficulty", "terminalTotalDifficultyPassed", "optimism"];

/// `genesis.json` of geth. What is absent is zero, as there.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct GethFile {
    config: Map<String, Value>,
    timestamp: U64,
    extra_data: Bytes,
    gas_limit: U64,
    base_fee_per_gas: U64,
    alloc: BTreeMap<Address, GenesisAccount>,
    coinbase: Address,
    #[serde(default)]
    nonce: U64,
    #[serde(default)]
    difficulty: U256,
    #[serde(default)]
    mix_hash: B256,
    #[serde(default)]
    number: U64,
    #[serde(default)]
    gas_used: U64,
    #[serde(default)]
    parent_hash: B256,
    #[serde(default)]
    excess_blob_gas: U64,
    #[serde(default)]
    blob_gas_used: U64,
    #[serde(default)]
    parent_beacon_block_root: Option<B256>,
}

/// The part of `rollup.json` that decides what blocks hold.
#[derive(Deserialize)]
struct RollupFile {
    genesis: RollupGenesis,
    block_time: u64,
    l2_chain_id: u64,
}

#[derive(Deserialize)]
struct RollupGenesis {
    l2: BlockReference,
    system_config: SystemConfig,
}

#[derive(Deserialize)]
struct BlockReference {
    hash: B256,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SystemConfig {
    batcher_addr: Address,
    scalar: B256,
    #[serde(default)]
    operator_fee_params: B256,
}

fn refuse(why: impl Into<String>) -> Error {
    Error::InvalidGenesis(why.into())
}

impl Genesis {
    /// Reads a genesis in our own shape, or in geth's as [`Genesis::geth_json`] writes it. In geth's, `rollup` is the
    /// `rollup.json` of the same chain; without it there are no L1 fees, and the batcher is the zero address.
    ///
    /// Errors: [`Error::InvalidGenesis`] with the place in the text, or the field that this node would not follow.
    pub fn from_json(json: &[u8], rollup: Option<&[u8]>) -> Result<Self, Error> {
        if !Self::is_geth_json(json) {
            return serde_json::from_slice(json).map_err(|error| refuse(error.to_string()));
        }
        let file: GethFile =
            serde_json::from_slice(json).map_err(|error| refuse(error.to_string()))?;
        let mut genesis = file.genesis()?;
        if let Some(rollup) = rollup {
            genesis.take_rollup(rollup)?;
        }
        Ok(genesis)
    }

    /// Whether a text has geth's shape: rules under `config`, which ours has not.
    pub fn is_geth_json(json: &[u8]) -> bool {
        let object = serde_json::from_slice::<Map<String, Value>>(json);
        object.is_ok_and(|object| object.contains_key("config"))
    }

    /// Takes batcher and fees from a `rollup.json` of the same chain.
    fn take_rollup(&mut self, json: &[u8]) -> Result<(), Error> {
        let file: RollupFile = serde_json::from_slice(json)
            .map_err(|error| refuse(format!("rollup.json: {error}")))?;
        let config = &file.genesis.system_config;
        let (fees, operator) = (&config.scalar, &config.operator_fee_params);
        let number = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().expect("four bytes"));
        // Version 1 is Ecotone's; version 0 with nothing in it says the same.
        if fees[0] != 1 && *fees != B256::ZERO {
            return Err(refuse("rollup.json: scalar is not of version 1, that of Ecotone"));
        }
        self.batcher = config.batcher_addr;
        self.l1_fees = L1FeeScalars {
            blob_base_fee_scalar: number(&fees[24..28]),
            base_fee_scalar: number(&fees[28..]),
            operator_fee_scalar: number(&operator[20..24]),
            operator_fee_constant: u64::from_be_bytes(
                operator[24..].try_into().expect("eight bytes"),
            ),
        };
        let hash = self.hash(self.settled_time()?);
        if file.l2_chain_id != self.chain_id || file.genesis.l2.hash != hash {
            return Err(refuse(format!(
                "rollup.json is of chain {} with block 0 {}, genesis.json of chain {} with {hash}",
                file.l2_chain_id, file.genesis.l2.hash, self.chain_id
            )));
        }
        if file.block_time != BLOCK_TIME_S {
            return Err(refuse(format!("rollup.json: block_time must be {BLOCK_TIME_S}")));
        }
        Ok(())
    }
}

impl GethFile {
    fn genesis(self) -> Result<Genesis, Error> {
        self.check_rules()?;
        let chain_id = self.config.get("chainId").and_then(Value::as_u64);
        let (denominator, elasticity) = self.eip1559()?;
        let timestamp = self.timestamp.to();
        let genesis = Genesis {
            chain_id: chain_id.ok_or_else(|| refuse("config.chainId is not a number"))?,
            timestamp: Some(timestamp),
            gas_limit: self.gas_limit.to(),
            base_fee_per_gas: self.base_fee_per_gas.to(),
            eip1559_denominator: denominator,
            eip1559_elasticity: elasticity,
            l1_fees: L1FeeScalars::default(),
            batcher: Address::ZERO,
            alloc: self.alloc,
        };
        genesis.check()?;
        let header = genesis.header(timestamp);
        let same = [
            ("coinbase", self.coinbase == header.beneficiary),
            ("nonce", self.nonce.to::<u64>() == u64::from_be_bytes(header.nonce.0)),
            ("difficulty", self.difficulty == header.difficulty),
            ("mixHash", self.mix_hash == header.mix_hash),
            ("number", self.number.to::<u64>() == header.number),
            ("gasUsed", self.gas_used.to::<u64>() == header.gas_used),
            ("parentHash", self.parent_hash == header.parent_hash),
            ("excessBlobGas", Some(self.excess_blob_gas.to()) == header.excess_blob_gas),
            ("blobGasUsed", Some(self.blob_gas_used.to()) == header.blob_gas_used),
            (
                "parentBeaconBlockRoot",
                self.parent_beacon_block_root
                    .is_none_or(|root| Some(root) == header.parent_beacon_block_root),
            ),
        ];
        match same.iter().find(|(_, same)| !same) {
            Some((field, _)) => {
                Err(refuse(format!("{field} is not what block 0 of this node's chains has there")))
            }
            None => Ok(genesis),
        }
    }

    /// Every fork up to Isthmus from the beginning, and none after it.
    fn check_rules(&self) -> Result<(), Error> {
        let is_zero = |value: &Value| value.as_u64() == Some(0);
        for fork in FORKS_BY_TIME {
            if !self.config.get(fork).is_some_and(is_zero) {
                return Err(refuse(format!(
                    "config.{fork} must be 0: this node has no rules before Isthmus"
                )));
            }
        }
        for (name, value) in &self.config {
            let name = name.as_str();
            let known = HARMLESS.contains(&name) || FORKS_BY_TIME.contains(&name);
            let from_the_beginning = FORKS_BY_BLOCK.contains(&name) && is_zero(value);
            let absent = value.is_null() || value == &Value::Bool(false);
            if !known && !from_the_beginning && !absent {
                return Err(refuse(format!(
                    "config.{name} asks for rules that this node does not have"
                )));
            }
        }
        if !self.config.get("optimism").is_some_and(Value::is_object) {
            return Err(refuse("config.optimism is missing: this is not a genesis of an OP chain"));
        }
        Ok(())
    }

    /// Denominator and elasticity.
    fn eip1559(&self) -> Result<(u32, u32), Error> {
        let bytes: [u8; EXTRA_DATA_BYTES] = self.extra_data[..].try_into().map_err(|_| {
            refuse(format!(
                "extraData has {} bytes, Holocene's has {EXTRA_DATA_BYTES}",
                self.extra_data.len()
            ))
        })?;
        if bytes[0] != 0 {
            return Err(refuse("extraData is not of version 0, that of Holocene"));
        }
        let number =
            |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        Ok((number(1), number(5)))
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::address;

    use super::*;
    use crate::RollupL1;

    fn chain() -> Genesis {
        Genesis {
            timestamp: Some(1_700_000_000),
            base_fee_per_gas: 7,
            eip1559_elasticity: 2,
            batcher: address!("0x00000000000000000000000000000000000000aa"),
            l1_fees: L1FeeScalars {
                base_fee_scalar: 1,
                blob_base_fee_scalar: 2,
                operator_fee_scalar: 3,
                operator_fee_constant: 4,
            },
            ..Genesis::devnet()
        }
    }

    fn files() -> (Value, Value) {
        let l1 = RollupL1::embedded(&chain()).unwrap();
        (chain().geth_json().unwrap(), chain().rollup_json(&l1).unwrap())
    }

    fn read(geth: &Value, rollup: Option<&Value>) -> Result<Genesis, Error> {
        let rollup = rollup.map(Value::to_string);
        Genesis::from_json(geth.to_string().as_bytes(), rollup.as_deref().map(str::as_bytes))
    }

    #[test]
    fn what_is_exported_is_read_back_as_the_same_chain() {
        let (geth, rollup) = files();
        assert_eq!(read(&geth, Some(&rollup)).unwrap(), chain());
        let alone = read(&geth, None).unwrap();
        assert_eq!((alone.batcher, alone.l1_fees), (Address::ZERO, L1FeeScalars::default()));
        assert_eq!(alone.hash(1_700_000_000), chain().hash(1_700_000_000));
        // Our own shape stays what it was.
        let ours = serde_json::to_vec(&chain()).unwrap();
        assert!(
            !Genesis::is_geth_json(&ours) && Genesis::is_geth_json(geth.to_string().as_bytes())
        );
        assert_eq!(Genesis::from_json(&ours, None).unwrap(), chain());
    }

    #[test]
    fn what_this_node_would_not_follow_is_refused_by_name() {
        let (geth, rollup) = files();
        let beacon_root = B256::with_last_byte(1).to_string();
        for (place, value, says) in [
            ("/config/isthmusTime", Value::Null, "config.isthmusTime must be 0"),
            ("/config/canyonTime", 5.into(), "config.canyonTime must be 0"),
            ("/config/londonBlock", 5.into(), "config.londonBlock asks for rules"),
            ("/config/optimism", Value::Null, "config.optimism is missing"),
            ("/config/chainId", "one".into(), "config.chainId"),
            ("/coinbase", Address::ZERO.to_string().into(), "coinbase is not"),
            ("/difficulty", "0x1".into(), "difficulty is not"),
            ("/extraData", "0x".into(), "extraData has 0 bytes"),
            ("/extraData", "0x01000000fa00000006".into(), "extraData is not of version 0"),
            ("/parentBeaconBlockRoot", beacon_root.into(), "parentBeaconBlockRoot is not"),
            ("/gasLimit", "0x1".into(), "the gas limit"),
            ("/alloc", "none".into(), "alloc"),
        ] {
            let mut changed = geth.clone();
            *changed.pointer_mut(place).expect(place) = value;
            let error = read(&changed, None).expect_err(place).to_string();
            assert!(error.contains(says) || place == "/alloc", "{error}");
        }
        let mut later = geth.clone();
        later["config"]["jovianTime"] = 0.into();
        assert!(
            read(&later, None).expect_err("a later fork").to_string().contains("config.jovianTime")
        );
        let mut unknown = geth.clone();
        unknown["stateHash"] = B256::ZERO.to_string().into();
        assert!(read(&unknown, None).expect_err("unknown").to_string().contains("stateHash"));
        for (place, value, says) in [
            ("/l2_chain_id", 5.into(), "is of chain 5"),
            ("/genesis/l2/hash", B256::ZERO.to_string().into(), "with block 0 0x00"),
            ("/block_time", 2.into(), "block_time must be 1"),
            (
                "/genesis/system_config/scalar",
                B256::with_last_byte(1).to_string().into(),
                "version 1",
            ),
        ] {
            let mut changed = rollup.clone();
            *changed.pointer_mut(place).expect(place) = value;
            let error = read(&geth, Some(&changed)).expect_err(place).to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}

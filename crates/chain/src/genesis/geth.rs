//! The genesis as op-geth and op-reth read it.

use alloy_primitives::{U64, U256};
use serde_json::{Map, Value, json};

use super::Genesis;
use crate::Error;

/// Forks that geth knows by block; all are there from block 0.
pub(super) const FORKS_BY_BLOCK: [&str; 15] = [
    "homesteadBlock",
    "eip150Block",
    "eip155Block",
    "eip158Block",
    "byzantiumBlock",
    "constantinopleBlock",
    "petersburgBlock",
    "istanbulBlock",
    "muirGlacierBlock",
    "berlinBlock",
    "londonBlock",
    "arrowGlacierBlock",
    "grayGlacierBlock",
    "mergeNetsplitBlock",
    "bedrockBlock",
];
/// Forks by time. Shanghai came with Canyon, Cancun with Ecotone, Prague with Isthmus.
pub(super) const FORKS_BY_TIME: [&str; 10] = [
    "regolithTime",
    "shanghaiTime",
    "canyonTime",
    "cancunTime",
    "ecotoneTime",
    "fjordTime",
    "graniteTime",
    "holoceneTime",
    "pragueTime",
    "isthmusTime",
];

impl Genesis {
    /// `genesis.json` in geth's format: a node of another make that starts from it has the same block 0.
    ///
    /// Errors: [`Error::InvalidGenesis`] if no chain could follow, or the time of block 0 is not given.
    pub fn geth_json(&self) -> Result<Value, Error> {
        let header = self.header(self.settled_time()?);
        let mut config = Map::new();
        config.insert("chainId".to_owned(), json!(self.chain_id));
        for fork in FORKS_BY_BLOCK.iter().chain(&FORKS_BY_TIME) {
            config.insert((*fork).to_owned(), json!(0));
        }
        config.insert("terminalTotalDifficulty".to_owned(), json!(0));
        config.insert("terminalTotalDifficultyPassed".to_owned(), json!(true));
        // Since Holocene the header of each block says what the next one follows; this is for tools.
        config.insert(
            "optimism".to_owned(),
            json!({
                "eip1559Elasticity": self.eip1559_elasticity,
                "eip1559Denominator": self.eip1559_denominator,
                "eip1559DenominatorCanyon": self.eip1559_denominator,
            }),
        );
        let quantity = |value: u64| json!(U64::from(value));
        let optional = |value: Option<u64>| quantity(value.unwrap_or_default());
        Ok(json!({
            "config": config,
            "nonce": quantity(u64::from_be_bytes(header.nonce.0)),
            "timestamp": quantity(header.timestamp),
            "extraData": header.extra_data,
            "gasLimit": quantity(header.gas_limit),
            "difficulty": header.difficulty,
            "mixHash": header.mix_hash,
            "coinbase": header.beneficiary,
            "number": quantity(header.number),
            "gasUsed": quantity(header.gas_used),
            "parentHash": header.parent_hash,
            "baseFeePerGas": optional(header.base_fee_per_gas),
            "excessBlobGas": optional(header.excess_blob_gas),
            "blobGasUsed": optional(header.blob_gas_used),
            "parentBeaconBlockRoot": header.parent_beacon_block_root,
            "alloc": self.geth_alloc(),
        }))
    }

    /// The accounts in geth's shape: a balance always, the rest where it is not zero.
    fn geth_alloc(&self) -> Map<String, Value> {
        let accounts = self.alloc.iter().map(|(address, account)| {
            let mut entry = Map::new();
            entry.insert("balance".to_owned(), json!(account.balance));
            if account.nonce != 0 {
                entry.insert("nonce".to_owned(), json!(U64::from(account.nonce)));
            }
            if !account.code.is_empty() {
                entry.insert("code".to_owned(), json!(account.code));
            }
            let words: Map<String, Value> = account
                .storage
                .iter()
                .filter(|(_, value)| U256::from_be_bytes(value.0) != U256::ZERO)
                .map(|(slot, value)| (slot.to_string(), json!(value)))
                .collect();
            if !words.is_empty() {
                entry.insert("storage".to_owned(), Value::Object(words));
            }
            (address.to_string().to_lowercase(), Value::Object(entry))
        });
        accounts.collect()
    }
}

#[cfg(test)]
mod tests {
    use alloy_consensus::Header;
    use alloy_genesis::Genesis as Independent;
    use alloy_primitives::{Address, B256, b256};
    use alloy_trie::root;

    use super::*;

    /// What any reader of the file makes of block 0: alloy's genesis type for the file, alloy's tries
    /// for the roots, the rules of Isthmus for the rest.
    fn read_independently(json: &str) -> B256 {
        let read: Independent = serde_json::from_str(json).unwrap();
        assert_eq!(read.config.prague_time, Some(0));
        let state_root = root::state_root_unhashed(read.alloc.clone());
        let passer: Address = "0x4200000000000000000000000000000000000016".parse().unwrap();
        let withdrawals_root = root::storage_root_unhashed(read.alloc[&passer].storage_slots());
        let header = Header {
            parent_hash: read.parent_hash.unwrap_or_default(),
            beneficiary: read.coinbase,
            state_root,
            difficulty: read.difficulty,
            number: read.number.unwrap_or_default(),
            gas_limit: read.gas_limit,
            timestamp: read.timestamp,
            extra_data: read.extra_data,
            mix_hash: read.mix_hash,
            nonce: read.nonce.into(),
            base_fee_per_gas: read.base_fee_per_gas.map(|fee| u64::try_from(fee).unwrap()),
            withdrawals_root: Some(withdrawals_root),
            blob_gas_used: read.blob_gas_used,
            excess_blob_gas: read.excess_blob_gas,
            parent_beacon_block_root: Some(B256::ZERO),
            // SHA-256 of nothing (EIP-7685).
            requests_hash: Some(b256!(
                "0xe3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
            )),
            ..Header::default()
        };
        header.hash_slow()
    }

    #[test]
    fn another_reader_of_the_file_finds_the_same_block_0() {
        let devnet = Genesis { timestamp: Some(1_700_000_000), ..Genesis::devnet() };
        let hash = devnet.hash(1_700_000_000);
        assert_eq!(read_independently(&devnet.geth_json().unwrap().to_string()), hash);

        let other = Genesis { base_fee_per_gas: 7, eip1559_elasticity: 2, ..devnet };
        let other_hash = other.hash(1_700_000_000);
        assert_ne!(other_hash, hash);
        assert_eq!(read_independently(&other.geth_json().unwrap().to_string()), other_hash);
    }

    #[test]
    fn a_genesis_without_a_time_is_not_exported() {
        let open = Genesis { timestamp: None, ..Genesis::devnet() };
        assert!(matches!(open.geth_json(), Err(Error::InvalidGenesis(_))));
    }
}

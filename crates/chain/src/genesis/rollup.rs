//! The chain as op-node reads it: `rollup.json`.

use alloy_primitives::{Address, B64, B256, address};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Genesis;
use crate::{
    Error,
    l1::{EmbeddedL1, L1Source},
};

/// Seconds between L2 blocks.
pub(crate) const BLOCK_TIME_S: u64 = 1;
/// A constant of the protocol since Fjord.
const SEQUENCER_DRIFT_MAX_S: u64 = 1_800;
/// L1 blocks within which a batch must be posted: half a day of Ethereum.
const SEQUENCER_WINDOW_BLOCKS: u64 = 3_600;
/// L1 blocks from a channel's first frame to its last. Since Granite the protocol says 50; this is
/// what came before, which the file must still have.
const CHANNEL_TIMEOUT_BLOCKS: u64 = 300;
/// Chain id of the imaginary L1, as OP development networks have it.
const EMBEDDED_L1_CHAIN_ID: u64 = 900;

/// What derivation must know of L1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RollupL1 {
    /// EIP-155 chain id of L1.
    pub chain_id: u64,
    /// Number of the L1 block that block 0 follows.
    pub genesis_number: u64,
    /// Its hash.
    pub genesis_hash: B256,
    /// Where batches are sent.
    pub batch_inbox: Address,
    /// The OptimismPortal, whose logs are deposits.
    pub deposit_contract: Address,
    /// The SystemConfig.
    pub system_config: Address,
    /// ProtocolVersions, or zero.
    pub protocol_versions: Address,
}

impl RollupL1 {
    /// The imaginary L1 of a node without one. Nothing is at these addresses.
    ///
    /// Errors: [`Error::InvalidGenesis`] if the time of block 0 is not given.
    pub fn embedded(genesis: &Genesis) -> Result<Self, Error> {
        let timestamp = genesis.settled_time()?;
        let origin = EmbeddedL1::new(genesis.chain_id, timestamp).origin(timestamp);
        Ok(Self {
            chain_id: EMBEDDED_L1_CHAIN_ID,
            genesis_number: origin.number,
            genesis_hash: origin.hash,
            batch_inbox: address!("0x4f4c0000000000000000000000000000000010ff"),
            deposit_contract: address!("0x4f4c000000000000000000000000000000001016"),
            system_config: address!("0x4f4c000000000000000000000000000000001015"),
            protocol_versions: Address::ZERO,
        })
    }
}

impl Genesis {
    /// `rollup.json` as op-node reads it, for a chain that settles on `l1`.
    ///
    /// Errors: [`Error::InvalidGenesis`] if no chain could follow, or the time of block 0 is not given.
    pub fn rollup_json(&self, l1: &RollupL1) -> Result<Value, Error> {
        let time = self.settled_time()?;
        Ok(self.rollup_document(l1, time, self.hash(time)))
    }

    /// The same, of a genesis whose block 0 is known.
    pub(crate) fn rollup_document(&self, l1: &RollupL1, time: u64, hash: B256) -> Value {
        let mut config = json!({
            "genesis": {
                "l1": { "hash": l1.genesis_hash, "number": l1.genesis_number },
                "l2": { "hash": hash, "number": 0 },
                "l2_time": time,
                "system_config": self.system_config(),
            },
            "block_time": BLOCK_TIME_S,
            "max_sequencer_drift": SEQUENCER_DRIFT_MAX_S,
            "seq_window_size": SEQUENCER_WINDOW_BLOCKS,
            "channel_timeout": CHANNEL_TIMEOUT_BLOCKS,
            "l1_chain_id": l1.chain_id,
            "l2_chain_id": self.chain_id,
            "batch_inbox_address": l1.batch_inbox,
            "deposit_contract_address": l1.deposit_contract,
            "l1_system_config_address": l1.system_config,
            "protocol_versions_address": l1.protocol_versions,
            "chain_op_config": {
                "eip1559Elasticity": self.eip1559_elasticity,
                "eip1559Denominator": self.eip1559_denominator,
                "eip1559DenominatorCanyon": self.eip1559_denominator,
            },
        });
        for fork in
            ["regolith", "canyon", "delta", "ecotone", "fjord", "granite", "holocene", "isthmus"]
        {
            config[format!("{fork}_time")] = json!(0);
        }
        config
    }

    /// What L1's SystemConfig says until it says something else.
    fn system_config(&self) -> Value {
        let fees = &self.l1_fees;
        // Version 1: the blob scalar in bytes 24 to 28, the base fee's in the last four (Ecotone).
        let mut scalar = B256::ZERO;
        scalar[0] = 1;
        scalar[24..28].copy_from_slice(&fees.blob_base_fee_scalar.to_be_bytes());
        scalar[28..].copy_from_slice(&fees.base_fee_scalar.to_be_bytes());
        let mut operator = B256::ZERO;
        operator[20..24].copy_from_slice(&fees.operator_fee_scalar.to_be_bytes());
        operator[24..].copy_from_slice(&fees.operator_fee_constant.to_be_bytes());
        let mut eip1559 = B64::ZERO;
        eip1559[..4].copy_from_slice(&self.eip1559_denominator.to_be_bytes());
        eip1559[4..].copy_from_slice(&self.eip1559_elasticity.to_be_bytes());
        json!({
            "batcherAddr": self.batcher,
            "overhead": B256::ZERO,
            "scalar": scalar,
            "gasLimit": self.gas_limit,
            "eip1559Params": eip1559,
            "operatorFeeParams": operator,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{L1FeeScalars, execution::Rules};

    #[test]
    fn the_block_time_is_that_of_the_producer() {
        // Blocks are one second apart: `execution::build_block` adds one to the parent's time.
        let genesis = Genesis { timestamp: Some(1), ..Genesis::devnet() };
        let l1 = RollupL1::embedded(&genesis).unwrap();
        let rollup = genesis.rollup_json(&l1).unwrap();
        assert_eq!(rollup["block_time"], 1);
        assert_eq!(rollup["genesis"]["l2"]["number"], 0);
    }

    #[test]
    fn fee_parameters_are_packed_where_the_specification_has_them() {
        let l1_fees = L1FeeScalars {
            base_fee_scalar: 0x0102,
            blob_base_fee_scalar: 0x0304,
            operator_fee_scalar: 0x0506,
            operator_fee_constant: 0x0708,
        };
        let genesis = Genesis { timestamp: Some(1), l1_fees, ..Genesis::devnet() };
        let config = genesis.system_config();
        let zeros = "0".repeat(46);
        assert_eq!(config["scalar"], format!("0x01{zeros}0000030400000102"));
        let zeros = "0".repeat(40);
        assert_eq!(config["operatorFeeParams"], format!("0x{zeros}000005060000000000000708"));
        assert_eq!(config["eip1559Params"], "0x000000fa00000006");
        // Every header carries the same parameters behind the version of Holocene.
        assert_eq!(Rules::new(&genesis).extra_data.to_string(), "0x00000000fa00000006");
    }
}

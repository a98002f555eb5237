//! The rollup's configuration, as op-node reads it (`rollup.json`).

use alloy_primitives::{Address, B256};
use serde_json::{Value, json};

use crate::{
    genesis::Genesis,
    l1::{EmbeddedL1, L1Source},
};

/// Seconds between blocks.
const BLOCK_TIME_S: u64 = 1;
/// How far a block's time may be ahead of its L1 origin's (Fjord).
const MAX_SEQUENCER_DRIFT_S: u64 = 1_800;
/// L1 blocks within which a batch must be posted.
const SEQ_WINDOW_SIZE: u64 = 3_600;
/// L1 blocks within which a channel must be complete (Granite).
const CHANNEL_TIMEOUT: u64 = 300;

/// The configuration of the chain that begins with `genesis`, whose block 0 is `hash`.
pub(crate) fn document(genesis: &Genesis, hash: B256) -> Value {
    let time = genesis.timestamp.unwrap_or_default();
    let l1 = EmbeddedL1::new(genesis.chain_id, time).origin(time);
    let fees = &genesis.l1_fees;
    // Ecotone's packing: version 1, then the two scalars in the last eight bytes.
    let mut scalar = B256::ZERO;
    scalar[0] = 1;
    scalar[24..28].copy_from_slice(&fees.blob_base_fee_scalar.to_be_bytes());
    scalar[28..].copy_from_slice(&fees.base_fee_scalar.to_be_bytes());
    // Isthmus: the scalar, then the constant, in the last twelve bytes.
    let mut operator_fee = B256::ZERO;
    operator_fee[20..24].copy_from_slice(&fees.operator_fee_scalar.to_be_bytes());
    operator_fee[24..].copy_from_slice(&fees.operator_fee_constant.to_be_bytes());
    json!({
        "genesis": {
            "l1": { "hash": l1.hash, "number": l1.number },
            "l2": { "hash": hash, "number": 0 },
            "l2_time": time,
            "system_config": {
                "batcherAddr": genesis.batcher,
                "overhead": B256::ZERO,
                "scalar": scalar,
                "gasLimit": genesis.gas_limit,
                "eip1559Params": eip1559_params(genesis),
                "operatorFeeParams": operator_fee,
            },
        },
        "block_time": BLOCK_TIME_S,
        "max_sequencer_drift": MAX_SEQUENCER_DRIFT_S,
        "seq_window_size": SEQ_WINDOW_SIZE,
        "channel_timeout": CHANNEL_TIMEOUT,
        "l1_chain_id": 0,
        "l2_chain_id": genesis.chain_id,
        "regolith_time": 0,
        "canyon_time": 0,
        "delta_time": 0,
        "ecotone_time": 0,
        "fjord_time": 0,
        "granite_time": 0,
        "holocene_time": 0,
        "isthmus_time": 0,
        "batch_inbox_address": Address::ZERO,
        "deposit_contract_address": Address::ZERO,
        "l1_system_config_address": Address::ZERO,
        "chain_op_config": {
            "eip1559Elasticity": genesis.eip1559_elasticity,
            "eip1559Denominator": genesis.eip1559_denominator,
            "eip1559DenominatorCanyon": genesis.eip1559_denominator,
        },
    })
}

/// Denominator and elasticity, four bytes each.
fn eip1559_params(genesis: &Genesis) -> String {
    format!("0x{:08x}{:08x}", genesis.eip1559_denominator, genesis.eip1559_elasticity)
}

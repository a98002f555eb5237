//! What gas costs.

use alloy_consensus::Transaction;
use alloy_eips::BlockNumberOrTag;
use alloy_primitives::{U64, U256};
use alloy_rpc_types_eth::FeeHistory;
use jsonrpsee::{RpcModule, core::RegisterMethodError};

use super::{
    context::{Context, unknown_block},
    error::{RpcResult, internal, invalid, limit},
    limits::{FEE_HISTORY_BLOCKS_MAX, FEE_PERCENTILES_MAX},
};
use crate::execution::SealedBlock;

/// The tip that is suggested, in wei, as OP chains do while blocks are not full.
const SUGGESTED_TIP: u64 = 1_000_000;

pub(super) fn register(module: &mut RpcModule<Context>) -> Result<(), RegisterMethodError> {
    module.register_method("eth_gasPrice", |_, context, _| {
        let head = context.chain.head();
        let base_fee = U256::from(context.chain.rules.next_base_fee(&head.header));
        RpcResult::Ok(base_fee + U256::from(SUGGESTED_TIP))
    })?;
    module.register_method("eth_baseFee", |_, context, _| {
        let head = context.chain.head();
        RpcResult::Ok(U64::from(context.chain.rules.next_base_fee(&head.header)))
    })?;
    module.register_method("eth_maxPriorityFeePerGas", |_, _, _| {
        RpcResult::Ok(U64::from(SUGGESTED_TIP))
    })?;
    // A rollup has no blobs; 1 wei is what the BLOBBASEFEE instruction gives.
    module.register_method("eth_blobBaseFee", |_, _, _| RpcResult::Ok(U64::from(1)))?;
    module.register_blocking_method("eth_feeHistory", |params, context, _| {
        let mut params = params.sequence();
        let (count, newest): (U64, BlockNumberOrTag) = (params.next()?, params.next()?);
        fee_history(&context, count.to(), newest, params.optional_next()?)
    })?;
    Ok(())
}

fn fee_history(
    context: &Context,
    count: u64,
    newest: BlockNumberOrTag,
    percentiles: Option<Vec<f64>>,
) -> RpcResult<FeeHistory> {
    let percentiles = percentiles.unwrap_or_default();
    if percentiles.len() > FEE_PERCENTILES_MAX {
        return Err(limit(format!("too many percentiles, the limit is {FEE_PERCENTILES_MAX}")));
    }
    let in_range = percentiles.iter().all(|p| (0.0..=100.0).contains(p));
    if !in_range || !percentiles.is_sorted() {
        return Err(invalid("percentiles must rise, from 0 to 100"));
    }
    let newest = context.number(newest.into()).ok_or_else(unknown_block)?;
    let count = count.min(FEE_HISTORY_BLOCKS_MAX).min(newest + 1);
    if count == 0 {
        return Ok(FeeHistory::default());
    }
    let oldest = newest + 1 - count;
    let mut history = FeeHistory { oldest_block: oldest, ..FeeHistory::default() };
    let mut rewards = Vec::new();
    for number in oldest..=newest {
        let block = context.chain.block(number).map_err(internal)?.ok_or_else(unknown_block)?;
        history.base_fee_per_gas.push(block.header.base_fee_per_gas.unwrap_or_default().into());
        #[expect(clippy::cast_precision_loss, reason = "a ratio for display")]
        history.gas_used_ratio.push(block.header.gas_used as f64 / block.header.gas_limit as f64);
        history.base_fee_per_blob_gas.push(1);
        history.blob_gas_used_ratio.push(0.0);
        rewards.push(tips(&block, &percentiles));
        if number == newest {
            history.base_fee_per_gas.push(context.chain.rules.next_base_fee(&block.header).into());
            history.base_fee_per_blob_gas.push(1);
        }
    }
    history.reward = (!percentiles.is_empty()).then_some(rewards);
    Ok(history)
}

/// The tips at these percentiles of the gas that users' transactions used.
fn tips(block: &SealedBlock, percentiles: &[f64]) -> Vec<u128> {
    let base_fee = block.header.base_fee_per_gas.unwrap_or_default();
    let mut paid: Vec<(u128, u64)> = block
        .txs
        .iter()
        .enumerate()
        .filter(|(_, tx)| !tx.inner().is_deposit())
        .map(|(i, tx)| (tx.effective_tip_per_gas(base_fee).unwrap_or_default(), block.gas_used(i)))
        .collect();
    paid.sort_unstable();
    let total: u64 = paid.iter().map(|(_, gas)| gas).sum();
    let at = |percentile: f64| {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a percentile between 0 and 100 of a sum far below 2^53"
        )]
        let threshold = (total as f64 * percentile / 100.0) as u64;
        let mut gas = 0;
        let reached = paid.iter().find(|(_, used)| {
            gas += used;
            gas >= threshold
        });
        reached.map_or(0, |(tip, _)| *tip)
    };
    percentiles.iter().map(|percentile| at(*percentile)).collect()
}

//! What an op-node answers: output roots, how far the chain is, the rollup's configuration.

use alloy_eips::BlockNumberOrTag;
use alloy_primitives::{B256, b256, keccak256};
use jsonrpsee::{RpcModule, core::RegisterMethodError};
use serde_json::{Value, json};

use super::{
    context::{Context, unknown_block},
    error::{RpcResult, internal},
    l1_fields::L1Reference,
    node_info::CLIENT_VERSION,
};
use crate::execution::SealedBlock;

/// Version of the output root's preimage.
const OUTPUT_VERSION: B256 = B256::ZERO;
/// Hash of an empty trie, for blocks without a withdrawals root; Isthmus has none of those.
const EMPTY_ROOT: B256 =
    b256!("0x56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421");

pub(super) fn register(module: &mut RpcModule<Context>) -> Result<(), RegisterMethodError> {
    module.register_method("optimism_version", |_, _, _| CLIENT_VERSION)?;
    module.register_method("optimism_rollupConfig", |_, context, _| {
        context.settings.rollup_config.clone()
    })?;
    module
        .register_blocking_method("optimism_syncStatus", |_, context, _| sync_status(&context))?;
    module.register_blocking_method("optimism_outputAtBlock", |params, context, _| {
        let tag: BlockNumberOrTag = params.sequence().next()?;
        output_at(&context, tag)
    })?;
    Ok(())
}

/// The commitment that a withdrawal is proven against.
///
/// Source: OP Stack specification, "L2 output commitment construction", version 0.
fn output_at(context: &Context, tag: BlockNumberOrTag) -> RpcResult<Value> {
    let block = context.block(tag.into())?.ok_or_else(unknown_block)?;
    let passer_root = block.header.withdrawals_root.unwrap_or(EMPTY_ROOT);
    let preimage =
        [OUTPUT_VERSION, block.header.state_root, passer_root, block.hash].map(|word| word.0);
    Ok(json!({
        "version": OUTPUT_VERSION,
        "outputRoot": keccak256(preimage.as_flattened()),
        "blockRef": l2_reference(context, &block)?,
        "withdrawalStorageRoot": passer_root,
        "stateRoot": block.header.state_root,
        "syncStatus": sync_status(context)?,
    }))
}

/// Where the chain is. The node makes the blocks, so the unsafe head is its own.
fn sync_status(context: &Context) -> RpcResult<Value> {
    let at = |tag| -> RpcResult<_> {
        context.block(BlockNumberOrTag::into(tag))?.ok_or_else(unknown_block)
    };
    let head = at(BlockNumberOrTag::Latest)?;
    let (safe, finalized) = (at(BlockNumberOrTag::Safe)?, at(BlockNumberOrTag::Finalized)?);
    let l1_head = l1_reference(context, &head)?;
    let unsafe_l2 = l2_reference(context, &head)?;
    let safe_l2 = l2_reference(context, &safe)?;
    let finalized_l1 = l1_reference(context, &finalized)?;
    Ok(json!({
        "current_l1": l1_head,
        "current_l1_finalized": finalized_l1,
        "head_l1": l1_head,
        "safe_l1": l1_reference(context, &safe)?,
        "finalized_l1": finalized_l1,
        "unsafe_l2": unsafe_l2,
        "safe_l2": safe_l2,
        "finalized_l2": l2_reference(context, &finalized)?,
        "pending_safe_l2": safe_l2,
        "cross_unsafe_l2": unsafe_l2,
        "local_safe_l2": safe_l2,
    }))
}

fn l2_reference(context: &Context, block: &SealedBlock) -> RpcResult<Value> {
    let origin = L1Reference::of(block);
    let genesis = &context.settings.rollup_config["genesis"]["l1"];
    Ok(json!({
        "hash": block.hash,
        "number": block.number(),
        "parentHash": block.header.parent_hash,
        "timestamp": block.header.timestamp,
        "l1origin": match &origin {
            Some(origin) => json!({ "hash": origin.hash, "number": origin.number }),
            // Block 0 has no attributes deposit.
            None => genesis.clone(),
        },
        "sequenceNumber": origin.map_or(0, |origin| origin.sequence_number),
    }))
}

/// The L1 origin of `block`. Its parent is the origin before it, if the chain goes back that far.
fn l1_reference(context: &Context, block: &SealedBlock) -> RpcResult<Value> {
    let Some(origin) = L1Reference::of(block) else {
        let genesis = &context.settings.rollup_config["genesis"]["l1"];
        return Ok(json!({
            "hash": genesis["hash"],
            "number": genesis["number"],
            "parentHash": B256::ZERO,
            "timestamp": block.header.timestamp,
        }));
    };
    let last_of_parent = block.number().checked_sub(origin.sequence_number + 1);
    let before = last_of_parent.map(|number| context.chain.block(number)).transpose();
    let before = before.map_err(internal)?.flatten();
    let parent = before.and_then(|block| L1Reference::of(&block));
    let parent = parent.filter(|parent| parent.number + 1 == origin.number);
    Ok(json!({
        "hash": origin.hash,
        "number": origin.number,
        "parentHash": parent.map(|parent| parent.hash).unwrap_or_default(),
        "timestamp": origin.timestamp,
    }))
}

//! Blocks, transactions and receipts.

use std::sync::Arc;

use alloy_eips::{BlockId, BlockNumberOrTag, eip2718::Encodable2718};
use alloy_primitives::{B256, Bytes, U64};
use jsonrpsee::{RpcModule, core::RegisterMethodError};
use op_alloy_rpc_types::{OpTransactionReceipt, Transaction};

use super::{
    context::Context,
    convert::{self, Detail, RpcBlock},
    error::{RpcResult, internal, invalid},
};
use crate::execution::SealedBlock;

pub(super) fn register(module: &mut RpcModule<Context>) -> Result<(), RegisterMethodError> {
    module.register_method("eth_blockNumber", |_, context, _| {
        RpcResult::Ok(U64::from(context.chain.head().number()))
    })?;
    module.register_blocking_method("eth_getBlockByNumber", |params, context, _| {
        let mut params = params.sequence();
        let tag: BlockNumberOrTag = params.next()?;
        block(&context, tag.into(), params.optional_next()?)
    })?;
    module.register_blocking_method("eth_getBlockByHash", |params, context, _| {
        let mut params = params.sequence();
        let hash: B256 = params.next()?;
        block(&context, hash.into(), params.optional_next()?)
    })?;
    module.register_blocking_method("eth_getBlockReceipts", |params, context, _| {
        let id: BlockId = params.sequence().next()?;
        let receipts = |block: Arc<SealedBlock>| -> Vec<OpTransactionReceipt> {
            (0..block.txs.len()).filter_map(|index| convert::receipt(&block, index)).collect()
        };
        context.block(id).map(|block| block.map(receipts))
    })?;
    module.register_blocking_method(
        "eth_getBlockTransactionCountByNumber",
        |params, context, _| {
            let tag: BlockNumberOrTag = params.sequence().next()?;
            transaction_count(&context, tag.into())
        },
    )?;
    module.register_blocking_method(
        "eth_getBlockTransactionCountByHash",
        |params, context, _| {
            let hash: B256 = params.sequence().next()?;
            transaction_count(&context, hash.into())
        },
    )?;
    // A rollup has no uncles.
    module.register_method("eth_getUncleCountByBlockNumber", |params, context, _| {
        let tag: BlockNumberOrTag = params.sequence().next()?;
        RpcResult::Ok(context.number(tag.into()).map(|_| U64::ZERO))
    })?;
    module.register_method("eth_getUncleCountByBlockHash", |params, context, _| {
        let hash: B256 = params.sequence().next()?;
        RpcResult::Ok(context.number(hash.into()).map(|_| U64::ZERO))
    })?;
    module.register_method("eth_getUncleByBlockNumberAndIndex", |_, _, _| None::<()>)?;
    module.register_method("eth_getUncleByBlockHashAndIndex", |_, _, _| None::<()>)?;
    module.register_blocking_method("eth_getTransactionByHash", |params, context, _| {
        transaction(&context, params.sequence().next()?)
    })?;
    module.register_blocking_method("eth_getRawTransactionByHash", |params, context, _| {
        raw_transaction(&context, params.sequence().next()?)
    })?;
    module.register_blocking_method(
        "eth_getTransactionByBlockNumberAndIndex",
        |params, context, _| {
            let mut params = params.sequence();
            let tag: BlockNumberOrTag = params.next()?;
            transaction_at(&context, tag.into(), params.next()?)
        },
    )?;
    module.register_blocking_method(
        "eth_getTransactionByBlockHashAndIndex",
        |params, context, _| {
            let mut params = params.sequence();
            let hash: B256 = params.next()?;
            transaction_at(&context, hash.into(), params.next()?)
        },
    )?;
    module.register_blocking_method("eth_getTransactionReceipt", |params, context, _| {
        let mut params = params.sequence();
        let hash = params.next()?;
        match params.optional_next::<BlockNumberOrTag>()? {
            None | Some(BlockNumberOrTag::Latest) => receipt(&context, hash),
            Some(BlockNumberOrTag::Pending) => preconfirmed(&context, hash),
            Some(_) => Err(invalid("a receipt is asked for at \"latest\" or at \"pending\"")),
        }
    })?;
    Ok(())
}

fn block(context: &Context, id: BlockId, full: Option<bool>) -> RpcResult<Option<RpcBlock>> {
    let detail = if full.unwrap_or_default() { Detail::Full } else { Detail::Hashes };
    Ok(context.block(id)?.map(|block| convert::block(&block, detail)))
}

fn transaction_count(context: &Context, id: BlockId) -> RpcResult<Option<U64>> {
    Ok(context.block(id)?.map(|block| U64::from(block.txs.len())))
}

/// The block that holds a transaction, and its index there.
pub(super) fn find(context: &Context, hash: B256) -> RpcResult<Option<(Arc<SealedBlock>, usize)>> {
    context.chain.tx(hash).map_err(internal)
}

fn transaction(context: &Context, hash: B256) -> RpcResult<Option<Transaction>> {
    // The pool first: a transaction moves from there into a block, never back.
    let waiting = context.chain.pool().get(hash);
    if let Some((block, index)) = find(context, hash)? {
        return Ok(convert::transaction(&block, index));
    }
    Ok(waiting.map(|waiting| convert::pending(&waiting.tx)))
}

/// EIP-2718 bytes of a transaction, in a block or waiting.
pub(super) fn raw_transaction(context: &Context, hash: B256) -> RpcResult<Option<Bytes>> {
    let waiting = context.chain.pool().get(hash);
    if let Some((block, index)) = find(context, hash)? {
        return Ok(block.txs.get(index).map(|tx| tx.inner().encoded_2718().into()));
    }
    Ok(waiting.map(|waiting| waiting.encoded.clone()))
}

fn transaction_at(context: &Context, id: BlockId, index: U64) -> RpcResult<Option<Transaction>> {
    let index = usize::try_from(index.to::<u64>()).unwrap_or(usize::MAX);
    Ok(context.block(id)?.and_then(|block| convert::transaction(&block, index)))
}

/// The receipt of a transaction that is in a block.
pub(super) fn receipt(context: &Context, hash: B256) -> RpcResult<Option<OpTransactionReceipt>> {
    Ok(find(context, hash)?.and_then(|(block, index)| convert::receipt(&block, index)))
}

/// The receipt of a transaction that is in a block or in the one that is being made. The latter has a
/// block number but no block hash yet: zero stands for it.
fn preconfirmed(context: &Context, hash: B256) -> RpcResult<Option<OpTransactionReceipt>> {
    if let Some(pending) = context.chain.pending() {
        let content = pending.content();
        if let Some(index) = content.index(hash) {
            return Ok(convert::receipt(&content.block, index));
        }
    }
    receipt(context, hash)
}

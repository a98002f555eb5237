//! Blocks, headers, receipts and transactions as the bytes that are hashed.

use alloy_consensus::{Block, BlockBody, TxReceipt};
use alloy_eips::{BlockId, eip2718::Encodable2718, eip4895::Withdrawals};
use alloy_primitives::{B256, Bytes, U64};
use jsonrpsee::{RpcModule, core::RegisterMethodError};

use super::{
    blocks,
    context::{Context, unknown_block},
    error::RpcResult,
    hex_params::PrefixedHash,
};
use crate::execution::SealedBlock;

pub(super) fn register(module: &mut RpcModule<Context>) -> Result<(), RegisterMethodError> {
    module.register_blocking_method("debug_getRawHeader", |params, context, _| {
        let block = context.block(params.sequence().next()?)?.ok_or_else(unknown_block)?;
        RpcResult::Ok(Bytes::from(alloy_rlp::encode(&block.header)))
    })?;
    module.register_blocking_method("debug_getRawBlock", |params, context, _| {
        let block = context.block(params.sequence().next()?)?.ok_or_else(unknown_block)?;
        RpcResult::Ok(raw_block(&block))
    })?;
    module.register_blocking_method("debug_getRawReceipts", |params, context, _| {
        let block = context.block(params.sequence().next()?)?.ok_or_else(unknown_block)?;
        RpcResult::Ok(raw_receipts(&block))
    })?;
    module.register_blocking_method("debug_getRawTransaction", |params, context, _| {
        let PrefixedHash(hash) = params.sequence().next()?;
        blocks::raw_transaction(&context, hash)
    })?;
    module.register_blocking_method(
        "eth_getRawTransactionByBlockNumberAndIndex",
        |params, context, _| {
            let mut params = params.sequence();
            let tag: alloy_eips::BlockNumberOrTag = params.next()?;
            raw_transaction_at(&context, tag.into(), params.next()?)
        },
    )?;
    module.register_blocking_method(
        "eth_getRawTransactionByBlockHashAndIndex",
        |params, context, _| {
            let mut params = params.sequence();
            let hash: B256 = params.next()?;
            raw_transaction_at(&context, hash.into(), params.next()?)
        },
    )?;
    // Every block that this node knows it made itself.
    module.register_method("debug_getBadBlocks", |_, _, _| Vec::<()>::new())?;
    Ok(())
}

fn raw_block(block: &SealedBlock) -> Bytes {
    let body = BlockBody {
        transactions: block.txs.iter().map(|tx| tx.inner().clone()).collect(),
        ommers: Vec::new(),
        withdrawals: block.has_withdrawals().then(Withdrawals::default),
    };
    alloy_rlp::encode(Block { header: block.header.clone(), body }).into()
}

fn raw_receipts(block: &SealedBlock) -> Vec<Bytes> {
    let receipts = block.receipts.iter();
    receipts.map(|receipt| receipt.clone().into_with_bloom().encoded_2718().into()).collect()
}

fn raw_transaction_at(context: &Context, id: BlockId, index: U64) -> RpcResult<Option<Bytes>> {
    let index = usize::try_from(index.to::<u64>()).unwrap_or(usize::MAX);
    let block = context.block(id)?;
    Ok(block.and_then(|block| block.txs.get(index).map(|tx| tx.inner().encoded_2718().into())))
}

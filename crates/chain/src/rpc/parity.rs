//! Traces in Parity's shapes, which explorers read: `trace_block`, `trace_transaction`,
//! `trace_filter`, `trace_get`.

use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::{B256, U64};
use alloy_rpc_types_eth::TransactionInfo;
use alloy_rpc_types_trace::{filter::TraceFilter, parity::LocalizedTransactionTrace};
use jsonrpsee::{RpcModule, core::RegisterMethodError};
use revm_inspectors::tracing::{TracingInspector, TracingInspectorConfig};
use serde_json::value::RawValue;

use super::{
    blocks,
    context::{Context, unknown_block},
    debug::{not_replayed, replay},
    error::{RpcResult, internal, invalid, limit},
    limits::{TRACE_BLOCKS_MAX, TRACE_BYTES_MAX},
    object::Object,
    output,
};
use crate::execution::{Guard, Recorded, SealedBlock};

type Tracer = Guard<TracingInspector>;

pub(super) fn register(module: &mut RpcModule<Context>) -> Result<(), RegisterMethodError> {
    module.register_blocking_method("trace_block", |params, context, _| {
        let id: BlockId = params.sequence().next()?;
        let _permit = context.trace_permit()?;
        let Some(block) = context.block(id)? else { return Ok(None) };
        let traces = block_traces(&context, &block, &mut tracer(&context))?;
        output::json(&traces).map(Some)
    })?;
    module.register_blocking_method("trace_transaction", |params, context, _| {
        let hash = params.sequence().next()?;
        let _permit = context.trace_permit()?;
        let Some(traces) = transaction_traces(&context, hash)? else { return Ok(None) };
        output::json(&traces).map(Some)
    })?;
    module.register_blocking_method("trace_get", |params, context, _| {
        let mut params = params.sequence();
        let (hash, path): (B256, Vec<U64>) = (params.next()?, params.next()?);
        let _permit = context.trace_permit()?;
        let Some(traces) = transaction_traces(&context, hash)? else { return Ok(None) };
        let is_at = |trace: &&LocalizedTransactionTrace| {
            trace
                .trace
                .trace_address
                .iter()
                .map(|step| *step as u64)
                .eq(path.iter().map(U64::to::<u64>))
        };
        traces.iter().find(is_at).map(output::json).transpose()
    })?;
    module.register_blocking_method("trace_filter", |params, context, _| {
        let Object(wanted): Object<TraceFilter> = params.sequence().next()?;
        filter(&context, &wanted)
    })?;
    Ok(())
}

fn tracer(context: &Context) -> Tracer {
    let inspector = TracingInspector::new(TracingInspectorConfig::default_parity());
    let recorded = Recorded { calls: true, ..Recorded::default() };
    Guard::recording(inspector, context.deadline(), recorded, TRACE_BYTES_MAX)
}

fn transaction_traces(
    context: &Context,
    hash: B256,
) -> RpcResult<Option<Vec<LocalizedTransactionTrace>>> {
    let Some((block, index)) = blocks::find(context, hash)? else { return Ok(None) };
    let mut tracer = tracer(context);
    let mut traces = block_traces_until(context, &block, index + 1, &mut tracer)?;
    traces.retain(|trace| trace.transaction_hash == Some(hash));
    Ok(Some(traces))
}

fn block_traces(
    context: &Context,
    block: &SealedBlock,
    tracer: &mut Tracer,
) -> RpcResult<Vec<LocalizedTransactionTrace>> {
    block_traces_until(context, block, block.txs.len(), tracer)
}

/// Traces of the first `end` transactions. The genesis has none.
fn block_traces_until(
    context: &Context,
    block: &SealedBlock,
    end: usize,
    tracer: &mut Tracer,
) -> RpcResult<Vec<LocalizedTransactionTrace>> {
    let mut traces = Vec::new();
    if block.number() == 0 {
        return Ok(traces);
    }
    let mut replay = replay(context, block)?;
    while replay.index() < end
        && let Some((tx, env)) = replay.next()
    {
        let outcome = replay.execute(env, tracer).map_err(not_replayed)?;
        let info = TransactionInfo {
            hash: Some(tx.inner().tx_hash()),
            index: Some(replay.index() as u64),
            block_hash: Some(block.hash),
            block_number: Some(block.number()),
            ..TransactionInfo::default()
        };
        let builder = tracer
            .inner
            .clone()
            .into_parity_builder()
            .with_transaction_gas_used(outcome.result.tx_gas_used());
        traces.extend(builder.into_localized_transaction_traces_iter(info));
        tracer.inner.fuse();
        replay.commit(outcome.state);
    }
    Ok(traces)
}

fn filter(context: &Context, filter: &TraceFilter) -> RpcResult<Box<RawValue>> {
    let _permit = context.trace_permit()?;
    let head = context.chain.head().number();
    let from = filter.from_block.unwrap_or(head);
    let to = filter.to_block.unwrap_or(head).min(head);
    if filter.from_block.is_some() && filter.to_block.is_some_and(|to| from > to) {
        return Err(invalid("fromBlock is after toBlock"));
    }
    if to.saturating_sub(from) >= TRACE_BLOCKS_MAX {
        return Err(limit(format!("too many blocks, the limit is {TRACE_BLOCKS_MAX}")));
    }
    let matcher = filter.matcher();
    let mut skip = usize::try_from(filter.after.unwrap_or_default()).map_err(internal)?;
    let count = filter.count.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
    let mut tracer = tracer(context);
    let mut found = Vec::new();
    for number in from..=to {
        if found.len() >= count {
            break;
        }
        let id = BlockId::Number(BlockNumberOrTag::Number(number));
        let block = context.block(id)?.ok_or_else(unknown_block)?;
        for trace in block_traces(context, &block, &mut tracer)? {
            if !matcher.matches(&trace.trace) {
                continue;
            }
            if skip > 0 {
                skip -= 1;
            } else if found.len() < count {
                found.push(trace);
            }
        }
    }
    output::json(&found)
}

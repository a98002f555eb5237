//! Traces in geth's shapes: blocks and transactions executed again, and calls.

use std::sync::Arc;

use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_op_evm::OpTx;
use alloy_primitives::B256;
use alloy_rpc_types_eth::TransactionRequest;
use alloy_rpc_types_trace::geth::{
    GethDebugTracingCallOptions, GethDebugTracingOptions, GethTrace, PreStateFrame, TraceResult,
};
use jsonrpsee::{RpcModule, core::RegisterMethodError, types::ParamsSequence};
use revm::{
    DatabaseRef,
    context::{BlockEnv, result::ResultAndState},
    inspector::NoOpInspector,
};
use revm_inspectors::tracing::TransactionContext;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::{
    blocks,
    call::{self, Overrides},
    context::{Context, unknown_block},
    error::{RpcResult, internal, invalid, refused, stopped},
    object::Object,
    output, overrides,
    request::environment,
    tracer::{self, Tracer},
};
use crate::execution::{
    Guard, Refusal, Replay, Scratch, SealedBlock, precompiles, relax_for_calls, transact,
    unenveloped,
};

pub(super) fn register(module: &mut RpcModule<Context>) -> Result<(), RegisterMethodError> {
    module.register_blocking_method("debug_traceTransaction", |params, context, _| {
        let mut params = params.sequence();
        let hash = params.next()?;
        trace_transaction(&context, hash, options(&mut params)?)
    })?;
    module.register_blocking_method("debug_traceBlockByNumber", |params, context, _| {
        let mut params = params.sequence();
        let tag: BlockNumberOrTag = params.next()?;
        trace_block(&context, tag.into(), options(&mut params)?)
    })?;
    module.register_blocking_method("debug_traceBlockByHash", |params, context, _| {
        let mut params = params.sequence();
        let hash: B256 = params.next()?;
        trace_block(&context, hash.into(), options(&mut params)?)
    })?;
    module.register_blocking_method("debug_traceCall", |params, context, _| {
        let mut params = params.sequence();
        let Object(request): Object<TransactionRequest> = params.next()?;
        let id = params.optional_next()?;
        trace_call(&context, request, id, options(&mut params)?)
    })?;
    Ok(())
}

/// The next parameter: how to trace, the instruction log unless told otherwise.
fn options<T: DeserializeOwned + Default>(params: &mut ParamsSequence<'_>) -> RpcResult<T> {
    let given: Option<Object<T>> = params.optional_next()?;
    Ok(given.map(|Object(options)| options).unwrap_or_default())
}

/// `block`, about to be executed again on its parent's state.
///
/// Errors: it is the genesis; or its parent's state is no longer kept.
pub(super) fn replay<'a>(context: &Context, block: &'a SealedBlock) -> RpcResult<Replay<'a>> {
    let parent =
        block.number().checked_sub(1).ok_or_else(|| refused("genesis is not traceable"))?;
    let (_, state) = context.sealed_at(Some(BlockId::number(parent)))?;
    Replay::new(&context.chain.rules, block, state).map_err(internal)
}

/// Why a transaction of a block could not be executed again.
pub(super) fn not_replayed(refusal: Refusal) -> jsonrpsee::types::ErrorObjectOwned {
    match refusal {
        Refusal::Exceeded(exceeded) => stopped(exceeded),
        Refusal::Invalid(error) => internal(error),
        Refusal::Other(reason) => internal(reason),
    }
}

fn trace_transaction(
    context: &Context,
    hash: B256,
    options: GethDebugTracingOptions,
) -> RpcResult<Box<RawValue>> {
    let _permit = context.trace_permit()?;
    let mut tracer = tracer::chosen(context, options)?;
    let (block, index) =
        blocks::find(context, hash)?.ok_or_else(|| refused("transaction not found"))?;
    let mut replay = replay(context, &block)?;
    let mut before = Guard::new(NoOpInspector, context.deadline());
    replay.advance_to(index, &mut before).map_err(not_replayed)?;
    let (trace, _) = trace_next(&mut replay, &block, &mut tracer)?;
    output::json(&trace)
}

fn trace_block(
    context: &Context,
    id: BlockId,
    options: GethDebugTracingOptions,
) -> RpcResult<Box<RawValue>> {
    let _permit = context.trace_permit()?;
    let mut tracer = tracer::chosen(context, options)?;
    let block = context.block(id)?.ok_or_else(unknown_block)?;
    let mut replay = replay(context, &block)?;
    let mut traces = Vec::with_capacity(block.txs.len());
    while let Some((tx, _)) = replay.next() {
        let tx_hash = Some(tx.inner().tx_hash());
        let (result, outcome) = trace_next(&mut replay, &block, &mut tracer)?;
        replay.commit(outcome.state);
        tracer.guard.inner.fuse().map_err(internal)?;
        traces.push(TraceResult::Success { result, tx_hash });
    }
    output::json(&traces)
}

fn trace_next(
    replay: &mut Replay<'_>,
    block: &SealedBlock,
    tracer: &mut Tracer,
) -> RpcResult<(GethTrace, Outcome)> {
    let (tx, env) = replay.next().ok_or_else(|| internal("the block has no such transaction"))?;
    let outcome = replay.execute(env.clone(), &mut tracer.guard).map_err(not_replayed)?;
    let place = TransactionContext {
        block_hash: Some(block.hash),
        tx_index: Some(replay.index()),
        tx_hash: Some(tx.inner().tx_hash()),
    };
    let block_env = replay.env.block_env.clone();
    let trace = result(tracer, Some(place), &env, &block_env, &outcome, &mut replay.db)?;
    Ok((trace, outcome))
}

type Outcome = ResultAndState<op_revm::OpHaltReason>;

fn result(
    tracer: &mut Tracer,
    place: Option<TransactionContext>,
    tx: &OpTx,
    block: &BlockEnv,
    outcome: &Outcome,
    db: &mut Scratch,
) -> RpcResult<GethTrace> {
    let result = tracer.guard.inner.get_result(place, tx, block, outcome, db);
    let mut trace = result.map_err(|error| refused(error.to_string()))?;
    if let GethTrace::PreStateTracer(state) = &mut trace
        && !tracer.keeps_empty
    {
        let before = match state {
            PreStateFrame::Default(before) => &mut before.0,
            PreStateFrame::Diff(diff) => &mut diff.pre,
        };
        // What was not there before is not shown, as in geth.
        let was_there =
            |address| db.basic_ref(address).ok().flatten().is_some_and(|info| !info.is_empty());
        before.retain(|address, _| was_there(*address));
    }
    Ok(trace)
}

fn trace_call(
    context: &Context,
    request: TransactionRequest,
    id: Option<BlockId>,
    options: GethDebugTracingCallOptions,
) -> RpcResult<Box<RawValue>> {
    let _permit = context.trace_permit()?;
    let mut tracer = tracer::chosen(context, options.tracing_options)?;
    let (block, state) = context.at(id)?;
    let wanted = Overrides { state: options.state_overrides, block: options.block_overrides };
    let tx =
        environment(&request, context.chain.rules.chain_id, call::call_gas(context, &request))?;
    let (env, mut db, changes) = match options.tx_index {
        None => {
            let simulation = call::simulation(context, &block, state, wanted, &request)?;
            (simulation.env, simulation.db, simulation.precompiles)
        }
        Some(index) => within_block(context, &block, index, wanted)?,
    };
    let tx = unenveloped(tx);
    let outcome =
        transact(&mut db, &env, &changes, tx.clone(), &mut tracer.guard).map_err(|refusal| {
            match refusal {
                Refusal::Exceeded(exceeded) => stopped(exceeded),
                Refusal::Invalid(error) => refused(error),
                Refusal::Other(reason) => refused(reason),
            }
        })?;
    output::json(&result(&mut tracer, None, &tx, &env.block_env, &outcome, &mut db)?)
}

type Prepared =
    (alloy_evm::EvmEnv<op_revm::OpSpecId>, Scratch, crate::execution::PrecompileChanges);

/// The state in the middle of `block`, before its transaction `index`.
fn within_block(
    context: &Context,
    block: &Arc<SealedBlock>,
    index: u64,
    wanted: Overrides,
) -> RpcResult<Prepared> {
    let index = usize::try_from(index)
        .ok()
        .filter(|index| *index <= block.txs.len())
        .ok_or_else(|| invalid(format!("block {} has no transaction {index}", block.number())))?;
    let mut replay = replay(context, block)?;
    let mut before = Guard::new(NoOpInspector, context.deadline());
    replay.advance_to(index, &mut before).map_err(not_replayed)?;
    let (mut env, mut db) = (replay.env, replay.db);
    relax_for_calls(&mut env);
    if let Some(block) = wanted.block {
        overrides::apply_block(&mut db, &mut env.block_env, block)?;
    }
    let mut changes = crate::execution::PrecompileChanges::default();
    if let Some(state) = wanted.state {
        let builtin = precompiles(&env);
        changes = overrides::apply_state(&mut db, state, |address| builtin.get(address).is_some())?;
    }
    Ok((env, db, changes))
}

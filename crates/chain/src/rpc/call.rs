//! Calls, gas estimates and access lists.

use alloy_eips::BlockId;
use alloy_primitives::{Bytes, TxKind, U64, U256};
use alloy_rpc_types_eth::{
    AccessListResult, BlockOverrides, TransactionRequest, state::StateOverride,
};
use jsonrpsee::{RpcModule, core::RegisterMethodError, types::ParamsSequence};
use revm::database::CacheDB;
use revm_inspectors::access_list::AccessListInspector;

use super::{
    context::Context,
    error::{self, RpcResult, refused, stopped},
    limits::ACCESS_LIST_TRIES_MAX,
    object::Object,
    overrides,
    request::{environment, gas_price},
};
use crate::execution::{
    CallOutcome, PrecompileChanges, SealedBlock, Simulation, View, precompiles, relax_for_calls,
};

/// What a transfer without data costs.
const TRANSFER_GAS: u64 = 21_000;

/// What a call may be run against, besides a block.
#[derive(Default)]
pub(super) struct Overrides {
    pub(super) state: Option<StateOverride>,
    pub(super) block: Option<BlockOverrides>,
}

impl Overrides {
    /// The next two parameters, both optional: the state's, then the block's.
    fn next(params: &mut ParamsSequence<'_>) -> RpcResult<Self> {
        let state = params.optional_next()?;
        let block: Option<Object<_>> = params.optional_next()?;
        Ok(Self { state, block: block.map(|Object(block)| block) })
    }
}

pub(super) fn register(module: &mut RpcModule<Context>) -> Result<(), RegisterMethodError> {
    module.register_blocking_method("eth_call", |params, context, _| {
        let mut params = params.sequence();
        let Object(request): Object<TransactionRequest> = params.next()?;
        let id = params.optional_next()?;
        let overrides = Overrides::next(&mut params)?;
        call(&context, &request, id, overrides)
    })?;
    module.register_blocking_method("eth_estimateGas", |params, context, _| {
        let mut params = params.sequence();
        let Object(request): Object<TransactionRequest> = params.next()?;
        let id = params.optional_next()?;
        let overrides = Overrides::next(&mut params)?;
        estimate(&context, &request, id, overrides)
    })?;
    module.register_blocking_method("eth_createAccessList", |params, context, _| {
        let mut params = params.sequence();
        let Object(request): Object<TransactionRequest> = params.next()?;
        let id = params.optional_next()?;
        let overrides = Overrides { state: params.optional_next()?, block: None };
        access_list(&context, request, id, overrides)
    })?;
    Ok(())
}

fn call(
    context: &Context,
    request: &TransactionRequest,
    id: Option<BlockId>,
    overrides: Overrides,
) -> RpcResult<Bytes> {
    let _permit = context.call_permit()?;
    let (block, state) = context.at(id)?;
    let simulation = simulation(context, &block, state, overrides, request)?;
    let gas = call_gas(context, request);
    error::output(simulation.run(environment(request, context.chain.rules.chain_id, gas)?))
}

/// Gas that a call gets: what it asks for, up to the limit.
pub(super) fn call_gas(context: &Context, request: &TransactionRequest) -> u64 {
    let max = context.settings.call_gas_max;
    request.gas.unwrap_or(max).min(max)
}

/// The least gas with which the transaction succeeds.
pub(super) fn estimate(
    context: &Context,
    request: &TransactionRequest,
    id: Option<BlockId>,
    overrides: Overrides,
) -> RpcResult<U64> {
    let _permit = context.call_permit()?;
    let (block, state) = context.at(id)?;
    let plain_call = request.input.input().is_none_or(|data| data.is_empty())
        && request.authorization_list.is_none()
        && request.access_list.is_none();
    let simulation = simulation(context, &block, state, overrides, request)?;
    let to_account = match request.to {
        Some(TxKind::Call(to)) => !simulation.has_code(to),
        _ => false,
    };

    let block_gas = simulation.env.block_env.gas_limit;
    let mut highest = request.gas.unwrap_or(block_gas).min(context.settings.call_gas_max);
    let price = gas_price(request);
    if price > 0 {
        let balance = simulation.balance(request.from.unwrap_or_default());
        let funds = balance
            .checked_sub(request.value.unwrap_or_default())
            .ok_or_else(|| refused("insufficient funds for transfer"))?;
        highest = highest.min((funds / U256::from(price)).saturating_to());
    }
    let chain_id = context.chain.rules.chain_id;
    // Whether it succeeds with this much gas; the node's own limit is an error, not an answer.
    let run = |gas| -> RpcResult<CallOutcome> {
        match simulation.run(environment(request, chain_id, gas)?) {
            CallOutcome::Exceeded(exceeded) => Err(stopped(exceeded)),
            outcome => Ok(outcome),
        }
    };

    if plain_call
        && to_account
        && highest >= TRANSFER_GAS
        && matches!(run(TRANSFER_GAS)?, CallOutcome::Success { .. })
    {
        return Ok(U64::from(TRANSFER_GAS));
    }
    let used = match run(highest)? {
        CallOutcome::Success { gas_used, .. } => gas_used,
        CallOutcome::Halt { out_of_gas: true, .. } => {
            return Err(refused(format!("gas required exceeds allowance ({highest})")));
        }
        outcome => return Err(error::output(outcome).err().unwrap_or_else(|| refused("failed"))),
    };
    // Refunds and the 1/64 that a call keeps back make the need higher than the use, rarely by much:
    // try just above before halving the whole range.
    let (mut too_little, mut enough) = (used.saturating_sub(1), highest);
    let guess = used.saturating_add(used / 32 + 2_300).min(highest);
    for gas in [used, guess] {
        if gas < enough && gas > too_little {
            if matches!(run(gas)?, CallOutcome::Success { .. }) {
                enough = gas;
            } else {
                too_little = gas;
            }
        }
    }
    while too_little + 1 < enough {
        let middle = too_little + (enough - too_little) / 2;
        if matches!(run(middle)?, CallOutcome::Success { .. }) {
            enough = middle;
        } else {
            too_little = middle;
        }
    }
    Ok(U64::from(enough))
}

/// The accounts and slots that the transaction touches, but for those that are warm anyway; with the
/// gas that it uses when it names them.
fn access_list(
    context: &Context,
    mut request: TransactionRequest,
    id: Option<BlockId>,
    overrides: Overrides,
) -> RpcResult<AccessListResult> {
    let _permit = context.call_permit()?;
    let (block, state) = context.at(id)?;
    let simulation = simulation(context, &block, state, overrides, &request)?;
    let chain_id = context.chain.rules.chain_id;
    let mut list = request.access_list.clone().unwrap_or_default();
    for _ in 0..ACCESS_LIST_TRIES_MAX {
        request.access_list = Some(list.clone());
        let tx = environment(&request, chain_id, call_gas(context, &request))?;
        let inspector = AccessListInspector::new(list.clone());
        let (outcome, inspector) = simulation.inspect(tx, inspector);
        let (gas_used, error) = match outcome {
            CallOutcome::Success { gas_used, .. } => (gas_used, None),
            CallOutcome::Revert { gas_used, output } => {
                (gas_used, Some(error::revert_message(&output)))
            }
            CallOutcome::Halt { gas_used, reason, .. } => (gas_used, Some(reason)),
            CallOutcome::Invalid { reason } => return Err(refused(reason)),
            CallOutcome::Exceeded(exceeded) => return Err(stopped(exceeded)),
        };
        let mut touched = inspector.into_access_list();
        touched.0.sort_unstable_by_key(|item| item.address);
        // What it does may depend on the gas that is left, and that on the list.
        if touched == list {
            let gas_used = U256::from(gas_used);
            return Ok(AccessListResult { access_list: touched, gas_used, error });
        }
        list = touched;
    }
    Err(refused(format!(
        "the accessed storage changes with every access list that was tried \
         ({ACCESS_LIST_TRIES_MAX} times)"
    )))
}

/// A simulation on the state after `block`, in that block's context, as a call sees it.
pub(super) fn simulation(
    context: &Context,
    block: &SealedBlock,
    state: View,
    overrides: Overrides,
    request: &TransactionRequest,
) -> RpcResult<Simulation> {
    let mut db = CacheDB::new(state);
    let mut env = context.chain.rules.evm_env(&block.header);
    relax_for_calls(&mut env);
    if let Some(block) = overrides.block {
        overrides::apply_block(&mut db, &mut env.block_env, block)?;
    }
    // Without a price there is no base fee either, as geth has it: contracts compare the two.
    if gas_price(request) == 0 {
        env.block_env.basefee = 0;
    }
    let mut changes = PrecompileChanges::default();
    if let Some(state) = overrides.state {
        let builtin = precompiles(&env);
        changes = overrides::apply_state(&mut db, state, |address| builtin.get(address).is_some())?;
    }
    let deadline = context.deadline();
    Ok(Simulation { env, db, precompiles: changes, deadline })
}

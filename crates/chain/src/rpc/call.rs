//! Calls and gas estimates.

use std::sync::Arc;

use alloy_eips::BlockId;
use alloy_primitives::{Address, Bytes, TxKind, U64, U256};
use alloy_rpc_types_eth::{
    TransactionRequest,
    state::{AccountOverride, StateOverride},
};
use jsonrpsee::{RpcModule, core::RegisterMethodError};
use revm::{
    bytecode::Bytecode,
    context::{TxEnv, either::Either},
    database::CacheDB,
};

use super::{
    context::Context,
    error::{self, RpcResult, invalid, limit, refused},
    limits::{CALL_GAS_MAX, CALLS_AT_ONCE_MAX, OVERRIDES_MAX},
};
use crate::{
    execution::{CallOutcome, SealedBlock, Simulation},
    state::StateView,
};

/// What a transfer without data costs.
const TRANSFER_GAS: u64 = 21_000;

pub(super) fn register(module: &mut RpcModule<Context>) -> Result<(), RegisterMethodError> {
    module.register_blocking_method("eth_call", |params, context, _| {
        let mut params = params.sequence();
        let request: TransactionRequest = params.next()?;
        let (id, overrides) = (params.optional_next()?, params.optional_next()?);
        refuse_block_overrides(params.optional_next()?)?;
        call(&context, &request, id, overrides)
    })?;
    module.register_blocking_method("eth_estimateGas", |params, context, _| {
        let mut params = params.sequence();
        let request: TransactionRequest = params.next()?;
        let (id, overrides) = (params.optional_next()?, params.optional_next()?);
        refuse_block_overrides(params.optional_next()?)?;
        estimate(&context, &request, id, overrides)
    })?;
    Ok(())
}

fn refuse_block_overrides(overrides: Option<serde_json::Value>) -> RpcResult<()> {
    match overrides {
        None => Ok(()),
        Some(_) => Err(invalid("block overrides are not supported; state overrides are")),
    }
}

fn call(
    context: &Context,
    request: &TransactionRequest,
    id: Option<BlockId>,
    overrides: Option<StateOverride>,
) -> RpcResult<Bytes> {
    let _permit = permit(context)?;
    let (block, state) = context.at(id)?;
    let simulation = simulation(context, &block, state, overrides)?;
    let gas = request.gas.unwrap_or(CALL_GAS_MAX).min(CALL_GAS_MAX);
    error::output(simulation.run(environment(request, context.chain.rules.chain_id, gas)?))
}

/// The least gas with which the transaction succeeds.
fn estimate(
    context: &Context,
    request: &TransactionRequest,
    id: Option<BlockId>,
    overrides: Option<StateOverride>,
) -> RpcResult<U64> {
    let _permit = permit(context)?;
    let (block, state) = context.at(id)?;
    let to_account = match request.to {
        Some(TxKind::Call(to)) => state.account(to).is_none_or(|account| account.code().is_empty()),
        _ => false,
    };
    let plain = to_account
        && request.input.input().is_none_or(|data| data.is_empty())
        && request.authorization_list.is_none()
        && request.access_list.is_none()
        && overrides.is_none();
    let simulation = simulation(context, &block, state, overrides)?;

    let mut highest = request.gas.unwrap_or(CALL_GAS_MAX).min(block.header.gas_limit);
    let price = gas_price(request);
    if price > 0 {
        let balance = simulation.balance(request.from.unwrap_or_default());
        let funds = balance
            .checked_sub(request.value.unwrap_or_default())
            .ok_or_else(|| refused("insufficient funds for transfer"))?;
        highest = highest.min((funds / U256::from(price)).saturating_to());
    }
    let chain_id = context.chain.rules.chain_id;
    let run = |gas| environment(request, chain_id, gas).map(|tx| simulation.run(tx));

    if plain && highest >= TRANSFER_GAS && matches!(run(TRANSFER_GAS)?, CallOutcome::Success { .. })
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
    let guess = (used + used / 32 + 2_300).min(highest);
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

fn permit(context: &Context) -> RpcResult<tokio::sync::SemaphorePermit<'_>> {
    context.calls.try_acquire().map_err(|_| {
        limit(format!("{CALLS_AT_ONCE_MAX} calls are running already: try again in a moment"))
    })
}

fn simulation<'a>(
    context: &'a Context,
    block: &'a Arc<SealedBlock>,
    state: StateView,
    overrides: Option<StateOverride>,
) -> RpcResult<Simulation<'a>> {
    let mut db = CacheDB::new(state);
    let overrides = overrides.unwrap_or_default();
    if overrides.len() > OVERRIDES_MAX {
        return Err(limit(format!("too many state overrides, the limit is {OVERRIDES_MAX}")));
    }
    for (address, change) in overrides {
        apply(&mut db, address, change)?;
    }
    Ok(Simulation { rules: &context.chain.rules, header: &block.header, db })
}

fn apply(db: &mut CacheDB<StateView>, address: Address, change: AccountOverride) -> RpcResult<()> {
    if change.move_precompile_to.is_some() {
        return Err(invalid("moving precompiles is not supported"));
    }
    if change.state.is_some() && change.state_diff.is_some() {
        return Err(invalid(format!("account {address} has both state and stateDiff")));
    }
    let Ok(account) = db.load_account(address);
    if let Some(balance) = change.balance {
        account.info.balance = balance;
    }
    if let Some(nonce) = change.nonce {
        account.info.nonce = nonce;
    }
    if let Some(code) = change.code {
        let code = Bytecode::new_raw_checked(code)
            .map_err(|error| invalid(format!("code of account {address}: {error}")))?;
        account.info.code_hash = code.hash_slow();
        account.info.code = Some(code);
    }
    // An account that was not there is now.
    account.account_state = revm::database::AccountState::Touched;
    if let Some(state) = change.state {
        let storage = state.into_iter().map(|(slot, value)| (slot.into(), value.into())).collect();
        let Ok(()) = db.replace_account_storage(address, storage);
    }
    for (slot, value) in change.state_diff.into_iter().flatten() {
        let Ok(()) = db.insert_account_storage(address, slot.into(), value.into());
    }
    Ok(())
}

fn gas_price(request: &TransactionRequest) -> u128 {
    request.gas_price.or(request.max_fee_per_gas).unwrap_or_default()
}

fn environment(request: &TransactionRequest, chain_id: u64, gas: u64) -> RpcResult<TxEnv> {
    if request.blob_versioned_hashes.is_some() || request.max_fee_per_blob_gas.is_some() {
        return Err(invalid("blob transactions have no place on a rollup"));
    }
    let mut tx = TxEnv {
        caller: request.from.unwrap_or_default(),
        gas_limit: gas,
        gas_price: gas_price(request),
        gas_priority_fee: request.max_priority_fee_per_gas,
        kind: request.to.unwrap_or(TxKind::Create),
        value: request.value.unwrap_or_default(),
        data: request.input.clone().into_input().unwrap_or_default(),
        nonce: request.nonce.unwrap_or_default(),
        chain_id: Some(request.chain_id.unwrap_or(chain_id)),
        access_list: request.access_list.clone().unwrap_or_default(),
        authorization_list: request
            .authorization_list
            .iter()
            .flatten()
            .cloned()
            .map(Either::Left)
            .collect(),
        ..TxEnv::default()
    };
    tx.derive_tx_type().map_err(|error| invalid(format!("{error:?}")))?;
    Ok(tx)
}

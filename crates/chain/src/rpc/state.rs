//! Accounts: balance, nonce, code, storage, proofs.

use std::collections::BTreeMap;

use alloy_consensus::constants::KECCAK_EMPTY;
use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::{Address, B256, U64, U256};
use alloy_rpc_types_eth::{EIP1186AccountProofResponse, EIP1186StorageProof};
use jsonrpsee::{RpcModule, core::RegisterMethodError, types::ErrorObjectOwned};

use super::{
    context::Context,
    error::{RpcResult, invalid, limit},
    hex_params::StorageKey,
    limits::{PROOF_SLOTS_MAX, STORAGE_VALUES_MAX},
};

pub(super) fn register(module: &mut RpcModule<Context>) -> Result<(), RegisterMethodError> {
    module.register_method("eth_getBalance", |params, context, _| {
        let mut params = params.sequence();
        let address: Address = params.next()?;
        RpcResult::Ok(context.view(params.optional_next()?)?.account(address).balance)
    })?;
    module.register_method("eth_getCode", |params, context, _| {
        let mut params = params.sequence();
        let address: Address = params.next()?;
        RpcResult::Ok(context.view(params.optional_next()?)?.code(address))
    })?;
    module.register_method("eth_getStorageAt", |params, context, _| {
        let mut params = params.sequence();
        let address: Address = params.next()?;
        let StorageKey(slot) = params.next()?;
        let state = context.view(params.optional_next()?)?;
        RpcResult::Ok(B256::from(state.storage(address, slot.as_b256().into())))
    })?;
    module.register_method("eth_getStorageValues", |params, context, _| {
        let mut params = params.sequence();
        let wanted = params.next()?;
        storage_values(context, wanted, params.optional_next()?)
    })?;
    module.register_method("eth_getTransactionCount", |params, context, _| {
        let mut params = params.sequence();
        let address: Address = params.next()?;
        let id: Option<BlockId> = params.optional_next()?;
        if id == Some(BlockId::Number(BlockNumberOrTag::Pending)) {
            return Ok(U64::from(context.chain.pending_nonce(address)));
        }
        RpcResult::Ok(U64::from(context.view(id)?.account(address).nonce))
    })?;
    module.register_blocking_method("eth_getProof", |params, context, _| {
        let mut params = params.sequence();
        let (address, slots) = (params.next()?, params.next()?);
        proof(&context, address, slots, params.optional_next()?)
    })?;
    Ok(())
}

/// The values of these slots of each account, in the order in which they are asked for.
fn storage_values(
    context: &Context,
    wanted: BTreeMap<Address, Vec<StorageKey>>,
    id: Option<BlockId>,
) -> RpcResult<BTreeMap<Address, Vec<B256>>> {
    let slots: usize = wanted.values().map(Vec::len).sum();
    if slots == 0 {
        return Err(invalid("empty request"));
    }
    if slots > STORAGE_VALUES_MAX {
        return Err(too_many_slots(slots, STORAGE_VALUES_MAX));
    }
    let state = context.view(id)?;
    let values = |(address, slots): (Address, Vec<StorageKey>)| {
        let value = |StorageKey(slot)| B256::from(state.storage(address, slot.as_b256().into()));
        (address, slots.into_iter().map(value).collect())
    };
    Ok(wanted.into_iter().map(values).collect())
}

fn too_many_slots(slots: usize, max: usize) -> ErrorObjectOwned {
    limit(format!("too many slots: {slots}, the limit is {max}"))
}

fn proof(
    context: &Context,
    address: Address,
    slots: Vec<StorageKey>,
    id: Option<BlockId>,
) -> RpcResult<EIP1186AccountProofResponse> {
    if slots.len() > PROOF_SLOTS_MAX {
        return Err(too_many_slots(slots.len(), PROOF_SLOTS_MAX));
    }
    let (_, state) = context.sealed_at(id)?;
    let account_proof = state.proof(address);
    let account = state.account(address);
    let storage_proof = slots
        .into_iter()
        .map(|StorageKey(key)| {
            let slot: U256 = key.as_b256().into();
            let value = state.storage(address, slot);
            let proof = state.storage_proof(address, slot);
            EIP1186StorageProof { key, value, proof }
        })
        .collect();
    Ok(EIP1186AccountProofResponse {
        address,
        balance: account.as_ref().map_or(U256::ZERO, |account| account.balance),
        code_hash: account.as_ref().map_or(KECCAK_EMPTY, |account| account.code_hash),
        nonce: account.as_ref().map_or(0, |account| account.nonce),
        storage_hash: state.storage_root(address),
        account_proof,
        storage_proof,
    })
}

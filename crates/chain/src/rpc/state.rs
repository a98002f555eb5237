//! Accounts: balance, nonce, code, storage, proofs.

use alloy_consensus::constants::KECCAK_EMPTY;
use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::{Address, B256, Bytes, U64, U256};
use alloy_rpc_types_eth::{EIP1186AccountProofResponse, EIP1186StorageProof};
use alloy_serde::JsonStorageKey;
use alloy_trie::EMPTY_ROOT_HASH;
use jsonrpsee::{RpcModule, core::RegisterMethodError};

use super::{
    context::Context,
    error::{RpcResult, limit},
    limits::PROOF_SLOTS_MAX,
};
use crate::state::Account;

pub(super) fn register(module: &mut RpcModule<Context>) -> Result<(), RegisterMethodError> {
    module.register_method("eth_getBalance", |params, context, _| {
        let mut params = params.sequence();
        let address: Address = params.next()?;
        let (_, state) = context.at(params.optional_next()?)?;
        RpcResult::Ok(state.account(address).map_or(U256::ZERO, |account| account.balance))
    })?;
    module.register_method("eth_getCode", |params, context, _| {
        let mut params = params.sequence();
        let address: Address = params.next()?;
        let (_, state) = context.at(params.optional_next()?)?;
        RpcResult::Ok(state.account(address).map(Account::code).unwrap_or_default())
    })?;
    module.register_method("eth_getStorageAt", |params, context, _| {
        let mut params = params.sequence();
        let address: Address = params.next()?;
        let slot: JsonStorageKey = params.next()?;
        let (_, state) = context.at(params.optional_next()?)?;
        let slot = slot.as_b256().into();
        let value = state.account(address).map_or(U256::ZERO, |account| account.storage(slot));
        RpcResult::Ok(B256::from(value))
    })?;
    module.register_method("eth_getTransactionCount", |params, context, _| {
        let mut params = params.sequence();
        let address: Address = params.next()?;
        let id: Option<BlockId> = params.optional_next()?;
        if id == Some(BlockId::Number(BlockNumberOrTag::Pending)) {
            return Ok(U64::from(context.chain.pending_nonce(address)));
        }
        let (_, state) = context.at(id)?;
        RpcResult::Ok(U64::from(state.nonce(address)))
    })?;
    module.register_blocking_method("eth_getProof", |params, context, _| {
        let mut params = params.sequence();
        let (address, slots) = (params.next()?, params.next()?);
        proof(&context, address, slots, params.optional_next()?)
    })?;
    Ok(())
}

fn proof(
    context: &Context,
    address: Address,
    slots: Vec<JsonStorageKey>,
    id: Option<BlockId>,
) -> RpcResult<EIP1186AccountProofResponse> {
    if slots.len() > PROOF_SLOTS_MAX {
        return Err(limit(format!(
            "too many slots: {}, the limit is {PROOF_SLOTS_MAX}",
            slots.len()
        )));
    }
    let (_, state) = context.at(id)?;
    let account_proof = state.proof(address);
    let account = state.account(address);
    let storage_proof = slots
        .into_iter()
        .map(|key| {
            let slot: U256 = key.as_b256().into();
            let value = account.map_or(U256::ZERO, |account| account.storage(slot));
            let proof: Vec<Bytes> =
                account.map(|account| account.storage_proof(slot)).unwrap_or_default();
            EIP1186StorageProof { key, value, proof }
        })
        .collect();
    Ok(EIP1186AccountProofResponse {
        address,
        balance: account.map_or(U256::ZERO, |account| account.balance),
        code_hash: account.map_or(KECCAK_EMPTY, Account::code_hash),
        nonce: account.map_or(0, |account| account.nonce),
        storage_hash: account.map_or(EMPTY_ROOT_HASH, Account::storage_root),
        account_proof,
        storage_proof,
    })
}

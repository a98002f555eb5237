//! What a caller wants executed, as the EVM takes it.

use alloy_primitives::TxKind;
use alloy_rpc_types_eth::TransactionRequest;
use revm::context::{TxEnv, either::Either};

use super::error::{RpcResult, invalid};

/// Price per gas that the request offers.
pub(super) fn gas_price(request: &TransactionRequest) -> u128 {
    request.gas_price.or(request.max_fee_per_gas).unwrap_or_default()
}

/// The EVM's form of `request`, with `gas` to use. A nonce that is not given is zero.
pub(super) fn environment(
    request: &TransactionRequest,
    chain_id: u64,
    gas: u64,
) -> RpcResult<TxEnv> {
    if request.blob_versioned_hashes.is_some()
        || request.max_fee_per_blob_gas.is_some()
        || request.sidecar.is_some()
    {
        return Err(invalid("blob transactions have no place on a rollup"));
    }
    if let (Some(data), Some(input)) = (&request.input.data, &request.input.input)
        && data != input
    {
        return Err(invalid(
            "both \"data\" and \"input\" are set and not equal: use \"input\" to pass call data",
        ));
    }
    if request.gas_price.is_some()
        && (request.max_fee_per_gas.is_some() || request.max_priority_fee_per_gas.is_some())
    {
        return Err(invalid("both gasPrice and (maxFeePerGas or maxPriorityFeePerGas) specified"));
    }
    if request.chain_id.is_some_and(|given| given != chain_id) {
        return Err(invalid(format!("chainId does not match node's (have={chain_id})")));
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
        chain_id: Some(chain_id),
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

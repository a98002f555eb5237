//! Which chain and which program this is, and what it can answer.

use std::collections::BTreeMap;

use alloy_eips::{eip2935::HISTORY_STORAGE_ADDRESS, eip4788::BEACON_ROOTS_ADDRESS};
use alloy_evm::precompiles::Precompile;
use alloy_primitives::{Address, Bytes, U64, keccak256};
use jsonrpsee::{RpcModule, core::RegisterMethodError};
use serde_json::{Value, json};

use super::{context::Context, error::RpcResult};
use crate::execution::precompiles;

/// What `web3_clientVersion` says.
pub(super) const CLIENT_VERSION: &str = concat!("openledger/v", env!("CARGO_PKG_VERSION"));

/// Of Prague; without blobs it decides nothing.
const BLOB_BASE_FEE_UPDATE_FRACTION: u64 = 5_007_716;

pub(super) fn register(module: &mut RpcModule<Context>) -> Result<(), RegisterMethodError> {
    module.register_method("eth_chainId", |_, context, _| {
        RpcResult::Ok(U64::from(context.chain.rules.chain_id))
    })?;
    module
        .register_method("net_version", |_, context, _| context.chain.rules.chain_id.to_string())?;
    module.register_method("net_listening", |_, _, _| true)?;
    module.register_method("net_peerCount", |_, _, _| RpcResult::Ok(U64::ZERO))?;
    module.register_method("web3_clientVersion", |_, _, _| CLIENT_VERSION)?;
    module.register_method("web3_sha3", |params, _, _| {
        let data: Bytes = params.sequence().next()?;
        RpcResult::Ok(keccak256(data))
    })?;
    // The node makes the blocks, so it is never behind.
    module.register_method("eth_syncing", |_, _, _| false)?;
    module.register_method("eth_config", |_, context, _| config(context))?;
    module.register_method("eth_capabilities", |_, context, _| capabilities(context))?;
    Ok(())
}

/// A node holds no keys, but those that everybody has.
pub(super) fn register_without_keys(
    module: &mut RpcModule<Context>,
) -> Result<(), RegisterMethodError> {
    module.register_method("eth_accounts", |_, _, _| Vec::<Address>::new())?;
    Ok(())
}

/// The fork that is active (EIP-7910). All forks of this chain are active from block 0 on, and none is
/// planned. There are no blobs on a rollup, so none are allowed.
fn config(context: &Context) -> Value {
    let rules = &context.chain.rules;
    let builtin = precompiles(&rules.evm_env(&context.chain.head().header));
    let names: BTreeMap<String, Address> = builtin
        .addresses()
        .filter_map(|address| {
            let precompile = builtin.get(address)?;
            Some((precompile.precompile_id().name().to_owned(), *address))
        })
        .collect();
    json!({
        "current": {
            "activationTime": 0,
            "blobSchedule": {
                "baseFeeUpdateFraction": BLOB_BASE_FEE_UPDATE_FRACTION,
                "max": 0,
                "target": 0,
            },
            "chainId": U64::from(rules.chain_id),
            "forkId": format!("0x{:08x}", crc32(context.chain.genesis_hash.as_slice())),
            "precompiles": names,
            "systemContracts": {
                "BEACON_ROOTS_ADDRESS": BEACON_ROOTS_ADDRESS,
                "HISTORY_STORAGE_ADDRESS": HISTORY_STORAGE_ADDRESS,
            },
        },
        "next": null,
        "last": null,
    })
}

/// What past data can be had (execution-apis, `eth_capabilities`): blocks for ever, states for a
/// window.
fn capabilities(context: &Context) -> Value {
    let head = context.chain.head();
    let oldest = context.chain.oldest_state();
    let for_ever = json!({ "disabled": false, "oldestBlock": "0x0" });
    let window = json!({
        "disabled": false,
        "oldestBlock": U64::from(oldest),
        "deleteStrategy": {
            "type": "window",
            "retentionBlocks": U64::from(context.chain.states_max()),
        },
    });
    json!({
        "head": { "number": U64::from(head.number()), "hash": head.hash },
        "state": window,
        "tx": for_ever,
        "logs": for_ever,
        "receipts": for_ever,
        "blocks": for_ever,
        "stateproofs": window,
    })
}

/// The checksum of EIP-2124's fork identifier: IEEE, reflected.
fn crc32(bytes: &[u8]) -> u32 {
    let checksum = bytes.iter().fold(u32::MAX, |checksum, byte| {
        (0..8).fold(checksum ^ u32::from(*byte), |checksum, _| {
            (checksum >> 1) ^ (0xedb8_8320 & (checksum & 1).wrapping_neg())
        })
    });
    !checksum
}

#[cfg(test)]
mod tests {
    use alloy_primitives::hex;

    use super::crc32;

    /// EIP-2124's first example: Ethereum's genesis has the fork hash fc64ec04.
    #[test]
    fn the_fork_id_is_that_of_eip_2124() {
        let genesis = hex!("d4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3");
        assert_eq!(crc32(&genesis), 0xfc64_ec04);
    }
}

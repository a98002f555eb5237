//! Which chain and which program this is.

use alloy_primitives::{Address, Bytes, U64, keccak256};
use jsonrpsee::{RpcModule, core::RegisterMethodError};

use super::{context::Context, error::RpcResult};

/// What `web3_clientVersion` says.
const CLIENT_VERSION: &str = concat!("openledger/v", env!("CARGO_PKG_VERSION"));

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
    // It holds no keys.
    module.register_method("eth_accounts", |_, _, _| Vec::<Address>::new())?;
    Ok(())
}

//! States and blocks as a caller wants them to be.

use alloy_primitives::{Address, U256};
use alloy_rpc_types_eth::{
    BlockOverrides,
    state::{AccountOverride, StateOverride},
};
use revm::{
    bytecode::Bytecode, context::BlockEnv, context_interface::block::BlobExcessGasAndPrice,
    database::AccountState,
};

use super::{
    error::{RpcResult, error, invalid, limit, refused},
    limits::{BLOCK_HASHES_MAX, OVERRIDES_MAX},
};
use crate::execution::{PrecompileChanges, Scratch};

/// execution-apis: a precompile that shall move to where it is.
const MOVED_TO_ITSELF: i32 = -38022;

/// Changes the state in `db`. `is_precompile` tells the addresses of precompiles; an override of one
/// takes its place.
pub(super) fn apply_state(
    db: &mut Scratch,
    overrides: StateOverride,
    is_precompile: impl Fn(&Address) -> bool,
) -> RpcResult<PrecompileChanges> {
    if overrides.len() > OVERRIDES_MAX {
        return Err(limit(format!("too many state overrides, the limit is {OVERRIDES_MAX}")));
    }
    let changes = precompile_changes(&overrides, is_precompile)?;
    for (address, change) in overrides {
        apply_account(db, address, change)?;
    }
    Ok(changes)
}

fn precompile_changes(
    overrides: &StateOverride,
    is_precompile: impl Fn(&Address) -> bool,
) -> RpcResult<PrecompileChanges> {
    let mut changes = PrecompileChanges::default();
    for (address, change) in overrides {
        let Some(to) = change.move_precompile_to else {
            if is_precompile(address) {
                changes.removed.push(*address);
            }
            continue;
        };
        if !is_precompile(address) {
            return Err(refused(format!("account {address} is not a precompile")));
        }
        if to == *address {
            let message = format!("precompile {address} cannot move to its own address");
            return Err(error(MOVED_TO_ITSELF, message));
        }
        if overrides.contains_key(&to) {
            return Err(refused(format!("account {to} is already overridden")));
        }
        changes.moved.push((*address, to));
    }
    // The specification has an error for two that move to one place (-38023), but its own fixtures want it
    // allowed. The one with the greater address stays there, whatever the order of the overrides.
    changes.moved.sort_unstable();
    Ok(changes)
}

fn apply_account(db: &mut Scratch, address: Address, change: AccountOverride) -> RpcResult<()> {
    if change.state.is_some() && change.state_diff.is_some() {
        return Err(invalid(format!("account {address} has both 'state' and 'stateDiff'")));
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
    // An account that was not there is now, and has no storage of which the state below knows.
    account.account_state = match std::mem::take(&mut account.account_state) {
        AccountState::NotExisting => AccountState::StorageCleared,
        AccountState::None => AccountState::Touched,
        known => known,
    };
    if let Some(state) = change.state {
        let storage = state.into_iter().map(|(slot, value)| (slot.into(), value.into())).collect();
        let Ok(()) = db.replace_account_storage(address, storage);
    }
    for (slot, value) in change.state_diff.into_iter().flatten() {
        let Ok(()) = db.insert_account_storage(address, slot.into(), value.into());
    }
    Ok(())
}

/// Changes the block that a transaction sees.
pub(super) fn apply_block(
    db: &mut Scratch,
    block: &mut BlockEnv,
    overrides: BlockOverrides,
) -> RpcResult<()> {
    if let Some(hashes) = overrides.block_hash {
        if hashes.len() > BLOCK_HASHES_MAX {
            return Err(limit(format!("too many block hashes, the limit is {BLOCK_HASHES_MAX}")));
        }
        let hashes = hashes.into_iter().map(|(number, hash)| (U256::from(number), hash));
        db.cache.block_hashes.extend(hashes);
    }
    if overrides.beacon_root.is_some() {
        let message = "block override \"beaconRoot\" is not supported for this RPC method";
        return Err(invalid(message));
    }
    if let Some(number) = overrides.number {
        block.number = number;
    }
    if let Some(difficulty) = overrides.difficulty {
        block.difficulty = difficulty;
    }
    if let Some(time) = overrides.time {
        block.timestamp = U256::from(time);
    }
    if let Some(gas_limit) = overrides.gas_limit {
        block.gas_limit = gas_limit;
    }
    if let Some(coinbase) = overrides.coinbase {
        block.beneficiary = coinbase;
    }
    if let Some(random) = overrides.random {
        block.prevrandao = Some(random);
    }
    if let Some(base_fee) = overrides.base_fee {
        block.basefee = u64::try_from(base_fee)
            .map_err(|_| invalid("block override \"baseFeePerGas\" does not fit in 64 bits"))?;
    }
    if let Some(price) = overrides.blob_base_fee {
        let blob_gasprice = u128::try_from(price)
            .map_err(|_| invalid("block override \"blobBaseFee\" does not fit in 128 bits"))?;
        block.blob_excess_gas_and_price =
            Some(BlobExcessGasAndPrice { excess_blob_gas: 0, blob_gasprice });
    }
    Ok(())
}

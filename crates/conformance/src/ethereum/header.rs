//! Whether a header may follow its parent.

use alloy_consensus::{EMPTY_OMMER_ROOT_HASH, Header};
use alloy_eips::eip1559::{BaseFeeParams, INITIAL_BASE_FEE};
use alloy_primitives::{B64, U256};
use openledger_chain::conformance::{EthForks, EthereumHardfork as Fork, EthereumHardforks};

use super::difficulty;

/// Bytes that a miner may add.
const EXTRA_DATA_BYTES_MAX: usize = 32;
/// What the blocks right after the DAO fork carry.
const DAO_EXTRA_DATA: &[u8] = b"dao-hard-fork";
const DAO_EXTRA_DATA_BLOCKS: u64 = 10;
/// Bounds of the gas limit.
const GAS_LIMIT_MIN: u64 = 5_000;
const GAS_LIMIT_MAX: u64 = i64::MAX.unsigned_abs();
const GAS_LIMIT_BOUND_DIVISOR: u64 = 1_024;
/// London doubles the gas limit, because half of it is the target from then on.
const ELASTICITY: u64 = 2;

/// Checks everything in `header` that the parent decides.
///
/// Errors: the rule that it breaks.
pub(super) fn check(forks: &EthForks, header: &Header, parent: &Header) -> Result<(), String> {
    let rule = |holds: bool, rule: &str| if holds { Ok(()) } else { Err(rule.to_owned()) };
    let (number, time) = (header.number, header.timestamp);
    rule(parent.number.checked_add(1) == Some(number), "the number is not the parent's plus one")?;
    rule(time > parent.timestamp, "the time is not after the parent's")?;
    rule(header.extra_data.len() <= EXTRA_DATA_BYTES_MAX, "too much extra data")?;
    rule(header.gas_used <= header.gas_limit, "more gas used than the limit")?;
    check_dao_extra_data(forks, header)?;
    check_gas(forks, header, parent)?;
    if forks.is_paris_active_at_block(number) {
        rule(header.difficulty.is_zero(), "difficulty after the merge")?;
        rule(header.nonce == B64::ZERO, "nonce after the merge")?;
        rule(header.ommers_hash == EMPTY_OMMER_ROOT_HASH, "uncles after the merge")?;
    } else {
        rule(parent.difficulty > U256::ZERO, "proof of work after proof of stake")?;
        let wanted = difficulty(
            forks,
            number,
            time,
            parent.timestamp,
            parent.difficulty,
            parent.ommers_hash != EMPTY_OMMER_ROOT_HASH,
        );
        rule(header.difficulty == wanted, "wrong difficulty")?;
    }
    let shanghai = forks.is_shanghai_active_at_timestamp(time);
    let prague = forks.is_prague_active_at_timestamp(time);
    rule(header.withdrawals_root.is_some() == shanghai, "withdrawals root before or after time")?;
    rule(header.requests_hash.is_some() == prague, "requests hash before or after its time")?;
    check_blobs(forks, header, parent)
}

fn check_dao_extra_data(forks: &EthForks, header: &Header) -> Result<(), String> {
    let fork = forks.ethereum_fork_activation(Fork::Dao).block_number();
    let after = fork.and_then(|fork| header.number.checked_sub(fork));
    if after.is_some_and(|blocks| blocks < DAO_EXTRA_DATA_BLOCKS)
        && header.extra_data.as_ref() != DAO_EXTRA_DATA
    {
        return Err("extra data of the DAO fork".to_owned());
    }
    Ok(())
}

/// Gas limit and base fee (EIP-1559).
fn check_gas(forks: &EthForks, header: &Header, parent: &Header) -> Result<(), String> {
    let london = forks.is_london_active_at_block(header.number);
    let first = london && !forks.is_london_active_at_block(parent.number);
    let before = if first { parent.gas_limit.saturating_mul(ELASTICITY) } else { parent.gas_limit };
    if header.gas_limit.abs_diff(before) >= before / GAS_LIMIT_BOUND_DIVISOR
        || !(GAS_LIMIT_MIN..=GAS_LIMIT_MAX).contains(&header.gas_limit)
    {
        return Err(format!("gas limit {} after {before}", header.gas_limit));
    }
    let wanted = match (london, first) {
        (false, _) => None,
        (true, true) => Some(INITIAL_BASE_FEE),
        (true, false) => parent.next_block_base_fee(BaseFeeParams::ethereum()),
    };
    if header.base_fee_per_gas != wanted {
        return Err(format!("base fee {:?}, not {wanted:?}", header.base_fee_per_gas));
    }
    Ok(())
}

/// Blob gas (EIP-4844) and the beacon root (EIP-4788).
fn check_blobs(forks: &EthForks, header: &Header, parent: &Header) -> Result<(), String> {
    let params = forks.blob_params(header.timestamp);
    let fields = [
        header.blob_gas_used.is_some(),
        header.excess_blob_gas.is_some(),
        header.parent_beacon_block_root.is_some(),
    ];
    if fields != [params.is_some(); 3] {
        return Err("blob gas or beacon root before or after its time".to_owned());
    }
    let (Some(params), Some(used)) = (params, header.blob_gas_used) else { return Ok(()) };
    if used > params.max_blob_gas_per_block() {
        return Err("more blob gas than a block may have".to_owned());
    }
    let wanted = parent.next_block_excess_blob_gas(params).unwrap_or_default();
    if header.excess_blob_gas != Some(wanted) {
        return Err(format!("excess blob gas {:?}, not {wanted}", header.excess_blob_gas));
    }
    Ok(())
}

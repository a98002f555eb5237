//! What a transaction must satisfy before it may wait in the pool.

use alloy_consensus::{Transaction, Typed2718};
use alloy_evm::FromRecoveredTx;
use alloy_op_evm::OpTx;
use alloy_primitives::U256;
use op_revm::{L1BlockInfo, OpSpecId};
use revm::interpreter::gas::calculate_initial_tx_gas_for_tx;

use super::error::PoolError;
use crate::transaction::SignedTx;

/// EIP-3860: twice the largest contract (EIP-170).
const INITCODE_BYTES_MAX: usize = 2 * 24_576;
/// EIP-2718 type of a transaction that sets code (EIP-7702).
const SET_CODE_TX_TYPE: u8 = 4;

/// The rules of the moment.
pub(crate) struct Admission<'a> {
    pub(crate) chain_id: u64,
    pub(crate) gas_limit: u64,
    /// L1 and operator fees of the block that is being made.
    pub(crate) l1_block: &'a L1BlockInfo,
    pub(crate) spec: OpSpecId,
}

/// The sender's account in the block that is being made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sender {
    pub(crate) nonce: u64,
    pub(crate) balance: U256,
    /// Whether it has code that is not a delegation.
    pub(crate) is_contract: bool,
}

/// Checks everything that depends neither on the sender's account nor on what else is waiting.
/// Returns the most that the transaction can cost its sender, with L1 and operator fees.
pub(crate) fn check(signed: &SignedTx, admission: &Admission<'_>) -> Result<U256, PoolError> {
    let tx = &signed.tx;
    // A legacy transaction may come without a chain id (before EIP-155): deterministic deployers.
    if let Some(have) = tx.chain_id().filter(|id| *id != admission.chain_id) {
        return Err(PoolError::ChainId { have, want: admission.chain_id });
    }
    if tx.nonce() == u64::MAX {
        return Err(PoolError::NonceMax);
    }
    let gas = tx.gas_limit();
    if gas > admission.gas_limit {
        return Err(PoolError::GasLimit { gas, limit: admission.gas_limit });
    }
    let (tip, max) = (tx.max_priority_fee_per_gas().unwrap_or_default(), tx.max_fee_per_gas());
    if tip > max {
        return Err(PoolError::TipAboveFeeCap { tip, max });
    }
    if tx.is_create() && tx.input().len() > INITCODE_BYTES_MAX {
        return Err(PoolError::InitCodeSize { size: tx.input().len(), limit: INITCODE_BYTES_MAX });
    }
    if tx.ty() == SET_CODE_TX_TYPE && tx.authorization_count().unwrap_or_default() == 0 {
        return Err(PoolError::EmptyAuthorizations);
    }
    let minimum = intrinsic_gas(signed, admission.spec);
    if gas < minimum {
        return Err(PoolError::IntrinsicGas { gas, minimum });
    }
    let mut l1_block = admission.l1_block.clone();
    l1_block.clear_tx_l1_cost();
    let l1_cost = l1_block.tx_cost(&signed.encoded, U256::from(gas), admission.spec);
    Ok(signed.cost_max().saturating_add(l1_cost))
}

/// Gas that the transaction needs before its first instruction, or the calldata floor (EIP-7623) if
/// that is more.
fn intrinsic_gas(signed: &SignedTx, spec: OpSpecId) -> u64 {
    let env = OpTx::from_recovered_tx(signed.tx.inner(), signed.sender());
    let gas = calculate_initial_tx_gas_for_tx(&env.0.base, spec.into_eth_spec());
    gas.initial_total_gas.max(gas.floor_gas)
}

//! Runs one transaction that leaves no trace: `eth_call`, `eth_estimateGas`.

use alloy_consensus::Header;
use alloy_evm::{Evm, EvmFactory};
use alloy_op_evm::{OpEvmFactory, OpTx};
use alloy_primitives::{Address, Bytes, U256};
use op_revm::{OpHaltReason, OpTransaction};
use revm::{
    context::{TxEnv, result::ExecutionResult},
    context_interface::result::EVMError,
    database::CacheDB,
};

use super::rules::Rules;
use crate::state::StateView;

/// How a simulated transaction ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CallOutcome {
    /// Return data, and gas used after refunds.
    Success { output: Bytes, gas_used: u64 },
    /// The contract's revert data.
    Revert { output: Bytes },
    /// The EVM stopped it.
    Halt { reason: String, out_of_gas: bool },
    /// It could not begin.
    Invalid { reason: String },
}

/// A block context and a state to run transactions on.
pub(crate) struct Simulation<'a> {
    pub(crate) rules: &'a Rules,
    /// The block whose number, time and base fee the transaction sees.
    pub(crate) header: &'a Header,
    /// The state, with overrides where there are any.
    pub(crate) db: CacheDB<StateView>,
}

impl Simulation<'_> {
    /// Runs `tx`. The sender may be anybody, its nonce is not checked, and a gas price of zero is
    /// allowed; the balance must cover the value and the gas at that price.
    pub(crate) fn run(&self, tx: TxEnv) -> CallOutcome {
        let mut env = self.rules.evm_env(self.header);
        env.cfg_env.disable_nonce_check = true;
        env.cfg_env.disable_eip3607 = true;
        env.cfg_env.disable_block_gas_limit = true;
        env.cfg_env.disable_base_fee = true;
        // An empty envelope is charged no L1 fee and no operator fee.
        let tx = OpTx(OpTransaction { enveloped_tx: Some(Bytes::new()), ..OpTransaction::new(tx) });
        let mut evm = OpEvmFactory::<OpTx>::default().create_evm(self.db.clone(), env);
        match evm.transact_raw(tx).map(|outcome| outcome.result) {
            Ok(ExecutionResult::Success { output, gas, .. }) => {
                CallOutcome::Success { output: output.into_data(), gas_used: gas.tx_gas_used() }
            }
            Ok(ExecutionResult::Revert { output, .. }) => CallOutcome::Revert { output },
            Ok(ExecutionResult::Halt { reason, .. }) => halted(&reason),
            Err(EVMError::Transaction(error)) => CallOutcome::Invalid { reason: error.to_string() },
            Err(error) => CallOutcome::Invalid { reason: error.to_string() },
        }
    }

    /// Balance of `address` in this state.
    pub(crate) fn balance(&self, address: Address) -> U256 {
        revm::DatabaseRef::basic_ref(&self.db, address)
            .ok()
            .flatten()
            .map_or(U256::ZERO, |info| info.balance)
    }
}

fn halted(reason: &OpHaltReason) -> CallOutcome {
    let out_of_gas =
        matches!(reason, OpHaltReason::Base(revm::context::result::HaltReason::OutOfGas(_)));
    let reason =
        if out_of_gas { "out of gas".to_owned() } else { format!("execution halted: {reason:?}") };
    CallOutcome::Halt { reason, out_of_gas }
}

//! Runs transactions that leave no trace: calls, estimates, simulations, traces.

use std::convert::Infallible;

use alloy_evm::{Evm, EvmEnv, EvmFactory, precompiles::PrecompilesMap};
use alloy_op_evm::{OpEvmContext, OpEvmFactory, OpTx, OpTxError};
use alloy_primitives::{Address, Bytes, U256};
use op_revm::{OpHaltReason, OpSpecId, OpTransaction, OpTransactionError};
use revm::{
    Inspector,
    context::{
        TxEnv,
        result::{ExecutionResult, HaltReason, InvalidTransaction, OutOfGasError, ResultAndState},
    },
    context_interface::{ContextTr, JournalTr, result::EVMError},
    database::CacheDB,
    inspector::NoOpInspector,
};

use super::{
    View,
    guard::{Deadline, Exceeded, Guard},
};

/// A state, and what was changed over it.
pub(crate) type Scratch = CacheDB<View>;

/// How a simulated transaction ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CallOutcome {
    /// Return data, and gas used after refunds.
    Success { output: Bytes, gas_used: u64 },
    /// The contract's revert data.
    Revert { output: Bytes, gas_used: u64 },
    /// The EVM stopped it.
    Halt { reason: String, out_of_gas: bool, gas_used: u64 },
    /// It could not begin.
    Invalid { reason: String },
    /// The node stopped it.
    Exceeded(Exceeded),
}

/// Why there is no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The transaction could not begin.
    Invalid(InvalidTransaction),
    /// The transaction could not begin, for a reason that Ethereum does not know.
    Other(String),
    /// The node stopped it.
    Exceeded(Exceeded),
}

/// The result of a transaction and what it would change.
pub(crate) type Executed = Result<ResultAndState<OpHaltReason>, Refusal>;

/// Precompiles that are gone or have moved.
#[derive(Clone, Debug, Default)]
pub(crate) struct PrecompileChanges {
    /// Addresses whose precompile is gone.
    pub(crate) removed: Vec<Address>,
    /// Precompiles that are somewhere else: from, to.
    pub(crate) moved: Vec<(Address, Address)>,
}

impl PrecompileChanges {
    fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.moved.is_empty()
    }
}

/// A block context and a state to run transactions on.
pub(crate) struct Simulation {
    /// The block that the transaction sees, and which checks are off.
    pub(crate) env: EvmEnv<OpSpecId>,
    /// The state, with overrides where there are any.
    pub(crate) db: Scratch,
    pub(crate) precompiles: PrecompileChanges,
    pub(crate) deadline: Deadline,
}

impl Simulation {
    /// Runs `tx` and forgets what it did.
    pub(crate) fn run(&self, tx: TxEnv) -> CallOutcome {
        self.inspect(tx, NoOpInspector).0
    }

    /// Runs `tx` under `inspector` and forgets what it did.
    pub(crate) fn inspect<I>(&self, tx: TxEnv, inspector: I) -> (CallOutcome, I)
    where
        I: for<'a> Inspector<OpEvmContext<&'a mut Scratch>>,
    {
        let mut guard = Guard::new(inspector, self.deadline);
        let mut db = self.db.clone();
        let executed = transact(&mut db, &self.env, &self.precompiles, unenveloped(tx), &mut guard);
        (CallOutcome::from(executed), guard.inner)
    }

    /// Whether `address` has code in this state.
    pub(crate) fn has_code(&self, address: Address) -> bool {
        let info = revm::DatabaseRef::basic_ref(&self.db, address).ok().flatten();
        info.is_some_and(|info| !info.is_empty_code_hash())
    }

    /// Balance of `address` in this state.
    pub(crate) fn balance(&self, address: Address) -> U256 {
        revm::DatabaseRef::basic_ref(&self.db, address)
            .ok()
            .flatten()
            .map_or(U256::ZERO, |info| info.balance)
    }
}

/// The checks that a call does without: the sender may be anybody, its nonce is not checked, and a
/// gas price of zero is allowed. The balance must cover the value and the gas at that price.
pub(crate) fn relax_for_calls(env: &mut EvmEnv<OpSpecId>) {
    env.cfg_env.disable_nonce_check = true;
    env.cfg_env.disable_eip3607 = true;
    env.cfg_env.disable_block_gas_limit = true;
    env.cfg_env.disable_base_fee = true;
}

/// A transaction that was never encoded: it is charged no L1 fee and no operator fee.
pub(crate) fn unenveloped(tx: TxEnv) -> OpTx {
    OpTx(OpTransaction { enveloped_tx: Some(Bytes::new()), ..OpTransaction::new(tx) })
}

/// Runs `tx` on `db`. The changes are in the result; `db` stays as it is but for what it read.
pub(crate) fn transact<I>(
    db: &mut Scratch,
    env: &EvmEnv<OpSpecId>,
    precompiles: &PrecompileChanges,
    tx: OpTx,
    guard: &mut Guard<I>,
) -> Executed
where
    I: for<'a> Inspector<OpEvmContext<&'a mut Scratch>>,
{
    let mut evm =
        OpEvmFactory::<OpTx>::default().create_evm_with_inspector(db, env.clone(), &mut *guard);
    if !precompiles.is_empty() {
        // An access to where a precompile was costs what it always costs, and its new place is one like
        // any other, as in geth.
        let usual = evm.precompiles().addresses().copied().collect();
        evm.ctx_mut().journal_mut().warm_precompiles(usual);
        change(evm.precompiles_mut(), precompiles);
    }
    let result = evm.transact_raw(tx);
    drop(evm);
    if let Some(exceeded) = guard.exceeded() {
        return Err(Refusal::Exceeded(exceeded));
    }
    result.map_err(refusal)
}

/// Addresses that have a precompile under `env`'s rules.
pub(crate) fn precompiles(env: &EvmEnv<OpSpecId>) -> PrecompilesMap {
    let db = revm::database::EmptyDB::new();
    let evm = OpEvmFactory::<OpTx>::default().create_evm(db, env.clone());
    evm.precompiles().clone()
}

fn change(precompiles: &mut PrecompilesMap, changes: &PrecompileChanges) {
    // The moved ones first: their old places are then empty, as those of the removed.
    let moves = changes.moved.iter().copied();
    let moved = precompiles.move_precompiles(moves);
    debug_assert!(moved.is_ok(), "only precompiles are moved");
    for address in &changes.removed {
        precompiles.apply_precompile(address, |_| None);
    }
}

fn refusal(error: EVMError<Infallible, OpTxError>) -> Refusal {
    match error {
        EVMError::Transaction(OpTxError(OpTransactionError::Base(error))) => {
            Refusal::Invalid(error)
        }
        error => Refusal::Other(error.to_string()),
    }
}

impl From<Executed> for CallOutcome {
    fn from(executed: Executed) -> Self {
        let result = match executed {
            Ok(outcome) => outcome.result,
            Err(Refusal::Invalid(error)) => return Self::Invalid { reason: error.to_string() },
            Err(Refusal::Other(reason)) => return Self::Invalid { reason },
            Err(Refusal::Exceeded(exceeded)) => return Self::Exceeded(exceeded),
        };
        match result {
            ExecutionResult::Success { output, gas, .. } => {
                Self::Success { output: output.into_data(), gas_used: gas.tx_gas_used() }
            }
            ExecutionResult::Revert { output, gas, .. } => {
                Self::Revert { output, gas_used: gas.tx_gas_used() }
            }
            ExecutionResult::Halt { reason, gas, .. } => Self::Halt {
                out_of_gas: is_out_of_gas(&reason),
                reason: halt_reason(&reason),
                gas_used: gas.tx_gas_used(),
            },
        }
    }
}

fn is_out_of_gas(reason: &OpHaltReason) -> bool {
    matches!(reason, OpHaltReason::Base(HaltReason::OutOfGas(_)))
}

/// Why the EVM stopped, in geth's words.
pub(crate) fn halt_reason(reason: &OpHaltReason) -> String {
    let OpHaltReason::Base(reason) = reason else { return "failed deposit".to_owned() };
    match reason {
        HaltReason::OutOfGas(OutOfGasError::ReentrancySentry) => "not enough gas for reentrancy",
        HaltReason::OutOfGas(_) => "out of gas",
        HaltReason::InvalidFEOpcode => "invalid opcode: INVALID",
        HaltReason::OpcodeNotFound | HaltReason::NotActivated => "invalid opcode",
        HaltReason::InvalidJump => "invalid jump destination",
        HaltReason::StackUnderflow => "stack underflow",
        HaltReason::StackOverflow => "stack limit reached 1024 (1023)",
        HaltReason::OutOfOffset => "return data out of bounds",
        HaltReason::CreateCollision => "contract address collision",
        HaltReason::NonceOverflow => "nonce uint64 overflow",
        HaltReason::CreateContractSizeLimit => "max code size exceeded",
        HaltReason::CreateContractStartingWithEF => "invalid code: must not begin with 0xef",
        HaltReason::CreateInitCodeSizeLimit => "max initcode size exceeded",
        HaltReason::StateChangeDuringStaticCall | HaltReason::CallNotAllowedInsideStatic => {
            "write protection"
        }
        HaltReason::OutOfFunds | HaltReason::OverflowPayment => "insufficient balance for transfer",
        HaltReason::CallTooDeep => "max call depth exceeded",
        other => return format!("execution halted: {other:?}"),
    }
    .to_owned()
}

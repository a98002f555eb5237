//! Executes a block of the chain again, to look at what its transactions did.

use alloy_consensus::{Header, transaction::Recovered};
use alloy_evm::{EvmEnv, EvmFactory, FromRecoveredTx, block::SystemCaller};
use alloy_op_evm::{OpEvmContext, OpEvmFactory, OpTx};
use op_alloy_consensus::OpTxEnvelope;
use op_revm::OpSpecId;
use revm::{Inspector, database::CacheDB, database_interface::DatabaseCommit};

use super::{
    SealedBlock, View,
    guard::Guard,
    rules::Rules,
    simulation::{Executed, PrecompileChanges, Refusal, Scratch, transact},
};
use crate::state::StateView;

/// A block that is being executed again, transaction by transaction.
pub(crate) struct Replay<'a> {
    block: &'a SealedBlock,
    pub(crate) env: EvmEnv<OpSpecId>,
    /// The state before the next transaction.
    pub(crate) db: Scratch,
    next: usize,
}

impl<'a> Replay<'a> {
    /// Begins `block` on `parent`, the state after the block before it: the system calls are done.
    ///
    /// Errors: a description, if a system call failed, which it did not when the block was made.
    pub(crate) fn new(
        rules: &Rules,
        block: &'a SealedBlock,
        parent: StateView,
    ) -> Result<Self, String> {
        let env = rules.evm_env(&block.header);
        let mut db = CacheDB::new(View::Sealed(parent));
        begin_block(rules, &env, &mut db, &block.header)?;
        Ok(Self { block, env, db, next: 0 })
    }

    /// The transaction that is next, as the EVM takes it.
    pub(crate) fn next(&self) -> Option<(&'a Recovered<OpTxEnvelope>, OpTx)> {
        let tx = self.block.txs.get(self.next)?;
        Some((tx, OpTx::from_recovered_tx(tx.inner(), tx.signer())))
    }

    /// Index of the next transaction.
    pub(crate) fn index(&self) -> usize {
        self.next
    }

    /// Executes `tx`, the next transaction, under `guard`; [`commit`](Self::commit) makes its changes.
    pub(crate) fn execute<I>(&mut self, tx: OpTx, guard: &mut Guard<I>) -> Executed
    where
        I: for<'b> Inspector<OpEvmContext<&'b mut Scratch>>,
    {
        transact(&mut self.db, &self.env, &PrecompileChanges::default(), tx, guard)
    }

    /// Makes the changes of the next transaction and goes on to the one after it.
    pub(crate) fn commit(&mut self, changes: revm::state::EvmState) {
        self.db.commit(changes);
        self.next += 1;
    }

    /// Executes what comes before transaction `index`.
    pub(crate) fn advance_to<I>(
        &mut self,
        index: usize,
        guard: &mut Guard<I>,
    ) -> Result<(), Refusal>
    where
        I: for<'b> Inspector<OpEvmContext<&'b mut Scratch>>,
    {
        while self.next < index
            && let Some((_, tx)) = self.next()
        {
            let outcome = self.execute(tx, guard)?;
            self.commit(outcome.state);
        }
        Ok(())
    }
}

/// What the protocol does before the first transaction of the block `header`: remembers the parent's
/// hash (EIP-2935) and the beacon root (EIP-4788).
pub(crate) fn begin_block(
    rules: &Rules,
    env: &EvmEnv<OpSpecId>,
    db: &mut Scratch,
    header: &Header,
) -> Result<(), String> {
    let mut evm = OpEvmFactory::<OpTx>::default().create_evm(db, env.clone());
    let mut system = SystemCaller::new(&rules.forks);
    system
        .apply_blockhashes_contract_call(header.parent_hash, &mut evm)
        .and_then(|()| {
            system.apply_beacon_root_contract_call(header.parent_beacon_block_root, &mut evm)
        })
        .map_err(|error| error.to_string())
}

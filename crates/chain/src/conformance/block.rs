//! One block of Ethereum on a world state.

use alloy_consensus::{
    Eip658Value, Header, Receipt, ReceiptEnvelope, TxType, transaction::Recovered,
};
use alloy_eips::{eip4895::Withdrawal, eip7685::Requests};
use alloy_evm::{
    Evm, EvmFactory,
    block::BlockExecutor,
    eth::{
        EthBlockExecutionCtx, EthBlockExecutor, EthEvmFactory,
        receipt_builder::{ReceiptBuilder, ReceiptBuilderCtx},
    },
};
use alloy_hardforks::EthereumHardforks;

use super::{
    forks::EthForks,
    transaction::EthTx,
    world::{AncestorHashes, World},
};

/// A block that is to be executed.
pub struct BlockInput<'a> {
    /// Its header. Roots, bloom and gas used are not read.
    pub header: &'a Header,
    /// Its transactions.
    pub txs: &'a [Recovered<EthTx>],
    /// Its uncles.
    pub ommers: &'a [Header],
    /// Its withdrawals.
    pub withdrawals: Option<&'a [Withdrawal]>,
    /// Hashes of the blocks before it.
    pub hashes: &'a AncestorHashes,
}

/// What a block did.
pub struct ExecutedBlock {
    /// The state after it.
    pub world: World,
    /// One receipt per transaction.
    pub receipts: Vec<ReceiptEnvelope>,
    /// Requests to the consensus layer (EIP-7685).
    pub requests: Requests,
    /// Gas of all transactions.
    pub gas_used: u64,
    /// Blob gas of all transactions.
    pub blob_gas_used: u64,
}

impl World {
    /// Executes a block on this state, the state after its parent.
    ///
    /// Errors: why the block is invalid.
    pub fn execute_block(
        &self,
        forks: &EthForks,
        block: &BlockInput<'_>,
    ) -> Result<ExecutedBlock, String> {
        let header = block.header;
        let db = self.open(block.hashes);
        let evm = EthEvmFactory::default().create_evm(db.clone(), forks.evm_env(header));
        let context = EthBlockExecutionCtx {
            parent_hash: header.parent_hash,
            parent_beacon_block_root: header.parent_beacon_block_root,
            ommers: block.ommers,
            withdrawals: block.withdrawals.map(Into::into),
            extra_data: header.extra_data.clone(),
            tx_count_hint: Some(block.txs.len()),
            slot_number: None,
        };
        let mut executor = EthBlockExecutor::new(evm, context, forks, Receipts);
        executor.apply_pre_execution_changes().map_err(|error| error.to_string())?;
        let with_roots = !forks.is_byzantium_active_at_block(header.number);
        let mut roots = Vec::new();
        for (index, tx) in block.txs.iter().enumerate() {
            executor
                .execute_transaction(tx)
                .map_err(|error| format!("transaction {index}: {error}"))?;
            if with_roots {
                roots.push(self.after(db.overlay.diff()).root());
            }
        }
        let (_, result) = executor.finish().map_err(|error| error.to_string())?;
        let mut receipts = result.receipts;
        // Before Byzantium (EIP-658) a receipt names the state after its transaction.
        for (receipt, root) in receipts.iter_mut().zip(roots) {
            if let ReceiptEnvelope::Legacy(receipt) = receipt {
                receipt.receipt.status = Eip658Value::PostState(root);
            }
        }
        Ok(ExecutedBlock {
            world: self.after(db.overlay.diff()),
            receipts,
            requests: result.requests,
            gas_used: result.gas_used,
            blob_gas_used: result.blob_gas_used,
        })
    }
}

/// Makes receipts in the form that Ethereum's blocks commit to.
#[derive(Clone, Copy, Debug)]
struct Receipts;

impl ReceiptBuilder for Receipts {
    type Transaction = EthTx;
    type Receipt = ReceiptEnvelope;

    fn build_receipt<E: Evm>(&self, context: ReceiptBuilderCtx<'_, TxType, E>) -> ReceiptEnvelope {
        let receipt = Receipt {
            status: Eip658Value::Eip658(context.result.is_success()),
            cumulative_gas_used: context.cumulative_gas_used,
            logs: context.result.into_logs(),
        };
        ReceiptEnvelope::from_typed(context.tx_type, receipt)
    }
}

//! Receipts as the block keeps them: without blooms, which are derived when they are asked for.

use alloy_consensus::{Eip658Value, Receipt};
use alloy_evm::{Evm, eth::receipt_builder::ReceiptBuilderCtx};
use alloy_op_evm::block::receipt_builder::OpReceiptBuilder;
use op_alloy_consensus::{OpDepositReceipt, OpReceipt, OpTxEnvelope, OpTxType};

/// Makes [`OpReceipt`]s.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Receipts;

impl OpReceiptBuilder for Receipts {
    type Transaction = OpTxEnvelope;
    type Receipt = OpReceipt;

    fn build_receipt<'a, E: Evm>(
        &self,
        context: ReceiptBuilderCtx<'a, OpTxType, E>,
    ) -> Result<OpReceipt, ReceiptBuilderCtx<'a, OpTxType, E>> {
        let kind = match context.tx_type {
            OpTxType::Legacy => OpReceipt::Legacy,
            OpTxType::Eip2930 => OpReceipt::Eip2930,
            OpTxType::Eip1559 => OpReceipt::Eip1559,
            OpTxType::Eip7702 => OpReceipt::Eip7702,
            OpTxType::PostExec => OpReceipt::PostExec,
            OpTxType::Deposit => return Err(context),
        };
        Ok(kind(Receipt {
            status: Eip658Value::Eip658(context.result.is_success()),
            cumulative_gas_used: context.cumulative_gas_used,
            logs: context.result.into_logs(),
        }))
    }

    fn build_deposit_receipt(&self, inner: OpDepositReceipt) -> OpReceipt {
        OpReceipt::Deposit(inner)
    }
}

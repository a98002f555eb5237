//! What a transaction paid for L1 data and to the operator, as its receipt tells.

use alloy_consensus::Transaction;
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{B256, U256};
use op_alloy_consensus::OpTxEnvelope;
use op_alloy_rpc_types::L1BlockInfo as RpcL1BlockInfo;
use op_revm::{L1BlockInfo, OpSpecId};

use crate::execution::SealedBlock;

/// The L1 block that a block follows, read from its L1 attributes deposit.
pub(super) struct L1Reference {
    pub(super) number: u64,
    pub(super) hash: B256,
    pub(super) timestamp: u64,
    /// Blocks with this origin before this one.
    pub(super) sequence_number: u64,
}

impl L1Reference {
    /// `block`'s origin. Block 0 has no deposit.
    pub(super) fn of(block: &SealedBlock) -> Option<Self> {
        let data = block.txs.first()?.input();
        let word = |from: usize| Some(u64::from_be_bytes(*data.get(from..)?.first_chunk()?));
        Some(Self {
            sequence_number: word(12)?,
            timestamp: word(20)?,
            number: word(28)?,
            hash: B256::from_slice(data.get(100..132)?),
        })
    }
}

/// The fee parameters of one block, read from its L1 attributes deposit.
pub(super) struct L1Fees {
    info: Option<L1BlockInfo>,
}

impl L1Fees {
    /// `block`'s parameters. Block 0 has no deposit, and no transaction that could pay.
    pub(super) fn of(block: &SealedBlock) -> Self {
        let data = block.txs.first().map(|tx| tx.input().as_ref()).unwrap_or_default();
        let field = |from: usize, to: usize| data.get(from..to).map(U256::from_be_slice);
        let info = (|| {
            Some(L1BlockInfo {
                l1_base_fee_scalar: field(4, 8)?,
                l1_blob_base_fee_scalar: Some(field(8, 12)?),
                l1_base_fee: field(36, 68)?,
                l1_blob_base_fee: Some(field(68, 100)?),
                operator_fee_scalar: Some(field(164, 168)?),
                operator_fee_constant: Some(field(168, 176)?),
                ..L1BlockInfo::default()
            })
        })();
        Self { info }
    }

    /// The receipt fields of `tx`. A deposit pays no L1 fee, but shows the parameters.
    pub(super) fn receipt_fields(&self, tx: &OpTxEnvelope) -> RpcL1BlockInfo {
        let Some(info) = &self.info else { return RpcL1BlockInfo::default() };
        let mut info = info.clone();
        let encoded = tx.encoded_2718();
        let fee = info.calculate_tx_l1_cost(&encoded, OpSpecId::ISTHMUS);
        let gas =
            if tx.is_deposit() { U256::ZERO } else { info.data_gas(&encoded, OpSpecId::ISTHMUS) };
        RpcL1BlockInfo {
            l1_gas_price: Some(info.l1_base_fee.saturating_to()),
            l1_gas_used: Some(gas.saturating_to()),
            l1_fee: Some(fee.saturating_to()),
            l1_fee_scalar: None,
            l1_base_fee_scalar: Some(info.l1_base_fee_scalar.saturating_to()),
            l1_blob_base_fee: info.l1_blob_base_fee.map(|fee| fee.saturating_to()),
            l1_blob_base_fee_scalar: info.l1_blob_base_fee_scalar.map(|s| s.saturating_to()),
            operator_fee_scalar: info.operator_fee_scalar.map(|s| s.saturating_to()),
            operator_fee_constant: info.operator_fee_constant.map(|c| c.saturating_to()),
            da_footprint_gas_scalar: None,
        }
    }
}

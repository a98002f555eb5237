//! A block with its receipts, as it is announced.

use alloy_consensus::{Header, TxReceipt, transaction::Recovered};
use alloy_primitives::B256;
use alloy_rlp::{Encodable, length_of_length};
use op_alloy_consensus::{OpReceipt, OpTxEnvelope};

use crate::state::{StateDiff, StateView};

/// A block with its receipts, as it is announced.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SealedBlock {
    pub(crate) header: Header,
    pub(crate) hash: B256,
    pub(crate) txs: Vec<Recovered<OpTxEnvelope>>,
    pub(crate) receipts: Vec<OpReceipt>,
}

impl SealedBlock {
    pub(crate) fn new(
        header: Header,
        txs: Vec<Recovered<OpTxEnvelope>>,
        receipts: Vec<OpReceipt>,
    ) -> Self {
        let hash = header.hash_slow();
        Self { header, hash, txs, receipts }
    }

    pub(crate) fn number(&self) -> u64 {
        self.header.number
    }

    /// Gas used by transaction `index` alone.
    pub(crate) fn gas_used(&self, index: usize) -> u64 {
        let cumulative = self.receipts[index].cumulative_gas_used();
        let before = index.checked_sub(1).map_or(0, |i| self.receipts[i].cumulative_gas_used());
        cumulative - before
    }

    /// Whether the body has a list of withdrawals, which is empty: every block of a rollup since Canyon, and
    /// of Ethereum since Shanghai.
    pub(crate) fn has_withdrawals(&self) -> bool {
        // The pending block has no roots yet; the beacon root came to headers after the withdrawals.
        self.header.withdrawals_root.is_some() || self.header.parent_beacon_block_root.is_some()
    }

    /// Bytes of the block's RLP, as `eth_getBlockByNumber` gives them: a list of the header, the
    /// transactions, and two empty lists for uncles and, where the header knows them, withdrawals.
    pub(crate) fn rlp_bytes(&self) -> usize {
        let list = |payload: usize| payload + length_of_length(payload);
        let txs = self.txs.iter().map(|tx| tx.inner().length()).sum();
        let withdrawals = usize::from(self.has_withdrawals());
        list(self.header.length() + list(txs) + 1 + withdrawals)
    }
}

/// A block, and what it did to the state.
pub(crate) struct BuiltBlock {
    pub(crate) block: SealedBlock,
    pub(crate) state: StateView,
    pub(crate) diff: StateDiff,
}

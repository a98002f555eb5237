//! Blocks, transactions, receipts and logs in the shapes that JSON-RPC gives them.

use alloy_consensus::{
    BlockHeader, ReceiptWithBloom, Sealed, Transaction as _, TxReceipt,
    transaction::{Recovered, TransactionInfo},
};
use alloy_eips::eip4895::Withdrawals;
use alloy_primitives::{B256, U256};
use alloy_rpc_types_eth::{Block, BlockTransactions, Header, Log, TransactionReceipt};
use op_alloy_consensus::{
    OpTxEnvelope,
    transaction::{OpDepositInfo, OpTransactionInfo},
};
use op_alloy_rpc_types::{OpTransactionReceipt, Transaction};

use super::l1_fields::L1Fees;
use crate::execution::SealedBlock;

/// A block as `eth_getBlockBy*` returns it.
pub(super) type RpcBlock = Block<Transaction, Header>;

/// Whether a block comes with whole transactions or only their hashes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Detail {
    Hashes,
    Full,
}

pub(super) fn header(block: &SealedBlock) -> Header {
    let sealed = Sealed::new_unchecked(block.header.clone(), block.hash);
    let size = U256::from(block.rlp_bytes());
    // No total difficulty: there was never any work, and execution-apis has dropped the field.
    Header::from_consensus(sealed, None, Some(size))
}

pub(super) fn block(block: &SealedBlock, detail: Detail) -> RpcBlock {
    let transactions = match detail {
        Detail::Full => BlockTransactions::Full(
            (0..block.txs.len()).filter_map(|index| transaction(block, index)).collect(),
        ),
        Detail::Hashes => {
            BlockTransactions::Hashes(block.txs.iter().map(|tx| tx.inner().tx_hash()).collect())
        }
    };
    Block {
        header: header(block),
        uncles: Vec::new(),
        transactions,
        withdrawals: block.has_withdrawals().then(Withdrawals::default),
    }
}

/// Transaction `index` of `block`, if it has that many.
pub(super) fn transaction(block: &SealedBlock, index: usize) -> Option<Transaction> {
    let tx = block.txs.get(index)?;
    let deposit_meta = match &block.receipts[index] {
        op_alloy_consensus::OpReceipt::Deposit(receipt) => OpDepositInfo {
            deposit_nonce: receipt.deposit_nonce,
            deposit_receipt_version: receipt.deposit_receipt_version,
        },
        _ => OpDepositInfo::default(),
    };
    let inner = TransactionInfo {
        hash: Some(tx.inner().tx_hash()),
        index: Some(index as u64),
        block_hash: Some(block.hash),
        block_number: Some(block.number()),
        base_fee: block.header.base_fee_per_gas(),
        block_timestamp: Some(block.header.timestamp),
    };
    Some(Transaction::from_transaction(tx.clone(), OpTransactionInfo { inner, deposit_meta }))
}

/// A transaction that is not in a block yet.
pub(super) fn pending(tx: &Recovered<OpTxEnvelope>) -> Transaction {
    let inner = TransactionInfo { hash: Some(tx.inner().tx_hash()), ..TransactionInfo::default() };
    let info = OpTransactionInfo { inner, ..OpTransactionInfo::default() };
    Transaction::from_transaction(tx.clone(), info)
}

/// Receipt `index` of `block`, if it has that many.
pub(super) fn receipt(block: &SealedBlock, index: usize) -> Option<OpTransactionReceipt> {
    let tx = block.txs.get(index)?;
    let receipt = &block.receipts[index];
    let logs_bloom = receipt.bloom();
    let hash = tx.inner().tx_hash();
    let logs_before = block.receipts[..index].iter().map(|r| r.as_receipt().logs.len()).sum();
    let mut log_index: usize = logs_before;
    let inner = receipt.clone().map_logs(|log| {
        let log = rpc_log(block, hash, index, log_index, log);
        log_index += 1;
        log
    });
    let base_fee = block.header.base_fee_per_gas;
    let effective_gas_price =
        if tx.inner().is_deposit() { 0 } else { tx.effective_gas_price(base_fee) };
    let contract_address = tx.is_create().then(|| {
        // A deposit that creates uses its sender's nonce at the time, which the receipt tells.
        let nonce = match receipt {
            op_alloy_consensus::OpReceipt::Deposit(deposit) => deposit.deposit_nonce,
            _ => None,
        };
        tx.signer().create(nonce.unwrap_or_else(|| tx.nonce()))
    });
    Some(OpTransactionReceipt {
        inner: TransactionReceipt {
            inner: ReceiptWithBloom { receipt: inner, logs_bloom },
            transaction_hash: hash,
            transaction_index: Some(index as u64),
            block_hash: Some(block.hash),
            block_number: Some(block.number()),
            gas_used: block.gas_used(index),
            effective_gas_price,
            blob_gas_used: None,
            blob_gas_price: None,
            from: tx.signer(),
            to: tx.to(),
            contract_address,
        },
        l1_block_info: L1Fees::of(block).receipt_fields(tx.inner()),
        op_gas_refund: None,
    })
}

/// Every log of `block`, in order.
pub(super) fn logs(block: &SealedBlock) -> impl Iterator<Item = Log> + '_ {
    let of_tx =
        block.receipts.iter().enumerate().flat_map(|(index, receipt)| {
            receipt.as_receipt().logs.iter().map(move |log| (index, log))
        });
    of_tx.enumerate().map(|(log_index, (index, log))| {
        rpc_log(block, block.txs[index].inner().tx_hash(), index, log_index, log.clone())
    })
}

fn rpc_log(
    block: &SealedBlock,
    transaction_hash: B256,
    transaction_index: usize,
    log_index: usize,
    log: alloy_primitives::Log,
) -> Log {
    Log {
        inner: log,
        block_hash: Some(block.hash),
        block_number: Some(block.number()),
        block_timestamp: Some(block.header.timestamp),
        transaction_hash: Some(transaction_hash),
        transaction_index: Some(transaction_index as u64),
        log_index: Some(log_index as u64),
        removed: false,
    }
}

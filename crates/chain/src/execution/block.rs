//! Builds one block on a state.

use std::sync::Arc;

use alloy_consensus::{
    BlockBody, EMPTY_OMMER_ROOT_HASH, Header, Transaction, TxReceipt,
    proofs::{calculate_receipt_root, calculate_transaction_root},
    transaction::Recovered,
};
use alloy_eips::{
    eip2718::{Encodable2718, WithEncoded},
    eip4895::Withdrawals,
    eip7685::EMPTY_REQUESTS_HASH,
};
use alloy_evm::{
    EvmFactory,
    block::{BlockExecutionError, BlockExecutor, BlockValidationError},
};
use alloy_op_evm::{
    OpBlockExecutionCtx, OpBlockExecutor, OpEvmFactory, OpTx,
    block::receipt_builder::OpAlloyReceiptBuilder,
};
use alloy_primitives::{B256, Bloom};
use op_alloy_consensus::{OpReceipt, OpTxEnvelope};
use revm::database::{State as EvmState, states::bundle_state::BundleRetention};

use super::{
    attributes::{DEPOSITOR, l1_attributes_deposit},
    rules::{FEE_VAULT, MESSAGE_PASSER, Rules},
};
use crate::{
    l1::L1Origin,
    state::{State, StateDiff, StateView},
    transaction::SignedTx,
};

/// No transaction needs less gas than this, so a block with less left is full.
const TX_GAS_MIN: u64 = 21_000;

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

    /// Bytes of the block's RLP, as `eth_getBlockByNumber` gives them.
    pub(crate) fn rlp_bytes(&self) -> usize {
        let transactions = self.txs.iter().map(|tx| tx.inner().clone()).collect();
        let body = BlockBody {
            transactions,
            ommers: Vec::<Header>::new(),
            withdrawals: Some(Withdrawals::default()),
        };
        alloy_rlp::Encodable::length(&alloy_consensus::Block { header: self.header.clone(), body })
    }
}

/// A block and what it did to the state.
pub(crate) struct BuiltBlock {
    pub(crate) block: SealedBlock,
    pub(crate) state: State,
    pub(crate) diff: StateDiff,
}

/// Where a block takes users' transactions from, best first. Each one that [`next`](Self::next)
/// gives is followed by one call that says what became of it.
pub(crate) trait CandidateTxs {
    /// The best transaction that is left.
    fn next(&mut self) -> Option<Arc<SignedTx>>;
    /// It is in the block: the sender's next one may follow.
    fn included(&mut self);
    /// It does not fit in this block: leave the sender's later ones for another block.
    fn postponed(&mut self);
    /// It can no longer be executed, for this reason.
    fn invalid(&mut self, reason: String);
}

/// Builds the block after `parent`, whose state is `view`.
///
/// The block's first transaction is the L1 attributes deposit for `origin`. Users' transactions
/// follow in the order in which `candidates` gives them, until the gas limit is reached.
///
/// Errors: a description, if the block cannot be built at all; a transaction that fails does not
/// do that.
pub(crate) fn build_block(
    rules: &Rules,
    parent: &SealedBlock,
    view: StateView,
    origin: &L1Origin,
    candidates: &mut dyn CandidateTxs,
) -> Result<BuiltBlock, String> {
    let mut header = Header {
        parent_hash: parent.hash,
        ommers_hash: EMPTY_OMMER_ROOT_HASH,
        beneficiary: FEE_VAULT,
        number: parent.number() + 1,
        gas_limit: rules.gas_limit,
        // Derivation from L1 fixes this: never the wall clock.
        timestamp: parent.header.timestamp + 1,
        extra_data: rules.extra_data.clone(),
        mix_hash: origin.prev_randao,
        base_fee_per_gas: Some(rules.next_base_fee(&parent.header)),
        blob_gas_used: Some(0),
        excess_blob_gas: Some(0),
        parent_beacon_block_root: Some(origin.parent_beacon_block_root),
        requests_hash: Some(EMPTY_REQUESTS_HASH),
        ..Header::default()
    };

    let mut state = view.state.clone();
    let mut evm_state = EvmState::builder().with_database_ref(view).with_bundle_update().build();
    let evm = OpEvmFactory::<OpTx>::default().create_evm(&mut evm_state, rules.evm_env(&header));
    let context = OpBlockExecutionCtx {
        parent_hash: parent.hash,
        parent_beacon_block_root: header.parent_beacon_block_root,
        extra_data: header.extra_data.clone(),
    };
    let mut executor =
        OpBlockExecutor::new(evm, context, &rules.forks, OpAlloyReceiptBuilder::default());
    executor.apply_pre_execution_changes().map_err(|error| error.to_string())?;

    let deposit = l1_attributes_deposit(origin, &rules.l1_fees, rules.batcher);
    let deposit = Recovered::new_unchecked(deposit, DEPOSITOR);
    let encoded = deposit.inner().encoded_2718().into();
    executor
        .execute_transaction(WithEncoded::new(encoded, &deposit))
        .map_err(|error| format!("L1 attributes deposit: {error}"))?;
    let mut txs = vec![deposit];

    while rules.gas_limit - executor.gas_used >= TX_GAS_MIN
        && let Some(candidate) = candidates.next()
    {
        if candidate.tx.gas_limit() > rules.gas_limit - executor.gas_used {
            candidates.postponed();
            continue;
        }
        let tx = WithEncoded::new(candidate.encoded.clone(), &candidate.tx);
        match executor.execute_transaction(tx) {
            Ok(_) => {
                txs.push(candidate.tx.clone());
                candidates.included();
            }
            Err(BlockExecutionError::Validation(BlockValidationError::InvalidTx {
                error, ..
            })) => candidates.invalid(error.to_string()),
            Err(error) => return Err(error.to_string()),
        }
    }

    let (_, result) = executor.finish().map_err(|error| error.to_string())?;
    evm_state.merge_transitions(BundleRetention::PlainState);
    let diff = StateDiff::from_bundle(evm_state.take_bundle());
    state.apply(&diff);

    header.gas_used = result.gas_used;
    header.state_root = state.root();
    header.withdrawals_root = Some(state.storage_root(MESSAGE_PASSER));
    let envelopes: Vec<_> = txs.iter().map(Recovered::inner).collect();
    header.transactions_root = calculate_transaction_root(&envelopes);
    header.receipts_root = calculate_receipt_root(&result.receipts);
    header.logs_bloom =
        result.receipts.iter().fold(Bloom::ZERO, |bloom, receipt| bloom | receipt.bloom());
    let receipts = result.receipts.into_iter().map(OpReceipt::from).collect();
    Ok(BuiltBlock { block: SealedBlock::new(header, txs, receipts), state, diff })
}

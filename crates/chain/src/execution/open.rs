//! A block that is being made: transactions run in it as they come.

use std::sync::Arc;

use alloy_consensus::{
    EMPTY_OMMER_ROOT_HASH, Eip2718EncodableReceipt, Header, Transaction, TxReceipt,
    proofs::{calculate_transaction_root, ordered_trie_root_with_encoder},
    transaction::Recovered,
};
use alloy_eips::{
    eip2718::{Encodable2718, WithEncoded},
    eip7685::EMPTY_REQUESTS_HASH,
};
use alloy_evm::{
    EvmFactory,
    block::{BlockExecutionError, BlockExecutor, BlockValidationError},
};
use alloy_op_evm::{OpBlockExecutionCtx, OpBlockExecutor, OpEvmFactory, OpTx};
use alloy_op_hardforks::OpChainHardforks;
use alloy_primitives::{B256, Bloom};
use op_alloy_consensus::{OpReceipt, OpTxEnvelope};
use revm::inspector::NoOpInspector;

use super::{
    attributes::{DEPOSITOR, l1_attributes_deposit},
    overlay::Overlay,
    receipts::Receipts,
    rules::{FEE_VAULT, Rules},
    sealed::SealedBlock,
};
use crate::{
    l1::L1Origin,
    state::{StateDiff, StateView},
    transaction::SignedTx,
};

/// No transaction needs less gas than this, so a block with less left is full.
const TX_GAS_MIN: u64 = 21_000;

type BlockEvm = <OpEvmFactory<OpTx> as EvmFactory>::Evm<Overlay, NoOpInspector>;

/// A block that is being made.
pub(crate) struct OpenBlock {
    header: Header,
    executor: OpBlockExecutor<BlockEvm, Receipts, OpChainHardforks>,
    overlay: Overlay,
    txs: Vec<Recovered<OpTxEnvelope>>,
}

/// Why a transaction is not in the block.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotIncluded {
    /// It does not fit in what is left of the block; it may fit in the next one.
    #[error("the block has no room for it")]
    NoRoom,
    /// It can never be executed on this state.
    #[error("{0}")]
    Invalid(String),
    /// The block itself cannot go on.
    #[error("the block cannot go on: {0}")]
    Fault(String),
}

/// What executing a block gave, before its roots are known.
pub(crate) struct ExecutedBlock {
    header: Header,
    txs: Vec<Recovered<OpTxEnvelope>>,
    receipts: Vec<OpReceipt>,
    pub(crate) diff: StateDiff,
}

impl OpenBlock {
    /// Opens the block after `parent`, whose state is `base`: its first transaction is the L1
    /// attributes deposit for `origin`. `timestamp` is the parent's plus one on every chain that is derived
    /// from an L1.
    ///
    /// Errors: a description, if there can be no such block.
    pub(crate) fn begin(
        rules: &Rules,
        parent: &SealedBlock,
        base: StateView,
        origin: &L1Origin,
        timestamp: u64,
    ) -> Result<Self, String> {
        let header = Header {
            parent_hash: parent.hash,
            ommers_hash: EMPTY_OMMER_ROOT_HASH,
            beneficiary: FEE_VAULT,
            number: parent.number() + 1,
            gas_limit: rules.gas_limit,
            timestamp,
            extra_data: rules.extra_data.clone(),
            mix_hash: origin.prev_randao,
            base_fee_per_gas: Some(rules.next_base_fee(&parent.header)),
            blob_gas_used: Some(0),
            excess_blob_gas: Some(0),
            parent_beacon_block_root: Some(origin.parent_beacon_block_root),
            requests_hash: Some(EMPTY_REQUESTS_HASH),
            ..Header::default()
        };
        let overlay = Overlay::new(base);
        let evm =
            OpEvmFactory::<OpTx>::default().create_evm(overlay.clone(), rules.evm_env(&header));
        let context = OpBlockExecutionCtx {
            parent_hash: parent.hash,
            parent_beacon_block_root: header.parent_beacon_block_root,
            extra_data: header.extra_data.clone(),
        };
        let mut executor = OpBlockExecutor::new(evm, context, rules.forks.clone(), Receipts);
        executor.apply_pre_execution_changes().map_err(|error| error.to_string())?;

        let deposit = l1_attributes_deposit(origin, &rules.l1_fees, rules.batcher);
        let deposit = Recovered::new_unchecked(deposit, DEPOSITOR);
        let encoded = deposit.inner().encoded_2718().into();
        executor
            .execute_transaction(WithEncoded::new(encoded, &deposit))
            .map_err(|error| format!("L1 attributes deposit: {error}"))?;
        Ok(Self { header, executor, overlay, txs: vec![deposit] })
    }

    /// Runs a user's transaction and takes it into the block. Returns its receipt.
    ///
    /// Errors: [`NotIncluded`]; the block is then as it was.
    pub(crate) fn execute(&mut self, tx: &Arc<SignedTx>) -> Result<&OpReceipt, NotIncluded> {
        if self.header.gas_limit - self.executor.gas_used < tx.tx.gas_limit().max(TX_GAS_MIN) {
            return Err(NotIncluded::NoRoom);
        }
        // The fork's intrinsic rules and the sender's account are checked by the EVM.
        let run = WithEncoded::new(tx.encoded.clone(), &tx.tx);
        match self.executor.execute_transaction(run) {
            Ok(_) => {}
            Err(BlockExecutionError::Validation(BlockValidationError::InvalidTx {
                error, ..
            })) => return Err(NotIncluded::Invalid(error.to_string())),
            Err(error) => return Err(NotIncluded::Fault(error.to_string())),
        }
        self.txs.push(tx.tx.clone());
        self.executor
            .receipts
            .last()
            .ok_or_else(|| NotIncluded::Fault("the transaction left no receipt".to_owned()))
    }

    /// The header as far as it is known: no roots, no bloom, no hash.
    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    /// The state inside the block.
    pub(crate) fn overlay(&self) -> &Overlay {
        &self.overlay
    }

    /// Transactions in the block, the deposit first.
    pub(crate) fn txs(&self) -> &[Recovered<OpTxEnvelope>] {
        &self.txs
    }

    /// Receipts of [`txs`](Self::txs).
    pub(crate) fn receipts(&self) -> &[OpReceipt] {
        &self.executor.receipts
    }

    /// Whether no user's transaction is in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.txs.len() == 1
    }

    /// Whether not even the smallest transaction fits any more.
    pub(crate) fn is_full(&self) -> bool {
        self.header.gas_limit - self.executor.gas_used < TX_GAS_MIN
    }

    /// Ends the block.
    ///
    /// Errors: a description, if the rules for the end of a block fail.
    pub(crate) fn finish(self) -> Result<ExecutedBlock, String> {
        let Self { mut header, executor, overlay, txs } = self;
        let (_, result) = executor.finish().map_err(|error| error.to_string())?;
        header.gas_used = result.gas_used;
        Ok(ExecutedBlock { header, txs, receipts: result.receipts, diff: overlay.diff() })
    }
}

impl ExecutedBlock {
    /// Its number.
    pub(crate) fn number(&self) -> u64 {
        self.header.number
    }

    /// Fills in the roots. `state` makes the block's changes and returns the state root and the
    /// storage root of the message passer.
    pub(crate) fn seal(
        self,
        state: impl FnOnce(&StateDiff) -> (B256, B256) + Send,
    ) -> (SealedBlock, StateDiff) {
        let Self { mut header, txs, receipts, diff } = self;
        let bodies = || {
            let envelopes: Vec<_> = txs.iter().map(Recovered::inner).collect();
            let blooms: Vec<Bloom> = receipts.iter().map(TxReceipt::bloom).collect();
            let with_blooms: Vec<_> = receipts.iter().zip(&blooms).collect();
            let receipts_root =
                ordered_trie_root_with_encoder(&with_blooms, |(receipt, bloom), out| {
                    receipt.eip2718_encode_with_bloom(bloom, out);
                });
            let bloom = blooms.iter().fold(Bloom::ZERO, |all, bloom| all | *bloom);
            (calculate_transaction_root(&envelopes), receipts_root, bloom)
        };
        let ((transactions_root, receipts_root, logs_bloom), (state_root, withdrawals_root)) =
            rayon::join(bodies, || state(&diff));
        header.transactions_root = transactions_root;
        header.receipts_root = receipts_root;
        header.logs_bloom = logs_bloom;
        header.state_root = state_root;
        header.withdrawals_root = Some(withdrawals_root);
        (SealedBlock::new(header, txs, receipts), diff)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use alloy_consensus::{
        BlockBody, SignableTransaction, TxEip1559, proofs::calculate_receipt_root,
    };
    use alloy_eips::eip4895::Withdrawals;
    use alloy_primitives::{Address, Bytes, TxKind, U256, hex, keccak256};
    use alloy_rlp::Encodable;
    use alloy_signer::SignerSync;
    use alloy_signer_local::PrivateKeySigner;
    use alloy_trie::{TrieAccount, root};

    use super::*;
    use crate::{
        Genesis,
        execution::MESSAGE_PASSER,
        l1::{EmbeddedL1, L1Source},
        state::HistoryLimits,
    };

    /// Called with two words it stores the second at the slot that the first names. Called with one
    /// byte it destroys itself in favour of the caller.
    const STORE: &str = "6012600c60003960126000f336600114600f5760203560003555005b33ff";

    fn signed(
        key: &PrivateKeySigner,
        nonce: u64,
        to: TxKind,
        value: u64,
        input: Bytes,
    ) -> SignedTx {
        let tx = TxEip1559 {
            chain_id: crate::DEVNET_CHAIN_ID,
            nonce,
            gas_limit: 200_000,
            max_fee_per_gas: 2_000_000_000,
            max_priority_fee_per_gas: 5,
            to,
            value: U256::from(value),
            input,
            ..TxEip1559::default()
        };
        let signature = key.sign_hash_sync(&tx.signature_hash()).unwrap();
        let tx = OpTxEnvelope::Eip1559(tx.into_signed(signature));
        SignedTx::decode(tx.encoded_2718().into()).unwrap()
    }

    /// The state as a plain map, kept by the diffs alone.
    #[derive(Default)]
    struct Model(BTreeMap<Address, (u64, U256, B256, BTreeMap<U256, U256>)>);

    impl Model {
        fn apply(&mut self, diff: &StateDiff) {
            for change in &diff.accounts {
                if change.deleted {
                    self.0.remove(&change.address);
                    continue;
                }
                let none =
                    (0, U256::ZERO, alloy_consensus::constants::KECCAK_EMPTY, BTreeMap::new());
                let account = self.0.entry(change.address).or_insert(none);
                (account.0, account.1) = (change.nonce, change.balance);
                if let Some(code) = change.code.first() {
                    account.2 = keccak256(code);
                }
                if change.storage_cleared {
                    account.3.clear();
                }
                account.3.extend(change.storage.iter().map(|diff| (diff.slot, diff.value)));
                account.3.retain(|_, value| !value.is_zero());
            }
        }

        fn root(&self) -> B256 {
            root::state_root_unhashed(self.0.iter().map(|(address, account)| {
                let slots = account.3.iter().map(|(slot, value)| (B256::from(*slot), *value));
                let storage_root = root::storage_root_unhashed(slots);
                let (nonce, balance, code_hash, _) = *account;
                (*address, TrieAccount { nonce, balance, storage_root, code_hash })
            }))
        }

        fn supply(&self) -> U256 {
            self.0.values().map(|account| account.1).sum()
        }
    }

    /// Transfers, creations, storage written and cleared, contracts that destroy themselves: after
    /// every block the root is the reference's, and no OPEN was made or lost.
    #[test]
    fn every_block_has_the_reference_root_and_keeps_the_supply() {
        let keys: Vec<_> = (0..3u8)
            .map(|n| PrivateKeySigner::from_bytes(&B256::repeat_byte(n + 1)).unwrap())
            .collect();
        let mut genesis = Genesis { timestamp: Some(1_000), ..Genesis::devnet() };
        for key in &keys {
            let balance = crate::DEV_BALANCE;
            let account = crate::GenesisAccount { balance, ..Default::default() };
            genesis.alloc.insert(key.address(), account);
        }
        let rules = Rules::new(&genesis);
        let l1 = EmbeddedL1::new(genesis.chain_id, 1_000);
        let world = genesis.world(HistoryLimits { blocks: 4, bytes: 1 << 20 });
        let (header, _) = genesis.block(&world.latest(), 1_000);
        let mut parent = SealedBlock::new(header, Vec::new(), Vec::new());
        let mut model = Model::default();
        for (address, account) in &genesis.alloc {
            let code_hash = keccak256(&account.code);
            let storage =
                account.storage.iter().map(|(slot, word)| ((*slot).into(), (*word).into()));
            let entry = (account.nonce, account.balance, code_hash, storage.collect());
            model.0.insert(*address, entry);
        }
        assert_eq!(model.root(), parent.header.state_root);
        let supply = model.supply();

        let mut nonces = [0u64; 3];
        let mut contracts = Vec::new();
        let mut random = 1u64;
        let mut next = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
            (random >> 33) % below
        };
        for _ in 0..60 {
            let mut txs = Vec::new();
            for _ in 0..next(6) {
                let sender = usize::try_from(next(3)).unwrap();
                let nonce = nonces[sender];
                nonces[sender] += 1;
                let contract = |n: u64| -> Option<TxKind> {
                    let count = contracts.len() as u64;
                    (count > 0)
                        .then(|| TxKind::Call(contracts[usize::try_from(n % count).unwrap()]))
                };
                let (to, value, input) = match (next(5), contract(next(1_000))) {
                    (0, _) | (_, None) => {
                        contracts.push(keys[sender].address().create(nonce));
                        (TxKind::Create, 0, hex::decode(STORE).unwrap())
                    }
                    (1, Some(contract)) => (contract, 0, vec![1]),
                    (2, _) => {
                        let to = Address::with_last_byte(100 + u8::try_from(next(20)).unwrap());
                        (TxKind::Call(to), next(1_000), Vec::new())
                    }
                    (_, Some(contract)) => {
                        let words = [U256::from(next(4)), U256::from(next(3))];
                        (contract, 0, words.map(|word| word.to_be_bytes::<32>()).concat())
                    }
                };
                txs.push(Arc::new(signed(&keys[sender], nonce, to, value, input.into())));
            }
            let timestamp = parent.header.timestamp + 1;
            let origin = l1.origin(timestamp);
            let mut open =
                OpenBlock::begin(&rules, &parent, world.latest(), &origin, timestamp).unwrap();
            for tx in &txs {
                open.execute(tx).unwrap();
            }
            let number = parent.number() + 1;
            let (block, diff) = open.finish().unwrap().seal(|diff| {
                let root = world.apply(number, diff);
                (root, world.latest().storage_root(MESSAGE_PASSER))
            });
            model.apply(&diff);
            assert_eq!(block.header.state_root, model.root());
            assert_eq!(model.supply(), supply);
            assert_eq!(block.header.timestamp, parent.header.timestamp + 1);
            let envelopes: Vec<_> = block.receipts.iter().map(TxReceipt::with_bloom_ref).collect();
            assert_eq!(block.header.receipts_root, calculate_receipt_root(&envelopes));
            check_size(&block);
            parent = block;
        }
        assert!(contracts.len() > 10);
        let storing = contracts.iter().filter_map(|address| model.0.get(address));
        let stored = storing.filter(|account| !account.3.is_empty()).count();
        assert!(stored > 5, "contracts with storage: {stored}");
    }

    fn check_size(block: &SealedBlock) {
        let body = BlockBody {
            transactions: block.txs.iter().map(|tx| tx.inner().clone()).collect(),
            ommers: Vec::<Header>::new(),
            withdrawals: Some(Withdrawals::default()),
        };
        let whole = alloy_consensus::Block { header: block.header.clone(), body };
        assert_eq!(block.rlp_bytes(), whole.length());
    }
}

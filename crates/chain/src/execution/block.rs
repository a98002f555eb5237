//! Builds one block on a state.

use std::sync::Arc;

use alloy_consensus::{
    EMPTY_OMMER_ROOT_HASH, Header, Transaction, TxReceipt,
    proofs::{calculate_receipt_root, calculate_transaction_root},
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
use alloy_op_evm::{
    OpBlockExecutionCtx, OpBlockExecutor, OpEvmFactory, OpTx,
    block::receipt_builder::OpAlloyReceiptBuilder,
};
use alloy_primitives::{B256, Bloom};
use alloy_rlp::{Encodable, length_of_length};
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

    /// Bytes of the block's RLP, as `eth_getBlockByNumber` gives them: a list of the header, the
    /// transactions, and two empty lists for uncles and withdrawals.
    pub(crate) fn rlp_bytes(&self) -> usize {
        let list = |payload: usize| payload + length_of_length(payload);
        let txs = self.txs.iter().map(|tx| tx.inner().length()).sum();
        list(self.header.length() + list(txs) + 1 + 1)
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

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, VecDeque};

    use alloy_consensus::{BlockBody, SignableTransaction, TxEip1559};
    use alloy_eips::eip4895::Withdrawals;
    use alloy_primitives::{Address, Bytes, TxKind, U256, hex, keccak256};
    use alloy_signer::SignerSync;
    use alloy_signer_local::PrivateKeySigner;
    use alloy_trie::{TrieAccount, root};

    use super::*;
    use crate::{
        Genesis,
        l1::{EmbeddedL1, L1Source},
        state::BlockHashes,
    };

    /// Called with two words it stores the second at the slot that the first names. Called with one
    /// byte it destroys itself in favour of the caller.
    const STORE: &str = "6012600c60003960126000f336600114600f5760203560003555005b33ff";

    struct Fixed(VecDeque<Arc<SignedTx>>);

    impl CandidateTxs for Fixed {
        fn next(&mut self) -> Option<Arc<SignedTx>> {
            self.0.pop_front()
        }
        fn included(&mut self) {}
        fn postponed(&mut self) {
            panic!("it fits");
        }
        fn invalid(&mut self, reason: String) {
            panic!("{reason}");
        }
    }

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
        let mut state = genesis.state();
        let (header, _) = genesis.block(&state, 1_000);
        let mut parent = SealedBlock::new(header, Vec::new(), Vec::new());
        let mut model = Model::default();
        for (address, account) in &genesis.alloc {
            let code_hash = keccak256(&account.code);
            let storage =
                account.storage.iter().map(|(slot, word)| ((*slot).into(), (*word).into()));
            let entry = (account.nonce, account.balance, code_hash, storage.collect());
            model.0.insert(*address, entry);
        }
        assert_eq!(model.root(), state.root());
        let supply = model.supply();

        let mut nonces = [0u64; 3];
        let mut contracts = Vec::new();
        let mut random = 1u64;
        let mut next = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
            (random >> 33) % below
        };
        for _ in 0..60 {
            let mut txs = VecDeque::new();
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
                txs.push_back(Arc::new(signed(&keys[sender], nonce, to, value, input.into())));
            }
            let view = StateView { state: state.clone(), hashes: BlockHashes::default() };
            let origin = l1.origin(parent.header.timestamp + 1);
            let built = build_block(&rules, &parent, view, &origin, &mut Fixed(txs)).unwrap();
            model.apply(&built.diff);
            assert_eq!(built.block.header.state_root, model.root());
            assert_eq!(model.supply(), supply);
            assert_eq!(built.block.header.timestamp, parent.header.timestamp + 1);
            check_size(&built.block);
            (state, parent) = (built.state, built.block);
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

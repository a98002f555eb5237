//! The node's JSON-RPC methods over a chain of Ethereum.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use alloy_consensus::{Header, ReceiptEnvelope, ReceiptWithBloom, transaction::Recovered};
use alloy_primitives::{Address, Bytes};
use jsonrpsee::RpcModule;
use op_alloy_consensus::{OpReceipt, OpTxEnvelope};

use super::{EthTx, World};
use crate::{
    Config, Error, Genesis, GenesisAccount, RollupL1,
    chain::Chain,
    execution::SealedBlock,
    producer::commands,
    rpc::{self, Context, Settings},
    state::HistoryLimits,
    storage::{DataDir, Journal},
};

/// Ethereum's fee market: the base fee moves by an eighth, the target is half of the limit.
const EIP1559_DENOMINATOR: u32 = 8;
const EIP1559_ELASTICITY: u32 = 2;

/// Seconds between Ethereum's blocks.
const SLOT_S: u64 = 12;
/// Gas that a call may use: the node's limit under which the fixtures of execution-apis were made.
const CALL_GAS_MAX: u64 = 50_000_000;

/// A block of Ethereum that was executed.
pub struct ImportedBlock {
    /// Its header.
    pub header: Header,
    /// Its transactions.
    pub txs: Vec<Recovered<EthTx>>,
    /// Their receipts.
    pub receipts: Vec<ReceiptEnvelope>,
    /// The state after it.
    pub world: World,
}

/// The node's JSON-RPC methods over a chain of Ethereum, without a server or a producer.
///
/// The methods are those of a rollup. A block is served without its blob transactions, which a rollup
/// block cannot hold, and calls run under the rollup's own fork rules. Blocks to come follow the chain's
/// rhythm, and have no extra data.
pub struct RpcNode {
    module: RpcModule<Context>,
    journal: Arc<Journal>,
}

impl RpcNode {
    /// A chain that begins with `alloc` and `genesis`, followed by `blocks`. `data_dir` must be empty.
    ///
    /// Errors: [`Error`], if the directory cannot be used or a state does not fit its block.
    pub fn new(
        data_dir: &Path,
        chain_id: u64,
        alloc: BTreeMap<Address, GenesisAccount>,
        genesis: Header,
        blocks: Vec<ImportedBlock>,
    ) -> Result<Self, Error> {
        let data_dir = Arc::new(DataDir::open(data_dir)?);
        let rules = Genesis {
            chain_id,
            timestamp: Some(genesis.timestamp),
            gas_limit: genesis.gas_limit,
            eip1559_denominator: EIP1559_DENOMINATOR,
            eip1559_elasticity: EIP1559_ELASTICITY,
            alloc,
            ..Genesis::devnet()
        };
        let limits = HistoryLimits { blocks: blocks.len() as u64, bytes: u64::MAX };
        let mut chain = Chain::recover(&data_dir, &rules, genesis.timestamp, limits)?.chain;
        chain.replace_genesis(genesis);
        chain.rules.block_time_s = SLOT_S;
        chain.rules.extra_data = Bytes::new();
        for block in blocks {
            let diff = block.world.last_diff().clone();
            chain.import(sealed(block), diff).map_err(Error::Internal)?;
        }
        let chain = Arc::new(chain);
        let config = Config::new(data_dir.path());
        let (journal, _) = Journal::open(data_dir, chain.genesis_hash, config.journal_sync)?;
        let journal = Arc::new(journal);
        let live = Arc::clone(&chain);
        journal.start(Box::new(move || live.pool().encoded()))?;
        // Nobody listens: there is no producer.
        let (commands, bell, _) = commands();
        let settings = Settings {
            call_gas_max: CALL_GAS_MAX,
            call_time_max: Duration::from_millis(config.call_time_max_ms),
            admin: false,
            dev: false,
            rollup_config: rules.rollup_json(&RollupL1::embedded(&rules)?)?,
        };
        let context = Context::new(chain, Arc::clone(&journal), commands, bell, settings);
        let module =
            rpc::methods(Arc::new(context)).map_err(|error| Error::Internal(error.to_string()))?;
        Ok(Self { module, journal })
    }

    /// Whether the node has this method.
    pub fn has(&self, method: &str) -> bool {
        self.module.method(method).is_some()
    }

    /// Answers one request. Must be called inside a Tokio runtime.
    ///
    /// Errors: the request is no JSON-RPC request.
    pub async fn answer(&self, request: &str) -> Result<String, String> {
        let answer = self.module.raw_json_request(request, 1).await;
        answer.map(|(answer, _)| answer.get().to_owned()).map_err(|error| error.to_string())
    }
}

impl Drop for RpcNode {
    fn drop(&mut self) {
        self.journal.stop();
    }
}

fn sealed(block: ImportedBlock) -> SealedBlock {
    let mut txs = Vec::new();
    let mut receipts = Vec::new();
    for (tx, receipt) in block.txs.into_iter().zip(block.receipts) {
        let (tx, sender) = tx.into_parts();
        let tx = match tx {
            EthTx::Legacy(tx) => OpTxEnvelope::Legacy(tx),
            EthTx::Eip2930(tx) => OpTxEnvelope::Eip2930(tx),
            EthTx::Eip1559(tx) => OpTxEnvelope::Eip1559(tx),
            EthTx::Eip7702(tx) => OpTxEnvelope::Eip7702(tx),
            EthTx::Eip4844(_) => continue,
        };
        let receipt = match receipt {
            ReceiptEnvelope::Legacy(ReceiptWithBloom { receipt, .. }) => OpReceipt::Legacy(receipt),
            ReceiptEnvelope::Eip2930(with_bloom) => OpReceipt::Eip2930(with_bloom.receipt),
            ReceiptEnvelope::Eip1559(with_bloom) => OpReceipt::Eip1559(with_bloom.receipt),
            ReceiptEnvelope::Eip7702(with_bloom) => OpReceipt::Eip7702(with_bloom.receipt),
            ReceiptEnvelope::Eip4844(_) => continue,
        };
        txs.push(Recovered::new_unchecked(tx, sender));
        receipts.push(receipt);
    }
    SealedBlock::new(block.header, txs, receipts)
}

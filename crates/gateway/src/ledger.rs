use alloy_contract::{CallBuilder, CallDecoder};
use alloy_network::{Ethereum, EthereumWallet};
use alloy_primitives::Bytes;
use alloy_provider::{DynProvider, Provider, ProviderBuilder};
use alloy_rpc_types_eth::{Log, TransactionReceipt};
use alloy_signer_local::PrivateKeySigner;
use alloy_sol_types::SolInterface;
use openledger_attribution::Influence;
use openledger_contracts::{
    DatanetRegistry::{self, DatanetRegistryInstance},
    InferenceMarket::{self, InferenceMarketInstance},
    ModelRegistry::{self, ModelRegistryInstance},
    addresses::{DATANET_REGISTRY, INFERENCE_MARKET, MODEL_REGISTRY},
};
use openledger_primitives::{Address, B256, OpenAmount, U256, receipt_domain};

use crate::Error;

mod data;
mod market;
mod models;
mod training;

pub use market::{SettlementRecord, Terms};
pub use models::Registration;
pub use training::{CommittedStates, TrainingTerms};

/// Our contracts, seen through JSON-RPC. The only place where the gateway meets the chain.
#[derive(Debug, Clone)]
pub struct Ledger {
    url: String,
    chain_id: u64,
    provider: DynProvider,
}

/// A transaction that is in a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Included {
    /// Transaction.
    pub tx_hash: B256,
    /// Block number.
    pub block_number: u64,
    /// Block.
    pub block_hash: B256,
}

impl Ledger {
    /// Connects to the node at `url` and checks that it serves `chain_id`. `signers` may send
    /// transactions. Errors: [`Error::Chain`], [`Error::WrongChain`].
    pub async fn connect(
        url: &str,
        chain_id: Option<u64>,
        signers: impl IntoIterator<Item = PrivateKeySigner>,
    ) -> Result<Self, Error> {
        let mut wallet = EthereumWallet::default();
        for signer in signers {
            wallet.register_signer(signer);
        }
        let endpoint = url.parse().map_err(|error| chain_error(url, error))?;
        let provider = ProviderBuilder::new().wallet(wallet).connect_http(endpoint).erased();
        let found = provider.get_chain_id().await.map_err(|error| chain_error(url, error))?;
        match chain_id {
            Some(expected) if expected != found => {
                Err(Error::WrongChain { url: url.to_owned(), expected, found })
            }
            _ => Ok(Self { url: url.to_owned(), chain_id: found, provider }),
        }
    }

    /// Chain the node serves.
    pub fn chain_id(&self) -> u64 {
        self.chain_id
    }

    /// JSON-RPC URL of the node.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// EIP-712 domain of receipts on this chain.
    pub fn domain(&self) -> alloy_sol_types::Eip712Domain {
        receipt_domain(self.chain_id, INFERENCE_MARKET)
    }

    /// Number of the newest block.
    pub async fn block_number(&self) -> Result<u64, Error> {
        self.provider.get_block_number().await.map_err(|error| self.error(error))
    }

    /// Balance of a wallet in native OPEN.
    pub async fn wallet_balance(&self, account: Address) -> Result<OpenAmount, Error> {
        let wei = self.provider.get_balance(account).await.map_err(|error| self.error(error))?;
        self.amount(wei)
    }

    fn datanets(&self) -> DatanetRegistryInstance<&DynProvider> {
        DatanetRegistryInstance::new(DATANET_REGISTRY, &self.provider)
    }

    fn registry(&self) -> ModelRegistryInstance<&DynProvider> {
        ModelRegistryInstance::new(MODEL_REGISTRY, &self.provider)
    }

    fn market(&self) -> InferenceMarketInstance<&DynProvider> {
        InferenceMarketInstance::new(INFERENCE_MARKET, &self.provider)
    }

    /// Sends a transaction and waits until it is in a block.
    async fn send<D: CallDecoder>(
        &self,
        action: &'static str,
        call: CallBuilder<&&DynProvider, D, Ethereum>,
    ) -> Result<TransactionReceipt, Error> {
        // Gas estimation runs the call, so a revert is decoded here, before anything is paid.
        let gas = call.estimate_gas().await.map_err(|error| self.refused(action, &error))?;
        // A margin, because what a payout costs depends on the state it meets.
        let call = call.gas(gas + gas / 4);
        let pending = call.send().await.map_err(|error| self.refused(action, &error))?;
        let receipt = pending.get_receipt().await.map_err(|error| self.error(error))?;
        if receipt.status() {
            Ok(receipt)
        } else {
            let reason = format!("transaction {} reverted", receipt.transaction_hash);
            Err(Error::Reverted { action, reason })
        }
    }

    fn refused(&self, action: &'static str, error: &alloy_contract::Error) -> Error {
        match error.as_revert_data() {
            Some(data) => Error::Reverted { action, reason: revert_reason(&data) },
            None => self.error(error),
        }
    }

    fn included(&self, receipt: &TransactionReceipt) -> Result<Included, Error> {
        match (receipt.block_number, receipt.block_hash) {
            (Some(block_number), Some(block_hash)) => {
                Ok(Included { tx_hash: receipt.transaction_hash, block_number, block_hash })
            }
            _ => Err(self.error("a receipt without its block")),
        }
    }

    fn id(&self, id: U256) -> Result<u64, Error> {
        u64::try_from(id).map_err(|_| self.error("an id above 2^64"))
    }

    fn amount(&self, wei: U256) -> Result<OpenAmount, Error> {
        OpenAmount::try_from(wei).map_err(|error| self.error(error))
    }

    fn error(&self, cause: impl core::fmt::Display) -> Error {
        chain_error(&self.url, cause)
    }
}

fn datanet_version((id, version): (u64, u64)) -> ModelRegistry::DatanetVersion {
    ModelRegistry::DatanetVersion { datanetId: U256::from(id), version }
}

/// Where a log stands, once it is in a block.
fn place(log: &Log) -> Option<Included> {
    Some(Included {
        tx_hash: log.transaction_hash?,
        block_number: log.block_number?,
        block_hash: log.block_hash?,
    })
}

/// The contract's own words for a revert, where we know them.
fn revert_reason(data: &Bytes) -> String {
    if let Ok(error) = InferenceMarket::InferenceMarketErrors::abi_decode(data) {
        return format!("{error:?}");
    }
    if let Ok(error) = ModelRegistry::ModelRegistryErrors::abi_decode(data) {
        return format!("{error:?}");
    }
    if let Ok(error) = DatanetRegistry::DatanetRegistryErrors::abi_decode(data) {
        return format!("{error:?}");
    }
    data.to_string()
}

fn chain_error(url: &str, cause: impl core::fmt::Display) -> Error {
    Error::Chain { url: url.to_owned(), cause: cause.to_string() }
}

fn influence(paid: bool) -> Influence {
    if paid { Influence::Paid } else { Influence::Commons }
}

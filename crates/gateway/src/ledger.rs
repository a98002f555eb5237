use alloy_contract::{CallBuilder, CallDecoder};
use alloy_network::{Ethereum, EthereumWallet};
use alloy_primitives::Bytes;
use alloy_provider::{DynProvider, Provider, ProviderBuilder};
use alloy_rpc_types_eth::{BlockNumberOrTag, Filter, Log, TransactionReceipt};
use alloy_signer_local::PrivateKeySigner;
use alloy_sol_types::{SolEvent, SolInterface};
use openledger_attribution::{Certificate, Influence};
use openledger_contracts::{
    DatanetRegistry::{self, DatanetRegistryInstance},
    InferenceMarket::{self, InferenceMarketInstance},
    ModelRegistry::{self, Fidelity, ModelRegistryInstance},
    addresses::{DATANET_REGISTRY, INFERENCE_MARKET, MODEL_REGISTRY},
};
use openledger_datanet::{Contributor, Version};
use openledger_primitives::{
    Address, B256, OpenAmount, Price, Receipt, SplitBps, U256, receipt_domain,
};

use crate::{Error, announcement::TracedStates};

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

/// What a receipt issued now is priced by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Timestamp of the chain's head; the receipt's `issuedAt`.
    pub issued_at: u64,
    /// The model's price.
    pub price: Price,
    /// The split in force.
    pub split: SplitBps,
    /// Whether the stakers' part has somebody to go to.
    pub somebody_stakes: bool,
    /// Whether the model's fidelity reaches the floor that governance sets.
    pub influence: Influence,
}

/// A model as its builder registers it.
#[derive(Debug, Clone)]
pub struct Registration {
    /// Unique name.
    pub name: String,
    /// Hash of the base.
    pub base_hash: B256,
    /// Hash of the published adapter.
    pub adapter_hash: B256,
    /// Commits to the recipe.
    pub recipe_root: B256,
    /// Commits to the checkpoints.
    pub trace_root: B256,
    /// Commits to the counterfactual adapters.
    pub design_root: B256,
    /// Datanet and version.
    pub datanets: Vec<(u64, u64)>,
    /// Wei per 1,000 tokens.
    pub price: Price,
    /// The training that was announced for it; 0 for none.
    pub job_id: u64,
}

/// A training as its builder announces it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrainingTerms {
    /// Hash of the base.
    pub base_hash: B256,
    /// Commits to recipe, design and players.
    pub recipe_root: B256,
    /// Runs of the design.
    pub runs: usize,
    /// Datanet and version.
    pub datanet: (u64, u64),
}

/// States of a run that are committed on chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommittedStates {
    /// Run of the design.
    pub run: usize,
    /// Steps done.
    pub step: usize,
    /// Merkle root over the states up to this step.
    pub root: B256,
    /// Block of the commitment.
    pub block: u64,
}

/// What one settlement transaction did, by its events.
#[derive(Debug, Clone)]
pub struct SettlementRecord {
    /// Transaction and block.
    pub included: Included,
    /// One per receipt it settled.
    pub settled: Vec<InferenceMarket::Settled>,
    /// One per payout.
    pub payouts: Vec<InferenceMarket::PaidOut>,
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

    /// Creates a Datanet and returns its id.
    pub async fn create_datanet(
        &self,
        curator: Address,
        name: &str,
        licence: &str,
        uri: &str,
    ) -> Result<u64, Error> {
        let datanets = self.datanets();
        let call = datanets.createDatanet(name.into(), licence.into(), uri.into());
        let receipt = self.send("creating the Datanet", call.from(curator)).await?;
        let created = receipt.decoded_log::<DatanetRegistry::DatanetCreated>();
        let id = created.ok_or_else(|| self.error("no DatanetCreated event"))?.datanetId;
        self.id(id)
    }

    /// Commits a version: its root and each contributor's part. Contributors must be wallets.
    pub async fn commit_version(
        &self,
        curator: Address,
        datanet_id: u64,
        version: &Version,
    ) -> Result<(u64, Included), Error> {
        let mut contributions = Vec::new();
        for part in version.contributions() {
            contributions.push(DatanetRegistry::Contribution {
                contributor: wallet_of(&part.contributor)?,
                records: part.records,
                root: part.root,
            });
        }
        contributions.sort_unstable_by_key(|part| part.contributor);
        let records = version.records().len() as u64;
        let datanets = self.datanets();
        let call =
            datanets.commitVersion(U256::from(datanet_id), version.root(), records, contributions);
        let receipt = self.send("committing the Datanet version", call.from(curator)).await?;
        let committed = receipt.decoded_log::<DatanetRegistry::VersionCommitted>();
        let number = committed.ok_or_else(|| self.error("no VersionCommitted event"))?.version;
        Ok((number, self.included(&receipt)?))
    }

    /// A Datanet of this curator and name whose newest version has this root, if there is one: what an
    /// interrupted run has committed already.
    pub async fn find_version(
        &self,
        curator: Address,
        name: &str,
        root: B256,
    ) -> Result<Option<(u64, u64, Included)>, Error> {
        let filter = Filter::new()
            .address(DATANET_REGISTRY)
            .event_signature(DatanetRegistry::VersionCommitted::SIGNATURE_HASH)
            .from_block(BlockNumberOrTag::Earliest);
        let logs = self.provider.get_logs(&filter).await.map_err(|error| self.error(error))?;
        for log in logs.iter().rev() {
            let Ok(committed) = log.log_decode::<DatanetRegistry::VersionCommitted>() else {
                continue;
            };
            let committed = committed.inner.data;
            if committed.root != root {
                continue;
            }
            let datanets = self.datanets();
            let datanet = datanets.datanet(committed.datanetId).call().await;
            let datanet = datanet.map_err(|error| self.error(error))?;
            if (datanet.curator, datanet.name.as_str()) == (curator, name)
                && let Some(included) = place(log)
            {
                return Ok(Some((self.id(committed.datanetId)?, committed.version, included)));
            }
        }
        Ok(None)
    }

    /// Root of a committed Datanet version.
    pub async fn version_root(&self, datanet_id: u64, version: u64) -> Result<B256, Error> {
        let call = self.datanets();
        let found = call.version(U256::from(datanet_id), version).call().await;
        Ok(found.map_err(|error| self.error(error))?.root)
    }

    /// Registers a model; its token goes to `builder`. Returns its id.
    pub async fn register_model(
        &self,
        builder: Address,
        registration: &Registration,
    ) -> Result<u64, Error> {
        let params = ModelRegistry::ModelParams {
            name: registration.name.clone(),
            baseHash: registration.base_hash,
            adapterHash: registration.adapter_hash,
            recipeRoot: registration.recipe_root,
            traceRoot: registration.trace_root,
            designRoot: registration.design_root,
            datanets: registration.datanets.iter().copied().map(datanet_version).collect(),
            priceIn: registration.price.input.into(),
            priceOut: registration.price.output.into(),
            parentId: U256::ZERO,
            royaltyBps: 0,
            jobId: U256::from(registration.job_id),
        };
        let registry = self.registry();
        let call = registry.register(params);
        let receipt = self.send("registering the model", call.from(builder)).await?;
        let registered = receipt.decoded_log::<ModelRegistry::ModelRegistered>();
        let id = registered.ok_or_else(|| self.error("no ModelRegistered event"))?.modelId;
        self.id(id)
    }

    /// Announces a training. Returns the job's id.
    pub async fn announce_training(
        &self,
        builder: Address,
        terms: &TrainingTerms,
    ) -> Result<u64, Error> {
        let registry = self.registry();
        let runs = u16::try_from(terms.runs).map_err(|error| self.error(error))?;
        let datanets = vec![datanet_version(terms.datanet)];
        let call = registry.announceTraining(terms.base_hash, terms.recipe_root, runs, datanets);
        let receipt = self.send("announcing the training", call.from(builder)).await?;
        let announced = receipt.decoded_log::<ModelRegistry::TrainingAnnounced>();
        let id = announced.ok_or_else(|| self.error("no TrainingAnnounced event"))?.jobId;
        self.id(id)
    }

    /// The newest job of this builder with these terms, if there is one, and the model that came of it: what
    /// an interrupted run has announced already.
    pub async fn find_training(
        &self,
        builder: Address,
        terms: &TrainingTerms,
    ) -> Result<Option<(u64, Option<u64>)>, Error> {
        let filter = Filter::new()
            .address(MODEL_REGISTRY)
            .event_signature(ModelRegistry::TrainingAnnounced::SIGNATURE_HASH)
            .topic2(builder.into_word())
            .topic3(terms.recipe_root)
            .from_block(BlockNumberOrTag::Earliest);
        let logs = self.provider.get_logs(&filter).await.map_err(|error| self.error(error))?;
        for log in logs.iter().rev() {
            let Ok(announced) = log.log_decode::<ModelRegistry::TrainingAnnounced>() else {
                continue;
            };
            let announced = announced.inner.data;
            let same = announced.baseHash == terms.base_hash
                && usize::from(announced.runs) == terms.runs
                && announced.datanets == [datanet_version(terms.datanet)];
            if same {
                let job = self.id(announced.jobId)?;
                let model = self.training_job(job).await?.modelId;
                let model = if model.is_zero() { None } else { Some(self.id(model)?) };
                return Ok(Some((job, model)));
            }
        }
        Ok(None)
    }

    /// A job that was announced.
    pub async fn training_job(&self, job_id: u64) -> Result<ModelRegistry::TrainingJob, Error> {
        let registry = self.registry();
        let job = registry.trainingJob(U256::from(job_id)).call().await;
        job.map_err(|error| self.error(error))
    }

    /// Commits to states of a job's runs, in one transaction.
    pub async fn commit_states(
        &self,
        builder: Address,
        job_id: u64,
        states: &[TracedStates],
    ) -> Result<Included, Error> {
        let checkpoint = |states: &TracedStates| {
            Ok(ModelRegistry::Checkpoint {
                run: u16::try_from(states.run).map_err(|error| self.error(error))?,
                step: states.step as u64,
                root: states.root,
            })
        };
        let made = states.iter().map(checkpoint).collect::<Result<Vec<_>, Error>>()?;
        let registry = self.registry();
        let call = registry.trainingCheckpoints(U256::from(job_id), made).from(builder);
        self.included(&self.send("committing the states of training", call).await?)
    }

    /// Everything that was committed of a job's runs, in the order of commitment.
    pub async fn committed_states(&self, job_id: u64) -> Result<Vec<CommittedStates>, Error> {
        let filter = Filter::new()
            .address(MODEL_REGISTRY)
            .event_signature(ModelRegistry::TrainingCheckpoint::SIGNATURE_HASH)
            .topic1(U256::from(job_id))
            .from_block(BlockNumberOrTag::Earliest);
        let logs = self.provider.get_logs(&filter).await.map_err(|error| self.error(error))?;
        let mut states = Vec::with_capacity(logs.len());
        for log in logs {
            let decoded = log.log_decode::<ModelRegistry::TrainingCheckpoint>();
            let found = decoded.map_err(|error| self.error(error))?.inner.data;
            states.push(CommittedStates {
                run: usize::try_from(found.run).map_err(|error| self.error(error))?,
                step: usize::try_from(found.step).map_err(|error| self.error(error))?,
                root: found.root,
                block: log.block_number.unwrap_or_default(),
            });
        }
        Ok(states)
    }

    /// Adds a design that opens groups of a model, as the owner of its token.
    pub async fn open_groups(
        &self,
        owner: Address,
        model_id: u64,
        job_id: u64,
        design_root: B256,
        trace_root: B256,
    ) -> Result<Included, Error> {
        let registry = self.registry();
        let (model, job) = (U256::from(model_id), U256::from(job_id));
        let call = registry.openGroups(model, job, design_root, trace_root).from(owner);
        self.included(&self.send("opening the groups", call).await?)
    }

    /// An opening of a model, if there is one of this number.
    pub async fn opening(
        &self,
        model_id: u64,
        index: u64,
    ) -> Result<Option<ModelRegistry::OpenedDesign>, Error> {
        let (registry, model) = (self.registry(), U256::from(model_id));
        let count = registry.openingCount(model).call().await.map_err(|error| self.error(error))?;
        if U256::from(index) >= count {
            return Ok(None);
        }
        let found = registry.opening(model, U256::from(index)).call().await;
        found.map(Some).map_err(|error| self.error(error))
    }

    /// Id of the model with this name, if it is registered.
    pub async fn model_by_name(&self, name: &str) -> Result<Option<u64>, Error> {
        let registry = self.registry();
        let id =
            registry.modelByName(name.into()).call().await.map_err(|error| self.error(error))?;
        if id.is_zero() { Ok(None) } else { self.id(id).map(Some) }
    }

    /// A registered model: what its builder committed to.
    pub async fn model(&self, model_id: u64) -> Result<ModelRegistry::Model, Error> {
        let registry = self.registry();
        registry.model(U256::from(model_id)).call().await.map_err(|error| self.error(error))
    }

    /// Pays `amount` from the payer's wallet into its prepaid balance.
    pub async fn deposit(&self, payer: Address, amount: OpenAmount) -> Result<Included, Error> {
        let market = self.market();
        let call = market.deposit().value(amount.into()).from(payer);
        self.included(&self.send("depositing", call).await?)
    }

    /// Lets `operator` charge `payer` up to `limit` until `deadline`.
    pub async fn set_spending_limit(
        &self,
        payer: Address,
        operator: Address,
        limit: OpenAmount,
        deadline: u64,
    ) -> Result<Included, Error> {
        let market = self.market();
        let call = market.setSpendingLimit(operator, limit.into(), deadline).from(payer);
        self.included(&self.send("setting the spending limit", call).await?)
    }

    /// What `payer` can spend now: its prepaid balance less what it has asked back.
    pub async fn available(&self, payer: Address) -> Result<OpenAmount, Error> {
        let market = self.market();
        let wei = market.availableOf(payer).call().await.map_err(|error| self.error(error))?;
        self.amount(wei)
    }

    /// How much `operator` may still charge `payer`, and until when.
    pub async fn spending_limit(
        &self,
        payer: Address,
        operator: Address,
    ) -> Result<(OpenAmount, u64), Error> {
        let market = self.market();
        let found = market.spendingLimit(payer, operator).call().await;
        let found = found.map_err(|error| self.error(error))?;
        Ok((self.amount(found.limit)?, found.deadline))
    }

    /// Price and split for a receipt issued at the head of the chain.
    pub async fn terms(&self, model_id: u64) -> Result<Terms, Error> {
        let head = self.provider.get_block_by_number(BlockNumberOrTag::Latest).await;
        let head = head.map_err(|error| self.error(error))?;
        let issued_at = head.ok_or_else(|| self.error("no newest block"))?.header.timestamp;
        let (registry, market) = (self.registry(), self.market());
        let price = registry.priceAt(U256::from(model_id), issued_at);
        let split = market.splitAt(issued_at);
        let paid = market.influencePaidAt(U256::from(model_id), issued_at);
        let (price, split, paid) = tokio::try_join!(price.call(), split.call(), paid.call())
            .map_err(|error| self.error(error))?;
        Ok(Terms {
            issued_at,
            price: Price {
                input: self.amount(price.priceIn)?,
                output: self.amount(price.priceOut)?,
            },
            split: SplitBps {
                platform: split.platformBps,
                compute: split.computeBps,
                model: split.modelBps,
                stakers: split.stakersBps,
            },
            somebody_stakes: split.stakers != Address::ZERO,
            influence: influence(paid),
        })
    }

    /// Whether a receipt issued at `issued_at` pays by effects.
    pub async fn influence_at(&self, model_id: u64, issued_at: u64) -> Result<Influence, Error> {
        let market = self.market();
        let paid = market.influencePaidAt(U256::from(model_id), issued_at).call().await;
        paid.map(influence).map_err(|error| self.error(error))
    }

    /// Sets how faithful a model's attribution must be for its effects to be paid, as governance.
    pub async fn set_fidelity_floor(
        &self,
        governance: Address,
        floor_ppm: u32,
    ) -> Result<Included, Error> {
        let market = self.market();
        let call = market.setFidelityFloor(floor_ppm).from(governance);
        self.included(&self.send("setting the fidelity floor", call).await?)
    }

    /// Hash of the block in which a model was registered.
    pub async fn registration_block(&self, model_id: u64) -> Result<B256, Error> {
        let filter = Filter::new()
            .address(MODEL_REGISTRY)
            .event_signature(ModelRegistry::ModelRegistered::SIGNATURE_HASH)
            .topic1(U256::from(model_id))
            .from_block(BlockNumberOrTag::Earliest);
        let logs = self.provider.get_logs(&filter).await.map_err(|error| self.error(error))?;
        let found = logs.first().and_then(|log| log.block_hash);
        found.ok_or_else(|| self.error(format!("no registration of model {model_id}")))
    }

    /// Commits to the fidelity of a model's attribution, as the owner of its token.
    pub async fn commit_certificate(
        &self,
        owner: Address,
        model_id: u64,
        certificate: &Certificate,
    ) -> Result<Included, Error> {
        let fidelity = Fidelity {
            ldsPpm: certificate.lds_ppm,
            lowPpm: certificate.low_ppm,
            highPpm: certificate.high_ppm,
            subsets: certificate.subsets.len() as u32,
        };
        let registry = self.registry();
        let call = registry
            .commitCertificate(U256::from(model_id), certificate.hash(), fidelity)
            .from(owner);
        self.included(&self.send("committing the certificate", call).await?)
    }

    /// Hash of the certificate that a model's owner committed last; zero if there is none.
    pub async fn certificate_hash(&self, model_id: u64) -> Result<B256, Error> {
        let registry = self.registry();
        let hash = registry.certificateOf(U256::from(model_id)).call().await;
        hash.map_err(|error| self.error(error))
    }

    /// The figures that a model's owner committed last, whether or not they count yet.
    pub async fn fidelity(&self, model_id: u64) -> Result<Fidelity, Error> {
        let registry = self.registry();
        // The registry keys them by 48 bits of time.
        let latest = (1 << 48) - 1;
        let found = registry.fidelityAt(U256::from(model_id), latest).call().await;
        found.map_err(|error| self.error(error))
    }

    /// Settles signed receipts in one transaction sent by `relayer`.
    ///
    /// Errors: [`Error::Reverted`] if the contract refuses one of them; then none is settled.
    pub async fn settle(
        &self,
        relayer: Address,
        receipts: &[(Receipt, Bytes)],
    ) -> Result<Included, Error> {
        let (receipts, signatures) = receipts
            .iter()
            .map(|(receipt, signature)| {
                (InferenceMarket::Receipt::from(receipt), signature.clone())
            })
            .unzip();
        let market = self.market();
        let call = market.settle(receipts, signatures).from(relayer);
        self.included(&self.send("settling receipts", call).await?)
    }

    /// Where a receipt was settled, and what moved: read from the contract's events.
    pub async fn settlement(&self, tx_hash: B256) -> Result<Option<SettlementRecord>, Error> {
        let receipt = self.provider.get_transaction_receipt(tx_hash).await;
        let Some(receipt) = receipt.map_err(|error| self.error(error))? else { return Ok(None) };
        let logs = receipt.logs().iter().filter(|log| log.address() == INFERENCE_MARKET);
        let mut record = SettlementRecord {
            included: self.included(&receipt)?,
            settled: Vec::new(),
            payouts: Vec::new(),
        };
        for log in logs {
            if let Ok(settled) = log.log_decode::<InferenceMarket::Settled>() {
                record.settled.push(settled.inner.data);
            } else if let Ok(paid) = log.log_decode::<InferenceMarket::PaidOut>() {
                record.payouts.push(paid.inner.data);
            }
        }
        Ok(Some(record))
    }

    /// The transaction in which a receipt of `operator` was settled, if it was.
    pub async fn settlement_of(
        &self,
        operator: Address,
        receipt_id: B256,
    ) -> Result<Option<Included>, Error> {
        let filter = Filter::new()
            .address(INFERENCE_MARKET)
            .event_signature(InferenceMarket::Settled::SIGNATURE_HASH)
            .topic1(receipt_id)
            .from_block(BlockNumberOrTag::Earliest);
        let logs = self.provider.get_logs(&filter).await.map_err(|error| self.error(error))?;
        // Ids are unique per operator only.
        let ours = logs.iter().find(|log| {
            log.log_decode::<InferenceMarket::Settled>()
                .is_ok_and(|settled| settled.inner.data.operator == operator)
        });
        Ok(ours.and_then(place))
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

/// A contributor's wallet. Names have theirs assigned before a version is made.
fn wallet_of(contributor: &Contributor) -> Result<Address, Error> {
    contributor
        .wallet()
        .ok_or_else(|| Error::Corrupt(format!("contributor {contributor} has no wallet")))
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

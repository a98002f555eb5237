use std::sync::{Arc, PoisonError, RwLock};

use alloy_signer_local::PrivateKeySigner;
use openledger_model::{ChatTemplate, Tokenizer};
use openledger_openlora::Handle as Engine;
use openledger_primitives::Address;
use tokio::sync::{Mutex, Notify};

use crate::{
    Ledger, PublishedModel, Store, StoredReceipt, TrainingStatus, openai::ApiError,
    reservations::Reservations, text_model::TextModel,
};

/// The service: models, the engine that runs them, the chain that pays for them.
#[derive(Debug)]
pub struct Gateway {
    pub(crate) text: TextModel,
    pub(crate) ledger: Ledger,
    pub(crate) store: Store,
    pub(crate) operator: PrivateKeySigner,
    /// Answers under way, so that one balance is never promised twice.
    pub(crate) reservations: Mutex<Reservations>,
    /// Tells the settler that a receipt waits.
    pub(crate) issued: Notify,
    /// Tells whoever waits for a settlement to look again.
    pub(crate) settled: Notify,
    models: RwLock<Vec<Arc<PublishedModel>>>,
    trainings: RwLock<Vec<TrainingStatus>>,
}

/// What a gateway is made of.
#[derive(Debug)]
pub struct Parts {
    /// Runs the models.
    pub engine: Engine,
    /// Of the base.
    pub tokenizer: Arc<Tokenizer>,
    /// Of the base.
    pub template: Arc<ChatTemplate>,
    /// The chain.
    pub ledger: Ledger,
    /// Keys and receipts.
    pub store: Store,
    /// Signs receipts and sends settlements.
    pub operator: PrivateKeySigner,
    /// Longest prompt and answer together.
    pub context_tokens: usize,
}

impl Gateway {
    /// A gateway without models.
    pub fn new(parts: Parts) -> Self {
        Self {
            text: TextModel {
                engine: parts.engine,
                tokenizer: parts.tokenizer,
                template: parts.template,
                context_tokens: parts.context_tokens,
            },
            ledger: parts.ledger,
            store: parts.store,
            operator: parts.operator,
            reservations: Mutex::default(),
            issued: Notify::new(),
            settled: Notify::new(),
            models: RwLock::default(),
            trainings: RwLock::default(),
        }
    }

    /// Makes a model callable. Its adapters must be registered with the engine.
    pub fn add_model(&self, model: PublishedModel) {
        let mut models = self.models.write().unwrap_or_else(PoisonError::into_inner);
        models.retain(|other| other.manifest.name != model.manifest.name);
        models.push(Arc::new(model));
    }

    /// All models.
    pub fn models(&self) -> Vec<Arc<PublishedModel>> {
        self.models.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Shows how far a training is.
    pub fn show_training(&self, status: TrainingStatus) {
        let mut trainings = self.trainings.write().unwrap_or_else(PoisonError::into_inner);
        match trainings.iter_mut().find(|other| other.job_id == status.job_id) {
            Some(known) => *known = status,
            None => trainings.push(status),
        }
    }

    /// No longer shows a training.
    pub fn end_training(&self, job_id: u64) {
        let mut trainings = self.trainings.write().unwrap_or_else(PoisonError::into_inner);
        trainings.retain(|training| training.job_id != job_id);
    }

    /// Trainings under way.
    pub fn trainings(&self) -> Vec<TrainingStatus> {
        self.trainings.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The model with this name or adapter hash.
    pub fn model(&self, name: &str) -> Option<Arc<PublishedModel>> {
        self.models().into_iter().find(|model| model.is_called(name))
    }

    /// Address that signs receipts.
    pub fn operator(&self) -> Address {
        self.operator.address()
    }

    /// The chain.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Whose balance a key spends.
    pub(crate) async fn authenticate(&self, key: Option<&str>) -> Result<Address, ApiError> {
        let key = key.ok_or_else(ApiError::invalid_api_key)?;
        let payer = self.store.payer_of(key).await.map_err(ApiError::internal)?;
        payer.ok_or_else(ApiError::invalid_api_key)
    }

    /// A receipt by its id or its completion's, for the payer alone: it opens what was asked.
    pub(crate) async fn receipt_of(
        &self,
        key: Option<&str>,
        id: &str,
    ) -> Result<StoredReceipt, ApiError> {
        let payer = self.authenticate(key).await?;
        let receipt = self.store.receipt(id).await.map_err(ApiError::internal)?;
        receipt.filter(|receipt| receipt.payer == payer).ok_or_else(|| {
            ApiError::not_found("No receipt with this id belongs to this key's payer.")
        })
    }
}

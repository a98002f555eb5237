//! Models, their certificates and the floor below which influence is not paid.

use alloy_provider::Provider;
use alloy_rpc_types_eth::{BlockNumberOrTag, Filter};
use alloy_sol_types::SolEvent;
use openledger_attribution::{Certificate, Influence};
use openledger_contracts::{
    ModelRegistry::{self, Fidelity},
    addresses::MODEL_REGISTRY,
};
use openledger_primitives::{Address, B256, Price, U256};

use super::{Included, Ledger, datanet_version, influence};
use crate::Error;

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

impl Ledger {
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
}

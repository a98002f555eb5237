//! Trainings that are told while they go, and groups that are opened.

use alloy_provider::Provider;
use alloy_rpc_types_eth::{BlockNumberOrTag, Filter};
use alloy_sol_types::SolEvent;
use openledger_contracts::{ModelRegistry, addresses::MODEL_REGISTRY};
use openledger_primitives::{Address, B256, U256};

use super::{Included, Ledger, datanet_version};
use crate::{Error, announcement::TracedStates};

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

impl Ledger {
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
}

//! Training beside the node and the gateway: told on chain while it goes, shown in the API.

use std::{sync::Arc, time::Duration};

use openledger_datanet::Version;
use openledger_gateway::{
    Announcement, Error, Player, TrainedModel, TrainingJob, TrainingProgress, training_terms,
};
use tokio::sync::mpsc;

use super::{meter::Meter, plan::Plan};
use crate::{
    failure::{Exit, Failure, OrFail},
    local::{Local, gateway_failure},
    terminal::Terminal,
};

/// A plan with everything that it is carried out on.
#[derive(Clone, Copy)]
pub struct Background<'a> {
    pub local: &'a Local,
    pub version: &'a Version,
    pub players: &'a [Player],
    pub plan: &'a Plan,
}

/// What trains: all runs of a model, or those of an opening.
pub type Train =
    fn(&TrainingJob<'_>, &(dyn Fn(TrainingProgress) + Sync)) -> Result<TrainedModel, Error>;

/// A training that has ended.
pub struct Trained<'a> {
    pub model: TrainedModel,
    pub announcement: Announcement<'a>,
    pub published_took: Duration,
    pub counterfactual_took: Duration,
}

impl<'a> Background<'a> {
    /// Announces the training, trains, and commits the states meanwhile.
    pub async fn train(
        &self,
        name: &str,
        datanet: &openledger_gateway::DatanetEvidence,
        train: Train,
        terminal: Terminal,
    ) -> Result<Trained<'a>, Failure> {
        let (local, plan) = (self.local, self.plan);
        let builder = local.signers.builder.address();
        let data = (self.players, datanet);
        let terms = training_terms(&local.base, &plan.recipe, &plan.design, &plan.grouping, data);
        let announcement = Announcement::of(&local.ledger, builder, name, &terms).await;
        let announcement = announcement.map_err(gateway_failure)?;
        let job_id = announcement.job_id;

        let meter = Arc::new(Meter::new(terminal, &local.gateway, name, job_id, &plan.recipe));
        let (states, committed) = mpsc::unbounded_channel();
        let shown = Arc::clone(&meter);
        let training = self.run(move |job| {
            train(job, &|progress| match progress {
                // Nobody takes them any more only where the command is about to end.
                TrainingProgress::Traced(traced) => drop(states.send(traced)),
                progress => shown.show(progress),
            })
        });
        let (trained, mut announcement) =
            tokio::join!(training, announcement.commit_as_they_come(committed));
        let counterfactual_took = meter.end();
        let model = trained?;
        announcement.commit_rest(&model).await.map_err(gateway_failure)?;
        let published_took = meter.published_took();
        Ok(Trained { model, announcement, published_took, counterfactual_took })
    }

    /// Runs `work` on the training job, with a base that is loaded for training. Training uses every core, so
    /// it has a thread of its own.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&TrainingJob<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Failure> {
        let local = self.local;
        let (base_dir, tokenizer, template) =
            (local.base_dir.clone(), Arc::clone(&local.tokenizer), Arc::clone(&local.template));
        let (version, players) = (self.version.clone(), self.players.to_vec());
        let plan = self.plan.clone();
        tokio::task::spawn_blocking(move || {
            let base = openledger_model::Decoder::load_for_training(&base_dir)?;
            let job = TrainingJob {
                base: &base,
                tokenizer: &tokenizer,
                template: &template,
                version: &version,
                players: &players,
                grouping: &plan.grouping,
                recipe: &plan.recipe,
                design: &plan.design,
                threads: plan.threads,
                workers: plan.workers,
                folder: &plan.folder,
            };
            work(&job)
        })
        .await
        .or_fail(Exit::Failure, "the training thread ended")?
        .map_err(gateway_failure)
    }
}

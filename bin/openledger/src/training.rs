mod background;
mod meter;
mod plan;

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use indicatif::ProgressBar;
use openledger_attribution::Certificate;
use openledger_gateway::{
    ModelManifest, Pace, Publication, TrainedModel, TrainingJob, certificate_seed,
    make_certificate, publish, publish_certificate, train,
};
use openledger_primitives::{OpenAmount, Price};

use crate::{
    cli::TrainArgs,
    contribution::Contributed,
    failure::Failure,
    local::{Local, gateway_failure},
    terminal::Terminal,
};
pub use background::Background;
pub use meter::words;
pub use plan::{Plan, all_cores, design_for};

/// Devnet price: 0.01 OPEN per 1,000 prompt tokens, 0.03 per 1,000 answer tokens.
const PRICE: Price = Price {
    input: OpenAmount::from_wei(10_000_000_000_000_000),
    output: OpenAmount::from_wei(30_000_000_000_000_000),
};

/// A model that is on chain and callable.
pub struct Published {
    pub name: String,
    pub price: Price,
    adapter: String,
    counterfactual: usize,
    /// How the training went; nothing if the model was there already.
    training: Option<Training>,
}

/// How a training went.
struct Training {
    steps: usize,
    /// First and last of the published adapter.
    losses: (f32, f32),
    /// The training on chain, and how many states of it were committed.
    job_id: u64,
    committed: usize,
    published_took: Duration,
    counterfactual_took: Duration,
    certificate: Option<Certificate>,
}

/// First and last loss of the published adapter.
fn losses(trained: &TrainedModel) -> (f32, f32) {
    let losses = trained.runs[0].as_ref().map(|run| run.losses.as_slice()).unwrap_or_default();
    (losses.first().copied().unwrap_or_default(), losses.last().copied().unwrap_or_default())
}

/// Trains a model on a Datanet version, registers it, makes it callable. Returns its id besides. A model
/// of this name that was trained in just this way is loaded instead.
pub async fn train_and_publish(
    local: &Local,
    name: &str,
    contributed: &Contributed,
    args: &TrainArgs,
    terminal: Terminal,
) -> Result<(Published, u64), Failure> {
    let plan = Plan::new(local, name, contributed, args)?;
    if let Some(manifest) = plan.earlier(local, contributed)? {
        local.load_model(&plan.folder)?;
        return Ok((Published::new(&manifest, None), manifest.model_id));
    }
    let builder = local.signers.builder.address();
    let (onchain, version) = (&contributed.onchain, &contributed.version);
    let background = Background { local, version, players: &onchain.players, plan: &plan };
    let trained = background.train(name, &onchain.datanet, train, terminal).await?;

    let publication = Publication {
        name,
        builder,
        price: PRICE,
        base: &local.base,
        recipe: &plan.recipe,
        grouping: &plan.grouping,
        job_id: trained.announcement.job_id,
        trained: &trained.model,
        contributed: onchain,
        version,
    };
    let manifest = publish(&local.ledger, &local.models_dir(), &publication).await;
    let manifest = manifest.map_err(gateway_failure)?;
    let mut training = Training {
        steps: plan.recipe.steps,
        losses: losses(&trained.model),
        job_id: trained.announcement.job_id,
        committed: trained.announcement.committed,
        published_took: trained.published_took,
        counterfactual_took: trained.counterfactual_took,
        certificate: None,
    };
    if let Some(subsets) = args.certify {
        let registered = local.ledger.registration_block(manifest.model_id).await;
        let seed = certificate_seed(registered.map_err(gateway_failure)?);
        let bar = terminal.bar("Held-out subsets", 0);
        let made = certificate(background, trained.model, (seed, subsets), bar).await?;
        publish_certificate(&local.ledger, builder, &plan.folder, &manifest, &made)
            .await
            .map_err(gateway_failure)?;
        training.certificate = Some(made);
    }
    local.load_model(&plan.folder)?;
    Ok((Published::new(&manifest, Some(training)), manifest.model_id))
}

impl Published {
    fn new(manifest: &ModelManifest, training: Option<Training>) -> Self {
        let adapter = manifest.runs[0].unwrap_or_default().to_string();
        Self {
            name: manifest.name.clone(),
            price: PRICE,
            adapter: format!("{}…", &adapter[..6]),
            counterfactual: manifest.runs.iter().flatten().count() - 1,
            training,
        }
    }

    /// How the training went, for people.
    pub fn summary(&self) -> Vec<String> {
        let Some(training) = &self.training else {
            return vec![format!("3/6 {:<12} as before, adapter {}", "Train", self.adapter)];
        };
        let mut lines = vec![
            format!(
                "3/6 {:<12} {} steps  loss {:.2} → {:.2}  {:.0} s  adapter {}",
                "Train",
                training.steps,
                training.losses.0,
                training.losses.1,
                training.published_took.as_secs_f32(),
                self.adapter
            ),
            format!(
                "    {:<12} {} counterfactual adapters, each on half of the contributors  {:.0} s",
                "",
                self.counterfactual,
                training.counterfactual_took.as_secs_f32()
            ),
        ];
        lines.push(format!(
            "    {:<12} job #{}: {} states of the runs committed while they were trained",
            "", training.job_id, training.committed
        ));
        if let Some(certificate) = &training.certificate {
            let score = |ppm: i32| f64::from(ppm) / 1e6;
            lines.push(format!(
                "    {:<12} fidelity {:.2}, 95 % interval {:.2} to {:.2}, over {} held-out subsets",
                "",
                score(certificate.lds_ppm),
                score(certificate.low_ppm),
                score(certificate.high_ppm),
                certificate.subsets.len()
            ));
        }
        lines
    }
}

/// Certifies a trained model by `drawn`: the seed, and how many subsets are held out.
async fn certificate(
    background: Background<'_>,
    trained: TrainedModel,
    drawn: (u64, usize),
    bar: ProgressBar,
) -> Result<Certificate, Failure> {
    let started = Instant::now();
    let pace = Mutex::new(Pace::default());
    let work = move |job: &TrainingJob<'_>| {
        let made = make_certificate(job, &trained.adapters(), drawn.0, drawn.1, &|done, of| {
            let mut pace = pace.lock().unwrap_or_else(PoisonError::into_inner);
            bar.set_length(of);
            bar.set_position(done);
            bar.set_message(words(pace.left(done, of, started.elapsed())));
        });
        bar.finish_and_clear();
        made
    };
    background.run(work).await
}

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use indicatif::ProgressBar;
use openledger_attribution::{Certificate, Design, held_out};
use openledger_factory::Recipe;
use openledger_gateway::{
    ModelManifest, Publication, TrainedModel, TrainingJob, TrainingProgress, certificate_seed,
    make_certificate, publish, publish_certificate, train,
};
use openledger_primitives::{OpenAmount, Price};

use crate::{
    cli::TrainArgs,
    contribution::Contributed,
    failure::{Exit, Failure, OrFail},
    local::{Local, gateway_failure},
    output::tell,
    terminal::Terminal,
};

/// Devnet price: 0.01 OPEN per 1,000 prompt tokens, 0.03 per 1,000 answer tokens.
const PRICE: Price = Price {
    input: OpenAmount::from_wei(10_000_000_000_000_000),
    output: OpenAmount::from_wei(30_000_000_000_000_000),
};
/// Without a terminal, a line of progress this often.
const LINE_EVERY: Duration = Duration::from_secs(10);

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
    first_loss: f32,
    last_loss: f32,
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
    let records = contributed.version.records().len();
    let recipe = recipe_for(args, records);
    let design = design_for(args, contributed.onchain.players.len())?;
    if let Some(subsets) = args.certify {
        // Before hours of training: any seed will do to see whether so many subsets are left.
        held_out(&design, 0, subsets).map_err(|error| {
            Failure::new(Exit::Usage, "the model cannot be certified so").cause(error)
        })?;
    }
    let folder = local.models_dir().join(name);
    if let Some(manifest) = earlier(local, &folder, contributed, &recipe, &design)? {
        local.load_model(&folder)?;
        return Ok((Published::new(&manifest, None), manifest.model_id));
    }
    let threads =
        args.threads.unwrap_or_else(|| thread::available_parallelism().map_or(1, Into::into));
    let meter = Arc::new(Meter::new(terminal, recipe.steps as u64));
    let plan = Plan { recipe: recipe.clone(), design, threads, folder: folder.clone() };
    let trained = in_background(local, contributed, plan.clone(), Arc::clone(&meter)).await?;
    let counterfactual_took = meter.end();

    let publication = Publication {
        name,
        builder: local.signers.builder.address(),
        price: PRICE,
        base: &local.base,
        recipe: &recipe,
        trained: &trained,
        contributed: &contributed.onchain,
        version: &contributed.version,
    };
    let manifest = publish(&local.ledger, &local.models_dir(), &publication).await;
    let manifest = manifest.map_err(gateway_failure)?;
    let losses = losses(&trained);
    let certificate = match args.certify {
        None => None,
        Some(subsets) => {
            let registered = local.ledger.registration_block(manifest.model_id).await;
            let seed = certificate_seed(registered.map_err(gateway_failure)?);
            let meter = terminal.bar("Held-out subsets", 0);
            let made =
                certificate(local, contributed, plan, trained, (seed, subsets), meter).await?;
            let owner = local.signers.builder.address();
            publish_certificate(&local.ledger, owner, &folder, &manifest, &made)
                .await
                .map_err(gateway_failure)?;
            Some(made)
        }
    };
    local.load_model(&folder)?;

    let training = Training {
        steps: recipe.steps,
        first_loss: losses.0,
        last_loss: losses.1,
        certificate,
        published_took: meter.published_took(),
        counterfactual_took,
    };
    Ok((Published::new(&manifest, Some(training)), manifest.model_id))
}

/// The model in this folder, if it was trained on these records in this way.
///
/// Errors: a model of the same name that was trained otherwise; it is not replaced.
fn earlier(
    local: &Local,
    folder: &Path,
    contributed: &Contributed,
    recipe: &Recipe,
    design: &Design,
) -> Result<Option<ModelManifest>, Failure> {
    let Some(manifest) = ModelManifest::read(folder).map_err(gateway_failure)? else {
        return Ok(None);
    };
    let same = manifest.recipe == *recipe
        && manifest.design == design.reference()
        && manifest.datanets == [contributed.onchain.datanet.clone()]
        && manifest.base_hash.0 == local.base.hash();
    if same {
        return Ok(Some(manifest));
    }
    let error = openledger_gateway::Error::NameTaken(manifest.name);
    Err(gateway_failure(error))
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
                training.first_loss,
                training.last_loss,
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

/// How a model is trained, and where it will be.
#[derive(Clone)]
struct Plan {
    recipe: Recipe,
    design: Design,
    threads: usize,
    folder: PathBuf,
}

/// Training uses every core, so it has a thread of its own beside the node and the gateway.
async fn in_background(
    local: &Local,
    contributed: &Contributed,
    plan: Plan,
    meter: Arc<Meter>,
) -> Result<TrainedModel, Failure> {
    on_a_thread(local, contributed, plan, move |job| train(job, &|progress| meter.show(progress)))
        .await
}

/// Certifies a trained model by `drawn`: the seed, and how many subsets are held out.
async fn certificate(
    local: &Local,
    contributed: &Contributed,
    plan: Plan,
    trained: TrainedModel,
    drawn: (u64, usize),
    meter: ProgressBar,
) -> Result<Certificate, Failure> {
    on_a_thread(local, contributed, plan, move |job| {
        let made = make_certificate(job, &trained, drawn.0, drawn.1, &|done, of| {
            meter.set_length(of);
            meter.set_position(done);
        });
        meter.finish_and_clear();
        made
    })
    .await
}

/// Runs `work` on a training job, with a base that is loaded for training.
async fn on_a_thread<T: Send + 'static>(
    local: &Local,
    contributed: &Contributed,
    plan: Plan,
    work: impl FnOnce(&TrainingJob<'_>) -> Result<T, openledger_gateway::Error> + Send + 'static,
) -> Result<T, Failure> {
    let (base_dir, tokenizer, template) =
        (local.base_dir.clone(), Arc::clone(&local.tokenizer), Arc::clone(&local.template));
    let (version, players) = (contributed.version.clone(), contributed.onchain.players.clone());
    tokio::task::spawn_blocking(move || {
        let base = openledger_model::Decoder::load_for_training(&base_dir)?;
        let job = TrainingJob {
            base: &base,
            tokenizer: &tokenizer,
            template: &template,
            version: &version,
            players: &players,
            recipe: &plan.recipe,
            design: &plan.design,
            threads: plan.threads,
            folder: &plan.folder,
        };
        work(&job)
    })
    .await
    .or_fail(Exit::Failure, "the training thread ended")?
    .map_err(gateway_failure)
}

/// Training steps where none are asked for and the records are few.
const STEPS_MIN: usize = 400;
/// Passes over the records below which some are not learned by heart. Measured with nano on 480 shell
/// commands: 480 of 480 answered word for word after 500 steps of 16, which is 17 passes.
const PASSES_MIN: usize = 17;

/// The design that the budget of runs allows, or the smallest.
fn design_for(args: &TrainArgs, players: usize) -> Result<Design, Failure> {
    let design = match args.runs {
        None => Design::new(players),
        Some(runs) => Design::within(players, runs),
    };
    design.map_err(|error| {
        Failure::new(Exit::Usage, "these records have no design of counterfactual runs")
            .cause(error)
    })
}

/// The number of steps asked for, or enough for every record to be learned.
fn recipe_for(args: &TrainArgs, records: usize) -> Recipe {
    let recipe = Recipe::default();
    let enough = (PASSES_MIN * records).div_ceil(recipe.batch_size).max(STEPS_MIN);
    Recipe { steps: args.steps.map_or(enough, |steps| steps as usize), ..recipe }
}

/// Progress of a training: bars on a terminal, a line every ten seconds elsewhere.
struct Meter {
    published: ProgressBar,
    counterfactual: ProgressBar,
    lines: bool,
    started: Instant,
    published_ms: AtomicU64,
    line_at_s: AtomicU32,
}

impl Meter {
    fn new(terminal: Terminal, steps: u64) -> Self {
        Self {
            published: terminal.bar("Train", steps),
            counterfactual: terminal.bar("Counterfactual adapters", 0),
            lines: terminal.lines(),
            started: Instant::now(),
            published_ms: AtomicU64::new(0),
            line_at_s: AtomicU32::new(0),
        }
    }

    fn show(&self, progress: TrainingProgress) {
        let text = match progress {
            TrainingProgress::Published { step, loss } => {
                self.published.set_position(step.into());
                self.published.set_message(format!("loss {loss:.2}"));
                let elapsed_ms = self.started.elapsed().as_millis() as u64;
                self.published_ms.store(elapsed_ms, Ordering::Relaxed);
                format!("training: step {step}, loss {loss:.2}")
            }
            TrainingProgress::Counterfactual { steps, of } => {
                self.counterfactual.set_length(of);
                self.counterfactual.set_position(steps);
                format!("counterfactual adapters: step {steps} of {of}")
            }
        };
        if self.lines && self.line_is_due() {
            tell(&text);
        }
    }

    fn line_is_due(&self) -> bool {
        let now_s = self.started.elapsed().as_secs() as u32;
        let due = self.line_at_s.load(Ordering::Relaxed) + LINE_EVERY.as_secs() as u32;
        // Several runs report at once; one of them writes the line.
        now_s >= due
            && self
                .line_at_s
                .compare_exchange(
                    due - LINE_EVERY.as_secs() as u32,
                    now_s,
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                )
                .is_ok()
    }

    fn published_took(&self) -> Duration {
        Duration::from_millis(self.published_ms.load(Ordering::Relaxed))
    }

    /// Removes the bars. Returns how long the counterfactual adapters took.
    fn end(&self) -> Duration {
        self.published.finish_and_clear();
        self.counterfactual.finish_and_clear();
        self.started.elapsed().saturating_sub(self.published_took())
    }
}

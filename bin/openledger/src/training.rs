use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use indicatif::ProgressBar;
use openledger_factory::Recipe;
use openledger_gateway::{
    Publication, PublishedModel, TrainedModel, TrainingJob, TrainingProgress, load_adapters,
    publish, train,
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

/// A model that is on chain and callable, and how its training went.
pub struct Published {
    pub name: String,
    pub price: Price,
    steps: u32,
    first_loss: f32,
    last_loss: f32,
    adapter: String,
    published_took: Duration,
    counterfactual: usize,
    counterfactual_took: Duration,
}

/// Trains a model on a Datanet version, registers it, makes it callable. Returns its id besides.
pub async fn train_and_publish(
    local: &Local,
    name: &str,
    contributed: &Contributed,
    args: &TrainArgs,
    terminal: Terminal,
) -> Result<(Published, u64), Failure> {
    let records = contributed.version.records().len();
    let recipe = Recipe { steps: steps(args, records), ..Recipe::default() };
    let threads =
        args.threads.unwrap_or_else(|| thread::available_parallelism().map_or(1, Into::into));
    let meter = Arc::new(Meter::new(terminal, recipe.steps as u64));
    let trained = in_background(local, contributed, &recipe, threads, Arc::clone(&meter)).await?;
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
    let models = local.models_dir();
    let (manifest, _) =
        publish(&local.ledger, &models, &publication).await.map_err(gateway_failure)?;
    let folder = models.join(name);
    let model = PublishedModel::load(&folder, &local.tokenizer, &local.template)
        .map_err(gateway_failure)?;
    load_adapters(&folder, &model, &local.base, &local.engine).map_err(gateway_failure)?;
    local.gateway.add_model(model);

    let losses = trained.runs[0].as_ref().map(|run| run.losses.as_slice()).unwrap_or_default();
    let adapter = manifest.runs[0].unwrap_or_default().to_string();
    let published = Published {
        name: name.to_owned(),
        price: PRICE,
        steps: recipe.steps as u32,
        first_loss: losses.first().copied().unwrap_or_default(),
        last_loss: losses.last().copied().unwrap_or_default(),
        adapter: format!("{}…", &adapter[..6]),
        published_took: meter.published_took(),
        counterfactual: trained.runs.iter().flatten().count() - 1,
        counterfactual_took,
    };
    Ok((published, manifest.model_id))
}

impl Published {
    /// How the training went, for people.
    pub fn summary(&self) -> [String; 2] {
        [
            format!(
                "3/6 {:<12} {} steps  loss {:.2} → {:.2}  {:.0} s  adapter {}",
                "Train",
                self.steps,
                self.first_loss,
                self.last_loss,
                self.published_took.as_secs_f32(),
                self.adapter
            ),
            format!(
                "    {:<12} {} trained on halves of the contributors  {:.0} s",
                "Counterfactual adapters",
                self.counterfactual,
                self.counterfactual_took.as_secs_f32()
            ),
        ]
    }
}

/// Training uses every core, so it has a thread of its own beside the node and the gateway.
async fn in_background(
    local: &Local,
    contributed: &Contributed,
    recipe: &Recipe,
    threads: usize,
    meter: Arc<Meter>,
) -> Result<TrainedModel, Failure> {
    let (base_dir, tokenizer, template) =
        (local.base_dir.clone(), Arc::clone(&local.tokenizer), Arc::clone(&local.template));
    let (version, players) = (contributed.version.clone(), contributed.onchain.players.clone());
    let recipe = recipe.clone();
    tokio::task::spawn_blocking(move || {
        let base = openledger_model::Decoder::load_for_training(&base_dir)?;
        let job = TrainingJob {
            base: &base,
            tokenizer: &tokenizer,
            template: &template,
            version: &version,
            players: &players,
            recipe: &recipe,
            threads,
        };
        train(&job, &|progress| meter.show(progress))
    })
    .await
    .or_fail(Exit::Failure, "the training thread ended")?
    .map_err(gateway_failure)
}

/// Enough steps for every record to be learned: the number asked for, or by the number of records.
fn steps(args: &TrainArgs, records: usize) -> usize {
    args.steps.map_or_else(|| (2 * records).clamp(400, 500), |steps| steps as usize)
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

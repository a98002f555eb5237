//! Makes a base model from its recipe: text, vocabulary, weights, Hugging Face folder.
//!
//! ```text
//! cargo run --release -p openledger-factory --example train_base -- \
//!     --recipe models/nano/recipe.json --data ../shared/data --out models/nano
//! ```
//!
//! Progress goes to stderr. A run that was stopped goes on from `--checkpoint`. `--stop-after N` makes a run
//! of N steps that writes no model, to see speed and loss.

use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use openledger_factory::{
    BaseRecipe, Corpus, CorpusTokens, Pretrain, PretrainProgress, Proceed, pretrain,
    read_chat_template, write_tokenizer_files,
};
use openledger_model::{Batch, DecoderConfig, FullTrainer, Weights};
use openledger_tensor::with_threads;

/// Steps between two lines of progress.
const REPORT_EVERY: usize = 10;

struct Options {
    recipe: PathBuf,
    data: PathBuf,
    out: PathBuf,
    checkpoint: PathBuf,
    threads: usize,
    stop_after: Option<usize>,
}

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let options = options()?;
    with_threads(options.threads, || make(&options))
}

fn make(options: &Options) -> Result<(), Box<dyn Error + Send + Sync>> {
    let recipe = BaseRecipe::from_file(&options.recipe)?;
    let start = Instant::now();
    let corpus = Corpus::read(&recipe, &options.data)?;
    let tokenizer = corpus.train_tokenizer(&recipe)?;
    write_tokenizer_files(&recipe, &tokenizer, &options.out)?;
    let template = read_chat_template(&recipe, &options.out)?;
    let tokens = corpus.tokens(&tokenizer, &template, recipe.seed)?;
    report_corpus(&tokens, start);

    let config = recipe.config();
    let run = Pretrain {
        config: &config,
        training: &recipe.training,
        seed: recipe.seed,
        tokens: &tokens.train,
        checkpoint: Some(options.checkpoint.clone()),
    };
    let start = Instant::now();
    let mut average = None;
    let mut weights = pretrain(&run, |progress| {
        let average = average.insert(smoothed(average, progress.loss));
        if progress.step % REPORT_EVERY == 0 || progress.step == 1 {
            report_step(progress, *average);
        }
        match options.stop_after {
            Some(last) if progress.step >= last => Proceed::Stop,
            _ => Proceed::Continue,
        }
    })?;
    eprintln!("trained for {:.0} s in this run", start.elapsed().as_secs_f64());
    let held_out = held_out_loss(&config, &weights, &tokens.held_out)?;
    eprintln!("loss on held-out text: {held_out:.4} nats per token");
    if options.stop_after.is_none() {
        weights.save(&config, &options.out)?;
        eprintln!("model written to {}", options.out.display());
    }
    Ok(())
}

fn report_corpus(tokens: &CorpusTokens, start: Instant) {
    for source in &tokens.sources {
        eprintln!(
            "{:42} {:16} {:6} documents {:9} bytes x{} {:8} tokens",
            source.name,
            source.licence,
            source.documents,
            source.text_bytes,
            source.repeat,
            source.tokens
        );
    }
    eprintln!(
        "{} training tokens, {} held out, {:.1} s",
        tokens.train.len(),
        tokens.held_out.len(),
        start.elapsed().as_secs_f64()
    );
}

fn report_step(progress: PretrainProgress, average: f64) {
    let PretrainProgress { step, steps, loss, tokens_per_second } = progress;
    eprintln!(
        "step {step:5} of {steps}  loss {loss:.4}  average {average:.4}  {tokens_per_second:.0} tokens/s"
    );
}

/// Exponential average over about 50 steps.
fn smoothed(average: Option<f64>, loss: f64) -> f64 {
    average.map_or(loss, |average| average + (loss - average) / 50.0)
}

/// Mean −ln p over text that was not trained on, in windows of the whole context.
fn held_out_loss(
    config: &DecoderConfig,
    weights: &Weights,
    tokens: &[u16],
) -> Result<f64, Box<dyn Error + Send + Sync>> {
    let mut trainer = FullTrainer::new(config)?;
    let mut batch = Batch::default();
    let (mut total, mut predicted) = (0.0, 0);
    let tokens: Vec<u32> = tokens.iter().map(|token| u32::from(*token)).collect();
    let length = config.max_position_embeddings;
    for start in (0..tokens.len().saturating_sub(1)).step_by(length) {
        let window = &tokens[start..(start + length + 1).min(tokens.len())];
        batch.clear();
        batch.push(config, window, 1, 1.0)?;
        total += trainer.loss(weights, &batch);
        predicted += window.len() - 1;
    }
    Ok(total / predicted.max(1) as f64)
}

fn options() -> Result<Options, Box<dyn Error + Send + Sync>> {
    let mut options = Options {
        recipe: "models/nano/recipe.json".into(),
        data: "../shared/data".into(),
        out: "models/nano".into(),
        checkpoint: std::env::temp_dir().join("openledger-base.checkpoint"),
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        stop_after: None,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--recipe" => options.recipe = value.into(),
            "--data" => options.data = value.into(),
            "--out" => options.out = value.into(),
            "--checkpoint" => options.checkpoint = value.into(),
            "--threads" => options.threads = value.parse()?,
            "--stop-after" => options.stop_after = Some(value.parse()?),
            _ => {
                let known = "--recipe --data --out --checkpoint --threads --stop-after";
                return Err(format!("unknown option {name}; there are {known}").into());
            }
        }
    }
    Ok(options)
}

//! Our side of a measurement: decode steps with the base alone and with many adapters, in turn.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use eyre::{ContextCompat, Result, ensure};
use openledger_model::Weights;
use openledger_model::serving::{
    KvPages, PAGE_TOKENS, PageId, SequenceStep, ServingAdapter, ServingDecoder,
};
use openledger_tensor::with_threads;

use crate::Form;
use crate::job::{self, PROMPT, Plan};

/// Seconds of each answer's steps, by batch and number of distinct adapters; 0 is the base alone. Ours on one
/// thread have the seconds on the processor besides, under [`cpu_key`].
pub(crate) type Measured = BTreeMap<String, Vec<f64>>;

/// The key of a measurement.
pub(crate) fn key(batch: usize, distinct: usize) -> String {
    format!("{batch}/{distinct}")
}

/// The key of the same measurement's time on the processor.
pub(crate) fn cpu_key(batch: usize, distinct: usize) -> String {
    format!("{batch}/{distinct}/cpu")
}

/// Seconds that this thread has been on a processor; zero where `/proc` does not say.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|first| first.parse::<f64>().ok()).unwrap_or(0.0) / 1e9
}

/// Runs one form in a process of its own.
pub(crate) fn spawn(plan: &Plan, form: Form, threads: usize, folder: &Path) -> Result<Measured> {
    let plan = serde_json::to_string(&Plan { forms: vec![form], ..plan.clone() })?;
    let mut command = Command::new(std::env::current_exe()?);
    let output = command.arg("measure").arg(plan).arg(threads.to_string()).arg(folder).output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "our measurement failed: {errors}");
    let text = String::from_utf8(output.stdout)?;
    Ok(serde_json::from_str(text.lines().last().wrap_err("nothing was printed")?)?)
}

/// All batches and numbers of adapters of the plan's first form.
pub(crate) fn measure(plan: &Plan, threads: usize, folder: &Path) -> Result<Measured> {
    let form = *plan.forms.first().wrap_err("a plan without a form")?;
    let (kv, adapters) = form.companions();
    let (config, weights) = Weights::load(&job::base_folder(folder))?;
    let decoder = ServingDecoder::new(config.clone(), weights, form.weights(), kv);
    let most = plan.distinct.iter().copied().max().unwrap_or(0);
    let mut pool = Vec::with_capacity(most);
    for number in 0..most {
        pool.push(Arc::new(ServingAdapter::pack(&job::adapter(&config, number)?, adapters)));
    }
    let mut measured = Measured::new();
    with_threads(threads, || -> Result<()> {
        for &batch in &plan.batches {
            let mut run = Run::new(&decoder, batch, plan.answer)?;
            // The base alone and each number of adapters take turns, answer by answer; the first is not timed.
            for answer in 0..=plan.answers {
                for distinct in std::iter::once(0).chain(plan.distinct.iter().copied()) {
                    let cpu = cpu_seconds();
                    let seconds = run.answer(&pool[..distinct], answer, plan.answer)?;
                    let cpu = cpu_seconds() - cpu;
                    if answer > 0 {
                        if threads == 1 && cpu > 0.0 {
                            measured.entry(cpu_key(batch, distinct)).or_default().push(cpu);
                        }
                        measured.entry(key(batch, distinct)).or_default().push(seconds);
                    }
                }
            }
        }
        Ok(())
    })?;
    Ok(measured)
}

/// A batch of sequences that have read their prompts.
struct Run<'a> {
    decoder: &'a ServingDecoder,
    kv: KvPages,
    pages: Vec<Vec<PageId>>,
    first: Vec<u32>,
}

impl<'a> Run<'a> {
    fn new(decoder: &'a ServingDecoder, batch: usize, answer: usize) -> Result<Self> {
        let each = (PROMPT + answer).div_ceil(PAGE_TOKENS);
        let mut kv = decoder.pages(batch * each);
        let pages: Vec<Vec<PageId>> = (0..batch)
            .map(|i| (i * each..(i + 1) * each).map(|p| PageId(p as u32)).collect())
            .collect();
        let mut first = Vec::new();
        for (i, pages) in pages.iter().enumerate() {
            let tokens = job::prompt(i);
            let step = SequenceStep {
                tokens: &tokens,
                before: 0,
                pages,
                adapters: &[],
                logits_wanted: true,
            };
            let logits =
                decoder.step(&mut kv, &[step])?.remove(0).wrap_err("logits were wanted")?;
            first.push(likeliest(&logits));
        }
        Ok(Self { decoder, kv, pages, first })
    }

    /// Seconds of one answer of `steps` tokens in every sequence, greedy.
    fn answer(&mut self, pool: &[Arc<ServingAdapter>], turn: usize, steps: usize) -> Result<f64> {
        let batch = self.pages.len();
        // Neighbours share an adapter where there are fewer than rows, as a scheduler would order them;
        // where there are more, every answer takes the next ones of the pool.
        let adapter = |row: usize| match pool.len() {
            0 => vec![],
            n if n <= batch => vec![(pool[row * n / batch].clone(), 1.0)],
            n => vec![(pool[(turn * batch + row) % n].clone(), 1.0)],
        };
        let adapters: Vec<_> = (0..batch).map(adapter).collect();
        let mut tokens = self.first.clone();
        let start = Instant::now();
        for step in 0..steps {
            let rows: Vec<SequenceStep<'_>> = (0..batch)
                .map(|i| SequenceStep {
                    tokens: &tokens[i..=i],
                    before: PROMPT + step,
                    pages: &self.pages[i],
                    adapters: &adapters[i],
                    logits_wanted: true,
                })
                .collect();
            let logits = self.decoder.step(&mut self.kv, &rows)?;
            tokens = logits.iter().flatten().map(|row| likeliest(row)).collect();
        }
        Ok(start.elapsed().as_secs_f64())
    }
}

/// The token with the largest logit.
pub(crate) fn likeliest(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (i, x) in logits.iter().enumerate() {
        if *x > logits[best] {
            best = i;
        }
    }
    best as u32
}

//! What a copy of the base with an adapter merged in saves: one batch with its rows apart, and with the rows of
//! the dominating adapter read with the copy.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Instant;

use eyre::Result;
use openledger_model::serving::{
    KvPages, PAGE_TOKENS, PageId, SequenceStep, ServingAdapter, ServingDecoder,
};
use openledger_model::{Decoder, Weights};
use openledger_tensor::with_threads;

use crate::Form;
use crate::job::{self, PROMPT, Shape};

/// Rows of a batch, and how many of them are not for the dominating adapter.
const BATCHES: [(usize, &[usize]); 3] = [(1, &[0]), (8, &[0, 1]), (32, &[0, 1, 2, 4, 8])];
/// Answers of sixteen tokens, each way in turn; the first is not counted.
const ANSWERS: usize = 12;
const STEPS: usize = 16;

/// Markdown: the median of a step in each way.
pub(crate) fn measure(form: Form, shape: Shape) -> Result<String> {
    let config = shape.config();
    let (weights, (kv, packed)) = (Weights::random(&config, 1), form.companions());
    let exact = Decoder::new(config.clone(), weights.clone(), false);
    let base = ServingDecoder::new(config.clone(), weights, form.weights(), kv);
    let adapter = |number| -> Result<_> {
        Ok(vec![(Arc::new(ServingAdapter::pack(&job::adapter(&config, number)?, packed)), 1.0)])
    };
    let adapters = (0..9).map(adapter).collect::<Result<Vec<_>>>()?;
    let begun = Instant::now();
    let copy = with_threads(1, || base.merged(&exact, &adapters[0]))?;
    let mut text = format!(
        "{form:?} weights, {packed:?} adapters, one thread. Merging took {:.2} s; the copy has {:.1} MiB.\n\n| batch | of them for others | apart, ms a step | with the copy | ratio |\n|---|---|---|---|---|\n",
        begun.elapsed().as_secs_f64(),
        base.merged_bytes(&adapters[0]) as f64 / (1 << 20) as f64
    );
    with_threads(1, || -> Result<()> {
        for (batch, others) in BATCHES {
            for others in others {
                let mine = batch - others;
                // Rows of the dominating adapter first; each other row has an adapter of its own.
                let blend = |row: usize| &adapters[(row + 1).saturating_sub(mine)];
                let mut run = Run::new(&base, batch);
                let (mut apart, mut together) = (Vec::new(), Vec::new());
                for answer in 0..=ANSWERS {
                    let rows: Vec<_> = (0..batch).map(|row| (row, blend(row))).collect();
                    let one = run.answer(&[(&base, &rows)])?;
                    let none = vec![];
                    let merged: Vec<_> = (0..mine).map(|row| (row, &none)).collect();
                    let two = run.answer(&[(&copy, &merged), (&base, &rows[mine..])])?;
                    if answer > 0 {
                        apart.push(one);
                        together.push(two);
                    }
                }
                let (apart, together) = (median(apart), median(together));
                let ratio = apart / together;
                let _ = writeln!(
                    text,
                    "| {batch} | {others} | {apart:.2} | {together:.2} | {ratio:.2} |"
                );
            }
        }
        Ok(())
    })?;
    Ok(text)
}

type Blend = Vec<(Arc<ServingAdapter>, f32)>;

/// Sequences after prompts that were read once.
struct Run {
    kv: KvPages,
    pages: Vec<Vec<PageId>>,
}

impl Run {
    fn new(base: &ServingDecoder, batch: usize) -> Self {
        let each = (PROMPT + STEPS).div_ceil(PAGE_TOKENS);
        let pages = (0..batch).map(|row| (row * each..(row + 1) * each).map(|p| PageId(p as u32)));
        Self { kv: base.pages(batch * each), pages: pages.map(Iterator::collect).collect() }
    }

    /// Milliseconds of a step, over the steps of one answer, each of which calls all decoders.
    fn answer(&mut self, parts: &[(&ServingDecoder, &[(usize, &Blend)])]) -> Result<f64> {
        let begun = Instant::now();
        for step in 0..STEPS {
            for (decoder, rows) in parts.iter().filter(|(_, rows)| !rows.is_empty()) {
                // What the tokens are does not matter for the time.
                let rows: Vec<SequenceStep<'_>> = rows
                    .iter()
                    .map(|(row, adapters)| SequenceStep {
                        tokens: &[7],
                        before: PROMPT + step,
                        pages: &self.pages[*row],
                        adapters,
                        logits_wanted: true,
                    })
                    .collect();
                decoder.step(&mut self.kv, &rows)?;
            }
        }
        Ok(begun.elapsed().as_secs_f64() * 1e3 / STEPS as f64)
    }
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

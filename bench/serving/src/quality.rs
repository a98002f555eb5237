//! What fewer bits cost: the handbook under an adapter that was trained on it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use eyre::{ContextCompat, Result};
use openledger_factory::{Example, Proceed, Recipe, train};
use openledger_model::serving::{
    KvForm, LowRankForm, PAGE_TOKENS, PageId, SequenceStep, ServingAdapter, ServingDecoder,
    WeightForm,
};
use openledger_model::{ChatTemplate, Decoder, Message, Tokenizer, Weights};

use crate::ours::likeliest;

/// One question and its answer.
#[derive(serde::Deserialize)]
struct Pair {
    prompt: String,
    completion: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Logits before every token of an answer.
type Logits = Vec<Vec<f32>>;

/// Trains an adapter on the handbook and compares the forms of weights, pages and adapter on its answers.
pub(crate) fn measure(steps: usize) -> Result<String> {
    let nano = root().join("models/nano");
    let tokenizer = Tokenizer::from_file(&nano.join("tokenizer.json"))?;
    let template = ChatTemplate::from_dir(&nano)?;
    let text = std::fs::read_to_string(root().join("examples/handbook/handbook.jsonl"))?;
    let mut examples = Vec::new();
    for line in text.lines() {
        let pair: Pair = serde_json::from_str(line)?;
        let made = template.example(&tokenizer, &[Message::user(pair.prompt)], &pair.completion)?;
        let (tokens, answer_start) = (made.tokens, made.answer_start);
        examples.push(Example { tokens, answer_start, player: 0 });
    }
    let base = Decoder::load_for_training(&nano)?;
    let recipe = Recipe { steps, ..Recipe::default() };
    let trained = train(&base, &recipe, &examples, &[true], |_| Proceed::Continue)?;
    let (config, weights) = Weights::load(&nano)?;

    let mut text = format!(
        "Adapter of rank {}, {steps} steps; {} answers.\n\n| weights | pages | adapter | root mean square error of a logit, of its spread | same first choice | perplexity |\n|---|---|---|---|---|---|\n",
        recipe.rank,
        examples.len()
    );
    let mut exact: Option<Logits> = None;
    for (form, kv, packed, merged) in [
        (WeightForm::F32, KvForm::F32, LowRankForm::Bf16, false),
        (WeightForm::F32, KvForm::F32, LowRankForm::Bf16, true),
        (WeightForm::F32, KvForm::F32, LowRankForm::Int8, false),
        (WeightForm::F32, KvForm::Bf16, LowRankForm::Bf16, false),
        (WeightForm::F32, KvForm::Int8, LowRankForm::Bf16, false),
        (WeightForm::Bf16, KvForm::Bf16, LowRankForm::Bf16, false),
        (WeightForm::Bf16, KvForm::Bf16, LowRankForm::Bf16, true),
        (WeightForm::Int8, KvForm::Bf16, LowRankForm::Bf16, false),
        (WeightForm::Int8, KvForm::Bf16, LowRankForm::Int8, false),
        (WeightForm::Int8, KvForm::Bf16, LowRankForm::Int8, true),
        (WeightForm::FourBit, KvForm::Bf16, LowRankForm::Int8, false),
        (WeightForm::FourBit, KvForm::Bf16, LowRankForm::Int8, true),
    ] {
        let mut decoder = ServingDecoder::new(config.clone(), weights.clone(), form, kv);
        let mut adapter = vec![(Arc::new(ServingAdapter::pack(&trained.adapter, packed)), 1.0)];
        if merged {
            decoder = decoder.merged(&base, &adapter)?;
            adapter.clear();
        }
        let (mut logits, mut nats, mut answers) = (Logits::new(), 0.0, 0usize);
        for example in &examples {
            for (row, target) in answer(&decoder, example, &adapter)? {
                let largest = f64::from(row.iter().fold(f32::MIN, |a, b| a.max(*b)));
                let sum: f64 = row.iter().map(|x| (f64::from(*x) - largest).exp()).sum();
                nats += largest + sum.ln() - f64::from(row[target as usize]);
                answers += 1;
                logits.push(row);
            }
        }
        let exact = &*exact.get_or_insert_with(|| logits.clone());
        let (mut error, mut spread, mut same) = (0.0, 0.0, 0usize);
        for (row, exact) in logits.iter().zip(exact) {
            let mean = exact.iter().sum::<f32>() / exact.len() as f32;
            for (x, y) in row.iter().zip(exact) {
                error += f64::from((x - y) * (x - y));
                spread += f64::from((y - mean) * (y - mean));
            }
            same += usize::from(likeliest(row) == likeliest(exact));
        }
        let _ = writeln!(
            text,
            "| {form:?} | {kv:?} | {packed:?}{} | {:.5} | {:.4} | {:.4} |",
            if merged { ", merged" } else { "" },
            (error / spread).sqrt(),
            same as f64 / answers as f64,
            (nats / answers as f64).exp()
        );
    }
    Ok(text)
}

/// Logits before each token of the answer, and the token.
fn answer(
    decoder: &ServingDecoder,
    example: &Example,
    adapters: &[(Arc<ServingAdapter>, f32)],
) -> Result<Vec<(Vec<f32>, u32)>> {
    let pages: Vec<_> =
        (0..example.tokens.len().div_ceil(PAGE_TOKENS) as u32).map(PageId).collect();
    let mut kv = decoder.pages(pages.len());
    let mut all = Vec::new();
    let mut read = 0;
    for end in example.answer_start..example.tokens.len() {
        let tokens = &example.tokens[read..end];
        let step =
            SequenceStep { tokens, before: read, pages: &pages, adapters, logits_wanted: true };
        let row = decoder.step(&mut kv, &[step])?.remove(0).wrap_err("logits were wanted")?;
        all.push((row, example.tokens[end]));
        read = end;
    }
    Ok(all)
}

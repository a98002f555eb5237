//! Fine-tunes a base on question and answer pairs and counts the answers it then gives word for word.
//!
//! ```text
//! cargo run --release -p openledger-factory --example fine_tune -- \
//!     --base models/nano --pairs ../shared/data/tldr-pages/families.jsonl --steps 300 [--out DIR]
//! ```
//!
//! Each line of the file is `{"prompt": …, "completion": …}`. Decoding is greedy.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;

use openledger_factory::{Example, Proceed, Recipe, train};
use openledger_model::{Adapter, ChatTemplate, Decoder, KvCache, Message, Slice, Tokenizer};
use openledger_tensor::with_threads;

/// Prompts that are answered at the same time.
const ANSWERED_AT_ONCE: usize = 48;

type Failure = Box<dyn Error + Send + Sync>;

#[derive(serde::Deserialize)]
struct Pair {
    prompt: String,
    completion: String,
}

struct Options {
    base: PathBuf,
    pairs: PathBuf,
    out: Option<PathBuf>,
    limit: usize,
    recipe: Recipe,
}

fn main() -> Result<(), Failure> {
    let options = options()?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    with_threads(threads, || fine_tune(&options))
}

fn fine_tune(options: &Options) -> Result<(), Failure> {
    let tokenizer = Tokenizer::from_file(&options.base.join("tokenizer.json"))?;
    let template = ChatTemplate::from_dir(&options.base)?;
    let decoder = Decoder::load_for_training(&options.base)?;
    let text = std::fs::read_to_string(&options.pairs)?;
    let pairs: Vec<Pair> = text
        .lines()
        .take(options.limit)
        .map(serde_json::from_str)
        .collect::<Result<_, serde_json::Error>>()?;
    let examples = pairs
        .iter()
        .map(|pair| {
            let question = [Message::user(pair.prompt.as_str())];
            let example = template.example(&tokenizer, &question, &pair.completion)?;
            let openledger_model::Example { tokens, answer_start } = example;
            Ok(Example { tokens, answer_start, player: 0 })
        })
        .collect::<Result<Vec<_>, Failure>>()?;

    let before = exact_answers(&decoder, None, &examples)?;
    println!("{} pairs, {before} answered by the base alone", examples.len());
    let start = Instant::now();
    let trained = train(&decoder, &options.recipe, &examples, &[true], |_| Proceed::Continue)?;
    let seconds = start.elapsed().as_secs_f64();
    let last: &[f32] = &trained.losses[trained.losses.len().saturating_sub(10)..];
    println!(
        "{} steps of {} in {seconds:.1} s, loss {:.4} over the last {}",
        options.recipe.steps,
        options.recipe.batch_size,
        last.iter().sum::<f32>() / last.len() as f32,
        last.len()
    );
    let after = exact_answers(&decoder, Some(&trained.adapter), &examples)?;
    println!("{after} of {} answered word for word", examples.len());
    if let Some(out) = &options.out {
        trained.adapter.save(out, &options.base.display().to_string())?;
    }
    Ok(())
}

/// How many examples greedy decoding answers exactly, the end token included.
fn exact_answers(
    decoder: &Decoder,
    adapter: Option<&Adapter>,
    examples: &[Example],
) -> Result<usize, Failure> {
    let mut exact = 0;
    for group in examples.chunks(ANSWERED_AT_ONCE) {
        let mut caches: Vec<KvCache> =
            group.iter().map(|e| KvCache::new(decoder.config(), e.tokens.len())).collect();
        let mut next: Vec<&[u32]> = group.iter().map(|e| &e.tokens[..e.answer_start]).collect();
        let mut at: Vec<usize> = group.iter().map(|e| e.answer_start).collect();
        // As long as an answer agrees with the expected one, the next input token is the expected one.
        let mut alive: Vec<usize> = (0..group.len()).collect();
        while !alive.is_empty() {
            let slices = caches.iter_mut().enumerate().filter(|(i, _)| alive.contains(i));
            let mut slices: Vec<Slice<'_>> =
                slices.map(|(i, cache)| Slice { tokens: next[i], cache, adapter }).collect();
            let logits = decoder.step(&mut slices)?;
            let mut still = Vec::new();
            for (i, logits) in alive.iter().copied().zip(logits) {
                let expected = &group[i].tokens;
                if largest(&logits) != expected[at[i]] {
                    continue;
                }
                at[i] += 1;
                if at[i] == expected.len() {
                    exact += 1;
                } else {
                    next[i] = &expected[at[i] - 1..at[i]];
                    still.push(i);
                }
            }
            alive = still;
        }
    }
    Ok(exact)
}

/// Place of the largest logit, the first of equals.
fn largest(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (i, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = i;
        }
    }
    best as u32
}

fn options() -> Result<Options, Failure> {
    let mut options = Options {
        base: "models/nano".into(),
        pairs: "../shared/data/tldr-pages/families.jsonl".into(),
        out: None,
        limit: usize::MAX,
        recipe: Recipe::default(),
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--base" => options.base = value.into(),
            "--pairs" => options.pairs = value.into(),
            "--out" => options.out = Some(Path::new(&value).to_owned()),
            "--limit" => options.limit = value.parse()?,
            "--steps" => options.recipe.steps = value.parse()?,
            "--batch" => options.recipe.batch_size = value.parse()?,
            "--rank" => options.recipe.rank = value.parse()?,
            "--alpha" => options.recipe.alpha = value.parse()?,
            "--learning-rate" => options.recipe.learning_rate = value.parse()?,
            _ => return Err(format!("unknown option {name}").into()),
        }
    }
    Ok(options)
}

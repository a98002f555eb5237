//! What the first request to an adapter pays for its loading.
//!
//! The time to the first token of a short prompt through the engine, for adapters that are ready, that lie packed
//! in the system's file cache, and that lie packed on disk, in turn.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use eyre::{Result, bail};
use openledger_model::Weights;
use openledger_model::serving::{KvForm, LowRankForm, ServingAdapter, ServingDecoder, WeightForm};
use openledger_openlora::{AdapterRef, Config, Engine, Event, GenerateRequest, Handle, Sampling};

use crate::job::{self, Shape};

/// Adapters of each kind.
const ADAPTERS: usize = 64;
/// Tokens of the prompt: short, so that the loading is not lost in the reading.
const PROMPT: usize = 16;

/// Measures and prints a Markdown table.
pub(crate) fn measure(form: LowRankForm) -> Result<String> {
    let folder = tempfile::tempdir()?;
    job::prepare(folder.path(), Shape::Llama32M)?;
    let (config, weights) = Weights::load(&job::base_folder(folder.path()))?;
    let exact = Arc::new(openledger_model::Decoder::new(config.clone(), weights.clone(), false));
    let base = exact.hash();
    for number in 0..=ADAPTERS {
        let adapter = ServingAdapter::pack(&job::adapter(&config, number)?, form);
        adapter.save(&folder.path().join(file(number)), base)?;
    }
    let serving = ServingDecoder::new(config, weights, WeightForm::Int8, KvForm::Bf16);
    let engine =
        Engine::start(exact, serving, Config { memory_bytes: 1 << 30, ..Config::default() })?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(async {
        // Threads and buffers are there before anything is timed.
        engine.register_folder("first", &folder.path().join(file(ADAPTERS)))?;
        for _ in 0..4 {
            first_token(&engine, "first").await?;
        }
        let (mut ready, mut cached, mut disk) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..ADAPTERS {
            let path = folder.path().join(file(number));
            for (kind, cold) in [("cached", &mut cached), ("disk", &mut disk)] {
                let name = format!("{kind}-{number}");
                engine.register_folder(&name, &path)?;
                if kind == "disk" {
                    drop_from_cache(&path)?;
                } else {
                    std::fs::read(&path)?;
                }
                cold.push(first_token(&engine, &name).await?);
                ready.push(first_token(&engine, &name).await?);
                engine.unregister(&AdapterRef::Name(name.as_str().into()))?;
            }
        }
        let mut text = String::from(
            "| adapter | time to the first token p50, p90 ms | more than ready, p50, p90 ms |\n|---|---|---|\n",
        );
        let (middle, _) = spread(&mut ready);
        for (what, times) in
            [("ready", &mut ready), ("packed, in the file cache", &mut cached), ("packed, on disk", &mut disk)]
        {
            let (p50, p90) = spread(times);
            let _ = writeln!(
                text,
                "| {what} | {p50:.2}, {p90:.2} | {:.2}, {:.2} |",
                p50 - middle,
                p90 - middle
            );
        }
        Ok(text)
    })
}

fn file(number: usize) -> String {
    format!("{number}.adapter")
}

/// Median and ninetieth percentile.
fn spread(milliseconds: &mut [f64]) -> (f64, f64) {
    milliseconds.sort_by(f64::total_cmp);
    let at = |part: usize| milliseconds[(milliseconds.len() - 1) * part / 10];
    (at(5), at(9))
}

/// Milliseconds from the request to its first token.
async fn first_token(engine: &Handle, name: &str) -> Result<f64> {
    let request = GenerateRequest {
        tenant: "bench".into(),
        prompt: job::prompt(0)[..PROMPT].to_vec(),
        adapters: vec![(AdapterRef::Name(name.into()), 1.0)],
        sampling: Sampling::GREEDY,
        tokens_max: 1,
        stop_tokens: vec![],
        logprobs: None,
        grammar: None,
        prefix_shared: false,
        cache_salt: None,
    };
    let start = Instant::now();
    let mut events = engine.generate(request)?;
    match events.recv().await {
        Some(Event::Token(_)) => {}
        other => bail!("no token, but {other:?}"),
    }
    let milliseconds = start.elapsed().as_secs_f64() * 1e3;
    while events.recv().await.is_some() {}
    Ok(milliseconds)
}

/// Has the system forget a file's pages, after it has written them.
fn drop_from_cache(path: &Path) -> Result<()> {
    let file = std::fs::File::open(path)?;
    file.sync_all()?;
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    Ok(())
}

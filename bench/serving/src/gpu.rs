//! A CUDA device against the processor: bits first, then how near bf16 comes, then speed.
//!
//! One command for whoever has a device. Without one it says so and ends well.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Instant;

use eyre::{ContextCompat, Result, ensure};
use openledger_cuda::{Device, DeviceConfig, DeviceDecoder, DeviceForm};
use openledger_model::serving::{
    KvForm, KvPages, PAGE_TOKENS, PageId, SequenceStep, ServingAdapter, ServingDecoder, WeightForm,
};
use openledger_model::{Adapter, Decoder, DecoderConfig, LoraLayout, ScoreRequest, Site, Weights};
use openledger_tensor::Random;

use crate::job::Shape;

/// As in the tests of the decoder, where the mixes are smaller.
#[path = "../../../crates/cuda/src/tests/random_mix.rs"]
mod random_mix;

use random_mix::{Blend, RandomMix, random_adapter, random_tokens};

/// Rank of the adapters.
const RANK: usize = 8;
/// Adapters that there are.
const ADAPTERS: usize = 256;
/// Tokens of a prompt in measurements of speed.
const PROMPT: usize = 128;
/// Sequences of a random mix, and tokens of the longest at most.
const MIXED: usize = 24;
const MIXED_TOKENS_MAX: usize = 150;
/// Steps on the clock, after some that are not.
const STEPS: usize = 64;
const WARM_UP: usize = 8;
const BATCHES: [usize; 5] = [1, 8, 32, 64, 256];
/// Distance in logits, of the largest of them, that rounding inputs of products to bf16 may make.
const NEAR: f32 = 0.05;

/// What is measured.
#[derive(clap::Args)]
pub(crate) struct GpuOptions {
    /// Number of the device.
    #[arg(long, default_value_t = 0)]
    device: usize,
    /// Random mixes of sequences, pieces of prompts and adapters whose bits are compared, of each family.
    #[arg(long, default_value_t = 6)]
    mixes: u64,
    /// Measures a Llama of 1.2 billion parameters too; takes about 10 GiB on both sides.
    #[arg(long)]
    large: bool,
}

/// Runs everything and returns the tables.
pub(crate) fn run(options: &GpuOptions) -> Result<String> {
    let Some(device) = Device::find(options.device)? else {
        return Ok(
            "SKIPPED: there is no CUDA device here, so nothing was compared and nothing measured."
                .into(),
        );
    };
    let (major, minor) = device.compute();
    let mut report = format!(
        "{}, compute capability {major}.{minor}, {} GiB\n\n",
        device.name(),
        device.memory_bytes() >> 30
    );
    eprintln!("{}: comparing bits", device.name());
    let compared = compare_bits(&device, options.mixes)?;
    writeln!(report, "{compared}")?;
    eprintln!("comparing bf16");
    writeln!(report, "{}", compare_bf16(&device, options.mixes)?)?;
    eprintln!("scoring");
    writeln!(report, "{}", scoring(&device)?)?;
    report.push_str("| model | form | batch | distinct adapters | prompts, tokens/s | answers, tokens/s | of base alone |\n");
    report.push_str("|---|---|---|---|---|---|---|\n");
    let mut models = vec![("32 M", Shape::Llama32M.config())];
    if options.large {
        let large = DecoderConfig::llama(2048, 16, (32, 8), 8192, 128_256, 1024);
        models.push(("1.2 B", large));
    }
    for (name, config) in models {
        eprintln!("measuring {name}");
        let weights = Weights::random(&config, 1);
        for form in [DeviceForm::F32, DeviceForm::Bf16] {
            report.push_str(&speed(&device, name, &config, &weights, form)?);
        }
    }
    Ok(report)
}

/// Small models of every family, and the one that is measured.
fn families() -> Vec<(&'static str, DecoderConfig)> {
    let shape = serde_json::json!({
        "hidden_size": 128, "intermediate_size": 200, "num_hidden_layers": 3, "num_attention_heads": 6,
        "num_key_value_heads": 2, "head_dim": 24, "vocab_size": 1000, "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-6, "tie_word_embeddings": true
    });
    let measured = [("Llama, 32 M", Shape::Llama32M.config())];
    measured.into_iter().chain(random_mix::families(&shape, 512)).collect()
}

fn adapters(config: &DecoderConfig, count: usize) -> Vec<Adapter> {
    let layout = LoraLayout::new(config, RANK, 16.0, &Site::ALL);
    (0..count).map(|seed| random_adapter(&layout, seed as u64, 0.05)).collect()
}

fn packed(adapters: &[Adapter]) -> Vec<Arc<ServingAdapter>> {
    adapters.iter().map(|adapter| Arc::new(ServingAdapter::new(adapter))).collect()
}

fn on_device(
    device: &Device,
    config: &DecoderConfig,
    weights: &Weights,
    form: DeviceForm,
    kv_form: KvForm,
) -> Result<DeviceDecoder> {
    let free = device.free_bytes()?;
    let settings = DeviceConfig {
        form,
        kv_form,
        kv_bytes: (4 << 30).min(free / 4),
        adapter_bytes: (4 << 30).min(free / 4),
    };
    Ok(device.decoder(config.clone(), weights.clone(), settings)?)
}

/// Steps over random pieces of random sequences until all are read.
fn random_steps(
    config: &DecoderConfig,
    packed: &[Arc<ServingAdapter>],
    seed: u64,
    look: impl FnMut(&[SequenceStep<'_>]) -> Result<()>,
) -> Result<()> {
    let mut random = Random::new(seed, 2);
    let lengths: Vec<usize> = (0..MIXED).map(|_| 1 + random.below(MIXED_TOKENS_MAX)).collect();
    let vocabulary = config.vocab_size;
    let mix = RandomMix { lengths: &lengths, vocabulary, piece_tokens_max: 70, seed };
    let one = |random: &mut Random| (packed[random.below(packed.len())].clone(), random.normal());
    mix.steps(|random| (0..random.below(4)).map(|_| one(random)).collect(), look)
}

fn same_bits(a: &Option<Vec<f32>>, b: &Option<Vec<f32>>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
        }
        (a, b) => a.is_none() && b.is_none(),
    }
}

/// Logits in f32 of random mixes, and likelihoods, bit by bit against the processor.
fn compare_bits(device: &Device, mixes: u64) -> Result<String> {
    let mut table = String::from(
        "| f32, bit by bit | keys and values | steps | logits | different |\n|---|---|---|---|---|\n",
    );
    let mut wrong = 0usize;
    for (name, config) in families() {
        let weights = Weights::random(&config, 3);
        let packed = packed(&adapters(&config, 8));
        for kv_form in [KvForm::F32, KvForm::Bf16] {
            let mut ours = on_device(device, &config, &weights, DeviceForm::F32, kv_form)?;
            let theirs =
                ServingDecoder::new(config.clone(), weights.clone(), WeightForm::F32, kv_form);
            let (mut steps_run, mut logits, mut different) = (0, 0, 0);
            for seed in 0..mixes {
                let mut kv: KvPages =
                    theirs.pages(MIXED * MIXED_TOKENS_MAX.div_ceil(PAGE_TOKENS) + 2);
                random_steps(&config, &packed, seed, |steps| {
                    let (found, expected) = (ours.step(steps)?, theirs.step(&mut kv, steps)?);
                    steps_run += 1;
                    for (found, expected) in found.iter().zip(&expected) {
                        logits += expected.as_ref().map_or(0, Vec::len);
                        different += usize::from(!same_bits(found, expected));
                    }
                    Ok(())
                })?;
            }
            wrong += different;
            writeln!(
                table,
                "| {name} | {kv_form:?} | {steps_run} | {logits} | {different} rows |"
            )?;
        }
    }
    ensure!(wrong == 0, "the device's bits differ from the processor's:\n{table}");
    Ok(table)
}

/// Logits in bf16 near the processor's, and the same alone as in a batch.
fn compare_bf16(device: &Device, mixes: u64) -> Result<String> {
    let mut table = String::from(
        "| bf16 | rows | largest distance, of the largest logit | same first choice | rows whose bits the batch changed |\n\
         |---|---|---|---|---|\n",
    );
    let (mut worst, mut moved) = (0.0f32, 0usize);
    for (name, config) in families() {
        // A cap on logits would make small errors of large ones look large.
        let config = DecoderConfig { final_logit_softcapping: None, ..config };
        let weights = Weights::random(&config, 3);
        let packed = packed(&adapters(&config, 8));
        let form = DeviceForm::Bf16;
        let mut together = on_device(device, &config, &weights, form, KvForm::Bf16)?;
        let mut alone = on_device(device, &config, &weights, form, KvForm::Bf16)?;
        let theirs = ServingDecoder::new(config.clone(), weights, WeightForm::Bf16, KvForm::Bf16);
        let (mut rows, mut distance, mut same, mut changed) = (0usize, 0.0f32, 0usize, 0usize);
        for seed in 0..mixes {
            let mut kv: KvPages = theirs.pages(MIXED * MIXED_TOKENS_MAX.div_ceil(PAGE_TOKENS) + 2);
            random_steps(&config, &packed, seed, |steps| {
                let (found, expected) = (together.step(steps)?, theirs.step(&mut kv, steps)?);
                for ((step, found), expected) in steps.iter().zip(&found).zip(&expected) {
                    let single = alone.step(std::slice::from_ref(step))?.remove(0);
                    changed += usize::from(!same_bits(found, &single));
                    let (Some(found), Some(expected)) = (found, expected) else { continue };
                    let size = expected.iter().fold(0.0f32, |a, b| a.max(b.abs()));
                    for (found, expected) in found.iter().zip(expected) {
                        distance = distance.max((found - expected).abs() / size);
                    }
                    rows += 1;
                    same += usize::from(likeliest(found) == likeliest(expected));
                }
                Ok(())
            })?;
        }
        writeln!(table, "| {name} | {rows} | {distance:.4} | {same} of {rows} | {changed} |")?;
        worst = worst.max(distance);
        moved += changed;
    }
    ensure!(moved == 0, "rows in bf16 depend on their batch:\n{table}");
    ensure!(worst <= NEAR, "logits in bf16 are further than {NEAR} away:\n{table}");
    Ok(table)
}

fn likeliest(logits: &[f32]) -> u32 {
    let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    best.map_or(0, |(token, _)| token as u32)
}

/// One answer under many adapters: the same units, and both times.
fn scoring(device: &Device) -> Result<String> {
    let config = Shape::Llama32M.config();
    let weights = Weights::random(&config, 5);
    let adapters = adapters(&config, 24);
    let mut random = Random::new(5, 5);
    let tokens = random_tokens(192, config.vocab_size, &mut random);
    let request = |adapter| ScoreRequest { tokens: &tokens, answer_start: 128, adapter };
    let requests: Vec<ScoreRequest<'_>> =
        std::iter::once(None).chain(adapters.iter().map(Some)).map(request).collect();
    let mut scorer =
        on_device(device, &config, &weights, DeviceForm::F32, KvForm::F32)?.scorer(1 << 30)?;
    let exact = Decoder::new(config, weights, false);
    let start = Instant::now();
    let expected = exact.log_likelihoods(&requests)?;
    let on_processor = start.elapsed().as_secs_f64();
    // The first time copies the adapters.
    scorer.log_likelihoods(&requests)?;
    let start = Instant::now();
    let found = scorer.log_likelihoods(&requests)?;
    let seconds = start.elapsed().as_secs_f64();
    ensure!(found == expected, "likelihoods on the device differ from the processor's");
    Ok(format!(
        "Scoring 64 answer tokens after 128 of prompt under {} adapters, 32 M, exact: the same units in all {} \
         likelihoods; {:.1} ms on the device, {:.1} ms on the processor ({} threads).\n",
        requests.len(),
        expected.iter().map(Vec::len).sum::<usize>(),
        seconds * 1e3,
        on_processor * 1e3,
        openledger_tensor::threads(),
    ))
}

/// Tokens per second of prompts and answers.
fn speed(
    device: &Device,
    name: &str,
    config: &DecoderConfig,
    weights: &Weights,
    form: DeviceForm,
) -> Result<String> {
    let kv_form = if form == DeviceForm::F32 { KvForm::F32 } else { KvForm::Bf16 };
    let mut decoder = on_device(device, config, weights, form, kv_form)?;
    // Large adapters take longer to make than to run; the pool is as large as a batch needs.
    let pool = packed(&adapters(config, if config.hidden_size > 1024 { 64 } else { ADAPTERS }));
    let each = (PROMPT + WARM_UP + STEPS).div_ceil(PAGE_TOKENS);
    let mut table = String::new();
    let pages = decoder.pages();
    for batch in BATCHES.into_iter().filter(|batch| batch * each <= pages) {
        let mut base_alone = 0.0;
        for distinct in [0, 1, batch] {
            if distinct > pool.len() || distinct == batch && batch == 1 {
                continue;
            }
            let (prompts, answers) = measure(&mut decoder, &pool[..distinct], batch, each)?;
            if distinct == 0 {
                base_alone = answers;
            }
            writeln!(
                table,
                "| {name} | {form:?} | {batch} | {distinct} | {prompts:.0} | {answers:.0} | {:.2} |",
                answers / base_alone
            )?;
        }
    }
    Ok(table)
}

/// Tokens per second of prompts, and of answers, greedy.
fn measure(
    decoder: &mut DeviceDecoder,
    pool: &[Arc<ServingAdapter>],
    batch: usize,
    each: usize,
) -> Result<(f64, f64)> {
    let vocab = decoder.config().vocab_size;
    let mut random = Random::new(9, 9);
    let pages: Vec<Vec<PageId>> = (0..batch)
        .map(|i| (i * each..(i + 1) * each).map(|page| PageId(page as u32)).collect())
        .collect();
    let blend = |i: usize| -> Blend {
        (!pool.is_empty()).then(|| (pool[i % pool.len()].clone(), 1.0)).into_iter().collect()
    };
    let blends: Vec<Blend> = (0..batch).map(blend).collect();
    let prompts: Vec<Vec<u32>> =
        (0..batch).map(|_| random_tokens(PROMPT, vocab, &mut random)).collect();
    let mut last = vec![0u32; batch];
    let mut prompt_seconds = 0.0;
    // Twice: the first time memory is taken and adapters are copied.
    for _ in 0..2 {
        let start = Instant::now();
        // As a scheduler would: so many prompts in a step.
        for from in (0..batch).step_by(8) {
            let group = from..batch.min(from + 8);
            let steps: Vec<SequenceStep<'_>> = group
                .clone()
                .map(|i| SequenceStep {
                    tokens: &prompts[i],
                    before: 0,
                    pages: &pages[i],
                    adapters: &blends[i],
                    logits_wanted: true,
                })
                .collect();
            for (i, logits) in group.zip(decoder.step(&steps)?) {
                last[i] = likeliest(&logits.wrap_err("logits were wanted")?);
            }
        }
        prompt_seconds = start.elapsed().as_secs_f64();
    }
    let mut start = Instant::now();
    for step in 0..WARM_UP + STEPS {
        if step == WARM_UP {
            start = Instant::now();
        }
        let tokens: Vec<[u32; 1]> = last.iter().map(|token| [*token]).collect();
        let steps: Vec<SequenceStep<'_>> = (0..batch)
            .map(|i| SequenceStep {
                tokens: &tokens[i],
                before: PROMPT + step,
                pages: &pages[i],
                adapters: &blends[i],
                logits_wanted: true,
            })
            .collect();
        for (last, logits) in last.iter_mut().zip(decoder.step(&steps)?) {
            *last = likeliest(&logits.wrap_err("logits were wanted")?);
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    Ok(((batch * PROMPT) as f64 / prompt_seconds, (batch * STEPS) as f64 / seconds))
}

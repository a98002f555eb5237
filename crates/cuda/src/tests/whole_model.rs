//! A whole model, every family, against both decoders of the processor.

use super::bits;
use super::random_mix::{self, Blend, RandomMix, random_adapter, random_tokens};
use crate::{DeviceConfig, DeviceDecoder, DeviceForm};
use openledger_model::serving::{
    KvForm, KvPages, PageId, SequenceStep, ServingAdapter, ServingDecoder, WeightForm,
};
use openledger_model::{Adapter, Decoder, DecoderConfig, LoraLayout, ScoreRequest, Site, Weights};
use openledger_tensor::Random;
use proptest::prelude::*;
use serde_json::json;
use std::convert::Infallible;
use std::sync::Arc;

/// Of every model here.
const VOCABULARY: usize = 64;

/// Small models that use every switch of the architecture between them.
fn families() -> Vec<DecoderConfig> {
    let shape = json!({
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 12, "vocab_size": VOCABULARY, "max_position_embeddings": 96,
        "rms_norm_eps": 1e-6, "tie_word_embeddings": true
    });
    random_mix::families(&shape, 24).into_iter().map(|(_, config)| config).collect()
}

/// Weights whose size makes attention choose sharply, so that a wrong order of operations shows.
fn weights(config: &DecoderConfig, seed: u64) -> Weights {
    sized_weights(config, seed, 0.2)
}

fn sized_weights(config: &DecoderConfig, seed: u64, size: f32) -> Weights {
    let mut weights = Weights::random(config, seed);
    for (stream, tensor) in weights.parameters_mut().into_iter().enumerate() {
        let mut random = Random::new(seed, 100 + stream as u64);
        tensor.data.iter_mut().for_each(|x| *x += random.normal() * size);
    }
    weights
}

fn adapters(config: &DecoderConfig, size: f32) -> Vec<Adapter> {
    let one = |rank: usize, sites: &[Site], seed| {
        let layout = LoraLayout::new(config, rank, 2.0 * rank as f32, sites);
        random_adapter(&layout, seed, size)
    };
    vec![
        one(3, &Site::ALL, 1),
        one(8, &[Site::Query, Site::Down], 2),
        one(17, &[Site::Key, Site::Value, Site::Up], 3),
    ]
}

fn blend(which: usize, packed: &[Arc<ServingAdapter>]) -> Blend {
    match which {
        0 => vec![],
        i @ 1..=3 => vec![(packed[i - 1].clone(), 1.0)],
        4 => vec![(packed[0].clone(), 0.25), (packed[2].clone(), -1.5)],
        _ => vec![(packed[2].clone(), 0.5), (packed[1].clone(), 1.0), (packed[0].clone(), 2.0)],
    }
}

fn tokens(n: usize, random: &mut Random) -> Vec<u32> {
    random_tokens(n, VOCABULARY, random)
}

fn device(
    config: &DecoderConfig,
    weights: &Weights,
    form: DeviceForm,
    kv_form: KvForm,
) -> DeviceDecoder {
    let settings = DeviceConfig { form, kv_form, kv_bytes: 8 << 20, adapter_bytes: 8 << 20 };
    DeviceDecoder::on(&super::device(), config.clone(), weights.clone(), settings).expect("memory")
}

/// Steps over random pieces of random sequences until all are read, each with what `look` sees of it.
fn random_steps(
    packed: &[Arc<ServingAdapter>],
    lengths: &[usize],
    seed: u64,
    mut look: impl FnMut(&[SequenceStep<'_>]),
) {
    let mix = RandomMix { lengths, vocabulary: VOCABULARY, piece_tokens_max: 20, seed };
    let seen = mix.steps(
        |random| blend(random.below(6), packed),
        |steps| {
            look(steps);
            Ok::<_, Infallible>(())
        },
    );
    seen.expect("infallible");
}

/// Root mean square of the difference, of that of the second.
fn distance(found: &[f32], expected: &[f32]) -> f32 {
    let squares = |x: &mut dyn Iterator<Item = f32>| x.map(|x| x * x).sum::<f32>();
    let difference = squares(&mut found.iter().zip(expected).map(|(a, b)| a - b));
    (difference / squares(&mut expected.iter().copied())).sqrt()
}

fn packed(config: &DecoderConfig, size: f32) -> Vec<Arc<ServingAdapter>> {
    adapters(config, size).iter().map(|a| Arc::new(ServingAdapter::new(a))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn in_f32_random_mixes_have_the_bits_of_the_serving_decoder(
        family in 0usize..5, lengths in prop::collection::vec(1usize..50, 1..5), half_pages in any::<bool>(),
        seed in any::<u64>()
    ) {
        let config = families().swap_remove(family);
        let weights = weights(&config, seed);
        let kv_form = if half_pages { KvForm::Bf16 } else { KvForm::F32 };
        let mut ours = device(&config, &weights, DeviceForm::F32, kv_form);
        let theirs = ServingDecoder::new(config.clone(), weights, WeightForm::F32, kv_form);
        let mut kv: KvPages = theirs.pages(64);
        random_steps(&packed(&config, 0.3), &lengths, seed, |steps| {
            let found = ours.step(steps).expect("fits");
            let expected = theirs.step(&mut kv, steps).expect("fits");
            for (found, expected) in found.iter().zip(&expected) {
                assert_eq!(found.as_deref().map(bits), expected.as_deref().map(bits));
            }
        });
    }

    #[test]
    fn in_bf16_a_row_has_the_same_bits_alone_and_is_near_the_processor(
        family in 0usize..5, lengths in prop::collection::vec(1usize..50, 1..5), seed in any::<u64>()
    ) {
        // A cap on logits would make small errors of large ones look large.
        let config =
            DecoderConfig { final_logit_softcapping: None, ..families().swap_remove(family) };
        // Nor may attention choose sharply, where a rounding can turn the choice.
        let weights = sized_weights(&config, seed, 0.03);
        let mut together = device(&config, &weights, DeviceForm::Bf16, KvForm::Bf16);
        let mut alone = device(&config, &weights, DeviceForm::Bf16, KvForm::Bf16);
        let theirs = ServingDecoder::new(config.clone(), weights, WeightForm::Bf16, KvForm::Bf16);
        let mut kv: KvPages = theirs.pages(64);
        random_steps(&packed(&config, 0.05), &lengths, seed, |steps| {
            let found = together.step(steps).expect("fits");
            let expected = theirs.step(&mut kv, steps).expect("fits");
            for ((step, found), expected) in steps.iter().zip(&found).zip(&expected) {
                let single = alone.step(std::slice::from_ref(step)).expect("fits").remove(0);
                assert_eq!(found.as_deref().map(bits), single.as_deref().map(bits));
                let (Some(found), Some(expected)) = (found, expected) else { continue };
                // Inputs of each product are rounded to bf16, a relative error of 2^-9 each time, through three layers
                // of a model of random weights.
                let far = distance(found, expected);
                assert!(far <= 0.04, "{far}");
            }
        });
    }

    #[test]
    fn scores_have_the_bits_of_the_exact_decoder(
        family in 0usize..5, lengths in prop::collection::vec((1usize..20, 1usize..12, 0usize..4), 1..6),
        seed in any::<u64>()
    ) {
        let config = families().swap_remove(family);
        let weights = weights(&config, seed);
        let adapters = adapters(&config, 0.3);
        let mut random = Random::new(seed, 2);
        let texts: Vec<Vec<u32>> =
            lengths.iter().map(|(prompt, answer, _)| tokens(prompt + answer, &mut random)).collect();
        let requests: Vec<ScoreRequest<'_>> = texts
            .iter()
            .zip(&lengths)
            .map(|(tokens, (prompt, _, which))| ScoreRequest {
                tokens,
                answer_start: *prompt,
                adapter: which.checked_sub(1).map(|i| &adapters[i]),
            })
            .collect();
        let decoder = device(&config, &weights, DeviceForm::F32, KvForm::F32);
        let mut scorer = decoder.scorer(8 << 20).expect("memory");
        let exact = Decoder::new(config, weights, false);
        let expected = exact.log_likelihoods(&requests).expect("fits");
        prop_assert_eq!(&scorer.log_likelihoods(&requests).expect("fits"), &expected);
        // A second time, with adapters that are there already.
        prop_assert_eq!(&scorer.log_likelihoods(&requests).expect("fits"), &expected);
    }
}

#[test]
fn many_answers_are_scored_in_several_passes_with_the_same_bits() {
    let config = DecoderConfig::llama(16, 1, (2, 1), 16, 64, 600);
    let weights = weights(&config, 4);
    let mut random = Random::new(4, 2);
    let texts: Vec<Vec<u32>> = (0..9).map(|_| tokens(601, &mut random)).collect();
    let requests: Vec<ScoreRequest<'_>> = texts
        .iter()
        .map(|tokens| ScoreRequest { tokens, answer_start: 500, adapter: None })
        .collect();
    let mut scorer =
        device(&config, &weights, DeviceForm::F32, KvForm::F32).scorer(1 << 20).expect("memory");
    let exact = Decoder::new(config, weights, false);
    let expected = exact.log_likelihoods(&requests).expect("fits");
    assert_eq!(scorer.log_likelihoods(&requests).expect("fits"), expected);
}

#[test]
fn what_the_device_does_not_run_is_refused_by_name() {
    let config = families().swap_remove(0);
    let weights = weights(&config, 1);
    let mut decoder = device(&config, &weights, DeviceForm::Bf16, KvForm::Bf16);
    let error = decoder.scorer(1 << 20).expect_err("bf16").to_string();
    assert!(error.contains("f32"), "{error}");
    let pages = [PageId(0)];
    let step = |tokens: &'static [u32]| SequenceStep {
        tokens,
        before: 0,
        pages: &pages,
        adapters: &[],
        logits_wanted: true,
    };
    let error = decoder.step(&[step(&[64])]).expect_err("no such token").to_string();
    assert!(error.contains("token 64 is outside the vocabulary"), "{error}");
    let error = decoder.step(&[step(&[1]), step(&[2])]).expect_err("one page").to_string();
    assert!(error.contains("page 0"), "{error}");
    let settings = DeviceConfig {
        form: DeviceForm::F32,
        kv_form: KvForm::Int8,
        kv_bytes: 1 << 20,
        adapter_bytes: 0,
    };
    let error = DeviceDecoder::on(&super::device(), config, weights, settings).expect_err("int8");
    assert!(error.to_string().contains("eight bits"), "{error}");
}

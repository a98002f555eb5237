//! The serving decoder: each sequence's bits are its own, and in f32 they are the exact decoder's.

use crate::tiny;
use openledger_model::serving::{
    KvForm, KvPages, LowRankForm, PAGE_TOKENS, PageId, SequenceStep, ServingAdapter,
    ServingDecoder, WeightForm,
};
use openledger_model::{Adapter, Decoder, DecoderConfig, LoraLayout, Site, Weights};
use openledger_tensor::{Random, with_threads};
use proptest::prelude::*;
use std::sync::Arc;

pub(crate) type Blend = Vec<(Arc<ServingAdapter>, f32)>;

pub(crate) const FORMS: [WeightForm; 4] =
    [WeightForm::F32, WeightForm::Bf16, WeightForm::Int8, WeightForm::FourBit];
const KV_FORMS: [KvForm; 3] = [KvForm::F32, KvForm::Bf16, KvForm::Int8];

fn decoder(weight_form: WeightForm, kv_form: KvForm) -> ServingDecoder {
    ServingDecoder::new(tiny::config(), tiny::weights(1), weight_form, kv_form)
}

fn adapters() -> [Adapter; 3] {
    [
        tiny::adapter(3, &Site::ALL, 1),
        tiny::adapter(8, &[Site::Query, Site::Down], 2),
        tiny::adapter(17, &[Site::Key, Site::Value, Site::Up], 3),
    ]
}

/// The adapters packed, in bf16 or in eight bits.
pub(crate) fn packed(form: LowRankForm) -> Vec<Arc<ServingAdapter>> {
    adapters().iter().map(|a| Arc::new(ServingAdapter::pack(a, form))).collect()
}

/// The base alone, single adapters, blends.
pub(crate) fn blend(which: usize, packed: &[Arc<ServingAdapter>]) -> Blend {
    match which % 6 {
        0 => vec![],
        i @ 1..=3 => vec![(packed[i - 1].clone(), 1.0)],
        4 => vec![(packed[0].clone(), 0.25), (packed[2].clone(), -1.5)],
        _ => vec![(packed[2].clone(), 0.5), (packed[1].clone(), 1.0), (packed[0].clone(), 2.0)],
    }
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

/// One sequence on its way: its text, its blend, its pages and how far it has read.
struct Sequence {
    text: Vec<u32>,
    blend: Blend,
    pages: Vec<PageId>,
    read: usize,
    logits: Vec<(usize, Vec<u32>)>,
}

/// Some sequences with pages in no particular order.
fn sequences(texts: &[Vec<u32>], blends: Vec<Blend>, seed: u64) -> (Vec<Sequence>, usize) {
    let pages_of = |text: &Vec<u32>| text.len().div_ceil(PAGE_TOKENS);
    let count: usize = texts.iter().map(pages_of).sum::<usize>() + 2;
    let mut free: Vec<PageId> = (0..count as u32).map(PageId).collect();
    Random::new(seed, 9).shuffle(&mut free);
    let all = texts.iter().zip(blends).map(|(text, blend)| Sequence {
        text: text.clone(),
        blend,
        pages: free.split_off(free.len() - pages_of(text)),
        read: 0,
        logits: Vec::new(),
    });
    (all.collect(), count)
}

/// One step over some sequences with so many new tokens each.
fn step(
    base: &ServingDecoder,
    kv: &mut KvPages,
    batch: &mut [(&mut Sequence, usize)],
    wanted: bool,
) {
    let steps: Vec<SequenceStep<'_>> = batch
        .iter()
        .map(|(s, n)| SequenceStep {
            tokens: &s.text[s.read..s.read + n],
            before: s.read,
            pages: &s.pages,
            adapters: &s.blend,
            logits_wanted: wanted,
        })
        .collect();
    let logits = base.step(kv, &steps).expect("fits");
    drop(steps);
    for ((s, n), logits) in batch.iter_mut().zip(logits) {
        s.read += *n;
        assert_eq!(logits.is_some(), wanted);
        s.logits.extend(logits.map(|l| (s.read, bits(&l))));
    }
}

/// The logits after every token of one text, read token by token, alone, on one thread.
pub(crate) fn alone(base: &ServingDecoder, text: &[u32], blend: &Blend) -> Vec<Vec<u32>> {
    let (mut all, pages) = sequences(&[text.to_vec()], vec![blend.clone()], 0);
    let mut kv = base.pages(pages);
    with_threads(1, || {
        for _ in text {
            step(base, &mut kv, &mut [(&mut all[0], 1)], true);
        }
    });
    all.remove(0).logits.into_iter().map(|(_, bits)| bits).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn random_mixes_in_random_pieces_equal_one_at_a_time(
        lengths in prop::collection::vec(1usize..50, 1..6), seed in any::<u64>(),
        form in 0usize..4, kv_form in 0usize..3, threads in 1usize..4, eight in any::<bool>()
    ) {
        let base = decoder(FORMS[form], KV_FORMS[kv_form]);
        let mut packed = packed(if eight { LowRankForm::Int8 } else { LowRankForm::Bf16 });
        if seed & 1 == 1 {
            // A batch with adapters of both forms.
            packed[1] = Arc::new(ServingAdapter::pack(&adapters()[1], LowRankForm::Int8));
        }
        let mut random = Random::new(seed, 1);
        let texts: Vec<_> = lengths.iter().map(|n| tiny::tokens(*n, seed ^ *n as u64)).collect();
        let blends: Vec<_> = texts.iter().map(|_| blend(random.below(6), &packed)).collect();
        let (mut all, pages) = sequences(&texts, blends.clone(), seed);
        let mut kv = base.pages(pages);
        while all.iter().any(|s| s.read < s.text.len()) {
            let mut batch = Vec::new();
            for s in &mut all {
                let left = s.text.len() - s.read;
                if left > 0 && random.below(3) > 0 {
                    let n = 1 + random.below(left.min(20));
                    batch.push((s, n));
                }
            }
            let wanted = random.below(4) > 0;
            with_threads(threads, || step(&base, &mut kv, &mut batch, wanted));
        }
        for (s, blend) in all.iter().zip(&blends) {
            let alone = alone(&base, &s.text, blend);
            for (read, logits) in &s.logits {
                prop_assert_eq!(logits, &alone[read - 1]);
            }
        }
    }

    #[test]
    fn in_f32_and_in_bf16_the_bits_are_those_of_the_exact_decoder(
        n in 1usize..90, which in 0usize..4, piece in 1usize..40, seed in any::<u64>(), rounded in any::<bool>()
    ) {
        let mut weights = tiny::weights(seed);
        if rounded {
            for tensor in weights.parameters_mut() {
                for x in tensor.data.iter_mut() {
                    *x = openledger_model::from_bf16(openledger_model::to_bf16(*x));
                }
            }
        }
        let exact = openledger_model::Decoder::new(tiny::config(), weights.clone(), false);
        let form = if rounded { WeightForm::Bf16 } else { WeightForm::F32 };
        let base = ServingDecoder::new(tiny::config(), weights, form, KvForm::F32);
        let adapters = adapters();
        let packed = adapters.each_ref().map(|a| Arc::new(ServingAdapter::new(a)));
        let text = tiny::tokens(n, seed);
        let adapter = which.checked_sub(1).map(|i| &adapters[i]);
        let expected = exact.all_logits(&text, adapter).expect("fits");
        let (mut all, pages) = sequences(std::slice::from_ref(&text), vec![blend(which, &packed)], seed);
        let mut kv = base.pages(pages);
        while all[0].read < n {
            let now = piece.min(n - all[0].read);
            step(&base, &mut kv, &mut [(&mut all[0], now)], true);
        }
        for (read, logits) in &all[0].logits {
            prop_assert_eq!(logits, &bits(&expected[read - 1]));
        }
    }
}

#[test]
fn sequences_with_the_same_beginning_share_its_pages() {
    let base = decoder(WeightForm::F32, KvForm::Bf16);
    let text = tiny::tokens(40, 1);
    let mut kv = base.pages(6);
    let pages = [0, 1, 2].map(PageId);
    let read = |kv: &mut KvPages, tokens: &[u32], before, pages: &[PageId]| {
        let step = SequenceStep { tokens, before, pages, adapters: &[], logits_wanted: true };
        base.step(kv, &[step]).expect("fits").remove(0).expect("wanted")
    };
    let whole = read(&mut kv, &text, 0, &pages);
    let other = [0, 1, 4].map(PageId);
    assert_eq!(bits(&whole), bits(&read(&mut kv, &text[32..], 32, &other)));
}

#[test]
fn the_forms_differ_by_their_rounding_and_not_by_more() {
    let text = tiny::tokens(60, 4);
    let logits = |weights, kv, form| {
        let all = alone(&decoder(weights, kv), &text, &blend(1, &packed(form)));
        all.concat().into_iter().map(f32::from_bits).collect::<Vec<f32>>()
    };
    let exact = logits(WeightForm::F32, KvForm::F32, LowRankForm::Bf16);
    let size = (exact.iter().map(|x| f64::from(x * x)).sum::<f64>() / exact.len() as f64).sqrt();
    let error = |other: &[f32]| {
        let squares = other.iter().zip(&exact).map(|(a, b)| f64::from((a - b) * (a - b)));
        (squares.sum::<f64>() / exact.len() as f64).sqrt() / size
    };
    for (weights, kv, adapter, most) in [
        (WeightForm::F32, KvForm::Bf16, LowRankForm::Bf16, 0.01),
        (WeightForm::F32, KvForm::Int8, LowRankForm::Bf16, 0.03),
        (WeightForm::Bf16, KvForm::F32, LowRankForm::Bf16, 0.02),
        (WeightForm::F32, KvForm::F32, LowRankForm::Int8, 0.06),
        (WeightForm::Int8, KvForm::F32, LowRankForm::Bf16, 0.06),
        (WeightForm::Int8, KvForm::Int8, LowRankForm::Int8, 0.1),
        (WeightForm::FourBit, KvForm::F32, LowRankForm::Bf16, 0.5),
    ] {
        let error = error(&logits(weights, kv, adapter));
        assert!(error > 0.0 && error < most, "{weights:?} {kv:?} {adapter:?}: {error}");
    }
}

#[test]
fn steps_that_do_not_fit_are_refused_and_write_nothing() {
    let base = decoder(WeightForm::F32, KvForm::F32);
    let mut kv = base.pages(4);
    let pages = [0, 1].map(PageId);
    let good = SequenceStep {
        tokens: &[1, 2, 3],
        before: 0,
        pages: &pages,
        adapters: &[],
        logits_wanted: true,
    };
    let foreign = {
        let config = openledger_model::DecoderConfig::llama(48, 2, (4, 2), 48, 64, 96);
        let layout = openledger_model::LoraLayout::new(&config, 2, 4.0, &Site::ALL);
        let values = vec![0.0; layout.len()];
        Arc::new(ServingAdapter::new(&Adapter::new(layout, &values).expect("finite")))
    };
    let packed = Arc::new(ServingAdapter::new(&adapters()[0]));
    let (foreign, nan) = ([(foreign, 1.0)], [(packed.clone(), f32::NAN)]);
    let many: Blend = vec![(packed, 1.0); 9];
    let bad = [
        SequenceStep { tokens: &[], ..good },
        SequenceStep { tokens: &[64], ..good },
        SequenceStep { tokens: &[1; 33], ..good },
        SequenceStep { before: 96, ..good },
        SequenceStep { before: usize::MAX, ..good },
        SequenceStep { pages: &[PageId(4)], ..good },
        SequenceStep { adapters: &foreign, ..good },
        SequenceStep { adapters: &nan, ..good },
        SequenceStep { adapters: &many, ..good },
    ];
    let next = SequenceStep { tokens: &[5], before: 3, ..good };
    base.step(&mut kv, &[good]).expect("fits");
    let mut untouched = base.pages(4);
    base.step(&mut untouched, &[good]).expect("fits");
    for bad in bad {
        assert!(base.step(&mut kv, &[next, bad]).is_err(), "{bad:?}");
    }
    // Two sequences that write the same page, and one that reads what another writes.
    let other = [1, 0].map(PageId);
    assert!(base.step(&mut kv, &[next, next]).is_err());
    assert!(
        base.step(&mut kv, &[next, SequenceStep { before: 16, pages: &pages, ..next }]).is_err()
    );
    assert!(
        base.step(&mut kv, &[next, SequenceStep { before: 16, pages: &other, ..next }]).is_err()
    );
    let mut wrong = decoder(WeightForm::F32, KvForm::Int8).pages(4);
    assert!(base.step(&mut wrong, &[good]).is_err());
    let after = base.step(&mut kv, &[next]).expect("fits").remove(0).expect("wanted");
    let expected = base.step(&mut untouched, &[next]).expect("fits").remove(0).expect("wanted");
    assert_eq!(bits(&after), bits(&expected));
    assert!(base.step(&mut kv, &[]).expect("nothing to do").is_empty());
}

#[test]
fn a_packed_file_comes_back_as_it_was_and_a_changed_one_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("adapter.packed");
    let base = decoder(WeightForm::F32, KvForm::F32);
    let text = tiny::tokens(20, 6);
    for form in [LowRankForm::Bf16, LowRankForm::Int8] {
        for adapter in &adapters() {
            let made = Arc::new(ServingAdapter::pack(adapter, form));
            made.save(&path, [7; 32]).expect("writes");
            let opened = Arc::new(ServingAdapter::open(&path, [7; 32]).expect("opens"));
            assert_eq!(
                (opened.hash(), opened.form(), opened.rank()),
                (adapter.hash(), form, adapter.rank())
            );
            assert_eq!(opened.bytes(), made.bytes());
            let logits = |a: &Arc<ServingAdapter>| alone(&base, &text, &vec![(a.clone(), 1.0)]);
            assert_eq!(logits(&opened), logits(&made));
            assert!(ServingAdapter::open(&path, [8; 32]).is_err(), "another base");
        }
    }
    let good = std::fs::read(&path).expect("was written");
    let mut random = Random::new(3, 3);
    for cut in [0, 1, 100, 160, good.len() - 1] {
        std::fs::write(&path, &good[..cut]).expect("writes");
        assert!(ServingAdapter::open(&path, [7; 32]).is_err(), "{cut} bytes");
    }
    let mut longer = good.clone();
    longer.push(0);
    std::fs::write(&path, &longer).expect("writes");
    assert!(ServingAdapter::open(&path, [7; 32]).is_err());
    for _ in 0..300 {
        // The hashes of the adapter and of the base are whatever they are; every other byte is checked.
        let at = match random.below(2) {
            0 => random.below(20),
            _ => 84 + random.below(good.len() - 84),
        };
        let mut bad = good.clone();
        bad[at] ^= 1 << random.below(8);
        std::fs::write(&path, &bad).expect("writes");
        assert!(ServingAdapter::open(&path, [7; 32]).is_err(), "byte {at}");
    }
}

/// Random weights of any shape, each tensor away from its start.
pub(crate) fn random_weights(config: &DecoderConfig, seed: u64) -> Weights {
    let mut weights = Weights::random(config, seed);
    for (stream, tensor) in weights.parameters_mut().into_iter().enumerate() {
        let mut random = Random::new(seed, 100 + stream as u64);
        tensor.data.iter_mut().for_each(|x| *x += random.normal() * 0.2);
    }
    weights
}

#[test]
fn every_family_has_the_bits_of_the_exact_decoder() {
    let shape = serde_json::json!({
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 12, "vocab_size": 64, "max_position_embeddings": 96,
        "rms_norm_eps": 1e-6, "tie_word_embeddings": true
    });
    let llama = serde_json::json!({
        "model_type": "llama", "attention_bias": true, "mlp_bias": true,
        "rope_scaling": {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                         "original_max_position_embeddings": 24}
    });
    let qwen2 = serde_json::json!({
        "model_type": "qwen2", "use_sliding_window": true, "sliding_window": 20, "max_window_layers": 1
    });
    let qwen3 = serde_json::json!({"model_type": "qwen3"});
    let gemma2 = serde_json::json!({
        "model_type": "gemma2", "hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 20.0,
        "attn_logit_softcapping": 5.0, "final_logit_softcapping": 3.0, "sliding_window": 17
    });
    let gemma3 = serde_json::json!({
        "model_type": "gemma3_text", "hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 20.0,
        "sliding_window": 33, "sliding_window_pattern": 2, "rope_theta": 1e6, "rope_local_base_freq": 1e4
    });
    for family in [llama, qwen2, qwen3, gemma2, gemma3] {
        let mut json = shape.clone();
        for (name, value) in family.as_object().expect("an object") {
            json[name] = value.clone();
        }
        let config = DecoderConfig::from_json(json.to_string().as_bytes()).expect("a config");
        let weights = random_weights(&config, 3);
        let exact = Decoder::new(config.clone(), weights.clone(), false);
        assert!(!exact.architecture().is_plain(config.heads()));
        let layout = LoraLayout::new(&config, 5, 7.0, &Site::ALL);
        let mut random = Random::new(8, 8);
        let values: Vec<f32> = (0..layout.len()).map(|_| random.normal() * 0.3).collect();
        let adapter = Adapter::new(layout, &values).expect("finite");
        let text = tiny::tokens(70, 5);
        let expected = exact.all_logits(&text, Some(&adapter)).expect("fits");
        let base = ServingDecoder::new(config, weights, WeightForm::F32, KvForm::F32);
        let blend = vec![(Arc::new(ServingAdapter::new(&adapter)), 1.0)];
        for piece in [1, 7, 70] {
            let (mut all, pages) = sequences(std::slice::from_ref(&text), vec![blend.clone()], 1);
            let mut kv = base.pages(pages);
            while all[0].read < text.len() {
                let now = piece.min(text.len() - all[0].read);
                step(&base, &mut kv, &mut [(&mut all[0], now)], true);
            }
            for (read, logits) in &all[0].logits {
                assert_eq!(logits, &bits(&expected[read - 1]), "{family}, after {read} by {piece}");
            }
        }
    }
}

//! Every family against logits that Hugging Face transformers computed (`tests/parity/families.py`).

use openledger_model::{
    Decoder, DecoderConfig, KvCache, ScoreRequest, Slice, UNITS_PER_NAT, Weights, from_bf16,
    to_bf16,
};
use serde::Deserialize;
use serde_json::Value;
use std::path::Path;

/// Largest difference of a logit relative to the largest: f32 on both sides, in another order.
const TOLERANCE: f32 = 1e-5;

/// A family's file: what transformers made of a text.
#[derive(Deserialize)]
struct Vectors {
    config: Value,
    tokens: Vec<u32>,
    positions: Vec<usize>,
    logits: Vec<Vec<f32>>,
}

const CASES: [&str; 7] = ["llama", "llama_biases", "smollm2", "qwen2", "qwen3", "gemma2", "gemma3"];

fn vectors(case: &str) -> Vectors {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/parity"));
    let json = std::fs::read(folder.join(format!("{case}.json"))).expect("the file is committed");
    serde_json::from_slice(&json).expect("as the script wrote it")
}

/// Numbers from a tensor's name, as `weights_of` in the script makes them.
fn fill(name: &str, shape: &[usize], norm_centre: f64, data: &mut [f32]) {
    let seed = name.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let columns = shape[shape.len() - 1] as f64;
    for (i, x) in data.iter_mut().enumerate() {
        let mut z = seed.wrapping_add((i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        let unit = (z >> 40) as f64 / f64::from(1 << 23) - 1.0;
        let gain = if name.contains("proj") {
            1.5
        } else if name.contains("lm_head") {
            8.0
        } else {
            1.0
        };
        let value = if name.ends_with("norm.weight") {
            norm_centre + 0.25 * unit
        } else if name.ends_with(".bias") {
            0.5 * unit
        } else {
            unit * (3.0 / columns).sqrt() * gain
        };
        *x = from_bf16(to_bf16(value as f32));
    }
}

fn model(case: &str) -> (DecoderConfig, Weights, Vectors) {
    let vectors = vectors(case);
    let config = DecoderConfig::from_json(vectors.config.to_string().as_bytes()).expect(case);
    let centre = if case.starts_with("gemma") { 0.0 } else { 1.0 };
    let mut weights = Weights::zeros(&config);
    for tensor in weights.named_mut(&config) {
        fill(&tensor.name, &tensor.shape, centre, tensor.data);
    }
    (config, weights, vectors)
}

fn decoder(case: &str) -> (Decoder, Vectors) {
    let (config, weights, vectors) = model(case);
    (Decoder::new(config, weights, false), vectors)
}

#[test]
fn every_family_gives_the_logits_of_transformers() {
    let mut wrong = Vec::new();
    for case in CASES {
        let (decoder, vectors) = decoder(case);
        let ours = decoder.all_logits(&vectors.tokens, None).expect("fits");
        let theirs = vectors.logits.iter().flatten();
        let size = theirs.fold(0.0f32, |m, x| m.max(x.abs()));
        let mut worst = 0.0f32;
        for (position, theirs) in vectors.positions.iter().zip(&vectors.logits) {
            for (ours, theirs) in ours[*position].iter().zip(theirs) {
                worst = worst.max((ours - theirs).abs() / size);
            }
        }
        eprintln!("{case}: largest difference {worst:.1e} of the largest logit {size}");
        if worst.is_nan() || worst > TOLERANCE {
            wrong.push(case);
        }
    }
    assert!(wrong.is_empty(), "{wrong:?} differ");
}

#[test]
fn every_family_reads_a_text_in_pieces_and_in_company_with_the_same_bits() {
    let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    for case in CASES {
        let (decoder, vectors) = decoder(case);
        let whole = decoder.all_logits(&vectors.tokens, None).expect("fits");
        let mut cache = KvCache::new(decoder.config(), 64);
        let mut other = KvCache::new(decoder.config(), 64);
        let mut at = 0;
        for piece in [1, 9, 1, 17, 1, 1, 10] {
            let tokens = &vectors.tokens[at..at + piece];
            let mut slices = [
                Slice { tokens: &[3, 1], cache: &mut other, adapter: None },
                Slice { tokens, cache: &mut cache, adapter: None },
            ];
            let logits = decoder.step(&mut slices).expect("fits").remove(1);
            at += piece;
            assert_eq!(bits(&logits), bits(&whole[at - 1]), "{case} at {at}");
        }
        let request = ScoreRequest { tokens: &vectors.tokens, answer_start: 5, adapter: None };
        let scores = decoder.log_likelihoods(&[request]).expect("fits").remove(0);
        for (i, units) in scores.iter().enumerate() {
            let row = &whole[4 + i];
            let sum: f64 = row.iter().map(|x| f64::from(*x).exp()).sum();
            let expected = f64::from(row[vectors.tokens[5 + i] as usize]) - sum.ln();
            assert!((*units as f64 / UNITS_PER_NAT - expected).abs() < 1e-5, "{case}");
        }
    }
}

#[test]
fn every_familys_bits_and_hash_are_the_same_on_every_machine() {
    // FNV-1a over the bits of the last row of logits, then the first bytes of the base's hash.
    let golden = [
        ("llama", 0xf8e5919131b573f5, 0xbc1cd205),
        ("llama_biases", 0x6f2d1be903d3c9d4, 0x56d4f0ce),
        ("smollm2", 0x66270548b8f7a41c, 0xa5af6e39),
        ("qwen2", 0xb24a6dfae9a60dc3, 0x006a8a16),
        ("qwen3", 0x675b0803344a7249, 0xb5271dc4),
        ("gemma2", 0x1d37dfda900b5ba8, 0x6f608fee),
        ("gemma3", 0x0e659c35637e4c02, 0x0e981a0c),
    ];
    let mut found = Vec::new();
    for (case, ..) in golden {
        let (decoder, vectors) = decoder(case);
        let last = decoder.all_logits(&vectors.tokens, None).expect("fits").pop().expect("a row");
        let digest = last.iter().fold(0xcbf2_9ce4_8422_2325u64, |hash, x| {
            (hash ^ u64::from(x.to_bits())).wrapping_mul(0x0100_0000_01b3)
        });
        let hash = decoder.hash();
        found.push((case, digest, u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]])));
    }
    let text = found.iter().map(|(c, d, h)| format!("({c:?}, {d:#018x}, {h:#010x}),\n"));
    assert!(found == golden, "{}", text.collect::<String>());
}

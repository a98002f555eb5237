//! The bits of every function and kernel as constants: what this machine computes, every other computes,
//! whatever its instruction set, its number of threads and the profile.
//!
//! A constant here changes only with the arithmetic, and then no published adapter can be reproduced.

use openledger_tensor::{
    AdamW, AttentionRule, CachedRows, Heads, LayerCache, Lhs, Out, PackedMatrix, Random, RopeTable,
    SimdLevel, Start, Turn, attention, attention_backward, cached_attention, cross_entropy, exp,
    geglu, geglu_backward, gemm, ln, log_likelihoods, pow, rms_norm, rms_norm_backward, rsqrt,
    sin_cos, soft_cap, sum_of_squares, swiglu, swiglu_backward, tanh, with_threads,
};
use std::sync::{Mutex, PoisonError};

fn random(n: usize, seed: u64) -> Vec<f32> {
    let mut random = Random::new(seed, 0);
    (0..n).map(|_| random.normal()).collect()
}

/// FNV-1a over 64-bit words. A NaN counts as a NaN: its payload is the processor's affair.
fn digest(words: impl IntoIterator<Item = u64>) -> u64 {
    words.into_iter().fold(0xcbf2_9ce4_8422_2325, |hash, word| {
        word.to_le_bytes()
            .iter()
            .fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
    })
}

fn word(x: f64) -> u64 {
    if x.is_nan() { u64::MAX } else { x.to_bits() }
}

fn digest_of(values: &[f32]) -> u64 {
    digest(values.iter().map(|x| word(f64::from(*x))))
}

/// Compares the digest of a kernel's results on every path and with one to four threads. The path is the
/// process's, so one kernel at a time.
fn assert_golden(name: &str, golden: u64, kernel: impl Fn() -> Vec<f32> + Sync) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    for level in SimdLevel::available() {
        level.force();
        for threads in 1..=4 {
            let found = with_threads(threads, || digest_of(&kernel()));
            assert!(
                found == golden,
                "{name}, {level:?}, {threads} threads: {found:#018x}, not {golden:#018x}"
            );
        }
    }
}

#[test]
fn the_functions_have_their_golden_bits() {
    // 65,521 is prime: the steps meet every exponent, both signs, infinities and NaN.
    let bits = || (0..1u32 << 16).map(|i| f32::from_bits(i * 65_521));
    let wide = || bits().map(f64::from);
    let of = |f: fn(f32) -> f32| digest(bits().map(|x| word(f64::from(f(x)))));
    let pairs =
        |f: fn(f64) -> (f64, f64)| digest(wide().map(f).flat_map(|(a, b)| [word(a), word(b)]));
    let found = [
        ("exp", of(exp), EXP),
        ("ln", of(ln), LN),
        ("rsqrt", of(rsqrt), RSQRT),
        ("tanh", of(tanh), TANH),
        ("sin_cos", pairs(sin_cos), SIN_COS),
        ("pow", pairs(|x| (pow(x.abs(), 0.37), pow(10_000.0, -x.abs() / 64.0))), POW),
    ];
    let differ = found.iter().filter(|(_, found, golden)| found != golden);
    let differ: Vec<String> = differ
        .map(|(name, found, golden)| format!("{name}: {found:#x}, not {golden:#x}"))
        .collect();
    assert!(differ.is_empty(), "{differ:#?}");
}

#[test]
fn products_have_their_golden_bits() {
    // Beyond one block of rows, one block over k and one panel; large enough to be divided.
    let (m, k, n) = (250, 300, 37);
    let (a, b) = (random(m * k, 1), random(k * n, 2));
    let packed = PackedMatrix::from_rows(&b, k, n, n);
    assert_golden("gemm", GEMM, || {
        let mut c = random(m * n, 3);
        let mut multiply = |lhs, start| {
            gemm(m, lhs, &packed, Out { data: &mut c, stride: n }, start);
        };
        multiply(Lhs::Rows { data: &a, stride: k }, Start::Continue);
        multiply(Lhs::Columns { data: &a, stride: m }, Start::Continue);
        c
    });
}

#[test]
fn norms_and_activations_have_their_golden_bits() {
    let (rows, width) = (70, 37);
    let (x, w, dy) = (random(rows * width, 1), random(width, 2), random(rows * width, 3));
    assert_golden("norm", NORM, || {
        let (mut y, mut scales) = (vec![0.0; x.len()], vec![0.0; rows]);
        rms_norm(&x, &w, 1e-5, &mut y, &mut scales);
        let (mut dx, mut dw) = (vec![0.0; x.len()], vec![0.0; width]);
        rms_norm_backward(&dy, &x, &w, &scales, &mut dx, Some(&mut dw));
        [y, scales, dx, dw].concat()
    });
    // Large values too, where the exponential ends.
    let gate_up: Vec<f32> = random(rows * 2 * width, 4).iter().map(|x| x * x * x * 9.0).collect();
    assert_golden("swiglu", SWIGLU, || {
        let (mut h, mut gradient) = (vec![0.0; dy.len()], gate_up.clone());
        swiglu(&gate_up, width, &mut h);
        swiglu_backward(&dy, width, &mut gradient);
        [h, gradient].concat()
    });
    assert_golden("geglu", GEGLU, || {
        let (mut h, mut gradient) = (vec![0.0; dy.len()], gate_up.clone());
        geglu(&gate_up, width, &mut h);
        geglu_backward(&dy, width, &mut gradient);
        let mut capped = gate_up.clone();
        soft_cap(&mut capped, 3.0);
        [h, gradient, capped].concat()
    });
}

#[test]
fn attention_has_its_golden_bits() {
    let heads = Heads { query: 4, key_value: 2, dim: 6 };
    let sequences = [0..53, 53..60, 60..130];
    let (rows, width) = (130, heads.query * heads.dim);
    let (qkv, d_out) = (random(rows * heads.row(), 1), random(rows * width, 2));
    let positions: Vec<u32> = sequences.iter().flat_map(|s| 0..s.len() as u32).collect();
    assert_golden("attention", ATTENTION, || {
        let mut qkv = qkv.clone();
        let turned = heads.query + heads.key_value;
        RopeTable::new(70, heads.dim, 10_000.0).turn(
            &mut qkv,
            heads.row(),
            turned,
            &positions,
            Turn::Forward,
        );
        let (mut out, mut gradient) = (vec![0.0; rows * width], vec![0.0; qkv.len()]);
        attention(heads, &qkv, &sequences, &mut out);
        attention_backward(heads, &qkv, &out, &d_out, &sequences, &mut gradient);
        let mut cache = LayerCache::new(heads, 70);
        cache.append(heads, &qkv[60 * heads.row()..]);
        let mut last = vec![0.0; 3 * width];
        let newest = CachedRows { rows: 0..3, cache: &cache };
        cached_attention(heads, &qkv[127 * heads.row()..], &[newest], &mut last);
        assert_eq!(last, out[127 * width..]);
        [out, gradient, last].concat()
    });
    let rule = AttentionRule { scale: 0.3, soft_cap: Some(2.0), window: Some(9), ..heads.into() };
    assert_golden("capped attention in a window", WINDOW, || {
        let (mut out, mut gradient) = (vec![0.0; rows * width], vec![0.0; qkv.len()]);
        attention(rule, &qkv, &sequences, &mut out);
        attention_backward(rule, &qkv, &out, &d_out, &sequences, &mut gradient);
        let mut cache = LayerCache::new(heads, 70);
        cache.append(heads, &qkv[60 * heads.row()..]);
        let mut last = vec![0.0; 3 * width];
        let newest = CachedRows { rows: 0..3, cache: &cache };
        cached_attention(rule, &qkv[127 * heads.row()..], &[newest], &mut last);
        assert_eq!(last, out[127 * width..]);
        [out, gradient].concat()
    });
}

#[test]
fn losses_and_steps_have_their_golden_bits() {
    let (rows, vocab) = (40, 67);
    let logits: Vec<f32> = random(rows * vocab, 1).iter().map(|x| 5.0 * x).collect();
    let targets: Vec<u32> = (0..rows).map(|i| (i * 7 % vocab) as u32).collect();
    let weights: Vec<f32> = random(rows, 2).iter().map(|x| x.abs()).collect();
    assert_golden("cross-entropy", CROSS_ENTROPY, || {
        let mut gradient = logits.clone();
        let likelihoods = cross_entropy(&mut gradient, vocab, &targets, &weights);
        let alone = log_likelihoods(&mut logits.clone(), vocab, &targets);
        [likelihoods, gradient, alone].concat()
    });
    let n = 70_001;
    let gradient = random(n, 3);
    let step = AdamW {
        learning_rate: 0.01,
        beta1: 0.9,
        beta2: 0.95,
        epsilon: 1e-8,
        weight_decay: 0.1,
        correction1: 0.1,
        correction2: 0.05,
        gradient_scale: 0.5,
    };
    assert_golden("AdamW", ADAMW, || {
        let (mut w, mut m, mut v) = (random(n, 4), vec![0.0; n], vec![0.0; n]);
        step.step(&mut w, &gradient, &mut m, &mut v);
        step.step(&mut w, &gradient, &mut m, &mut v);
        let squares = sum_of_squares(&gradient);
        [w, m, v, vec![squares as f32, (squares - f64::from(squares as f32)) as f32]].concat()
    });
}

const EXP: u64 = 0x18209c7e23c2c593;
const LN: u64 = 0x724728eb0464b619;
const RSQRT: u64 = 0xc091fae2442503b4;
const SIN_COS: u64 = 0x29916e557a133fba;
const POW: u64 = 0x4fc238819493f97a;
const TANH: u64 = 0xfd126ab8d54d5121;
const GEGLU: u64 = 0x4b5acb480cacf3c5;
const WINDOW: u64 = 0x0c4e427e8e674479;
const GEMM: u64 = 0x345ab025db99903e;
const NORM: u64 = 0x758c377b702425b7;
const SWIGLU: u64 = 0xf46c4ff34b9d5fa9;
const ATTENTION: u64 = 0x4fddcd34844335a5;
const CROSS_ENTROPY: u64 = 0xf883f52677f7ab36;
const ADAMW: u64 = 0x553eaa79f6fb9bc2;

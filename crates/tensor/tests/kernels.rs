//! Every kernel: the same bits on every SIMD path and for every number of threads, and close to its
//! definition in f64.

use openledger_tensor::{
    AdamW, AttentionRule, CachedRows, Heads, LayerCache, Lhs, Out, PackedMatrix, Random, RopeTable,
    SimdLevel, Start, Turn, attention, attention_backward, cached_attention, cross_entropy, geglu,
    geglu_backward, gemm, log_likelihoods, rms_norm, rms_norm_backward, soft_cap,
    soft_cap_backward, sum_of_squares, swiglu, swiglu_backward, with_threads,
};
use proptest::prelude::*;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

fn random(n: usize, seed: u64) -> Vec<f32> {
    let mut random = Random::new(seed, 0);
    (0..n).map(|_| random.normal()).collect()
}

/// Runs a kernel on every path and with one to four threads; all results must have the same bits. The path is
/// the process's, so one kernel at a time.
fn same_everywhere(kernel: impl Fn() -> Vec<f32> + Sync) -> Vec<f32> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut first: Option<Vec<f32>> = None;
    for level in SimdLevel::available() {
        level.force();
        for threads in 1..=4 {
            let result = with_threads(threads, &kernel);
            let expected = first.get_or_insert_with(|| result.clone());
            let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert!(bits(expected) == bits(&result), "{level:?} with {threads} threads differs");
        }
    }
    first.expect("at least the scalar path")
}

fn close(x: &[f32], y: &[f64], tolerance: f64) {
    assert_eq!(x.len(), y.len());
    for (i, (x, y)) in x.iter().zip(y).enumerate() {
        assert!(
            (f64::from(*x) - y).abs() < tolerance * (1.0 + y.abs()),
            "element {i}: {x} and {y}"
        );
    }
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|x| f64::from(*x)).collect()
}

/// Gradient of a scalar function by central differences.
fn gradient(f: impl Fn(&[f64]) -> f64, x: &[f64]) -> Vec<f64> {
    (0..x.len())
        .map(|i| {
            let at = |step: f64| {
                let mut moved = x.to_vec();
                moved[i] += step;
                f(&moved)
            };
            (at(1e-5) - at(-1e-5)) / 2e-5
        })
        .collect()
}

fn dot(a: &[f64], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * f64::from(*b)).sum()
}

fn norm_definition(x: &[f64], w: &[f64]) -> Vec<f64> {
    x.chunks(w.len())
        .flat_map(|x| {
            let mean = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
            let r = 1.0 / (mean + 1e-5).sqrt();
            x.iter().zip(w).map(move |(x, w)| x * r * w).collect::<Vec<_>>()
        })
        .collect()
}

fn swiglu_definition(gate_up: &[f64], width: usize) -> Vec<f64> {
    gate_up
        .chunks(2 * width)
        .flat_map(|row| {
            let (gate, up) = row.split_at(width);
            gate.iter().zip(up).map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect::<Vec<_>>()
        })
        .collect()
}

fn geglu_definition(gate_up: &[f64], width: usize) -> Vec<f64> {
    let gelu = |x: f64| {
        let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
        x / 2.0 * (1.0 + inner.tanh())
    };
    gate_up
        .chunks(2 * width)
        .flat_map(|row| {
            let (gate, up) = row.split_at(width);
            gate.iter().zip(up).map(|(g, u)| gelu(*g) * u).collect::<Vec<_>>()
        })
        .collect()
}

fn cap_definition(x: f64, cap: f64) -> f64 {
    cap * (x / cap).tanh()
}

fn attention_definition(rule: AttentionRule, qkv: &[f64], sequences: &[Range<usize>]) -> Vec<f64> {
    let heads = rule.heads;
    let (width, d) = (heads.query * heads.dim, heads.dim);
    let rows = qkv.len() / heads.row();
    let mut out = vec![0.0; rows * width];
    for sequence in sequences {
        for (i, head) in sequence.clone().flat_map(|i| (0..heads.query).map(move |h| (i, h))) {
            let group = head / (heads.query / heads.key_value);
            let part = |row: usize, head: usize| &qkv[row * heads.row() + head * d..][..d];
            let q = part(i, head);
            let first = (i + 1).saturating_sub(rule.window.unwrap_or(usize::MAX));
            let first = first.max(sequence.start);
            let scores: Vec<f64> = (first..=i)
                .map(|j| {
                    let k = part(j, heads.query + group);
                    let score = q.iter().zip(k).map(|(q, k)| q * k).sum::<f64>();
                    let score = score * f64::from(rule.scale);
                    rule.soft_cap.map_or(score, |cap| cap_definition(score, f64::from(cap)))
                })
                .collect();
            let sum: f64 = scores.iter().map(|s| s.exp()).sum();
            for (j, s) in (first..=i).zip(&scores) {
                let v = part(j, heads.query + heads.key_value + group);
                for (out, v) in out[i * width + head * d..][..d].iter_mut().zip(v) {
                    *out += s.exp() / sum * v;
                }
            }
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn products_large_enough_to_be_divided(
        m in 1usize..400, n in 1usize..400, more in 0usize..40, continued in any::<bool>(), seed in any::<u64>()
    ) {
        // From a mebi of multiply-adds on, a product is divided among threads.
        let k = (1usize << 20).div_ceil(m * n).min(1500) + more;
        let (a, b, before) = (random(m * k, seed), random(k * n, seed ^ 1), random(m * n, seed ^ 2));
        let packed = PackedMatrix::from_rows(&b, k, n, n);
        let start = if continued { Start::Continue } else { Start::Zero };
        let product = |lhs: Lhs<'_>| same_everywhere(|| {
            let mut c = before.clone();
            gemm(m, lhs, &packed, Out { data: &mut c, stride: n }, start);
            c
        });
        let rows = product(Lhs::Rows { data: &a, stride: k });
        let transposed: Vec<f32> = (0..m * k).map(|i| a[(i % m) * k + i / m]).collect();
        let columns = product(Lhs::Columns { data: &transposed, stride: m });
        prop_assert!(rows == columns);
        // A row by the definition: one chain of fused multiply-adds over k in order.
        let i = m / 2;
        for j in 0..n {
            let from = if continued { before[i * n + j] } else { 0.0 };
            let chain = (0..k).fold(from, |sum, kk| a[i * k + kk].mul_add(b[kk * n + j], sum));
            prop_assert_eq!(rows[i * n + j].to_bits(), chain.to_bits());
        }
    }

    #[test]
    fn turns_and_cached_attention(
        lengths in prop::collection::vec(1usize..60, 1..4), new in 1usize..20, key_value in 1usize..3,
        group in 1usize..3, half in 1usize..9, seed in any::<u64>()
    ) {
        let heads = Heads { query: key_value * group, key_value, dim: 2 * half };
        let width = heads.query * heads.dim;
        let table = RopeTable::new(60, heads.dim, 10_000.0);
        let texts: Vec<Vec<f32>> =
            lengths.iter().zip(seed..).map(|(n, seed)| random(n * heads.row(), seed)).collect();
        let turned = |text: &[f32], turn| {
            let mut text = text.to_vec();
            let positions: Vec<u32> = (0..(text.len() / heads.row()) as u32).collect();
            table.turn(&mut text, heads.row(), heads.query + heads.key_value, &positions, turn);
            text
        };
        let together = same_everywhere(|| {
            let texts: Vec<_> = texts.iter().map(|text| turned(text, Turn::Forward)).collect();
            let caches: Vec<LayerCache> = texts.iter().map(|text| {
                let mut cache = LayerCache::new(heads, 60);
                cache.append(heads, text);
                cache
            }).collect();
            let mut rows = Vec::new();
            let mut sequences = Vec::new();
            for (text, cache) in texts.iter().zip(&caches) {
                let (n, first) = (new.min(cache.len()), rows.len() / heads.row());
                rows.extend_from_slice(&text[(cache.len() - n) * heads.row()..]);
                sequences.push(CachedRows { rows: first..first + n, cache });
            }
            let mut out = vec![0.0; rows.len() / heads.row() * width];
            cached_attention(heads, &rows, &sequences, &mut out);
            out
        });
        // The same rows of each text read whole and alone.
        let mut at = 0;
        for text in &texts {
            let n = text.len() / heads.row();
            let mut whole = vec![0.0; n * width];
            let there = turned(text, Turn::Forward);
            attention(heads, &there, std::slice::from_ref(&(0..n)), &mut whole);
            let newest = &whole[(n - new.min(n)) * width..];
            prop_assert_eq!(&together[at..][..newest.len()], newest);
            at += newest.len();
            close(&turned(&there, Turn::Backward), &wide(text), 1e-5);
        }
        prop_assert_eq!(at, together.len());
    }

    #[test]
    fn rms_norm_and_its_gradient(rows in 1usize..70, width in 1usize..40, seed in any::<u64>()) {
        let (x, w, dy) = (random(rows * width, seed), random(width, seed ^ 1), random(rows * width, seed ^ 2));
        let forward = |scales: &mut Vec<f32>| {
            let mut y = vec![0.0; x.len()];
            rms_norm(&x, &w, 1e-5, &mut y, scales);
            y
        };
        let y = same_everywhere(|| forward(&mut vec![0.0; rows]));
        close(&y, &norm_definition(&wide(&x), &wide(&w)), 1e-5);
        let d = same_everywhere(|| {
            let mut scales = vec![0.0; rows];
            forward(&mut scales);
            let (mut dx, mut dw) = (vec![0.0; x.len()], vec![0.0; width]);
            rms_norm_backward(&dy, &x, &w, &scales, &mut dx, Some(&mut dw));
            dx.extend(dw);
            dx
        });
        if rows < 12 {
            let loss = |both: &[f64]| dot(&norm_definition(&both[..x.len()], &both[x.len()..]), &dy);
            close(&d, &gradient(loss, &[wide(&x), wide(&w)].concat()), 2e-3);
        }
    }

    #[test]
    fn swiglu_and_its_gradient(rows in 1usize..70, width in 1usize..40, seed in any::<u64>()) {
        let (x, dy) = (random(rows * 2 * width, seed), random(rows * width, seed ^ 2));
        let y = same_everywhere(|| {
            let mut y = vec![0.0; dy.len()];
            swiglu(&x, width, &mut y);
            y
        });
        close(&y, &swiglu_definition(&wide(&x), width), 1e-5);
        let d = same_everywhere(|| {
            let mut d = x.clone();
            swiglu_backward(&dy, width, &mut d);
            d
        });
        if rows < 12 {
            close(&d, &gradient(|x| dot(&swiglu_definition(x, width), &dy), &wide(&x)), 1e-4);
        }
    }

    #[test]
    fn geglu_and_its_gradient(rows in 1usize..70, width in 1usize..40, seed in any::<u64>()) {
        let (x, dy) = (random(rows * 2 * width, seed), random(rows * width, seed ^ 2));
        let y = same_everywhere(|| {
            let mut y = vec![0.0; dy.len()];
            geglu(&x, width, &mut y);
            y
        });
        close(&y, &geglu_definition(&wide(&x), width), 1e-5);
        let d = same_everywhere(|| {
            let mut d = x.clone();
            geglu_backward(&dy, width, &mut d);
            d
        });
        if rows < 12 {
            close(&d, &gradient(|x| dot(&geglu_definition(x, width), &dy), &wide(&x)), 1e-4);
        }
    }

    #[test]
    fn a_soft_cap_and_its_gradient(n in 1usize..20_000, cap in 0.5f32..50.0, seed in any::<u64>()) {
        let (x, dy) = (random(n, seed), random(n, seed ^ 1));
        let x: Vec<f32> = x.iter().map(|x| 4.0 * x).collect();
        let y = same_everywhere(|| {
            let mut y = x.clone();
            soft_cap(&mut y, cap);
            y
        });
        let definition = |x: &[f64]| -> Vec<f64> {
            x.iter().map(|x| cap_definition(*x, f64::from(cap))).collect()
        };
        close(&y, &definition(&wide(&x)), 1e-5);
        if n < 200 {
            let mut d = dy.clone();
            soft_cap_backward(&mut d, &y, cap);
            close(&d, &gradient(|x| dot(&definition(x), &dy), &wide(&x)), 1e-4);
        }
    }

    #[test]
    fn attention_and_its_gradient(
        lengths in prop::collection::vec(1usize..60, 1..3), key_value in 1usize..3, group in 1usize..3,
        soft_cap in prop::option::of(0.5f32..4.0), window in prop::option::of(1usize..70),
        scale in prop::option::of(0.2f32..1.0), seed in any::<u64>()
    ) {
        let heads = Heads { query: key_value * group, key_value, dim: 6 };
        let rule = AttentionRule { soft_cap, window, ..heads.into() };
        let rule = AttentionRule { scale: scale.unwrap_or(rule.scale), ..rule };
        let mut sequences: Vec<Range<usize>> = Vec::new();
        for length in &lengths {
            let start = sequences.last().map_or(0, |s| s.end);
            sequences.push(start..start + length);
        }
        let rows: usize = lengths.iter().sum();
        let width = heads.query * heads.dim;
        let (qkv, d_out) = (random(rows * heads.row(), seed), random(rows * width, seed ^ 1));
        let forward = || {
            let mut out = vec![0.0; rows * width];
            attention(rule, &qkv, &sequences, &mut out);
            out
        };
        let out = same_everywhere(forward);
        close(&out, &attention_definition(rule, &wide(&qkv), &sequences), 1e-5);
        let d = same_everywhere(|| {
            let mut d = vec![f32::NAN; qkv.len()];
            attention_backward(rule, &qkv, &out, &d_out, &sequences, &mut d);
            d
        });
        prop_assert!(d.iter().all(|d| d.is_finite()));
        if rows < 14 {
            let loss = |x: &[f64]| dot(&attention_definition(rule, x, &sequences), &d_out);
            close(&d, &gradient(loss, &wide(&qkv)), 1e-4);
        }
    }

    #[test]
    fn cross_entropy_and_its_gradient(rows in 1usize..40, vocab in 1usize..70, seed in any::<u64>()) {
        let logits: Vec<f32> = random(rows * vocab, seed).iter().map(|x| 5.0 * x).collect();
        let mut choose = Random::new(seed, 1);
        let targets: Vec<u32> = (0..rows).map(|_| choose.below(vocab) as u32).collect();
        let weights: Vec<f32> = (0..rows).map(|_| choose.uniform()).collect();
        let both = same_everywhere(|| {
            let mut d = logits.clone();
            let mut likelihoods = cross_entropy(&mut d, vocab, &targets, &weights);
            likelihoods.extend(d);
            likelihoods
        });
        let (likelihoods, d) = both.split_at(rows);
        prop_assert_eq!(likelihoods, &log_likelihoods(&mut logits.clone(), vocab, &targets)[..]);
        for (i, row) in logits.chunks(vocab).enumerate() {
            let sum: f64 = row.iter().map(|x| f64::from(*x).exp()).sum();
            let target = targets[i] as usize;
            let expected = f64::from(row[target]) - sum.ln();
            prop_assert!((f64::from(likelihoods[i]) - expected).abs() < 1e-5 * (1.0 + expected.abs()));
            for (j, x) in row.iter().enumerate() {
                let hot = if j == target { 1.0 } else { 0.0 };
                let expected = f64::from(weights[i]) * (f64::from(*x).exp() / sum - hot);
                prop_assert!((f64::from(d[i * vocab + j]) - expected).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn sums_of_squares_and_steps_of_adamw(n in 1usize..9000, seed in any::<u64>()) {
        let g = random(n, seed);
        let truth: f64 = wide(&g).iter().map(|x| x * x).sum();
        let sum = same_everywhere(|| vec![sum_of_squares(&g) as f32])[0];
        prop_assert!((f64::from(sum) / truth - 1.0).abs() < 1e-5);
        let o = AdamW {
            learning_rate: 0.01, beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weight_decay: 0.1,
            correction1: 0.1, correction2: 0.05, gradient_scale: 0.5,
        };
        let w = same_everywhere(|| {
            let (mut w, mut m, mut v) = (random(n, seed ^ 1), vec![0.0; n], vec![0.0; n]);
            o.step(&mut w, &g, &mut m, &mut v);
            w
        });
        // From zero moments the step is the sign of the gradient, apart from epsilon.
        let expected: Vec<f64> = random(n, seed ^ 1).iter().zip(&g)
            .map(|(w, g)| f64::from(*w) * (1.0 - 0.001) - 0.01 * f64::from(g.signum()) * f64::from(g.abs() > 1e-4))
            .collect();
        for ((w, e), g) in w.iter().zip(&expected).zip(&g) {
            prop_assert!(g.abs() < 1e-3 || (f64::from(*w) - e).abs() < 1e-5, "{} {}", w, e);
        }
    }
}

#[test]
fn turning_forward_and_backward_is_the_identity_and_keeps_lengths() {
    let table = RopeTable::new(600, 8, 10_000.0);
    let positions = [0, 1, 599];
    let before = random(3 * 20, 4);
    let turned = same_everywhere(|| {
        let mut x = before.clone();
        table.turn(&mut x, 20, 2, &positions, Turn::Forward);
        x
    });
    // Position 0 turns nothing; columns beyond the heads are left alone.
    assert_eq!(turned[..20], before[..20]);
    assert_eq!(turned[36..40], before[36..40]);
    assert_ne!(turned[40..56], before[40..56]);
    let mut back = turned.clone();
    table.turn(&mut back, 20, 2, &positions, Turn::Backward);
    close(&back, &wide(&before), 1e-6);
    // The pair (0, 4) of the first head at position 599 has angle 599.
    let (sin, cos) = 599f64.sin_cos();
    let (a, b) = (f64::from(before[40]), f64::from(before[44]));
    close(&[turned[40], turned[44]], &[a * cos - b * sin, b * cos + a * sin], 1e-6);
}

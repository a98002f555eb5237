//! Element-wise kernels, norms, rotary embeddings and likelihoods.

use super::{bits, down, ids, normals, room, up};
use crate::kernels::{self, NormParts};
use openledger_tensor::{
    Random, RopeTable, Turn, geglu, log_likelihoods, rms_norm, soft_cap, swiglu,
};
use proptest::prelude::*;

/// Every kind of number: all exponents and both signs, without NaN.
fn every_kind(n: usize) -> Vec<f32> {
    // A prime step.
    let all = (0..n as u32).map(|i| f32::from_bits(i.wrapping_mul(3_500_009)));
    all.map(|x| if x.is_nan() { 1.5 } else { x }).collect()
}

#[test]
fn the_activations_have_the_bits_of_the_processor_for_every_kind_of_number() {
    let device = super::device();
    let (rows, width) = (3, 1300);
    let gates = every_kind(rows * width);
    let mut random = Random::new(1, 1);
    let mut gate_up = Vec::new();
    for row in gates.chunks(width) {
        gate_up.extend_from_slice(row);
        gate_up.extend(normals(width, &mut random));
    }
    for gelu in [false, true] {
        let mut expected = vec![0.0; rows * width];
        (if gelu { geglu } else { swiglu })(&gate_up, width, &mut expected);
        let y = room(&device, rows * width);
        kernels::gate(&up(&device, &gate_up), gelu, rows, width, &y).expect("runs");
        for (i, (found, expected)) in down(&y, rows * width).iter().zip(&expected).enumerate() {
            let same = found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan();
            assert!(same, "{} gives {found:e}, not {expected:e}", gates[i]);
        }
    }
}

#[test]
fn soft_caps_have_the_bits_of_the_processor_for_every_kind_of_number() {
    let device = super::device();
    for cap in [0.5f32, 30.0, 50.0] {
        let x = every_kind(3000);
        let mut expected = x.clone();
        soft_cap(&mut expected, cap);
        let y = up(&device, &x);
        kernels::soft_cap(&y, 3, 1000, cap).expect("runs");
        assert_eq!(bits(&down(&y, 3000)), bits(&expected));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn norms_have_the_bits_of_the_processor(
        rows in 1usize..5, width in 1usize..2600, scale in -20i32..20, seed in any::<u64>()
    ) {
        let device = super::device();
        let mut random = Random::new(seed, 0);
        let mut x = normals(rows * width, &mut random);
        x.iter_mut().for_each(|x| *x *= 2.0f32.powi(scale));
        let w = normals(width, &mut random);
        let (mut expected, mut scales) = (vec![0.0; rows * width], vec![0.0; rows]);
        rms_norm(&x, &w, 1e-5, &mut expected, &mut scales);
        let (x, w, y) = (up(&device, &x), up(&device, &w), room(&device, rows * width));
        let whole = NormParts { stride: width, from: 0, parts: 1 };
        kernels::rms_norm(&x, &w, &y, rows, whole, 1e-5).expect("runs");
        prop_assert_eq!(bits(&down(&y, rows * width)), bits(&expected));
        // In place.
        kernels::rms_norm(&x, &w, &x, rows, whole, 1e-5).expect("runs");
        prop_assert_eq!(bits(&down(&x, rows * width)), bits(&expected));
    }

    #[test]
    fn norms_of_heads_touch_these_heads_only(
        rows in 1usize..4, heads in 1usize..4, half in 1usize..40, before in 0usize..9, after in 0usize..9,
        seed in any::<u64>()
    ) {
        let device = super::device();
        let mut random = Random::new(seed, 0);
        let (width, stride) = (2 * half, before + heads * 2 * half + after);
        let (x, w) = (normals(rows * stride, &mut random), normals(width, &mut random));
        let mut expected = x.clone();
        for row in expected.chunks_exact_mut(stride) {
            let part = &mut row[before..before + heads * width];
            let (raw, mut scales) = (part.to_vec(), vec![0.0; heads]);
            rms_norm(&raw, &w, 1e-6, part, &mut scales);
        }
        let y = up(&device, &x);
        let at = NormParts { stride, from: before, parts: heads };
        kernels::rms_norm(&y, &up(&device, &w), &y, rows, at, 1e-6).expect("runs");
        prop_assert_eq!(bits(&down(&y, rows * stride)), bits(&expected));
    }

    #[test]
    fn heads_are_turned_with_the_bits_of_the_processor(
        rows in 1usize..6, heads in 1usize..4, half in 1usize..100, after in 0usize..9, seed in any::<u64>()
    ) {
        let device = super::device();
        let mut random = Random::new(seed, 0);
        let stride = heads * 2 * half + after;
        let table = RopeTable::new(500, 2 * half, 1e4);
        let positions: Vec<u32> = (0..rows).map(|_| random.below(500) as u32).collect();
        let x = normals(rows * stride, &mut random);
        let mut expected = x.clone();
        table.turn(&mut expected, stride, heads, &positions, Turn::Forward);
        let y = up(&device, &x);
        let tables = (up(&device, table.cosines()), up(&device, table.sines()));
        kernels::rope(&y, (&ids(&device, &positions), rows), (&tables.0, &tables.1), stride, heads, half)
            .expect("runs");
        prop_assert_eq!(bits(&down(&y, rows * stride)), bits(&expected));
    }

    #[test]
    fn likelihoods_have_the_bits_of_the_processor(
        rows in 1usize..5, vocab in 1usize..1500, spread in 0.1f32..30.0, seed in any::<u64>()
    ) {
        let device = super::device();
        let mut random = Random::new(seed, 0);
        let mut logits = normals(rows * vocab, &mut random);
        logits.iter_mut().for_each(|x| *x *= spread);
        let targets: Vec<u32> = (0..rows).map(|_| random.below(vocab) as u32).collect();
        let (x, y) = (up(&device, &logits), room(&device, rows));
        kernels::log_likelihood(&x, (&ids(&device, &targets), rows), vocab, &y).expect("runs");
        let expected = log_likelihoods(&mut logits, vocab, &targets);
        prop_assert_eq!(bits(&down(&y, rows)), bits(&expected));
    }

    #[test]
    fn rows_are_looked_up_added_and_picked(
        rows in 1usize..7, width in 1usize..600, seed in any::<u64>()
    ) {
        let device = super::device();
        let mut random = Random::new(seed, 0);
        let (table, more) = (normals(9 * width, &mut random), normals(rows * width, &mut random));
        let bias = normals(width, &mut random);
        let tokens: Vec<u32> = (0..rows).map(|_| random.below(9) as u32).collect();
        let (y, tokens_there) = (room(&device, rows * width), ids(&device, &tokens));
        kernels::embed((&tokens_there, rows), (&up(&device, &table), false), width, 3.7, &y).expect("runs");
        kernels::add(&y, &up(&device, &more), rows, width).expect("runs");
        kernels::add_bias(&y, &up(&device, &bias), rows).expect("runs");
        let expected: Vec<f32> = (0..rows * width)
            .map(|i| table[tokens[i / width] as usize * width + i % width] * 3.7 + more[i] + bias[i % width])
            .collect();
        prop_assert_eq!(bits(&down(&y, rows * width)), bits(&expected));
        let chosen: Vec<u32> = (0..rows as u32).rev().step_by(2).collect();
        let picked = room(&device, chosen.len() * width);
        kernels::pick(&y, (&ids(&device, &chosen), chosen.len()), width, &picked).expect("runs");
        let expected: Vec<f32> =
            chosen.iter().flat_map(|row| &expected[*row as usize * width..][..width]).copied().collect();
        prop_assert_eq!(bits(&down(&picked, chosen.len() * width)), bits(&expected));
    }
}

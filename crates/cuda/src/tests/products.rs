//! Products with the base and with adapters.

use super::{bits, down, normals, room, up};
use crate::DeviceForm;
use crate::adapters::{AdapterCache, Pairs};
use crate::backend::{Backend, Buffer};
use crate::kernels::{self, PADDED};
use crate::linear::upload;
use openledger_model::serving::{BlendRows, LowRankForm, ServingAdapter};
use openledger_model::{Adapter, DecoderConfig, LoraLayout, Site, from_bf16, to_bf16};
use openledger_tensor::{
    Lhs, LowRankInput, LowRankRows, Out, PackedMatrix, Random, Start, gemm, low_rank_update,
};
use proptest::prelude::*;
use std::sync::Arc;

fn product(x: &[f32], w: &[f32], rows: usize, depth: usize, outputs: usize) -> Vec<f32> {
    let packed = PackedMatrix::from_columns(w, depth, outputs, depth);
    let mut y = vec![0.0; rows * outputs];
    let lhs = Lhs::Rows { data: x, stride: depth };
    gemm(rows, lhs, &packed, Out { data: &mut y, stride: outputs }, Start::Zero);
    y
}

/// The product in bf16 on the device.
fn half_product(
    device: &Arc<dyn Backend>,
    x: &[f32],
    w: &[f32],
    rows: usize,
    depth: usize,
    outputs: usize,
) -> Vec<f32> {
    let w = upload(device, w, depth, DeviceForm::Bf16).expect("memory");
    let half = Buffer::new(device, rows * depth.next_multiple_of(PADDED) * 2).expect("memory");
    let y = room(device, rows * outputs);
    kernels::round_rows(&up(device, x), &half, rows, depth).expect("runs");
    kernels::gemm_bf16(&half, &w, &y, rows, depth, outputs).expect("runs");
    down(&y, rows * outputs)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn products_in_f32_have_the_bits_of_the_processor(
        few in any::<bool>(), rows in 1usize..150, depth in 1usize..300, outputs in 1usize..150, seed in any::<u64>()
    ) {
        let rows = if few { 1 + rows % 8 } else { rows };
        let device = super::device();
        let mut random = Random::new(seed, 0);
        let (x, w) = (normals(rows * depth, &mut random), normals(outputs * depth, &mut random));
        let y = room(&device, rows * outputs);
        kernels::gemm_f32(&up(&device, &x), &up(&device, &w), &y, rows, depth, outputs).expect("runs");
        prop_assert_eq!(bits(&down(&y, rows * outputs)), bits(&product(&x, &w, rows, depth, outputs)));
    }

    #[test]
    fn products_in_bf16_are_near_those_of_the_rounded_operands(
        which in 0usize..4, rows in 0usize..100, depth in 1usize..400, outputs in 1usize..200, seed in any::<u64>()
    ) {
        let rows = [1 + rows % 8, 9 + rows % 24, 33 + rows % 96, 129 + rows][which];
        let device = super::device();
        let mut random = Random::new(seed, 0);
        let (x, w) = (normals(rows * depth, &mut random), normals(outputs * depth, &mut random));
        let y = half_product(&device, &x, &w, rows, depth, outputs);
        let rounded = |x: &[f32]| x.iter().map(|x| from_bf16(to_bf16(*x))).collect::<Vec<_>>();
        let expected = product(&rounded(&x), &rounded(&w), rows, depth, outputs);
        for (found, expected) in y.iter().zip(&expected) {
            // Sums in f32 of a few hundred products of ordinary size.
            prop_assert!((found - expected).abs() < 1e-3, "{} {}", found, expected);
        }
    }

    #[test]
    fn a_row_in_bf16_has_the_same_bits_in_every_batch(
        rows in 129usize..200, depth in 1usize..300, outputs in 1usize..150, seed in any::<u64>()
    ) {
        let device = super::device();
        let mut random = Random::new(seed, 0);
        let (x, w) = (normals(rows * depth, &mut random), normals(outputs * depth, &mut random));
        let all = half_product(&device, &x, &w, rows, depth, outputs);
        for n in [1, 7, 32, 70] {
            let from = random.below(rows - n);
            let part = half_product(&device, &x[from * depth..][..n * depth], &w, n, depth, outputs);
            prop_assert_eq!(bits(&part), bits(&all[from * outputs..][..n * outputs]));
        }
    }
}

/// A model with so many inputs and outputs, for adapters on it.
fn shape(hidden: usize, intermediate: usize) -> DecoderConfig {
    DecoderConfig::llama(hidden, 2, (4, 2), intermediate, 64, 96)
}

fn adapter(config: &DecoderConfig, rank: usize, sites: &[Site], seed: u64) -> Arc<ServingAdapter> {
    let layout = LoraLayout::new(config, rank, 2.0 * rank as f32, sites);
    let values = normals(layout.len(), &mut Random::new(seed, 7));
    Arc::new(ServingAdapter::new(&Adapter::new(layout, &values).expect("finite")))
}

/// Adapters with ranks small and large, on all sites and on some.
fn some_adapters(config: &DecoderConfig) -> Vec<Arc<ServingAdapter>> {
    vec![
        adapter(config, 3, &Site::ALL, 1),
        adapter(config, 8, &[Site::Query, Site::Down], 2),
        adapter(config, 70, &[Site::Key, Site::Value, Site::Up], 3),
        adapter(config, 256, &Site::ALL, 4),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn updates_by_adapters_have_the_bits_of_the_processor(
        hidden in 1usize..60, intermediate in 1usize..300, lengths in prop::collection::vec(1usize..4, 1..6),
        group in 0usize..4, layer in 0usize..2, seed in any::<u64>()
    ) {
        let config = shape(8 * hidden, intermediate);
        let heads = config.heads();
        let (h, f) = (config.hidden_size, config.intermediate_size);
        let (inputs, outputs) =
            [(h, heads.row()), (heads.query * heads.dim, h), (h, 2 * f), (f, h)][group];
        let device = super::device();
        let mut random = Random::new(seed, 0);
        let all = some_adapters(&config);
        let mut blends = Vec::new();
        for _ in &lengths {
            let count = random.below(4);
            blends.push((0..count).map(|_| (all[random.below(4)].clone(), random.normal())).collect::<Vec<_>>());
        }
        let (mut rows, mut batch) = (0, Vec::new());
        for (n, blend) in lengths.iter().zip(&blends) {
            if !blend.is_empty() {
                batch.push(BlendRows { rows: rows..rows + n, adapters: blend });
            }
            rows += n;
        }
        let (x, y) = (normals(rows * inputs, &mut random), normals(rows * outputs, &mut random));
        let mut expected = y.clone();
        let mut jobs = Vec::new();
        for blend in &batch {
            for (adapter, weight) in blend.adapters {
                let (shape, bytes) = adapter.layers().nth(layer).expect("a layer")[group];
                if !shape.sites().is_empty() {
                    jobs.push(LowRankRows { rows: blend.rows.clone(), shape, bytes, weight: *weight });
                }
            }
        }
        let out = Out { data: &mut expected, stride: outputs };
        low_rank_update(&jobs, LowRankInput { x: &x, codes: None }, out);

        let mut cache = AdapterCache::new(Arc::clone(&device), 1 << 30);
        cache.prepare(&batch).expect("room");
        let mut pairs = Pairs::new(&device).expect("memory");
        pairs.set(&batch, &cache).expect("memory");
        let low = room(&device, pairs.count * pairs.width_max);
        let run = |exact: bool| {
            let to = up(&device, &y);
            let from = up(&device, &x);
            kernels::low_rank(&pairs, 4 * layer + group, (&from, inputs), &low, (&to, outputs), exact)
                .expect("runs");
            down(&to, rows * outputs)
        };
        prop_assert_eq!(bits(&run(true)), bits(&expected));
        // With its sums divided the result is near.
        let size = expected.iter().fold(1.0f32, |a, b| a.max(b.abs()));
        for (found, expected) in run(false).iter().zip(&expected) {
            prop_assert!((found - expected).abs() < 1e-4 * size, "{} {}", found, expected);
        }
    }
}

#[test]
fn of_adapters_that_do_not_fit_together_the_one_unused_longest_goes() {
    let device = super::device();
    let config = shape(32, 48);
    let all: Vec<_> = (0..3).map(|seed| adapter(&config, 4, &Site::ALL, seed)).collect();
    let one = {
        let mut cache = AdapterCache::new(Arc::clone(&device), 1 << 20);
        let blend = [(all[0].clone(), 1.0)];
        cache.prepare(&[BlendRows { rows: 0..1, adapters: &blend }]).expect("room");
        cache.bytes()
    };
    let mut cache = AdapterCache::new(Arc::clone(&device), 2 * one);
    let mut use_them = |which: &[usize]| {
        let blend: Vec<_> = which.iter().map(|i| (all[*i].clone(), 1.0)).collect();
        let result = cache.prepare(&[BlendRows { rows: 0..1, adapters: &blend }]);
        (result.map_err(|e| e.to_string()), cache.bytes())
    };
    assert_eq!(use_them(&[0, 1]), (Ok(()), 2 * one));
    assert_eq!(use_them(&[0]), (Ok(()), 2 * one));
    assert_eq!(use_them(&[2, 0]), (Ok(()), 2 * one));
    let (refused, _) = use_them(&[0, 1, 2]);
    assert!(refused.expect_err("three do not fit").contains("adapters of one step"));
    assert_eq!(use_them(&[1, 2]), (Ok(()), 2 * one));
}

#[test]
fn an_adapter_in_eight_bits_is_refused_by_name() {
    let device = super::device();
    let config = shape(32, 48);
    let layout = LoraLayout::new(&config, 4, 8.0, &Site::ALL);
    let values = normals(layout.len(), &mut Random::new(1, 7));
    let eight =
        ServingAdapter::pack(&Adapter::new(layout, &values).expect("finite"), LowRankForm::Int8);
    let blend = [(Arc::new(eight), 1.0)];
    let mut cache = AdapterCache::new(device, 1 << 20);
    let error =
        cache.prepare(&[BlendRows { rows: 0..1, adapters: &blend }]).expect_err("eight bits");
    assert!(error.to_string().contains("--adapter-form bf16"), "{error}");
}

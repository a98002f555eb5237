//! A blend merged into the base: the same numbers as merged by hand, and near those of base and update apart.

use crate::serving::{Blend, FORMS, alone, blend, packed, random_weights};
use crate::tiny;
use openledger_model::serving::{KvForm, LowRankForm, ServingAdapter, ServingDecoder, WeightForm};
use openledger_model::{Adapter, Decoder, DecoderConfig, LoraLayout, Site, Weights};
use openledger_tensor::Random;
use std::sync::Arc;

/// W + weight · scale · Bᵀᵀ · A in plain loops.
fn by_hand(mut weights: Weights, blend: &Blend) -> Weights {
    for (adapter, factor) in blend {
        for (layer, groups) in weights.layers.iter_mut().zip(adapter.layers()) {
            let matrices = [&mut layer.qkv, &mut layer.output, &mut layer.gate_up, &mut layer.down];
            for (matrix, (shape, bytes)) in matrices.into_iter().zip(groups) {
                let inputs = shape.inputs();
                let pairs = shape.unpack(bytes).expect("finite");
                for (site, (a, b)) in shape.sites().iter().zip(pairs) {
                    for j in 0..site.outputs {
                        for k in 0..inputs {
                            let w = &mut matrix[(site.offset + j) * inputs + k];
                            for r in 0..site.rank {
                                let b = b[r * site.outputs + j] * factor;
                                *w = b.mul_add(a[r * inputs + k], *w);
                            }
                        }
                    }
                }
            }
        }
    }
    weights
}

fn with_biases() -> DecoderConfig {
    let json = serde_json::json!({
        "model_type": "llama", "attention_bias": true, "mlp_bias": true,
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "vocab_size": 64, "max_position_embeddings": 96, "rms_norm_eps": 1e-6
    });
    DecoderConfig::from_json(json.to_string().as_bytes()).expect("a config")
}

#[test]
fn a_merged_copy_is_the_model_that_was_merged_by_hand() {
    let text = tiny::tokens(40, 5);
    for config in [tiny::config(), with_biases()] {
        let weights = random_weights(&config, 1);
        let exact = Decoder::new(config.clone(), weights.clone(), false);
        for form in FORMS {
            let base = ServingDecoder::new(config.clone(), weights.clone(), form, KvForm::F32);
            for (which, adapters) in
                [(1, LowRankForm::Bf16), (2, LowRankForm::Int8), (4, LowRankForm::Int8)]
            {
                let blend = blend(which, &packed(adapters));
                let merged = base.merged(&exact, &blend).expect("fits");
                let expected = by_hand(weights.clone(), &blend);
                let expected = ServingDecoder::new(config.clone(), expected, form, KvForm::F32);
                assert_eq!(
                    alone(&merged, &text, &vec![]),
                    alone(&expected, &text, &vec![]),
                    "{form:?}, blend {which}"
                );
            }
        }
    }
}

#[test]
fn a_merged_copy_answers_nearly_as_base_and_update_apart() {
    let (exact, text) = (tiny::decoder(1), tiny::tokens(40, 6));
    let base = ServingDecoder::new(tiny::config(), tiny::weights(1), WeightForm::F32, KvForm::F32);
    for which in 0..6 {
        let blend = blend(which, &packed(LowRankForm::Bf16));
        let merged = base.merged(&exact, &blend).expect("fits");
        let (apart, together) = (alone(&base, &text, &blend), alone(&merged, &text, &vec![]));
        let logits = |rows: Vec<Vec<u32>>| -> Vec<f32> {
            rows.concat().into_iter().map(f32::from_bits).collect()
        };
        let (apart, together) = (logits(apart), logits(together));
        let largest = apart.iter().fold(0.0f32, |a, x| a.max(x.abs()));
        let off = apart.iter().zip(&together).fold(0.0f32, |a, (x, y)| a.max((x - y).abs()));
        assert!(off <= 1e-4 * largest, "blend {which}: {off} of {largest}");
        assert_eq!(off == 0.0, which == 0, "blend {which}");
    }
}

#[test]
fn what_no_adapter_acts_on_takes_no_memory() {
    let base = ServingDecoder::new(tiny::config(), tiny::weights(1), WeightForm::Bf16, KvForm::F32);
    let bytes = |sites: &[Site]| {
        let adapter = Arc::new(ServingAdapter::new(&tiny::adapter(3, sites, 1)));
        base.merged_bytes(&[(adapter, 1.0)])
    };
    assert_eq!(base.merged_bytes(&[]), 0);
    let each = [&[Site::Value][..], &[Site::Output], &[Site::Up, Site::Gate], &[Site::Down]];
    assert_eq!(each.map(bytes).iter().sum::<usize>(), bytes(&Site::ALL));
    assert!(each.iter().all(|sites| bytes(sites) > 0));
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let base = ServingDecoder::new(tiny::config(), tiny::weights(1), WeightForm::F32, KvForm::F32);
    let exact = tiny::decoder(1);
    let wider = DecoderConfig::llama(48, 2, (4, 2), 48, 64, 96);
    let layout = LoraLayout::new(&wider, 2, 2.0, &Site::ALL);
    let mut random = Random::new(1, 1);
    let values: Vec<f32> = (0..layout.len()).map(|_| random.normal()).collect();
    let foreign = Arc::new(ServingAdapter::new(&Adapter::new(layout, &values).expect("finite")));
    let ours = packed(LowRankForm::Bf16).remove(0);
    let other = Decoder::new(wider.clone(), Weights::random(&wider, 1), false);
    for (base, blend, why) in [
        (base.merged(&exact, &[(foreign, 1.0)]), "foreign", "another shape"),
        (base.merged(&exact, &[(ours.clone(), f32::NAN)]), "nan", "weight NaN"),
        (base.merged(&exact, &[(ours.clone(), f32::MAX)]), "huge", "not be finite"),
        (base.merged(&exact, &vec![(ours.clone(), 1.0); 9]), "many", "a blend of 9"),
        (base.merged(&other, &[(ours.clone(), 1.0)]), "other", "another model"),
    ] {
        let error = base.expect_err(blend).to_string();
        assert!(error.contains(why), "{blend}: {error}");
    }
}

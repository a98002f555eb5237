use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

/// The likeliest `top_k` by sorting everything: tokens with weights in f64, likeliest first.
fn sorted(logits: &[f32], sampling: &Sampling) -> Vec<(u32, f64)> {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let scale = 1.0 / f64::from(sampling.temperature);
    let mut all: Vec<(u32, f32)> = (0u32..).zip(logits.iter().copied()).collect();
    all.retain(|(_, logit)| !logit.is_nan());
    all.sort_by(|a, b| b.1.partial_cmp(&a.1).expect("numbers").then(a.0.cmp(&b.0)));
    if sampling.top_k > 0 {
        all.truncate(sampling.top_k);
    }
    let weight = |logit: f32| (f64::from(logit - top) * scale).exp();
    all.into_iter().map(|(id, logit)| (id, weight(logit))).collect()
}

/// How many of them stay, and the mass that the nucleus was to reach.
fn reference(all: &[(u32, f64)], sampling: &Sampling) -> (usize, f64) {
    let near = all.iter().take_while(|(_, weight)| *weight >= f64::from(sampling.min_p)).count();
    let total: f64 = all[..near].iter().map(|(_, weight)| weight).sum();
    let mass = total * f64::from(sampling.top_p);
    let mut before = 0.0;
    let kept = all[..near].iter().take_while(|(_, weight)| {
        let stays = before < mass;
        before += weight;
        stays
    });
    (kept.count().max(1), mass)
}

/// What stays here and its weight, in the order of ids.
fn kept(scratch: &mut Scratch, logits: &[f32], sampling: &Sampling) -> Vec<(u32, f64)> {
    let few = scratch.weigh(logits, sampling).expect("the largest is a number");
    let token = |at: usize| if few { scratch.tokens[at] } else { at as u32 };
    let all = scratch.weights.iter().enumerate().map(|(at, weight)| (token(at), (*weight).into()));
    all.filter(|(_, weight)| *weight > 0.0).collect()
}

/// Below this a weight is zero here and not in f64.
const VANISHES: f64 = 1.1e-38;
/// Relative error of a weight: of its exponent, which is at most 88 in f32, twice rounded.
const ROUNDING: f64 = 1e-4;

/// Panics unless both keep the same, but for tokens at a boundary that rounding decides.
fn agree(scratch: &mut Scratch, logits: &[f32], sampling: &Sampling) {
    let all = sorted(logits, sampling);
    let (stay, mass) = reference(&all, sampling);
    let ours = kept(scratch, logits, sampling);
    assert!(ours.windows(2).all(|two| two[0].0 < two[1].0), "in the order of ids");
    let heavy: HashMap<u32, f64> = ours.iter().copied().collect();
    let mut before = 0.0;
    for (rank, (id, weight)) in all.iter().enumerate() {
        if heavy.contains_key(id) != (rank < stay) {
            let at_mass = (before - mass).abs() <= ROUNDING * mass;
            let least = f64::from(sampling.min_p);
            let at_least = (weight - least).abs() <= ROUNDING * least;
            let excused = at_mass || at_least || *weight <= 2.0 * VANISHES;
            assert!(excused, "{id}: weight {weight}, before {before} of {mass}");
        }
        before += weight;
    }
    let plain: HashMap<u32, f64> = all.into_iter().collect();
    for (id, weight) in &heavy {
        let plain = plain[id];
        assert!((weight - plain).abs() <= ROUNDING * plain + VANISHES, "{id}: {weight} {plain}");
    }
}

fn logit() -> impl Strategy<Value = f32> {
    prop_oneof![
        6 => -20.0f32..20.0,
        // Many that are equal.
        3 => (-4i8..4).prop_map(f32::from),
        1 => prop_oneof![Just(f32::NAN), Just(f32::NEG_INFINITY), Just(-0.0f32), Just(-1e30f32)],
    ]
}

fn settings() -> impl Strategy<Value = Sampling> {
    let temperature = prop_oneof![0.05f32..2.0, Just(1.0f32), Just(1e-40f32)];
    let top_k = prop_oneof![Just(0usize), 1usize..8, 1usize..700];
    let min_p = prop_oneof![Just(0.0f32), Just(1.0f32), 0.0f32..1.0, 0.0f32..0.01];
    let top_p = prop_oneof![Just(1.0f32), Just(0.0f32), 0.0f32..1.0, 0.9f32..1.0];
    (temperature, top_k, min_p, top_p).prop_map(|(temperature, top_k, min_p, top_p)| Sampling {
        temperature,
        top_k,
        min_p,
        top_p,
        ..Sampling::GREEDY
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn selection_keeps_what_sorting_keeps(
        logits in prop::collection::vec(logit(), 1..600),
        other in prop::collection::vec(logit(), 1..600),
        sampling in settings(),
    ) {
        // What is left of another draw changes nothing.
        let mut scratch = Scratch::default();
        for logits in [&logits, &other, &logits] {
            if logits.iter().any(|logit| logit.is_finite()) {
                agree(&mut scratch, logits, &sampling);
            }
        }
    }

    #[test]
    fn every_token_is_drawn_as_often_as_it_is_likely(
        logits in prop::collection::vec(logit(), 1..300),
        sampling in settings(),
    ) {
        prop_assume!(logits.iter().any(|logit| logit.is_finite()));
        let mut scratch = Scratch::default();
        let all = kept(&mut scratch, &logits, &sampling);
        let total: f64 = all.iter().map(|(_, weight)| weight).sum();
        // The numbers just inside both ends of a token's share fall on it.
        let mut before = 0.0;
        for (id, weight) in all {
            let (low, high) = (before / total, (before + weight) / total);
            before += weight;
            if high - low > 1e-9 {
                for uniform in [low + 1e-12, high - 1e-12] {
                    prop_assert_eq!(scratch.draw(&logits, &sampling, uniform), Some(id));
                }
            }
        }
    }
}

#[test]
fn a_nucleus_among_many_is_the_one_that_sorting_finds() {
    let mut random = openledger_tensor::Random::new(5, 0);
    let mut scratch = Scratch::default();
    for (vocabulary, spread) in [(4096, 1.0), (50_000, 2.5), (50_000, 8.0)] {
        let logits: Vec<f32> = (0..vocabulary).map(|_| spread * random.normal()).collect();
        for (top_k, min_p, top_p) in
            [(0, 0.0, 0.95), (0, 0.0, 0.1), (50, 0.0, 1.0), (5000, 0.0, 0.9), (0, 0.01, 0.9)]
        {
            let temperature = 1.0;
            let sampling = Sampling { temperature, top_k, min_p, top_p, ..Sampling::GREEDY };
            agree(&mut scratch, &logits, &sampling);
        }
    }
}

#[test]
fn the_likeliest_is_the_first_of_the_largest() {
    let mut scratch = Scratch::default();
    let mut logits = vec![f32::NAN; 300];
    assert_eq!(scratch.likeliest(&logits), None);
    logits[7] = f32::NEG_INFINITY;
    assert_eq!(scratch.likeliest(&logits), None);
    (logits[290], logits[130], logits[129]) = (2.0, 2.0, 1.0);
    assert_eq!(scratch.likeliest(&logits), Some(130));
    logits[200] = f32::INFINITY;
    assert_eq!(scratch.likeliest(&logits), Some(200));
}

#[test]
fn infinite_odds_are_no_probability() {
    let mut scratch = Scratch::default();
    let warm = Sampling { temperature: 1.0, ..Sampling::GREEDY };
    for logits in [[f32::INFINITY, 0.0], [f32::NEG_INFINITY; 2], [f32::NAN; 2]] {
        assert_eq!(scratch.draw(&logits, &warm, 0.5), None);
    }
}

#[test]
fn a_number_at_either_end_falls_on_a_token_that_weighs_something() {
    let mut scratch = Scratch::default();
    let mut logits = vec![f32::NEG_INFINITY; 200];
    (logits[70], logits[71]) = (1.0, 1.0);
    let warm = Sampling { temperature: 1.0, ..Sampling::GREEDY };
    for sampling in [warm.clone(), Sampling { top_k: 100, ..warm.clone() }] {
        assert_eq!(scratch.draw(&logits, &sampling, 0.0), Some(70));
        assert_eq!(scratch.draw(&logits, &sampling, 1.0 - 1e-16), Some(71));
    }
}

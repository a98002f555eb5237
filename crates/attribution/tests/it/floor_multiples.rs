//! Where the table of the noise floor comes from: the law of an effect over the pseudo standard error,
//! when both are nothing but normal noise.

use std::fs;
use std::path::PathBuf;

use openledger_attribution::{CONTRASTS_MIN, EMPTY_RUN_CONTRASTS_MIN, ORDER_MAX, floor_multiple};

use crate::noise::Noise;

/// How often pure noise may be paid. Below the 1 % that is promised, by a tenth.
const FALSE_PAYMENT: f64 = 0.009;
/// m = 64 leaves at most this many contrasts, with one player.
const CONTRASTS_MAX: usize = 2 * ORDER_MAX as usize - 2;

/// P(z > x) for standard normal z and x ≥ 0; absolute error below 7.5e-8 (Abramowitz and Stegun 26.2.17).
fn upper_tail(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * x);
    let terms = [1.330_274_429, -1.821_255_978, 1.781_477_937, -0.356_563_782, 0.319_381_53];
    let sum = terms.iter().fold(0.0, |sum, term| (sum + term) * t);
    sum * (-x * x / 2.0).exp() / core::f64::consts::TAU.sqrt()
}

fn median(ascending: &[f64]) -> f64 {
    (ascending[(ascending.len() - 1) / 2] + ascending[ascending.len() / 2]) / 2.0
}

fn pseudo_standard_error(mut magnitudes: Vec<f64>) -> f64 {
    magnitudes.sort_unstable_by(f64::total_cmp);
    let first = 1.5 * median(&magnitudes);
    magnitudes.retain(|c| *c < 2.5 * first);
    1.5 * median(&magnitudes)
}

/// What would be taken for the part of the empty run: the mean of the contrasts without the smallest and
/// the largest, where it is negative.
fn empty_run(contrasts: &[f64]) -> f64 {
    if contrasts.len() < EMPTY_RUN_CONTRASTS_MIN {
        return 0.0;
    }
    let least = contrasts.iter().copied().fold(f64::INFINITY, f64::min);
    let most = contrasts.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let kept = contrasts.iter().sum::<f64>() - least - most;
    (kept / (contrasts.len() - 2) as f64).min(0.0)
}

/// The multiple of the PSE of `contrasts` standard normal contrasts which a standard normal effect
/// exceeds with probability [`FALSE_PAYMENT`], after the part of the empty run was taken from both. Of
/// `samples` sets of contrasts each counts with the exact tail beyond it, so the only error is that of
/// their law.
fn multiple(contrasts: usize, samples: usize) -> f64 {
    let mut noise = Noise(contrasts as u64);
    let sets: Vec<(f64, f64)> = (0..samples)
        .map(|_| {
            let set: Vec<f64> = (0..contrasts).map(|_| noise.normal()).collect();
            let empty = empty_run(&set);
            (empty, pseudo_standard_error(set.iter().map(|c| (c - empty).abs()).collect()))
        })
        .collect();
    let (mut low, mut high) = (1.0, 32.0);
    for _ in 0..40 {
        let middle = (low + high) / 2.0;
        let tail = |(empty, error): &(f64, f64)| upper_tail(middle * error - empty);
        let paid = sets.iter().map(tail).sum::<f64>();
        if paid > FALSE_PAYMENT * samples as f64 { low = middle } else { high = middle }
    }
    high
}

fn simulated() -> Vec<u16> {
    (CONTRASTS_MIN..=CONTRASTS_MAX)
        .map(|contrasts| {
            let samples = 6_000_000 / contrasts;
            (multiple(contrasts, samples) * 64.0).ceil() as u16
        })
        .collect()
}

#[test]
fn the_committed_multiples_are_those_of_the_law() {
    for contrasts in [3, 4, 7, 8, 11, 15, 18, 25, 40, 64, 100, CONTRASTS_MAX] {
        let committed = f64::from(floor_multiple(contrasts).unwrap()) / 64.0;
        let simulated = multiple(contrasts, 400_000 / contrasts);
        let off = committed / simulated - 1.0;
        println!("{contrasts} contrasts: {committed:.2} committed, {simulated:.2} simulated");
        // The standard error of the simulation is below 2 % with 3 contrasts and 0.5 % with 100.
        assert!(off.abs() < 0.06, "{contrasts} contrasts: {committed} against {simulated}");
    }
    assert_eq!(floor_multiple(CONTRASTS_MIN - 1), None);
}

/// `cargo test --release -p openledger-attribution -- --ignored write_the_multiples`
#[test]
#[ignore = "writes src/noise_floor/multiples.rs's table; run it when the rule changes"]
fn write_the_multiples() {
    let rows: Vec<String> = simulated()
        .chunks(16)
        .map(|row| row.iter().map(|m| format!("{m}, ")).collect::<String>().trim_end().to_owned())
        .collect();
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src/noise_floor/multiples.rs"));
    let source = fs::read_to_string(&path).unwrap();
    let (head, rest) = source.split_once("    // table\n").unwrap();
    let (_, tail) = rest.split_once("    // end of table\n").unwrap();
    let table: String = rows.iter().map(|row| format!("    {row}\n")).collect();
    fs::write(&path, format!("{head}    // table\n{table}    // end of table\n{tail}")).unwrap();
}

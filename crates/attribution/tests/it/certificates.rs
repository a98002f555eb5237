//! What a fidelity certificate says, and that nobody can say otherwise.

use openledger_attribution::{
    Certificate, Design, Error, Influence, certify, effects, held_out, predicted,
};
use openledger_primitives::B256;

use crate::noise::Noise;

/// Answers shaped by all players, scored with an error of `error` against effects of 1 to 8.
fn measured(
    design: &Design,
    seed: u64,
    count: usize,
    error: f64,
) -> (Vec<Vec<i64>>, Vec<Vec<i64>>) {
    let subsets = held_out(design, seed, count).unwrap();
    (0..20u64)
        .map(|answer| {
            let mut noise = Noise(1_000 * seed + answer);
            let worth: Vec<f64> =
                (0..design.players()).map(|_| 1.0 + (noise.next() % 8) as f64).collect();
            let mut value = |inside: &dyn Fn(usize) -> bool| -> i64 {
                let sum: f64 = (0..worth.len()).filter(|p| inside(*p)).map(|p| worth[p]).sum();
                ((sum + error * noise.normal()) * f64::from(1 << 20)) as i64
            };
            let values: Vec<i64> = (0..design.run_count())
                .map(|run| value(&|player| design.subset(run)[player]))
                .collect();
            let actual = subsets.iter().map(|s| value(&|player| s >> player & 1 == 1)).collect();
            let effects = effects(design, &values).unwrap();
            (predicted(effects.per_player(), &subsets), actual)
        })
        .unzip()
}

fn certificate(count: usize, error: f64) -> Certificate {
    let design = Design::new(8).unwrap();
    let (predicted, actual) = measured(&design, 7, count, error);
    let made = certify(&design, 7, count, &predicted, &actual).unwrap();
    assert_eq!(made.verify(&predicted, &actual), Ok(()));
    made
}

#[test]
fn additive_models_are_certified_and_noise_is_not() {
    let additive = certificate(40, 0.0);
    assert_eq!((additive.lds_ppm, additive.low_ppm), (1_000_000, 1_000_000));
    let [clear, blurred, noise] = [1.0, 8.0, 1_000.0].map(|error| certificate(40, error));
    for one in [&clear, &blurred, &noise] {
        println!("{} ppm, {} to {}", one.lds_ppm, one.low_ppm, one.high_ppm);
        assert!(one.low_ppm < one.lds_ppm && one.lds_ppm < one.high_ppm);
    }
    assert!(clear.low_ppm > blurred.high_ppm && blurred.low_ppm > noise.high_ppm);
    assert!(noise.low_ppm < 0 && clear.low_ppm > 900_000);
}

#[test]
fn fewer_held_out_subsets_make_the_interval_wider() {
    let width = |count| {
        let made = certificate(count, 6.0);
        made.high_ppm - made.low_ppm
    };
    let widths = [6, 24, 96].map(width);
    println!("{widths:?} ppm wide");
    assert!(widths.is_sorted_by(|wide, narrow| wide > narrow));
}

#[test]
fn held_out_subsets_are_drawn_from_the_seed_and_were_never_trained() {
    for players in [4, 5, 8, 20, 63] {
        let design = Design::new(players).unwrap();
        let subsets = held_out(&design, 3, 8).unwrap();
        assert_eq!(held_out(&design, 3, 8).unwrap(), subsets);
        assert_ne!(held_out(&design, 4, 8).unwrap(), subsets);
        for (at, subset) in subsets.iter().enumerate() {
            assert!(!subsets[..at].contains(subset) && *subset < 1 << players);
            let flags: Vec<bool> = (0..players).map(|p| subset >> p & 1 == 1).collect();
            assert!((0..design.run_count()).all(|run| design.subset(run) != flags));
        }
    }
    // All eight of order 4 that are left of 16.
    let small = Design::new(4).unwrap();
    assert_eq!(held_out(&small, 1, 8).unwrap().len(), 8);
    assert_eq!(held_out(&small, 1, 9), Err(Error::HeldOut { asked: 9, left: 8 }));
    assert_eq!(held_out(&small, 1, 3), Err(Error::HeldOut { asked: 3, left: 8 }));
}

#[test]
fn a_certificate_that_says_otherwise_than_its_values_is_refused() {
    let design = Design::new(8).unwrap();
    let (predicted, actual) = measured(&design, 9, 12, 4.0);
    let honest = certify(&design, 9, 12, &predicted, &actual).unwrap();
    let changes: [&dyn Fn(&mut Certificate); 7] = [
        &|c| c.lds_ppm += 1,
        &|c| c.low_ppm += 1,
        &|c| c.high_ppm -= 1,
        &|c| c.seed += 1,
        &|c| c.answers += 1,
        &|c| c.values_hash = B256::ZERO,
        &|c| c.subsets[3] ^= 1,
    ];
    for change in changes {
        let mut other = honest.clone();
        change(&mut other);
        assert_eq!(other.verify(&predicted, &actual), Err(Error::CertificateMismatch));
        assert_ne!(other.hash(), honest.hash());
    }
    let mut values = actual.clone();
    values[4][2] += 1;
    assert_eq!(honest.verify(&predicted, &values), Err(Error::CertificateMismatch));
    values[4].pop();
    assert_eq!(honest.verify(&predicted, &values), Err(Error::ValueMatrix { subsets: 12 }));
    assert_eq!(honest.verify(&[], &[]), Err(Error::ValueMatrix { subsets: 12 }));
    let json = serde_json::to_string(&honest).unwrap();
    assert_eq!(serde_json::from_str::<Certificate>(&json).unwrap(), honest);
}

#[test]
fn a_floor_is_met_by_the_lower_end_of_the_interval() {
    let made = certificate(24, 4.0);
    let low = made.low_ppm.unsigned_abs();
    assert_eq!(Certificate::influence(Some(&made), low), Influence::Paid);
    assert_eq!(Certificate::influence(Some(&made), low + 1), Influence::Commons);
    assert_eq!(Certificate::influence(None, 0), Influence::Paid);
    assert_eq!(Certificate::influence(None, 1), Influence::Commons);
    let noise = Certificate { low_ppm: -5, ..made };
    assert_eq!(Certificate::influence(Some(&noise), 0), Influence::Paid);
    assert_eq!(Certificate::influence(Some(&noise), 1), Influence::Commons);
}

//! Whether effects recover a truth that is known, through noise and interactions.

use openledger_attribution::{Design, effects, noise_floor};

/// Deterministic numbers that look random (splitmix64; Steele, Lea and Flood 2014).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// About normal with the given standard deviation: twelve uniform numbers.
    fn normal(&mut self, deviation: i64) -> i64 {
        let sum: i64 = (0..12).map(|_| (self.next() >> 44) as i64 - (1 << 19)).sum();
        ((i128::from(sum) * i128::from(deviation)) >> 20) as i64
    }
}

const NAT: i64 = 1 << 20;

/// Answers to which players 0, 1 and 2 contribute 12, 6 and 3 nat, with an interaction of 0 and 1,
/// scored with a standard error of one nat.
fn answers(design: &Design, count: u64) -> impl Iterator<Item = Vec<i64>> {
    let subsets: Vec<Vec<bool>> = (0..design.run_count()).map(|r| design.subset(r)).collect();
    (0..count).map(move |seed| {
        let mut noise = Noise(seed);
        let value = |inside: &Vec<bool>| {
            let worth = [12, 6, 3].iter().zip(inside).filter(|(_, i)| **i).map(|(w, _)| w * NAT);
            let overlap = if inside[0] && inside[1] { -4 * NAT } else { 0 };
            -30 * NAT + worth.sum::<i64>() + overlap + noise.normal(NAT)
        };
        subsets.iter().map(value).collect()
    })
}

#[test]
fn effects_recover_an_additive_truth_within_their_standard_error() {
    for (players, order) in [(12, 12), (12, 32), (20, 20), (63, 64)] {
        let design = Design::with_order(players, order).unwrap();
        // Banzhaf: half of the overlap is taken from each of the two.
        let truth = |player: usize| [10, 4, 3].get(player).copied().unwrap_or(0) * NAT;
        let (mut squares, mut count) = (0f64, 0f64);
        for values in answers(&design, 200) {
            let measured = effects(&design, &values).unwrap();
            for (player, effect) in measured.per_player().iter().enumerate() {
                let error = effect / i64::from(order) - truth(player);
                squares += (error as f64 / NAT as f64).powi(2);
                count += 1.0;
            }
        }
        // Mean of m values minus mean of m others.
        let (seen, expected) = ((squares / count).sqrt(), (2.0 / f64::from(order)).sqrt());
        println!("{players} players, order {order}: error {seen:.3}, expected {expected:.3} nat");
        assert!((0.9..1.1).contains(&(seen / expected)));
    }
}

#[test]
fn the_floor_lets_owners_through_and_stops_noise() {
    for (players, order, noise_paid_max) in [(8, 8, 0.07), (12, 32, 0.03), (40, 64, 0.03)] {
        let design = Design::with_order(players, order).unwrap();
        let (mut owner, mut noise, mut answers_seen) = (0.0, 0.0, 0.0);
        for values in answers(&design, 1_000) {
            let measured = effects(&design, &values).unwrap();
            let floor = noise_floor(&measured);
            let cleared = |effect: &&i64| **effect > floor;
            owner += f64::from(u8::from(measured.per_player()[0] > floor));
            noise += measured.per_player()[3..].iter().filter(cleared).count() as f64;
            answers_seen += 1.0;
        }
        let (owner, noise) = (owner / answers_seen, noise / answers_seen / (players - 3) as f64);
        println!("{players} players, order {order}: owner paid {owner:.3}, noise paid {noise:.4}");
        assert!(owner > 0.99);
        assert!(noise < noise_paid_max);
    }
}

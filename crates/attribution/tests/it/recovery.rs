//! Whether effects recover a truth that is known, through noise and interactions.

use openledger_attribution::{Design, ORDER_MAX, effects, noise_floor};

use crate::noise::Noise;

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
            -30 * NAT + worth.sum::<i64>() + overlap + (noise.normal() * NAT as f64) as i64
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

/// How often a player that contributes nothing is paid, and how often owners whose text is worth 3, 6
/// and 12 times the error of one run are, in answers with no interactions, per player.
fn paid_rates(design: &Design, answers: u64) -> (f64, [f64; 3]) {
    const WORTH: [i64; 3] = [3, 6, 12];
    let subsets: Vec<Vec<bool>> = (0..design.run_count()).map(|r| design.subset(r)).collect();
    let (mut nothing, mut owners) = (0u64, [0u64; 3]);
    for answer in 0..answers {
        // The owner is another player in each answer.
        let owner = answer as usize % design.players();
        let mut noise =
            Noise((design.order() as u64) << 40 | (design.players() as u64) << 32 | answer);
        let errors: Vec<i64> =
            subsets.iter().map(|_| (noise.normal() * NAT as f64) as i64).collect();
        for (worth, cleared) in WORTH.iter().zip(&mut owners) {
            let value = |(inside, error): (&Vec<bool>, &i64)| {
                error + if inside[owner] { worth * NAT } else { 0 }
            };
            let values: Vec<i64> = subsets.iter().zip(&errors).map(value).collect();
            let measured = effects(design, &values).unwrap();
            let floor = noise_floor(&measured);
            let paid = |player: usize| u64::from(measured.per_player()[player] > floor);
            *cleared += paid(owner);
            if *worth == WORTH[0] {
                nothing += (0..design.players()).filter(|p| *p != owner).map(paid).sum::<u64>();
            }
        }
    }
    let worthless = (answers * (design.players() as u64 - 1)) as f64;
    (nothing as f64 / worthless, owners.map(|cleared| cleared as f64 / answers as f64))
}

/// Prints the table for people: `cargo test --release -p openledger-attribution noise_is_paid -- --nocapture`
#[test]
fn noise_is_paid_in_fewer_than_one_answer_in_a_hundred_with_every_order() {
    println!("players order contrasts error/run  noise paid  owner of 3, 6, 12 run errors paid");
    let (mut all, mut designs) = (0.0, 0.0);
    for players in [3, 4, 5, 6, 8, 10, 12, 16, 24, 32, 48, 63] {
        for order in (1..=ORDER_MAX).filter(|order| [4, 8, 12, 16, 24, 32, 48, 64].contains(order))
        {
            let Ok(design) = Design::with_order(players, order) else { continue };
            let answers = 60_000 / players as u64;
            let (noise, owners) = paid_rates(&design, answers);
            println!(
                "{players:7} {order:5} {:9} {:9.2} {:9.2} % {:9.3} {:.3} {:.3}",
                design.contrasts(),
                f64::from(design.standard_error_ppm()) / 1e6,
                100.0 * noise,
                owners[0],
                owners[1],
                owners[2],
            );
            // 0.9 % and three standard errors of this count, answers of one floor going together.
            assert!(noise < 0.012, "{players} players, order {order}: {noise}");
            all += noise;
            designs += 1.0;
        }
    }
    println!("mean over {designs} designs: {:.3} %", 100.0 * all / designs);
    assert!(all / designs < 0.0095);
}

#[test]
fn the_floor_lets_owners_through_in_answers_that_several_shaped() {
    for (players, order, owner_paid_min) in [(8, 8, 0.95), (12, 32, 0.99), (40, 64, 0.99)] {
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
        assert!(owner > owner_paid_min);
        assert!(noise < 0.01);
    }
}

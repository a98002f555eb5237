//! What the shares promise to contributors and to auditors.

use openledger_attribution::{
    Design, Error, Evidence, HOLDERS_MAX, Holder, Influence, Inputs, Share, SpanMatch, Step,
};
use openledger_primitives::B256;
use proptest::prelude::*;

use crate::generators;

const NAT: i64 = 1 << 20;

/// An answer of `tokens` tokens to which the base gives 5 nat each, and whose value under a subset is
/// `value`. It repeats nothing.
fn answer(design: &Design, tokens: usize, value: impl Fn(&[bool]) -> i64) -> Inputs {
    Inputs {
        design: design.reference(),
        values: (0..design.run_count()).map(|run| value(&design.subset(run))).collect(),
        surprisals: vec![5 * NAT as u64; tokens],
        influence: Influence::Paid,
        matches: Vec::new(),
        tie_seed: B256::repeat_byte(7),
    }
}

fn sum_of(weights: &[i64]) -> impl Fn(&[bool]) -> i64 {
    move |inside| weights.iter().zip(inside).filter(|(_, inside)| **inside).map(|(w, _)| w).sum()
}

fn span(start: u32, length: u32, player: u8) -> SpanMatch {
    let record = u32::from(player) * 10;
    SpanMatch { start, length, holders: 1, earliest: Some(Holder { record, player }) }
}

fn close(a: Share, b: Share, units: u64) -> bool {
    a.parts().abs_diff(b.parts()) <= units
}

proptest! {
    #[test]
    fn shares_and_commons_are_the_whole_and_players_get_at_most_what_is_explained(
        inputs in generators::inputs(),
    ) {
        let outcome = inputs.derive().unwrap();
        let players: u64 = outcome.shares.players.iter().map(|s| s.parts()).sum();
        prop_assert_eq!(players + outcome.shares.commons.parts(), Share::ONE.parts());
        prop_assert!(players <= outcome.explained.parts());
    }

    #[test]
    fn a_player_below_the_floor_without_text_gets_exactly_nothing(inputs in generators::inputs()) {
        let outcome = inputs.derive().unwrap();
        for (player, effect) in outcome.effects.iter().enumerate() {
            if *effect <= outcome.noise_floor && outcome.credit.per_player[player] == 0 {
                prop_assert_eq!(outcome.shares.of(player), Share::ZERO);
            }
        }
        prop_assert_eq!(outcome.shares.of(outcome.effects.len()), Share::ZERO);
    }

    /// Where every subset is trained, the game alone decides, not the place in the design.
    #[test]
    fn permuting_players_permutes_their_shares(
        full in prop::sample::select(vec![(2usize, 2u8), (3, 4), (4, 8), (5, 16)]),
        seed: u64,
        shift in 1usize..5,
    ) {
        let design = Design::with_order(full.0, full.1).unwrap();
        let players = design.players();
        // Any game: a value for each subset, by its members.
        let game = |members: u64| -> i64 {
            let mixed = (members + 1).wrapping_mul(seed | 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            (mixed >> 40) as i64 + 4_000_000 * members.count_ones() as i64
        };
        let moved = |player: usize| (player + shift) % players;
        let of = |place: &dyn Fn(usize) -> usize, inside: &[bool]| {
            let members = (0..players).filter(|p| inside[place(*p)]);
            game(members.map(|p| 1 << p).sum())
        };
        let mut plain = answer(&design, 30, |inside| of(&|p| p, inside));
        let mut permuted = answer(&design, 30, |inside| of(&moved, inside));
        plain.matches = vec![span(3, 9, 0), span(10, 12, 1)];
        permuted.matches = vec![span(3, 9, moved(0) as u8), span(10, 12, moved(1) as u8)];
        let (plain, permuted) = (plain.derive().unwrap(), permuted.derive().unwrap());
        prop_assert_eq!(plain.noise_floor, permuted.noise_floor);
        prop_assert_eq!(plain.shares.commons, permuted.shares.commons);
        for player in 0..players {
            prop_assert_eq!(plain.effects[player], permuted.effects[moved(player)]);
            // Equal remainders are decided by place.
            prop_assert!(close(plain.shares.of(player), permuted.shares.of(moved(player)), 1));
        }
    }

    #[test]
    fn splitting_into_more_wallets_gains_nothing(
        weights in prop::collection::vec(0i64..30 * NAT, 2..40),
        parts in 2usize..6,
        cuts in prop::collection::vec(1i64..100, 6),
    ) {
        let whole = Design::new(weights.len()).unwrap();
        let last = weights.len() - 1;
        let weight = weights[last];
        let mut split = weights[..last].to_vec();
        let all: i64 = cuts[..parts].iter().sum();
        split.extend(cuts[1..parts].iter().map(|cut| weight * cut / all));
        split.push(weight - split[last..].iter().sum::<i64>());
        let finer = Design::new(split.len()).unwrap();

        let mut one = answer(&whole, 40, sum_of(&weights));
        one.matches = vec![span(0, 10, last as u8), span(20, 10, last as u8)];
        let mut many = answer(&finer, 40, sum_of(&split));
        many.matches = vec![span(0, 10, last as u8), span(20, 10, last as u8 + 1)];
        let (one, many) = (one.derive().unwrap(), many.derive().unwrap());
        let together: u64 = many.shares.players[last..].iter().map(|s| s.parts()).sum();
        prop_assert!(one.shares.of(last).parts().abs_diff(together) <= parts as u64);
        for player in 0..last {
            prop_assert!(close(one.shares.of(player), many.shares.of(player), 1));
        }
    }
}

#[test]
fn two_holders_of_one_fact_share_it_equally_where_leaving_one_out_would_pay_neither() {
    for players in [2, 3, 8, 20] {
        let design = Design::new(players).unwrap();
        let knows = |inside: &[bool]| if inside[0] || inside[1] { -NAT } else { -30 * NAT };
        let outcome = answer(&design, 6, knows).derive().unwrap();
        let (first, second) = (outcome.shares.of(0), outcome.shares.of(1));
        assert!(close(first, second, 1), "{first} {second}");
        let both = first.parts() + second.parts();
        assert!(both.abs_diff(outcome.explained.parts()) <= 1, "{players} players");
    }
}

#[test]
fn what_nobody_earned_goes_to_the_commons() {
    let design = Design::new(4).unwrap();
    // Nobody helped: the adapter made the answer less likely.
    let worse = answer(&design, 10, sum_of(&[-NAT; 4])).derive().unwrap();
    assert_eq!(worse.shares.commons, Share::ONE);
    // Explained, but no effect clears the floor: the adapters agree in pairs only.
    let pairs = answer(&design, 10, |inside| {
        let sign = |player: usize| if inside[player] { 1 } else { -1 };
        if inside.iter().all(|i| *i) { 0 } else { -50 * NAT + 9 * NAT * sign(0) * sign(1) }
    });
    let pairs = pairs.derive().unwrap();
    assert!(pairs.explained > Share::ZERO);
    assert!(pairs.effects.iter().all(|effect| *effect <= pairs.noise_floor));
    assert_eq!(pairs.shares.commons, Share::ONE);
    // Text that too many hold.
    let mut common = answer(&design, 10, sum_of(&[NAT; 4]));
    common.matches = vec![SpanMatch { holders: HOLDERS_MAX + 1, earliest: None, ..span(0, 10, 0) }];
    assert_eq!(common.derive().unwrap().shares.commons, Share::ONE);
}

#[test]
fn repeated_text_pays_its_holder_and_the_rest_of_the_answer_pays_by_effect() {
    let design = Design::new(4).unwrap();
    let mut inputs = answer(&design, 10, sum_of(&[0, 40 * NAT, 0, 0]));
    inputs.matches = vec![span(0, 6, 0)];
    let outcome = inputs.derive().unwrap();
    assert_eq!((outcome.credit.covered, outcome.credit.total), (30 << 20, 50 << 20));
    let explained = outcome.explained.parts();
    assert_eq!(outcome.shares.of(0).parts(), explained * 3 / 5);
    assert!(outcome.shares.of(1).parts().abs_diff(explained * 2 / 5) <= 1);
    assert_eq!(outcome.shares.of(2), Share::ZERO);
}

#[test]
fn a_model_below_the_fidelity_floor_pays_for_repeated_text_and_the_rest_is_the_commons() {
    let design = Design::new(4).unwrap();
    let mut inputs = answer(&design, 10, sum_of(&[0, 40 * NAT, 0, 0]));
    inputs.matches = vec![span(0, 6, 0)];
    let faithful = inputs.derive().unwrap();
    inputs.influence = Influence::Commons;
    let outcome = inputs.derive().unwrap();
    assert_eq!(outcome.effects, faithful.effects);
    assert_eq!(outcome.shares.of(0).parts(), outcome.explained.parts() * 3 / 5);
    assert_eq!(outcome.shares.of(1), Share::ZERO);
    assert_eq!(outcome.shares.of(0).complement(), outcome.shares.commons);
}

#[test]
fn an_answer_without_surprisal_or_tokens_is_derived_all_the_same() {
    let design = Design::new(2).unwrap();
    let mut inputs = answer(&design, 4, sum_of(&[NAT, 0]));
    inputs.surprisals = vec![0; 4];
    let outcome = inputs.derive().unwrap();
    assert_eq!(outcome.shares.of(0), outcome.explained);
    inputs.surprisals.clear();
    assert_eq!(inputs.derive().unwrap().shares.commons, Share::ONE);
}

#[test]
fn equal_remainders_are_decided_by_the_seed_and_favour_nobody_in_the_long_run() {
    let design = Design::new(3).unwrap();
    let mut inputs = answer(&design, 4, sum_of(&[NAT; 3]));
    let mut largest = [0u32; 3];
    for seed in 0..=255 {
        inputs.tie_seed = B256::repeat_byte(seed);
        let shares = inputs.derive().unwrap().shares;
        let most = shares.players.iter().max().unwrap();
        let winners = (0..3).filter(|p| shares.of(*p) == *most);
        winners.for_each(|player| largest[player] += 1);
        assert!(shares.players.iter().all(|s| close(*s, *most, 1)));
    }
    assert!(largest.iter().all(|count| (50..=230).contains(count)), "{largest:?}");
}

#[test]
fn verification_names_the_first_step_that_does_not_hold() {
    let design = Design::new(5).unwrap();
    let mut inputs = answer(&design, 12, sum_of(&[NAT, 9 * NAT, 0, 0, 3 * NAT]));
    inputs.values[3] -= 77;
    inputs.matches = vec![span(0, 7, 1)];
    let honest = Evidence::new(inputs).unwrap();
    assert_eq!(honest.verify(), Ok(()));
    let step = |change: &dyn Fn(&mut Evidence)| {
        let mut evidence = honest.clone();
        change(&mut evidence);
        evidence.verify().unwrap_err().step()
    };
    let less = |share: Share| Share::from_parts(share.parts() - 1).unwrap();

    assert_eq!(step(&|e| e.inputs.design.hash = B256::ZERO), Step::Design);
    assert_eq!(step(&|e| e.inputs.design.order = 12), Step::Design);
    assert_eq!(step(&|e| e.inputs.design.players = 0), Step::Design);
    assert_eq!(step(&|e| e.inputs.values.truncate(3)), Step::Values);
    assert_eq!(step(&|e| e.inputs.values[0] += 1), Step::Effects);
    assert_eq!(step(&|e| e.outcome.effects[4] += 1), Step::Effects);
    assert_eq!(step(&|e| e.outcome.noise_floor -= 1), Step::NoiseFloor);
    assert_eq!(step(&|e| e.outcome.explained = less(e.outcome.explained)), Step::Explained);
    assert_eq!(step(&|e| e.outcome.credit.commons += 1), Step::Spans);
    assert_eq!(step(&|e| e.inputs.matches[0].length = 13), Step::Spans);
    assert_eq!(step(&|e| e.inputs.surprisals[11] += 1), Step::Spans);
    assert_eq!(step(&|e| e.inputs.surprisals.truncate(11)), Step::Explained);
    assert_eq!(step(&|e| e.outcome.shares.players[1] = less(e.outcome.shares.of(1))), Step::Shares);
    // Of two faults the first.
    assert_eq!(step(&|e| (e.outcome.explained, e.outcome.noise_floor) = (Share::ZERO, 0)), {
        if honest.outcome.noise_floor == 0 { Step::Explained } else { Step::NoiseFloor }
    });
}

#[test]
fn a_changed_input_changes_the_hash_of_the_evidence() {
    let design = Design::new(3).unwrap();
    let mut inputs = answer(&design, 8, sum_of(&[NAT; 3]));
    inputs.matches = vec![span(0, 8, 1)];
    let changes: [&dyn Fn(&mut Inputs); 7] = [
        &|i| i.influence = Influence::Commons,
        &|i| i.values[2] += 1,
        &|i| i.surprisals[7] += 1,
        &|i| i.tie_seed = B256::ZERO,
        &|i| i.design.hash = B256::ZERO,
        &|i| i.matches[0].earliest = Some(Holder { record: 10, player: 0 }),
        &|i| i.matches[0].earliest = None,
    ];
    for change in changes {
        let mut other = inputs.clone();
        change(&mut other);
        assert_ne!(other.hash(), inputs.hash());
    }
}

#[test]
fn evidence_with_a_field_too_many_is_refused() {
    let design = Design::new(2).unwrap();
    let evidence = Evidence::new(answer(&design, 3, sum_of(&[NAT; 2]))).unwrap();
    let mut json = serde_json::to_value(&evidence).unwrap();
    json["outcome"]["shares"]["note"] = "trust me".into();
    let refused = serde_json::from_value::<Evidence>(json).unwrap_err();
    assert!(refused.to_string().contains("unknown field"), "{refused}");
    assert!(Error::Mismatch(Step::Shares).to_string().contains("shares"));
}

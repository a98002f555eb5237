//! What the members of a group are promised.

use openledger_attribution::{
    Basis, Division, Error, Inputs, Member, MemberShare, Outcome, Share, apportion,
};
use openledger_primitives::B256;
use proptest::prelude::*;
use proptest::strategy::ValueTree;

use crate::generators;

/// Members to whom the player's charge is dealt out, the last one getting what is left.
fn members(
    outcome: &Outcome,
    player: usize,
    parts: &[(u64, u64, u64)],
    basis: Basis,
) -> Vec<Member> {
    let mut left = outcome.credit.per_player[player];
    let last = parts.len() - 1;
    (0u32..)
        .zip(parts)
        .map(|(contributor, (cut, weight, tokens))| {
            let charged =
                if contributor as usize == last { left } else { left * (cut % 101) / 100 };
            left -= charged;
            Member { contributor, charged, weight: *weight, basis, tokens: *tokens }
        })
        .collect()
}

fn group() -> impl Strategy<Value = Vec<(u64, u64, u64)>> {
    let weight = prop_oneof![1 => Just(0u64), 4 => 0u64..1_000, 1 => any::<u64>()];
    prop::collection::vec((any::<u64>(), weight, 1u64..1_000_000), 1..20)
}

fn case() -> impl Strategy<Value = (Inputs, Vec<(u64, u64, u64)>, prop::sample::Index)> {
    (generators::inputs(), group(), any::<prop::sample::Index>())
}

fn sum(shares: &[MemberShare], of: impl Fn(&MemberShare) -> Share) -> u64 {
    shares.iter().map(|member| of(member).parts()).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn members_get_what_their_player_gets_and_no_more_is_measured_than_paid(
        (inputs, parts, player) in case(),
        opened: bool,
    ) {
        let outcome = inputs.derive().unwrap();
        let player = player.index(outcome.effects.len());
        let basis = if opened { Basis::Measured } else { Basis::Apportioned };
        let members = members(&outcome, player, &parts, basis);
        let divide = || apportion(&outcome, inputs.influence, player, &members, inputs.tie_seed);
        let shares = divide().unwrap();
        prop_assert_eq!(sum(&shares, |m| m.share), outcome.shares.of(player).parts());
        prop_assert!(shares.iter().all(|member| member.measured <= member.share));
        for (member, share) in members.iter().zip(&shares) {
            if member.charged == 0 && member.weight == 0 && parts.iter().any(|p| p.1 > 0) {
                prop_assert_eq!(share.share, Share::ZERO);
            }
        }
        prop_assert_eq!(divide().unwrap(), shares);
    }

    #[test]
    fn a_division_conserves_every_players_share_and_no_number_of_it_can_be_changed(
        inputs in generators::inputs(),
        groups in prop::collection::vec(group(), 64),
        changed: prop::sample::Index,
        by in 1u64..1_000,
    ) {
        let outcome = inputs.derive().unwrap();
        let mut next = 0;
        let players: Vec<Vec<Member>> = (0..outcome.effects.len())
            .map(|player| {
                let mut members = members(&outcome, player, &groups[player], Basis::Apportioned);
                for member in &mut members {
                    member.contributor = next;
                    next += 1;
                }
                members
            })
            .collect();
        let new = |players| Division::new(&outcome, inputs.influence, players, inputs.tie_seed);
        let division = new(players.clone()).unwrap();
        let verify = |division: &Division| {
            division.verify(&outcome, inputs.influence, inputs.tie_seed)
        };
        prop_assert!(verify(&division).is_ok());
        for (player, members) in players.iter().enumerate() {
            let of = |member: &Member| division.shares[member.contributor as usize].share.parts();
            let sum: u64 = members.iter().map(of).sum();
            prop_assert_eq!(sum, outcome.shares.of(player).parts());
            prop_assert_eq!(division.player_of(members[0].contributor), Some(player));
        }
        let paid: u64 = division.shares.iter().map(|member| member.share.parts()).sum();
        prop_assert_eq!(paid + outcome.shares.commons.parts(), Share::ONE.parts());

        let at = changed.index(division.shares.len());
        let mut other = division.clone();
        let parts = other.shares[at].share.parts();
        other.shares[at].share = Share::from_parts(parts.checked_sub(by).unwrap_or(parts + by)).unwrap();
        prop_assert_eq!(verify(&other), Err(Error::DivisionMismatch { contributor: at }));
        let mut missing = division.clone();
        missing.shares.pop();
        prop_assert!(verify(&missing).is_err());
        let mut twice = players;
        twice[0].push(Member { charged: 0, ..division.players[0][0] });
        prop_assert!(new(twice).is_err());
    }

    #[test]
    fn splitting_a_member_inside_its_group_gains_nothing(
        (inputs, parts, player) in case(),
        split: prop::sample::Index,
        wallets in 2u64..8,
    ) {
        let outcome = inputs.derive().unwrap();
        let player = player.index(outcome.effects.len());
        let whole = members(&outcome, player, &parts, Basis::Apportioned);
        let split = split.index(whole.len());
        // Parts that add up to the member.
        let part = |number: u64, all: u64| {
            all / wallets + if number == 0 { all % wallets } else { 0 }
        };
        let mut many = whole.clone();
        let one = many.remove(split);
        many.extend((0..wallets).map(|number| Member {
            contributor: 1_000 + number as u32,
            charged: part(number, one.charged),
            weight: part(number, one.weight),
            basis: Basis::Apportioned,
            tokens: part(number, one.tokens),
        }));
        let divide = |members: &[Member]| {
            apportion(&outcome, inputs.influence, player, members, inputs.tie_seed).unwrap()
        };
        let (alone, together) = (divide(&whole), divide(&many));
        let before = alone[split].share.parts();
        let after = sum(&together[whole.len() - 1..], |m| m.share);
        prop_assert!(before.abs_diff(after) <= wallets, "{before} {after}");
        for (a, b) in alone.iter().filter(|m| m.contributor as usize != split).zip(&together) {
            prop_assert!(a.share.parts().abs_diff(b.share.parts()) <= 1);
        }
    }
}

#[test]
fn text_is_measured_and_the_rest_is_apportioned_by_similarity_until_the_group_is_opened() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut seen = 0;
    while seen < 50 {
        let tree = generators::inputs().new_tree(&mut runner).unwrap();
        let outcome = tree.current().derive().unwrap();
        let paid = |p: &usize| {
            outcome.credit.per_player[*p] > 1 && outcome.effects[*p] > outcome.noise_floor
        };
        let influence = tree.current().influence;
        let Some(player) = (0..outcome.effects.len()).find(paid) else { continue };
        if outcome.shares.of(player).parts() < 1_000
            || outcome.credit.covered == outcome.credit.total
            || influence == openledger_attribution::Influence::Commons
        {
            continue;
        }
        seen += 1;
        let charged = outcome.credit.per_player[player];
        // The first owns the text, the second is the more similar.
        let divide = |basis| {
            let members = [
                Member { contributor: 4, charged, weight: 1, basis, tokens: 9 },
                Member { contributor: 7, charged: 0, weight: 3, basis, tokens: 9 },
            ];
            apportion(&outcome, influence, player, &members, B256::ZERO).unwrap()
        };
        let shares = divide(Basis::Apportioned);
        assert_eq!(shares[1].measured, Share::ZERO);
        // Of the effect's part the first has a third of what the second has.
        let by_effect = shares[0].share.parts() - shares[0].measured.parts();
        assert!((by_effect * 3).abs_diff(shares[1].share.parts()) <= 6, "{shares:?}");
        assert!(divide(Basis::Measured).iter().all(|member| member.measured == member.share));
    }
}

#[test]
fn members_that_are_not_the_player_are_refused() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let inputs = generators::inputs().new_tree(&mut runner).unwrap().current();
    let outcome = inputs.derive().unwrap();
    let charged = outcome.credit.per_player[0];
    let divide = |player, charged, tokens| {
        let basis = Basis::Apportioned;
        let members = [Member { contributor: 0, charged, weight: 0, basis, tokens }];
        apportion(&outcome, inputs.influence, player, &members, B256::ZERO)
    };
    assert!(divide(0, charged, 1).is_ok());
    assert_eq!(divide(0, charged + 1, 1), Err(Error::Members { player: 0 }));
    assert_eq!(divide(0, charged, 0), Err(Error::Members { player: 0 }));
    let unknown = outcome.effects.len();
    assert_eq!(divide(unknown, 0, 1), Err(Error::Members { player: unknown }));
}

//! Random answers.

use openledger_attribution::{
    Design, HOLDERS_MAX, Holder, Influence, Inputs, SURPRISAL_MAX, SpanMatch, VALUE_MAX,
};
use openledger_primitives::B256;
use proptest::prelude::*;

const NAT: i64 = 1 << 20;

/// Designs of all kinds, small ones more often.
fn design() -> impl Strategy<Value = Design> {
    let players = prop_oneof![4 => 1..=6usize, 2 => 7..=20usize, 1 => 21..=63usize];
    (players, 0..=64u8).prop_map(|(players, order)| {
        Design::with_order(players, order).unwrap_or_else(|_| Design::new(players).unwrap())
    })
}

/// Everything that can be measured about an answer, from the likely to the extreme.
pub(crate) fn inputs() -> impl Strategy<Value = Inputs> {
    design().prop_flat_map(|design| inputs_of(&design))
}

/// As [`inputs`], for one design.
pub(crate) fn inputs_of(design: &Design) -> impl Strategy<Value = Inputs> + use<> {
    let (name, players) = (design.reference(), design.players());
    let value = prop_oneof![
        Just(-3i64..4),                  // ties
        Just(-80 * NAT..0),              // an ordinary answer
        Just(-VALUE_MAX..VALUE_MAX + 1), // the bounds
    ];
    let runs = design.run_count();
    let values = value.prop_flat_map(move |range| prop::collection::vec(range, runs));
    let surprisal = prop_oneof![
        1 => Just(0u64),
        6 => 0..8 * NAT as u64,
        1 => Just(2 * NAT as u64), // ties
        1 => 0..=SURPRISAL_MAX,
    ];
    let surprisals = prop::collection::vec(surprisal, 0..60);
    let pieces = prop::collection::vec((0..60u32, 1..=30u32, 1..=HOLDERS_MAX + 5), 0..12);
    let influence = prop_oneof![7 => Just(Influence::Paid), 1 => Just(Influence::Commons)];
    (values, surprisals, pieces, influence, any::<[u8; 32]>()).prop_map(
        move |(values, surprisals, pieces, influence, tie_seed)| Inputs {
            design: name,
            matches: maximal(pieces, surprisals.len() as u32, players),
            values,
            surprisals,
            influence,
            tie_seed: B256::from(tie_seed),
        },
    )
}

/// Pieces in order, without those that another one contains.
fn maximal(mut pieces: Vec<(u32, u32, u32)>, tokens: u32, players: usize) -> Vec<SpanMatch> {
    pieces.sort();
    let mut matches: Vec<SpanMatch> = Vec::new();
    for (start, length, holders) in pieces {
        let last = matches.last().map(|m| (m.start, m.end()));
        if start + length > tokens || last.is_some_and(|(s, e)| start <= s || start + length <= e) {
            continue;
        }
        let player = ((start + 7 * length) as usize % players) as u8;
        let earliest = (holders <= HOLDERS_MAX).then_some(Holder { record: start, player });
        matches.push(SpanMatch { start, length, holders, earliest });
    }
    matches
}

//! What people read about an answer.

use openledger_attribution::{
    Basis, Design, Division, Evidence, Explanation, Holder, Influence, Inputs, Member, RecordText,
    Share, ShownRecord, SpanMatch, explain,
};
use openledger_primitives::B256;
use proptest::prelude::*;

use crate::generators;

const NAT: i64 = 1 << 20;
const NAMES: [&str; 4] = ["ann", "bob", "cleo", "dan"];
const ANSWER: &str = "a quern is a hand mill for grain";
const RECORDS: [RecordText<'_>; 4] = [
    RecordText { record: 0, contributor: 0, text: "A quern is a hand mill." },
    RecordText { record: 1, contributor: 0, text: "The moon is far." },
    RecordText { record: 2, contributor: 1, text: "Grain is milled by hand in a quern." },
    RecordText { record: 3, contributor: 2, text: "Tides follow the moon." },
];

/// Ten tokens; each player adds its worth to the answer.
fn evidence(worth: [i64; 4], matches: Vec<SpanMatch>, influence: Influence) -> Evidence {
    let design = Design::with_order(4, 8).unwrap();
    let value = |run| -> i64 {
        worth.iter().zip(design.subset(run)).filter(|(_, inside)| *inside).map(|(w, _)| w).sum()
    };
    Evidence::new(Inputs {
        design: design.reference(),
        values: (0..design.run_count()).map(value).collect(),
        surprisals: vec![4 * NAT as u64; 10],
        influence,
        matches,
        tie_seed: B256::ZERO,
    })
    .unwrap()
}

fn span(record: u32, player: u8) -> SpanMatch {
    SpanMatch { start: 0, length: 6, holders: 1, earliest: Some(Holder { record, player }) }
}

fn explained(evidence: &Evidence) -> Explanation {
    explain(evidence, None, &NAMES, ANSWER, &RECORDS)
}

#[test]
fn each_contributor_paid_gets_one_sentence_and_the_records_that_mattered() {
    let found = evidence([20 * NAT, 15 * NAT, 0, 0], vec![span(0, 0)], Influence::Paid);
    let explanation = explained(&found);
    let [ann, bob] = &explanation.contributors[..] else { panic!("{explanation:?}") };
    assert_eq!(
        ann.sentence,
        "ann gets 80.3 % of the data pot: 6 of the answer's 10 tokens stand word for word in records \
         that ann committed first, and without ann's records the model gives this answer less readily."
    );
    assert_eq!(ann.records.len(), 1, "the moon has nothing to do with it");
    assert_eq!((ann.records[0].record, ann.records[0].repeated_tokens), (0, 6));
    assert_eq!(
        bob.sentence,
        "bob gets 16.6 % of the data pot: without bob's records the model gives this answer less readily."
    );
    let [ShownRecord { record: 2, repeated_tokens: 0, similarity_ppm: Some(similar) }] =
        bob.records[..]
    else {
        panic!("{bob:?}")
    };
    assert!(similar > 500_000);
    assert!(
        explanation
            .commons
            .starts_with("The commons gets 3.0 % of the data pot: the rest was known")
    );
}

#[test]
fn where_no_source_reached_the_threshold_that_is_said() {
    let nothing = explained(&evidence([-NAT; 4], vec![], Influence::Paid));
    assert!(nothing.contributors.is_empty());
    assert!(nothing.commons.contains("no source reached the threshold: training added nothing"));
    let uncertified = explained(&evidence([9 * NAT; 4], vec![], Influence::Commons));
    assert!(uncertified.contributors.is_empty());
    assert!(
        uncertified.commons.contains("no source reached the threshold: the answer repeats nobody")
    );
    // Pairs only: explained, but no effect.
    let design = Design::new(4).unwrap();
    let sign = |inside: bool| if inside { 1 } else { -1 };
    let value = |run: usize| {
        let inside = design.subset(run);
        if run == 0 { 0 } else { -50 * NAT + 9 * NAT * sign(inside[0]) * sign(inside[1]) }
    };
    let pairs = Evidence::new(Inputs {
        design: design.reference(),
        values: (0..design.run_count()).map(value).collect(),
        surprisals: vec![4 * NAT as u64; 10],
        influence: Influence::Paid,
        matches: vec![],
        tie_seed: B256::ZERO,
    });
    let pairs = explained(&pairs.unwrap());
    assert!(pairs.contributors.is_empty());
    assert!(
        pairs
            .commons
            .contains("no source reached the threshold: no contributor's effect is larger")
    );
}

#[test]
fn a_model_that_is_not_certified_still_pays_for_repeated_text() {
    let explanation = explained(&evidence([9 * NAT; 4], vec![span(3, 2)], Influence::Commons));
    let [cleo] = &explanation.contributors[..] else { panic!("{explanation:?}") };
    assert!(cleo.sentence.ends_with("in records that cleo committed first."), "{}", cleo.sentence);
}

#[test]
fn members_of_a_group_are_told_what_was_measured_and_what_was_apportioned() {
    let found = evidence([20 * NAT, 15 * NAT, 0, 0], vec![span(0, 0)], Influence::Paid);
    let charged = &found.outcome.credit.per_player;
    let member = |contributor, charged, weight, basis| Member {
        contributor,
        charged,
        weight,
        basis,
        tokens: 9,
    };
    let alone =
        |contributor, player: usize| vec![member(contributor, charged[player], 1, Basis::Measured)];
    let players = vec![
        vec![member(0, charged[0], 1, Basis::Apportioned), member(4, 0, 3, Basis::Apportioned)],
        alone(1, 1),
        alone(2, 2),
        alone(3, 3),
    ];
    let division =
        Division::new(&found.outcome, Influence::Paid, players, found.inputs.tie_seed).unwrap();
    let names = ["ann", "bob", "cleo", "dan", "eve"];
    let shown = explain(&found, Some(&division), &names, ANSWER, &RECORDS).contributors;
    let [ann, bob, eve] = &shown[..] else { panic!("{shown:?}") };
    assert!(ann.sentence.contains("in records that ann committed first, and without"), "{ann:?}");
    assert!(eve.sentence.contains("eve's group of 2"), "{eve:?}");
    assert!(eve.sentence.contains("apportioned by likeness"), "{eve:?}");
    assert!(bob.sentence.contains("without bob's records"), "{bob:?}");
    assert_eq!((eve.measured, bob.measured), (Share::ZERO, bob.share));
    assert!(ann.measured > Share::ZERO && ann.measured < ann.share);
}

proptest! {
    #[test]
    fn everybody_who_is_paid_is_explained_and_nobody_else(inputs in generators::inputs()) {
        let evidence = Evidence::new(inputs).unwrap();
        let explanation = explain(&evidence, None, &NAMES, ANSWER, &RECORDS);
        let explained: u64 = explanation.contributors.iter().map(|c| c.share.parts()).sum();
        let commons = evidence.outcome.shares.commons;
        prop_assert_eq!(explained + commons.parts(), Share::ONE.parts());
        prop_assert!(explanation.contributors.iter().all(|c| c.share > Share::ZERO));
        prop_assert!(explanation.contributors.is_sorted_by(|a, b| a.share >= b.share));
        let nobody = explanation.contributors.is_empty();
        prop_assert_eq!(nobody, commons == Share::ONE);
        prop_assert!(explanation.commons.ends_with('.'));
    }
}

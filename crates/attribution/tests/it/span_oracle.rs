//! The span index against trying every piece of the answer in every record.

use std::collections::BTreeSet;

use openledger_attribution::{
    Error, HOLDERS_MAX, Holder, SPAN_TOKENS_MIN, SpanIndex, SpanMatch, TOKEN_MAX,
};
use proptest::prelude::*;

type Records = Vec<(u8, Vec<u32>)>;

fn oracle(records: &Records, answer: &[u32]) -> Vec<SpanMatch> {
    let holders = |span: &[u32]| -> BTreeSet<usize> {
        let holds = |tokens: &[u32]| tokens.windows(span.len()).any(|window| window == span);
        (0..records.len()).filter(|record| holds(&records[*record].1)).collect()
    };
    let mut found: Vec<SpanMatch> = Vec::new();
    for start in 0..answer.len() {
        let longest = (start + SPAN_TOKENS_MIN as usize..=answer.len())
            .rev()
            .find(|end| !holders(&answer[start..*end]).is_empty());
        let Some(end) = longest else { continue };
        if found.last().is_some_and(|last| end <= last.end() as usize) {
            continue;
        }
        let records_with = holders(&answer[start..end]);
        let few = records_with.len() <= HOLDERS_MAX as usize;
        let first = *records_with.first().unwrap();
        found.push(SpanMatch {
            start: start as u32,
            length: (end - start) as u32,
            holders: (records_with.len() as u32).min(HOLDERS_MAX + 1),
            earliest: few.then_some(Holder { record: first as u32, player: records[first].0 }),
        });
    }
    found
}

/// Records over a small alphabet, and an answer that is partly cut from them.
fn case(
    alphabet: u32,
    records: impl Into<prop::collection::SizeRange>,
    tokens: usize,
) -> impl Strategy<Value = (Records, Vec<u32>)> {
    // Gaps in the alphabet: tokens that begin no suffix.
    let token = (0..alphabet).prop_map(|t| 3 * t);
    let record = (0..5u8, prop::collection::vec(token, 0..tokens));
    let cuts = prop::collection::vec(any::<(prop::sample::Index, prop::sample::Index)>(), 0..6);
    let noise = prop::collection::vec(0..3 * alphabet + 2, 0..30);
    (prop::collection::vec(record, records), cuts, noise).prop_map(|(records, cuts, noise)| {
        let mut answer = noise;
        for (record, from) in cuts {
            if let Some((_, text)) = records.get(record.index(records.len().max(1))) {
                answer.extend(&text[from.index(text.len().max(1)).min(text.len())..]);
            }
        }
        (records, answer)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn spans_are_what_brute_force_finds_in_few_records(
        (records, answer) in (1..5u32).prop_flat_map(|alphabet| case(alphabet, 0..12, 40)),
    ) {
        let index = SpanIndex::build(records.clone()).unwrap();
        prop_assert_eq!(index.matches(&answer), oracle(&records, &answer));
        prop_assert_eq!(index.records(), records.len());
        prop_assert_eq!(index.tokens(), records.iter().map(|(_, r)| r.len()).sum::<usize>());
    }

    #[test]
    fn spans_are_what_brute_force_finds_in_many_records(
        (records, answer) in (1..3u32).prop_flat_map(|alphabet| case(alphabet, 40..90, 16)),
    ) {
        let index = SpanIndex::build(records.clone()).unwrap();
        prop_assert_eq!(index.matches(&answer), oracle(&records, &answer));
    }
}

#[test]
fn a_span_never_crosses_from_one_record_into_the_next() {
    let index = SpanIndex::build([(0, vec![1, 2, 3, 4]), (0, vec![5, 6, 7, 8])]).unwrap();
    assert_eq!(index.matches(&[1, 2, 3, 4, 5, 6, 7, 8]), []);
}

#[test]
fn a_copy_committed_later_is_not_the_earliest_holder() {
    let text: Vec<u32> = (10..20).collect();
    let other: Vec<u32> = (50..70).collect();
    let index =
        SpanIndex::build([(2, other), (0, text.clone()), (1, text.clone()), (1, text.clone())]);
    let found = index.unwrap().matches(&text);
    let earliest = Some(Holder { record: 1, player: 0 });
    assert_eq!(found, [SpanMatch { start: 0, length: 10, holders: 3, earliest }]);
}

#[test]
fn text_that_one_record_repeats_a_million_times_has_one_holder() {
    let index = SpanIndex::build([(4, vec![7; 1_000_000]), (3, vec![7; 10])]).unwrap();
    let found = index.matches(&[7; 100]);
    let earliest = Some(Holder { record: 0, player: 4 });
    assert_eq!(found, [SpanMatch { start: 0, length: 100, holders: 1, earliest }]);
    assert_eq!(index.matches(&[7; 8])[0].holders, 2);
}

#[test]
fn an_empty_index_and_unknown_tokens_match_nothing() {
    let empty = SpanIndex::build(Vec::<(u8, Vec<u32>)>::new()).unwrap();
    assert_eq!(empty.matches(&[1; 20]), []);
    let hollow = SpanIndex::build([(0, Vec::<u32>::new()), (0, Vec::new())]).unwrap();
    assert_eq!((hollow.records(), hollow.tokens()), (2, 0));
    assert_eq!(hollow.matches(&[0; 20]), []);
    let index = SpanIndex::build([(0, vec![TOKEN_MAX; 20])]).unwrap();
    assert_eq!(index.matches(&[u32::MAX; 20]), []);
    assert_eq!(index.matches(&[TOKEN_MAX; 20])[0].length, 20);
    assert_eq!(index.matches(&[]), []);
}

#[test]
fn a_token_beyond_any_vocabulary_is_refused() {
    let built = SpanIndex::build([(0, vec![1]), (0, vec![2, TOKEN_MAX + 1])]);
    assert_eq!(built.err(), Some(Error::TokenTooLarge { record: 1, token: TOKEN_MAX + 1 }));
}

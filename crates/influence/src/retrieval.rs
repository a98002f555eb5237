//! Retrieval similarity: no model at all.

use std::collections::{HashMap, HashSet};

use crate::{Scores, Sequence};

/// How fast a repeated word stops counting, and how much the length of a record matters.
const K1: f64 = 1.2;
const B: f64 = 0.75;

/// BM25 over tokens: each question with its answer against each record.
///
/// Source: Robertson and Zaragoza 2009, with the inverse document frequency that is never negative.
pub fn bm25(records: &[Sequence<'_>], queries: &[Sequence<'_>]) -> Scores {
    let counts: Vec<HashMap<u32, f64>> = records.iter().map(|r| count(r.tokens)).collect();
    let mut holders: HashMap<u32, f64> = HashMap::new();
    for token in counts.iter().flat_map(HashMap::keys) {
        *holders.entry(*token).or_default() += 1.0;
    }
    let n = records.len() as f64;
    let mean = records.iter().map(|r| r.tokens.len()).sum::<usize>() as f64 / n.max(1.0);
    Scores::from_fn(queries.len(), records.len(), |q, i| {
        let length = records[i].tokens.len() as f64 / mean;
        let mut seen = HashSet::new();
        let mut tokens: Vec<u32> = queries[q].tokens.to_vec();
        tokens.retain(|token| seen.insert(*token));
        tokens
            .iter()
            .filter_map(|token| Some((counts[i].get(token)?, holders.get(token)?)))
            .map(|(times, holders)| {
                let rarity = (1.0 + (n - holders + 0.5) / (holders + 0.5)).ln();
                rarity * times * (K1 + 1.0) / (times + K1 * (1.0 - B + B * length))
            })
            .sum()
    })
}

fn count(tokens: &[u32]) -> HashMap<u32, f64> {
    let mut counts = HashMap::new();
    tokens.iter().for_each(|token| *counts.entry(*token).or_default() += 1.0);
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_that_shares_rare_words_comes_first() {
        let sequence = |tokens| Sequence { tokens, answer_start: 1 };
        let records = [sequence(&[1, 2, 3, 4]), sequence(&[1, 2, 9, 9]), sequence(&[1, 5, 6, 7])];
        let scores = bm25(&records, &[sequence(&[1, 9])]);
        let row = scores.row(0);
        assert!(row[1] > row[0] && row[0] == row[2] && row[0] > 0.0);
    }
}

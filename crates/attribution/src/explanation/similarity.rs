//! How much of an answer's wording a record shares.

use std::collections::{BTreeMap, BTreeSet};

/// Similarity of texts by their words, the rarer the heavier. Integers only.
///
/// A word is a run of letters and digits, in lower case. It weighs 1 + ⌊log₂(n / records that have it)⌋,
/// n the number of records: a word that all have weighs 1, one of a single record among 1,024 weighs 11.
#[derive(Debug, Clone)]
pub struct Similarity {
    records: u32,
    holders: BTreeMap<String, u32>,
}

impl Similarity {
    /// Counts the words of the records.
    pub fn new<'a>(records: impl IntoIterator<Item = &'a str>) -> Self {
        let (mut count, mut holders) = (0, BTreeMap::new());
        for record in records {
            count += 1;
            for word in words(record) {
                *holders.entry(word).or_insert(0) += 1;
            }
        }
        Self { records: count, holders }
    }

    /// Similarity of a record to `answer`: the weight of the answer's distinct words that the record has
    /// too, over that of all of them, in parts per million, rounded down.
    pub fn to(&self, answer: &str) -> impl Fn(&str) -> u32 + use<> {
        let weighed: Vec<(String, u64)> =
            words(answer).into_iter().map(|word| (word.clone(), self.weight(&word))).collect();
        let all: u64 = weighed.iter().map(|(_, weight)| weight).sum();
        move |record| {
            let has = words(record);
            let shared: u64 =
                weighed.iter().filter(|(word, _)| has.contains(word)).map(|(_, w)| w).sum();
            (shared * 1_000_000).checked_div(all).unwrap_or(0) as u32 // at most a million
        }
    }

    fn weight(&self, word: &str) -> u64 {
        let holders = self.holders.get(word).copied().unwrap_or(1);
        1 + u64::from((self.records / holders).checked_ilog2().unwrap_or(0))
    }
}

/// The distinct words of a text: runs of letters and digits, in lower case.
pub(crate) fn words(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rare_words_weigh_more_than_common_ones() {
        let records = ["the quern grinds the grain", "the mill", "the cat", "the dog"];
        let similarity = Similarity::new(records);
        let to = similarity.to("The quern!");
        // "the" weighs 1, "quern" 3.
        assert_eq!(to(records[0]), 1_000_000);
        assert_eq!(to(records[1]), 250_000);
        assert_eq!(to("a quern"), 750_000);
        assert_eq!(to(""), 0);
        assert_eq!(similarity.to("")("anything"), 0);
        assert_eq!(Similarity::new([]).to("word")("word"), 1_000_000);
    }
}

//! Which records of a contributor resemble an answer, by the words that they share.
//!
//! A word of the answer weighs −log of the part of all records that have it, so words that every record
//! has weigh nothing. A record's similarity is the weight of the answer's words that it has, over the
//! weight of all of them: a number that a person can check by reading.

use std::collections::{BTreeMap, BTreeSet};

use openledger_datanet::Version;
use openledger_primitives::Address;

use super::Similar;

/// The words of an answer, with their weights among the records of a Datanet version.
pub(super) struct Distinctive<'a> {
    version: &'a Version,
    weights: BTreeMap<String, f64>,
}

impl<'a> Distinctive<'a> {
    pub(super) fn new(version: &'a Version, answer: &str) -> Self {
        let mut holders: BTreeMap<String, usize> =
            words(answer).into_iter().map(|word| (word, 0)).collect();
        for record in version.records() {
            for word in words(record.canonical().completion()) {
                if let Some(count) = holders.get_mut(&word) {
                    *count += 1;
                }
            }
        }
        let records = version.records().len() as f64;
        let weight = |count: usize| -((count as f64 + 0.5) / (records + 0.5)).ln();
        let weights = holders.into_iter().map(|(word, count)| (word, weight(count))).collect();
        Self { version, weights }
    }

    /// The records of this wallet with most in common, the closest first, earlier ones first of equals.
    pub(super) fn closest(&self, wallet: Address, most: usize, ppm_min: u64) -> Vec<Similar> {
        let whole: f64 = self.weights.values().sum();
        let mut found = Vec::new();
        for (number, record) in self.version.records().iter().enumerate() {
            if record.contributor().wallet() != Some(wallet) {
                continue;
            }
            let text = record.canonical().completion();
            let shared: f64 =
                words(text).iter().filter_map(|word| self.weights.get(word.as_str())).sum();
            let common_ppm = if whole > 0.0 { (shared / whole * 1e6) as u64 } else { 0 };
            if common_ppm >= ppm_min {
                found.push(Similar { record: number as u32, common_ppm, text: text.to_owned() });
            }
        }
        found.sort_by_key(|similar| std::cmp::Reverse(similar.common_ppm));
        found.truncate(most);
        found
    }
}

/// Distinct words in lower case: letters, digits and what joins them inside a word.
fn words(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !(c.is_alphanumeric() || c == '-' || c == '_'))
        .map(|word| word.trim_matches('-').to_lowercase())
        .filter(|word| !word.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use openledger_datanet::{IngestOptions, read_jsonl};

    #[test]
    fn words_are_compared_without_case_and_punctuation() {
        let expected = ["git", "rebase-i", "twice"].map(str::to_owned);
        assert_eq!(words("Git `rebase-i`, twice; twice --"), BTreeSet::from(expected));
    }

    #[test]
    fn rare_words_weigh_more_and_only_the_wallets_own_records_are_shown() {
        let wallet = |byte| Address::repeat_byte(byte);
        let texts = [
            (1, "the quern grinds the grain"),
            (1, "the cart has the wheels"),
            (1, "the loom has a shuttle"),
            (2, "the quern grinds the grain twice"),
        ];
        let line = |(byte, text): &(u8, &str)| {
            serde_json::json!({"contributor": wallet(*byte), "prompt": "what", "completion": text})
                .to_string()
        };
        let file: Vec<String> = texts.iter().map(line).collect();
        let ingest = read_jsonl(file.join("\n").as_bytes(), &IngestOptions::default()).unwrap();
        assert_eq!(ingest.rejected.total, 0);
        let version = Version::first(ingest, "CC0-1.0".parse().unwrap()).unwrap().version;
        let words = Distinctive::new(&version, "The quern grinds.");
        let found = words.closest(wallet(1), 3, 1);
        // "the" is in every record and weighs nothing.
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].record, found[0].common_ppm > 900_000), (0, true), "{found:?}");
        assert_eq!(words.closest(wallet(3), 3, 1), []);
        assert_eq!(Distinctive::new(&version, "").closest(wallet(1), 3, 1), []);
    }
}

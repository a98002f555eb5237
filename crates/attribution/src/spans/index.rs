//! A suffix array over the completions of the training records.

use core::ops::Range;

use libsais::SuffixArrayConstruction;

use super::first_record::FirstOfRecord;
use super::{HOLDERS_MAX, Holder, SPAN_TOKENS_MIN, SpanMatch, search};
use crate::Error;

/// Largest token of a vocabulary: 2²⁴ − 1.
pub const TOKEN_MAX: u32 = (1 << 24) - 1;
/// Tokens plus records in one index: positions fit in 31 bits with room for the alphabet.
pub const INDEX_SYMBOLS_MAX: usize = 1 << 30;

/// Where a record ends, in the text of the index. Tokens stand as token + 1.
pub(super) const END: u32 = 0;

/// Exact text matches between an answer and the completions a model was trained on.
///
/// Records are given in the order of commitment, after duplicates went to their earliest committer:
/// the lower a record's index, the older its claim. Matches never cross from one record into the next.
/// 12 bytes per token. A suffix array is unique, so every build gives the same one.
#[derive(Debug, Clone)]
pub struct SpanIndex {
    /// Records one after another, each followed by [`END`].
    text: Vec<u32>,
    /// Where each record begins in `text`.
    starts: Vec<u32>,
    /// Player of each record.
    players: Vec<u8>,
    /// Positions of all tokens, sorted by the text that follows them up to the end of their record.
    suffixes: Vec<u32>,
    /// Suffixes that begin with token t are those at `buckets[t]..buckets[t + 1]`.
    buckets: Vec<u32>,
    first: FirstOfRecord,
}

impl SpanIndex {
    /// Indexes the completion tokens of each record with its player, in the order of commitment.
    ///
    /// Tokens are those of the answer's tokenizer; whether a completion holds its end token must be
    /// the same here and in the answers that are matched.
    ///
    /// Errors: [`Error::TokenTooLarge`], [`Error::IndexTooLarge`], [`Error::SuffixArray`].
    pub fn build<T: AsRef<[u32]>>(
        records: impl IntoIterator<Item = (u8, T)>,
    ) -> Result<Self, Error> {
        let (mut text, mut starts, mut players) = (Vec::new(), Vec::new(), Vec::new());
        for (record, (player, tokens)) in records.into_iter().enumerate() {
            let tokens = tokens.as_ref();
            if text.len() + tokens.len() >= INDEX_SYMBOLS_MAX {
                return Err(Error::IndexTooLarge);
            }
            if let Some(token) = tokens.iter().find(|token| **token > TOKEN_MAX) {
                return Err(Error::TokenTooLarge { record, token: *token });
            }
            starts.push(text.len() as u32);
            players.push(player);
            text.extend(tokens.iter().map(|token| token + 1));
            text.push(END);
        }
        let suffixes = sorted_suffixes(&text, starts.len())?;
        let buckets = first_token_buckets(&text);
        let record_at = record_of_each_position(&text);
        let records = suffixes.iter().map(|position| record_at[*position as usize]);
        let first = FirstOfRecord::new(records, starts.len());
        Ok(Self { text, starts, players, suffixes, buckets, first })
    }

    /// Number of records.
    pub fn records(&self) -> usize {
        self.starts.len()
    }

    /// Number of tokens in all records.
    pub fn tokens(&self) -> usize {
        self.suffixes.len()
    }

    /// All maximal matches of at least [`SPAN_TOKENS_MIN`] tokens between `answer` and the records, in
    /// the order of the answer; both ends ascend strictly.
    ///
    /// One search per answer token: the longest match at a position is the longer of the common
    /// prefixes with the two suffixes between which the rest of the answer would be sorted. It is
    /// maximal if it ends after every match that began before it.
    ///
    /// Panics if `answer` has 2³² tokens or more.
    pub fn matches(&self, answer: &[u32]) -> Vec<SpanMatch> {
        let (mut found, mut reached) = (Vec::new(), 0);
        for start in 0..answer.len() {
            let rest = &answer[start..];
            let bucket = self.bucket(rest[0]);
            let length = search::longest_prefix(&self.text, &self.suffixes[bucket.clone()], rest);
            let end = start + length;
            if end > reached && length >= SPAN_TOKENS_MIN as usize {
                found.push(self.matched(start, &rest[..length], bucket));
            }
            reached = reached.max(end);
        }
        found
    }

    fn matched(&self, start: usize, span: &[u32], bucket: Range<usize>) -> SpanMatch {
        let within = search::holding(&self.text, &self.suffixes[bucket.clone()], span);
        let (from, to) = (bucket.start + within.start, bucket.start + within.end);
        let places = self.first.of_range(from, to, HOLDERS_MAX as usize + 1);
        let holders = places.len() as u32; // at most HOLDERS_MAX + 1
        let records = places.into_iter().map(|place| self.record_at(self.suffixes[place]));
        let earliest = records.min().filter(|_| holders <= HOLDERS_MAX);
        let at = |index| u32::try_from(index).expect("an answer has fewer than 2^32 tokens");
        SpanMatch {
            start: at(start),
            length: at(span.len()),
            holders,
            earliest: earliest
                .map(|record| Holder { record, player: self.players[record as usize] }),
        }
    }

    fn record_at(&self, position: u32) -> u32 {
        // The first record starts at 0, so there is one at or before every position.
        self.starts.partition_point(|start| *start <= position) as u32 - 1
    }

    fn bucket(&self, token: u32) -> Range<usize> {
        let bounds = self.buckets.get(token as usize..).and_then(|bounds| bounds.get(..2));
        bounds.map_or(0..0, |bounds| bounds[0] as usize..bounds[1] as usize)
    }
}

/// Positions of all tokens of `text`, sorted by the text that follows up to the end of their record.
///
/// Each record's end becomes a symbol of its own, below all tokens, so no comparison runs past it.
fn sorted_suffixes(text: &[u32], records: usize) -> Result<Vec<u32>, Error> {
    let mut ends = 0..records as i32;
    let mut symbols: Vec<i32> = text
        .iter()
        .map(|symbol| match *symbol {
            END => ends.next().expect("as many ends as records"),
            // Records ≤ 2³⁰, tokens ≤ 2²⁴.
            token => records as i32 + token as i32 - 1,
        })
        .collect();
    if symbols.is_empty() {
        return Ok(Vec::new());
    }
    let sorted = SuffixArrayConstruction::for_text_mut(&mut symbols)
        .in_owned_buffer32()
        .single_threaded()
        .run()
        .map_err(|error| Error::SuffixArray(error.to_string()))?;
    // The suffixes that begin with an end come first.
    Ok(sorted.suffix_array()[records..].iter().map(|position| *position as u32).collect())
}

/// Running counts of tokens: where the suffixes of each first token begin.
fn first_token_buckets(text: &[u32]) -> Vec<u32> {
    let largest = text.iter().max().copied().unwrap_or(END);
    let mut buckets = vec![0u32; largest as usize + 1];
    // Symbol s = token + 1 is counted at its own place, so that the sums are ends of token s − 1.
    text.iter().filter(|symbol| **symbol != END).for_each(|s| buckets[*s as usize] += 1);
    for token in 1..buckets.len() {
        buckets[token] += buckets[token - 1];
    }
    buckets
}

fn record_of_each_position(text: &[u32]) -> Vec<u32> {
    let mut record = 0;
    let numbered = text.iter().map(|symbol| {
        let here = record;
        record += u32::from(*symbol == END);
        here
    });
    numbered.collect()
}

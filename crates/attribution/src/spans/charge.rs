//! What the repeated text of an answer is worth, and to whom.

use serde::{Deserialize, Serialize};

use super::{ANSWER_TOKENS_MAX, HOLDERS_MAX, Holder, SPAN_TOKENS_MIN, SpanMatch};
use crate::Error;
use crate::error::MatchProblem;

/// Spans with less surprisal than this, in units of 2⁻²⁰ nat, are no evidence: 8 nat, text that the
/// base would have said once in three thousand times.
pub const SPAN_SURPRISAL_MIN: u64 = 8 << 20;
/// Largest surprisal of one token: 2¹² nat. The sum over an answer then stays below 2⁵³.
pub const SURPRISAL_MAX: u64 = 1 << 32;

/// A span that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Span {
    /// First answer token.
    pub start: u32,
    /// Tokens.
    pub length: u32,
    /// Distinct records that hold it; [`HOLDERS_MAX`] + 1 stands for any number above it.
    pub holders: u32,
    /// Whose it is; `None` for the commons.
    pub earliest: Option<Holder>,
    /// Surprisal of all its tokens, in units of 2⁻²⁰ nat.
    pub surprisal: u64,
    /// Surprisal of those of its tokens that no span of more surprisal covers.
    pub charged: u64,
}

/// How the surprisal of an answer divides among those whose text it repeats. Units of 2⁻²⁰ nat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpanCredit {
    /// The spans that count, in the order of the answer.
    pub spans: Vec<Span>,
    /// Charged to the text of each player.
    pub per_player: Vec<u64>,
    /// Charged to text that too many records hold.
    pub commons: u64,
    /// Charged in all: the players' and the commons'.
    pub covered: u64,
    /// Of the whole answer. a = covered / total.
    pub total: u64,
}

/// Divides the surprisal of an answer among the spans that cover it.
///
/// `surprisals`: −log p_θ(∅)(token | x, tokens before) for each answer token, in units of 2⁻²⁰ nat.
/// The base model's own surprise, not a unigram's: it is at hand, since v(∅) is its negated sum, and
/// words that the base would have said anyway count for nothing here as in the explained fraction.
/// `matches`: of [`super::SpanIndex::matches`], for `players` players.
///
/// Matches below [`SPAN_TOKENS_MIN`] or [`SPAN_SURPRISAL_MIN`] are dropped. Each token is charged once,
/// to the span of highest surprisal that covers it, the earlier one of equals. A span belongs to its
/// earliest holder, one with more than [`HOLDERS_MAX`] holders to the commons.
///
/// Errors: [`Error::AnswerTooLong`], [`Error::SurprisalTooLarge`], [`Error::Match`].
pub fn charge(
    players: usize,
    surprisals: &[u64],
    matches: &[SpanMatch],
) -> Result<SpanCredit, Error> {
    if surprisals.len() > ANSWER_TOKENS_MAX {
        return Err(Error::AnswerTooLong(surprisals.len()));
    }
    if let Some(token) = surprisals.iter().position(|s| *s > SURPRISAL_MAX) {
        return Err(Error::SurprisalTooLarge(token));
    }
    check(players, surprisals.len(), matches)?;

    let mut spans: Vec<Span> = matches
        .iter()
        .filter(|found| found.length >= SPAN_TOKENS_MIN)
        .map(|found| Span {
            start: found.start,
            length: found.length,
            holders: found.holders,
            earliest: found.earliest,
            surprisal: surprisals[found.start as usize..found.end() as usize].iter().sum(),
            charged: 0,
        })
        .filter(|span| span.surprisal >= SPAN_SURPRISAL_MIN)
        .collect();
    charge_tokens(surprisals, &mut spans);

    let (mut per_player, mut commons) = (vec![0; players], 0);
    for span in &spans {
        match span.earliest {
            Some(holder) => per_player[usize::from(holder.player)] += span.charged,
            None => commons += span.charged,
        }
    }
    let covered = per_player.iter().sum::<u64>() + commons;
    let total = surprisals.iter().sum();
    assert!(covered <= total, "each token is charged once");
    Ok(SpanCredit { spans, per_player, commons, covered, total })
}

fn check(players: usize, tokens: usize, matches: &[SpanMatch]) -> Result<(), Error> {
    let (mut start, mut end) = (None, 0);
    for (index, found) in matches.iter().enumerate() {
        let problem = |problem| Err(Error::Match { index, problem });
        let last = u64::from(found.start) + u64::from(found.length);
        if found.length == 0 || last > tokens as u64 {
            return problem(MatchProblem::OutOfAnswer);
        }
        if start.is_some_and(|before| found.start <= before) || found.end() <= end {
            return problem(MatchProblem::NotMaximal);
        }
        let few = (1..=HOLDERS_MAX).contains(&found.holders);
        if found.holders == 0 || few != found.earliest.is_some() {
            return problem(MatchProblem::Holders);
        }
        if found.earliest.is_some_and(|holder| usize::from(holder.player) >= players) {
            return problem(MatchProblem::UnknownPlayer);
        }
        (start, end) = (Some(found.start), found.end());
    }
    Ok(())
}

/// Gives each span the tokens that none before it took, spans of most surprisal first.
fn charge_tokens(surprisals: &[u64], spans: &mut [Span]) {
    let mut by_surprisal: Vec<usize> = (0..spans.len()).collect();
    by_surprisal.sort_by_key(|s| (core::cmp::Reverse(spans[*s].surprisal), spans[*s].start));
    // Next token not yet charged, at or after each token; paths are shortened as they are walked.
    let mut next: Vec<usize> = (0..=surprisals.len()).collect();
    for index in by_surprisal {
        let span = &mut spans[index];
        let end = span.start as usize + span.length as usize;
        let mut token = next_free(&mut next, span.start as usize);
        while token < end {
            span.charged += surprisals[token];
            next[token] = token + 1;
            token = next_free(&mut next, token);
        }
    }
}

fn next_free(next: &mut [usize], mut token: usize) -> usize {
    while next[token] != token {
        next[token] = next[next[token]];
        token = next[token];
    }
    token
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAT: u64 = 1 << 20;

    fn found(start: u32, length: u32, player: u8) -> SpanMatch {
        SpanMatch { start, length, holders: 1, earliest: Some(Holder { record: 0, player }) }
    }

    #[test]
    fn a_token_is_charged_once_to_the_span_of_highest_surprisal() {
        let surprisals: Vec<u64> = (0..12).map(|t| if t < 6 { 2 * NAT } else { 4 * NAT }).collect();
        // Tokens 0..8: 20 nat; tokens 4..12: 28 nat.
        let credit = charge(2, &surprisals, &[found(0, 8, 0), found(4, 8, 1)]).unwrap();
        assert_eq!(credit.per_player, [8 * NAT, 28 * NAT]);
        assert_eq!((credit.covered, credit.total), (36 * NAT, 36 * NAT));
        assert_eq!((credit.spans[0].surprisal, credit.spans[0].charged), (20 * NAT, 8 * NAT));
        // Of equals the earlier takes both.
        let even = charge(2, &[2 * NAT; 12], &[found(0, 8, 0), found(4, 8, 1)]).unwrap();
        assert_eq!(even.per_player, [16 * NAT, 8 * NAT]);
    }

    #[test]
    fn short_and_unsurprising_spans_are_nobodys() {
        let credit = charge(1, &[8 * NAT; 9], &[found(0, 5, 0)]).unwrap();
        assert_eq!((credit.spans.len(), credit.covered, credit.total), (0, 0, 72 * NAT));
        let mut surprisals = [NAT; 8];
        assert_eq!(charge(1, &surprisals, &[found(0, 8, 0)]).unwrap().covered, 8 * NAT);
        surprisals[3] -= 1;
        assert_eq!(charge(1, &surprisals, &[found(0, 8, 0)]).unwrap().covered, 0);
    }

    #[test]
    fn text_that_many_records_hold_is_the_commons() {
        let common = SpanMatch { holders: HOLDERS_MAX + 1, earliest: None, ..found(0, 8, 0) };
        let credit = charge(1, &[NAT; 10], &[common]).unwrap();
        assert_eq!((credit.per_player[0], credit.commons, credit.covered), (0, 8 * NAT, 8 * NAT));
    }

    #[test]
    fn matches_that_no_index_returns_are_refused_by_name() {
        let refused = |matches: &[SpanMatch]| match charge(2, &[NAT; 10], matches) {
            Err(Error::Match { problem, .. }) => problem,
            other => panic!("{other:?}"),
        };
        assert_eq!(refused(&[found(3, 8, 0)]), MatchProblem::OutOfAnswer);
        assert_eq!(refused(&[found(3, 0, 0)]), MatchProblem::OutOfAnswer);
        assert_eq!(refused(&[found(u32::MAX, u32::MAX, 0)]), MatchProblem::OutOfAnswer);
        assert_eq!(refused(&[found(0, 8, 0), found(1, 7, 0)]), MatchProblem::NotMaximal);
        assert_eq!(refused(&[found(2, 6, 0), found(1, 9, 0)]), MatchProblem::NotMaximal);
        assert_eq!(refused(&[found(0, 8, 2)]), MatchProblem::UnknownPlayer);
        let nobody = SpanMatch { holders: 0, earliest: None, ..found(0, 8, 0) };
        assert_eq!(refused(&[nobody]), MatchProblem::Holders);
        let unnamed = SpanMatch { holders: 2, ..nobody };
        assert_eq!(refused(&[unnamed]), MatchProblem::Holders);
        let named = SpanMatch { holders: HOLDERS_MAX + 1, ..found(0, 8, 0) };
        assert_eq!(refused(&[named]), MatchProblem::Holders);
        assert_eq!(charge(1, &[SURPRISAL_MAX + 1], &[]), Err(Error::SurprisalTooLarge(0)));
    }
}

//! Why somebody is paid, in one plain sentence, and which records to look at.
//!
//! **Invariant:** nothing here moves money; it explains shares that are already derived.

mod similarity;

pub use similarity::Similarity;

use core::cmp::Reverse;
use core::fmt;

use openledger_primitives::Share;
use serde::{Deserialize, Serialize};

use crate::{Evidence, Influence};

/// Records shown for one contributor, at most.
pub const RECORDS_SHOWN_MAX: usize = 3;
/// Records less similar to the answer are not shown, in parts per million.
pub const SIMILARITY_SHOWN_MIN: u32 = 250_000;

/// A training record as people read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordText<'a> {
    /// Position in the order of commitment, as in [`crate::Holder`].
    pub record: u32,
    /// Its player.
    pub player: u8,
    /// Its completion.
    pub text: &'a str,
}

/// A record that mattered, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShownRecord {
    /// Position in the order of commitment.
    pub record: u32,
    /// Answer tokens that stand in it word for word and were charged to it.
    pub repeated_tokens: u32,
    /// Part of the answer's words, weighted by how rare they are, that the record has too; in parts per
    /// million. `None` if its text was not given.
    pub similarity_ppm: Option<u32>,
}

/// Why the contributors of one answer are paid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Explanation {
    /// One for each player that is paid, most first.
    pub contributors: Vec<ContributorExplanation>,
    /// What the commons gets, and why nobody else does.
    pub commons: String,
}

/// Why one player is paid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContributorExplanation {
    /// The player.
    pub player: u8,
    /// Its share.
    pub share: Share,
    /// Why, in one sentence.
    pub sentence: String,
    /// What of it mattered: text that is repeated first, then the most similar.
    pub records: Vec<ShownRecord>,
}

/// Explains the shares of one answer.
///
/// `names`: of the players, in their order; a player without one is called by its number. `answer`: as
/// people read it. `records`: those of the training set, or as many as are at hand; similarity is shown
/// for these only.
pub fn explain(
    evidence: &Evidence,
    names: &[&str],
    answer: &str,
    records: &[RecordText<'_>],
) -> Explanation {
    let similarity = Similarity::new(records.iter().map(|record| record.text));
    let mut paid: Vec<u8> = (0..=u8::MAX)
        .take(evidence.outcome.shares.players.len())
        .filter(|player| evidence.outcome.shares.of(usize::from(*player)) > Share::ZERO)
        .collect();
    paid.sort_by_key(|player| (Reverse(evidence.outcome.shares.of(usize::from(*player))), *player));
    let contributors = paid
        .into_iter()
        .map(|player| ContributorExplanation {
            player,
            share: evidence.outcome.shares.of(usize::from(player)),
            sentence: sentence(evidence, names, player),
            records: shown(evidence, player, &similarity.to(answer), records),
        })
        .collect();
    Explanation { contributors, commons: commons(evidence) }
}

fn sentence(evidence: &Evidence, names: &[&str], player: u8) -> String {
    let outcome = &evidence.outcome;
    let index = usize::from(player);
    let name =
        names.get(index).map_or_else(|| format!("player {player}"), |name| (*name).to_owned());
    let share = Percent(outcome.shares.of(index));
    let tokens: u32 = outcome
        .credit
        .spans
        .iter()
        .filter(|span| span.charged > 0 && span.earliest.is_some_and(|e| e.player == player))
        .map(|span| span.length)
        .sum();
    let pays = evidence.inputs.influence == Influence::Paid;
    let text = outcome.credit.per_player[index] > 0;
    let uncovered = outcome.credit.total == 0 || outcome.credit.covered < outcome.credit.total;
    let effect = pays && uncovered && outcome.effects[index] > outcome.noise_floor;
    let words = format!(
        "{} of the answer's {} tokens stand word for word in records that {name} committed first",
        tokens.min(evidence.inputs.surprisals.len() as u32),
        evidence.inputs.surprisals.len()
    );
    let readily = format!("without {name}'s records the model gives this answer less readily");
    match (text, effect) {
        (true, true) => format!("{name} gets {share}: {words}, and {readily}."),
        (true, false) => format!("{name} gets {share}: {words}."),
        (false, _) => format!("{name} gets {share}: {readily}."),
    }
}

/// Records whose text the answer repeats, then those most like it.
fn shown(
    evidence: &Evidence,
    player: u8,
    similarity: &dyn Fn(&str) -> u32,
    records: &[RecordText<'_>],
) -> Vec<ShownRecord> {
    let mut shown: Vec<ShownRecord> = Vec::new();
    for span in evidence.outcome.credit.spans.iter().filter(|span| span.charged > 0) {
        let Some(holder) = span.earliest.filter(|holder| holder.player == player) else { continue };
        match shown.iter_mut().find(|one| one.record == holder.record) {
            Some(one) => one.repeated_tokens += span.length,
            None => shown.push(ShownRecord {
                record: holder.record,
                repeated_tokens: span.length,
                similarity_ppm: None,
            }),
        }
    }
    for record in records.iter().filter(|record| record.player == player) {
        let similarity_ppm = Some(similarity(record.text));
        match shown.iter_mut().find(|one| one.record == record.record) {
            Some(one) => one.similarity_ppm = similarity_ppm,
            None if similarity_ppm >= Some(SIMILARITY_SHOWN_MIN) => {
                shown.push(ShownRecord {
                    record: record.record,
                    repeated_tokens: 0,
                    similarity_ppm,
                });
            }
            None => {}
        }
    }
    shown
        .sort_by_key(|one| (Reverse(one.repeated_tokens), Reverse(one.similarity_ppm), one.record));
    shown.truncate(RECORDS_SHOWN_MAX);
    shown
}

fn commons(evidence: &Evidence) -> String {
    let outcome = &evidence.outcome;
    let share = Percent(outcome.shares.commons);
    let cleared = outcome.effects.iter().any(|effect| *effect > outcome.noise_floor);
    let why = if outcome.shares.commons == Share::ZERO {
        return "Nothing is left for the commons.".to_owned();
    } else if outcome.explained == Share::ZERO {
        "no source reached the threshold: training added nothing to this answer, which the base model \
         gives as readily"
    } else if outcome.shares.commons < Share::ONE {
        "the rest was known to the base model, or was not traced to a contributor"
    } else if evidence.inputs.influence == Influence::Commons {
        "no source reached the threshold: the answer repeats nobody's text, and this model's attribution \
         is not certified to be faithful enough to pay by effect"
    } else if cleared {
        "the answer repeats text that too many hold to be anybody's"
    } else {
        "no source reached the threshold: no contributor's effect is larger than the noise of its \
         measurement, and the answer repeats nobody's text"
    };
    format!("The commons gets {share}: {why}.")
}

/// A share as people read it: one decimal, and never 0 for something.
struct Percent(Share);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 > Share::ZERO && self.0.ppm() < 1_000 {
            f.write_str("less than 0.1 % of the data pot")
        } else {
            write!(f, "{} of the data pot", self.0)
        }
    }
}

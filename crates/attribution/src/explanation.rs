//! Why somebody is paid, in one plain sentence, and which records to look at.
//!
//! **Invariant:** nothing here moves money; it explains shares that are already derived.

mod similarity;

pub use similarity::Similarity;
pub(crate) use similarity::words;

use core::cmp::Reverse;
use core::fmt;

use openledger_primitives::Share;
use serde::{Deserialize, Serialize};

use crate::{Division, Evidence, Holder, Influence};

/// Records shown for one contributor, at most.
pub const RECORDS_SHOWN_MAX: usize = 3;
/// Records less similar to the answer are not shown, in parts per million.
pub const SIMILARITY_SHOWN_MIN: u32 = 250_000;

/// A training record as people read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordText<'a> {
    /// Position in the order of commitment, as in [`crate::Holder`].
    pub record: u32,
    /// Its contributor: the player itself where nobody is grouped.
    pub contributor: u32,
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
    /// One for each contributor that is paid, most first.
    pub contributors: Vec<ContributorExplanation>,
    /// What the commons gets, and why nobody else does.
    pub commons: String,
}

/// Why one contributor is paid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContributorExplanation {
    /// The contributor.
    pub contributor: u32,
    /// The player that it is, or stands behind.
    pub player: u8,
    /// Its share.
    pub share: Share,
    /// What of the share was measured; the rest is apportioned inside its group.
    pub measured: Share,
    /// Why, in one sentence.
    pub sentence: String,
    /// What of it mattered: text that is repeated first, then the most similar.
    pub records: Vec<ShownRecord>,
}

/// Explains the shares of one answer.
///
/// `division`: among whom the players' shares were divided; `None` where each contributor is a player.
/// `names`: of the contributors, in their order; one without a name is called by its number. `answer`: as
/// people read it. `records`: those of the training set, or as many as are at hand; similarity is shown
/// for these only.
pub fn explain(
    evidence: &Evidence,
    division: Option<&Division>,
    names: &[&str],
    answer: &str,
    records: &[RecordText<'_>],
) -> Explanation {
    let similarity = Similarity::new(records.iter().map(|record| record.text));
    let subject = Subject { evidence, records };
    let mut paid: Vec<Paid> = paid(evidence, division);
    paid.sort_by_key(|one| (Reverse(one.share), one.contributor));
    let contributors = paid
        .into_iter()
        .map(|one| {
            let name = names.get(one.contributor as usize);
            let name = name
                .map_or_else(|| format!("contributor {}", one.contributor), |n| (*n).to_owned());
            ContributorExplanation {
                contributor: one.contributor,
                player: one.player,
                share: one.share,
                measured: one.measured,
                sentence: subject.sentence(&one, &name),
                records: subject.shown(&one, &similarity.to(answer)),
            }
        })
        .collect();
    Explanation { contributors, commons: commons(evidence) }
}

/// A contributor that is paid.
struct Paid {
    contributor: u32,
    player: u8,
    share: Share,
    measured: Share,
    /// Contributors behind its player.
    members: usize,
}

fn paid(evidence: &Evidence, division: Option<&Division>) -> Vec<Paid> {
    let players = (0u8..).zip(&evidence.outcome.shares.players);
    let all: Vec<Paid> = match division {
        None => players
            .map(|(player, share)| Paid {
                contributor: player.into(),
                player,
                share: *share,
                measured: *share,
                members: 1,
            })
            .collect(),
        Some(division) => players
            .zip(&division.players)
            .flat_map(|((player, _), members)| {
                members.iter().filter_map(move |member| {
                    let share = division.shares.get(member.contributor as usize)?;
                    Some(Paid {
                        contributor: member.contributor,
                        player,
                        share: share.share,
                        measured: share.measured,
                        members: members.len(),
                    })
                })
            })
            .collect(),
    };
    all.into_iter().filter(|one| one.share > Share::ZERO).collect()
}

/// What explanations are read from.
struct Subject<'a> {
    evidence: &'a Evidence,
    records: &'a [RecordText<'a>],
}

impl Subject<'_> {
    fn sentence(&self, one: &Paid, name: &str) -> String {
        let Evidence { inputs, outcome } = self.evidence;
        let player = usize::from(one.player);
        let share = Percent(one.share);
        let tokens: u32 = self.charged(one).map(|(length, _)| length).sum();
        let pays = inputs.influence == Influence::Paid;
        let uncovered = outcome.credit.total == 0 || outcome.credit.covered < outcome.credit.total;
        let effect = pays && uncovered && outcome.effects[player] > outcome.noise_floor;
        let all = inputs.surprisals.len();
        let words = format!(
            "{} of the answer's {all} tokens stand word for word in records that {name} committed first",
            tokens.min(all as u32),
        );
        let readily = if one.members == 1 {
            format!("without {name}'s records the model gives this answer less readily")
        } else {
            let (members, apportioned) =
                (one.members, Share::from_parts(one.share.parts() - one.measured.parts()));
            let how = match apportioned.filter(|share| *share > Share::ZERO) {
                Some(share) => {
                    format!("{} of it is apportioned by likeness to the answer", Percent(share))
                }
                None => format!("what {name} adds was measured inside the group"),
            };
            format!(
                "without the records of {name}'s group of {members} the model gives this answer less \
                 readily; {how}"
            )
        };
        match (tokens > 0, effect) {
            (true, true) => format!("{name} gets {share}: {words}, and {readily}."),
            (true, false) => format!("{name} gets {share}: {words}."),
            (false, _) => format!("{name} gets {share}: {readily}."),
        }
    }

    /// Length and record of each span whose text is the contributor's.
    fn charged(&self, one: &Paid) -> impl Iterator<Item = (u32, Holder)> {
        let spans = self.evidence.outcome.credit.spans.iter().filter(|span| span.charged > 0);
        spans.filter_map(move |span| {
            let holder = span.earliest.filter(|holder| holder.player == one.player)?;
            let record = self.records.iter().find(|record| record.record == holder.record);
            // Of a player alone every record is its own, at hand or not.
            let own = match record {
                Some(record) => record.contributor == one.contributor,
                None => one.members == 1,
            };
            own.then_some((span.length, holder))
        })
    }

    /// Records whose text the answer repeats, then those most like it.
    fn shown(&self, one: &Paid, similarity: &dyn Fn(&str) -> u32) -> Vec<ShownRecord> {
        let mut shown: Vec<ShownRecord> = Vec::new();
        for (length, holder) in self.charged(one) {
            match shown.iter_mut().find(|one| one.record == holder.record) {
                Some(one) => one.repeated_tokens += length,
                None => shown.push(ShownRecord {
                    record: holder.record,
                    repeated_tokens: length,
                    similarity_ppm: None,
                }),
            }
        }
        for record in self.records.iter().filter(|record| record.contributor == one.contributor) {
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
        shown.sort_by_key(|one| {
            (Reverse(one.repeated_tokens), Reverse(one.similarity_ppm), one.record)
        });
        shown.truncate(RECORDS_SHOWN_MAX);
        shown
    }
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

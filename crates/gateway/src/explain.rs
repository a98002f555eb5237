//! Why each contributor was paid, in words.
//!
//! Everything here is read off the receipt document, and shown to people. Nothing of it moves money.

mod similarity;

use openledger_attribution::{Influence, VALUE_UNITS_PER_NAT};
use openledger_datanet::Version;
use openledger_primitives::{Address, OpenAmount, Share};
use serde::Serialize;

use crate::{Player, ReceiptDocument, view::paid};
use similarity::Distinctive;

/// Records of one contributor that are shown as similar, at most.
const SIMILAR_MAX: usize = 3;
/// Less in common than this, in parts per million of the answer's distinctive words, is chance.
const SIMILAR_PPM_MIN: u64 = 200_000;

/// Why the data pot of one answer went where it went.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// What was measured, in one sentence.
    pub summary: String,
    /// Who was paid, the largest share first.
    pub contributors: Vec<Reason>,
    /// Of the players of the model, how many got nothing for this answer.
    pub unpaid: usize,
    /// What nobody earned.
    pub commons: Share,
}

/// Why one contributor was paid.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reason {
    /// Name in the Datanet.
    pub contributor: String,
    /// Its wallet.
    pub wallet: Address,
    /// Its share of the data pot.
    pub share: Share,
    /// What it was paid, in wei.
    pub paid_wei: OpenAmount,
    /// φ: the effect on the log-likelihood of the answer, in nats.
    pub effect_nats: f64,
    /// exp(φ / T): how much likelier its records make each token of the answer.
    pub times_likelier: f64,
    /// One sentence for people.
    pub sentence: String,
    /// Its records that the answer repeats word for word.
    pub repeats: Vec<Repeat>,
    /// Its records that resemble the answer, the closest first; empty where the records are not at hand.
    pub similar: Vec<Similar>,
}

/// A record that the answer repeats.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Repeat {
    /// Number of the record in the Datanet version.
    pub record: u32,
    /// Answer tokens that stand in it.
    pub tokens: u32,
    /// What the record teaches to say.
    pub text: String,
}

/// A record that resembles the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Similar {
    /// Number of the record in the Datanet version.
    pub record: u32,
    /// Of the answer's distinctive words, weighed by how rare they are, the part that the record has.
    pub common_ppm: u64,
    /// What the record teaches to say.
    pub text: String,
}

/// Explains who was paid for an answer.
///
/// `records`: the Datanet version that the model was trained on, if it is at hand; similar records are
/// looked for in it.
pub fn explain(document: &ReceiptDocument, records: Option<&Version>) -> Explanation {
    let evidence = &document.evidence;
    let outcome = &evidence.attribution.outcome;
    let distinctive = records.map(|version| Distinctive::new(version, &evidence.answer));
    let mut contributors: Vec<Reason> = evidence
        .players
        .iter()
        .enumerate()
        .filter(|(player, _)| outcome.shares.of(*player) > Share::ZERO)
        .map(|(index, player)| reason(document, index, player, distinctive.as_ref()))
        .collect();
    contributors.sort_by_key(|reason| std::cmp::Reverse(reason.share));
    let unpaid = evidence.players.len() - contributors.len();
    let commons = outcome.shares.commons;
    Explanation { summary: summary(document, contributors.len()), contributors, unpaid, commons }
}

fn summary(document: &ReceiptDocument, paid: usize) -> String {
    let outcome = &document.evidence.attribution.outcome;
    if outcome.explained == Share::ZERO {
        return "The base model would have said this anyway: no source reached the threshold, and the \
                commons gets the data pot."
            .to_owned();
    }
    let explained = outcome.explained;
    let start = format!("Fine-tuning explains {explained} of this answer");
    match paid {
        0 if document.evidence.attribution.inputs.influence == Influence::Commons => format!(
            "{start}, but no source reached the threshold: the answer repeats nobody's text, this \
             model's attribution is not certified to be faithful enough to pay by effect, and the \
             commons gets the data pot."
        ),
        0 => format!(
            "{start}, but no source reached the threshold: no contributor's effect is larger than the \
             error of measurement, and the commons gets the data pot."
        ),
        1 => format!("{start}; one contributor's records reached the threshold."),
        _ => format!("{start}; the records of {paid} contributors reached the threshold."),
    }
}

fn reason(
    document: &ReceiptDocument,
    index: usize,
    player: &Player,
    distinctive: Option<&Distinctive<'_>>,
) -> Reason {
    let evidence = &document.evidence;
    let (inputs, outcome) = (&evidence.attribution.inputs, &evidence.attribution.outcome);
    let units = f64::from(inputs.design.order) * VALUE_UNITS_PER_NAT as f64;
    let effect_nats = outcome.effects[index] as f64 / units;
    let times_likelier = (effect_nats / inputs.surprisals.len().max(1) as f64).exp();
    let measured = outcome.effects[index] > outcome.noise_floor;
    let repeats = repeats(document, index);
    let similar = distinctive
        .map_or_else(Vec::new, |words| words.closest(player.wallet, SIMILAR_MAX, SIMILAR_PPM_MIN));
    Reason {
        contributor: player.contributor.clone(),
        wallet: player.wallet,
        share: outcome.shares.of(index),
        paid_wei: paid(document, player.wallet),
        sentence: sentence(&player.contributor, measured, times_likelier, &repeats, &similar),
        effect_nats,
        times_likelier,
        repeats,
        similar,
    }
}

fn sentence(
    name: &str,
    measured: bool,
    times_likelier: f64,
    repeats: &[Repeat],
    similar: &[Similar],
) -> String {
    let whose = if name.ends_with('s') { format!("{name}'") } else { format!("{name}'s") };
    let effect = if measured {
        format!(
            "models trained with {whose} records find each token of this answer {} as likely as models \
             trained without them",
            times(times_likelier)
        )
    } else {
        format!("the effect of {whose} records is within the error of measurement")
    };
    let tokens: u32 = repeats.iter().map(|repeat| repeat.tokens).sum();
    let link = if measured { "and" } else { "but" };
    let text = match (repeats, similar) {
        ([], []) => return capital(&format!("{effect}.")),
        ([one], _) => format!("{tokens} tokens of the answer stand first in record {}", one.record),
        ([_, ..], _) => {
            format!("{tokens} tokens of the answer stand first in {} of them", repeats.len())
        }
        ([], [closest, ..]) => format!("record {} is the closest in its words", closest.record),
    };
    capital(&format!("{effect}, {link} {text}."))
}

/// A factor as people say it.
fn times(factor: f64) -> String {
    match factor {
        factor if factor >= 100.0 => format!("{factor:.0} times"),
        factor if factor >= 1.95 => format!("{factor:.1} times"),
        factor => format!("{factor:.2} times"),
    }
}

fn capital(sentence: &str) -> String {
    let mut letters = sentence.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// Records of a player that the answer repeats, in the order of the answer, each once.
fn repeats(document: &ReceiptDocument, player: usize) -> Vec<Repeat> {
    let mut found: Vec<Repeat> = Vec::new();
    for span in &document.evidence.attribution.outcome.credit.spans {
        let Some(holder) = span.earliest.filter(|holder| usize::from(holder.player) == player)
        else {
            continue;
        };
        if let Some(known) = found.iter_mut().find(|repeat| repeat.record == holder.record) {
            known.tokens += span.length;
            continue;
        }
        let citation =
            document.evidence.citations.iter().find(|cited| cited.record == holder.record);
        let text = citation.and_then(|cited| cited.messages.last());
        found.push(Repeat {
            record: holder.record,
            tokens: span.length,
            text: text.map_or_else(String::new, |turn| turn.content.clone()),
        });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repeat(record: u32, tokens: u32) -> Repeat {
        Repeat { record, tokens, text: "Text.".into() }
    }

    fn similar(record: u32) -> Similar {
        Similar { record, common_ppm: 700_000, text: "Text.".into() }
    }

    #[test]
    fn a_sentence_says_what_was_measured_and_what_was_only_found() {
        assert_eq!(
            sentence("ann", true, 5.43, &[repeat(7, 12)], &[similar(9)]),
            "Models trained with ann's records find each token of this answer 5.4 times as likely as \
             models trained without them, and 12 tokens of the answer stand first in record 7."
        );
        assert_eq!(
            sentence("ann", false, 1.0, &[repeat(7, 12), repeat(8, 6)], &[]),
            "The effect of ann's records is within the error of measurement, but 18 tokens of the \
             answer stand first in 2 of them."
        );
        assert_eq!(
            sentence("ann", true, 1.5, &[], &[similar(9)]),
            "Models trained with ann's records find each token of this answer 1.50 times as likely as \
             models trained without them, and record 9 is the closest in its words."
        );
        assert!(sentence("ann", true, 1.5, &[], &[]).ends_with("without them."));
        assert!(
            sentence("docs", true, 1.5, &[], &[]).starts_with("Models trained with docs' records")
        );
    }
}

//! Why each contributor was paid: what [`openledger_attribution::explain`] says, with names, wallets and
//! the texts of the records.

use openledger_attribution::{RecordText, ShownRecord, VALUE_UNITS_PER_NAT};
use openledger_datanet::Version;
use openledger_primitives::{Address, OpenAmount, Share};
use serde::Serialize;

use crate::{Error, Player, ReceiptDocument, contributors::contributor_of_each_record, view::paid};

/// Why the data pot of one answer went where it went.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// Who was paid, the largest share first.
    pub contributors: Vec<Reason>,
    /// Contributors of the model that got nothing for this answer.
    pub unpaid: usize,
    /// What nobody earned.
    pub commons: Share,
    /// Why the commons gets it, in words.
    pub commons_reason: String,
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
    /// What of the share was measured, by its own text or its own effect. The rest is apportioned inside
    /// its group.
    pub measured: Share,
    /// Contributors behind the player whose effect is given: one, unless it is grouped.
    pub group: usize,
    /// What it was paid, in wei.
    pub paid_wei: OpenAmount,
    /// φ: the effect on the log-likelihood of the answer, in nats.
    pub effect_nats: f64,
    /// exp(φ / T): how many times likelier its records make each token of the answer.
    pub times_likelier: f64,
    /// One sentence for people.
    pub sentence: String,
    /// Its records that mattered: those that the answer repeats, then those most like it.
    pub records: Vec<RecordThatMattered>,
}

/// A record that mattered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RecordThatMattered {
    /// Which, and how.
    #[serde(flatten)]
    pub shown: ShownRecord,
    /// What it teaches to say.
    pub text: String,
}

/// Explains who was paid for an answer.
///
/// `records`: the Datanet version that the model was trained on, if it is at hand; without it only the
/// records that the receipt cites can be shown.
///
/// Errors: [`Error::Corrupt`] if a record belongs to no player of the receipt.
pub fn explain(
    document: &ReceiptDocument,
    records: Option<&Version>,
) -> Result<Explanation, Error> {
    let evidence = &document.evidence;
    let texts = match records {
        Some(version) => texts_of(version, &evidence.players)?,
        None => cited(document),
    };
    let names: Vec<&str> =
        evidence.players.iter().map(|player| player.contributor.as_str()).collect();
    let said = openledger_attribution::explain(
        &evidence.attribution,
        evidence.division.as_ref(),
        &names,
        &evidence.answer,
        &texts,
    );
    let contributors: Vec<Reason> = said
        .contributors
        .into_iter()
        .map(|one| {
            let (effect_nats, times_likelier) = effect(document, usize::from(one.player));
            let player = &evidence.players[one.contributor as usize];
            let division = evidence.division.as_ref();
            let group = division.map_or(1, |all| all.players[usize::from(one.player)].len());
            let text_of = |record| {
                let known = texts.iter().find(|text| text.record == record);
                known.map_or_else(String::new, |known| known.text.to_owned())
            };
            let matter =
                |shown: ShownRecord| RecordThatMattered { text: text_of(shown.record), shown };
            Reason {
                contributor: player.contributor.clone(),
                wallet: player.wallet,
                share: one.share,
                measured: one.measured,
                group,
                paid_wei: paid(document, player.wallet),
                effect_nats,
                times_likelier,
                sentence: one.sentence,
                records: one.records.into_iter().map(matter).collect(),
            }
        })
        .collect();
    Ok(Explanation {
        unpaid: evidence.players.len() - contributors.len(),
        contributors,
        commons: evidence.attribution.outcome.shares.commons,
        commons_reason: said.commons,
    })
}

/// φ in nats, and what it makes of the probability of one token. For the eye only.
fn effect(document: &ReceiptDocument, player: usize) -> (f64, f64) {
    let attribution = &document.evidence.attribution;
    let units = f64::from(attribution.inputs.design.order) * VALUE_UNITS_PER_NAT as f64;
    let nats = attribution.outcome.effects[player] as f64 / units;
    (nats, (nats / attribution.inputs.surprisals.len().max(1) as f64).exp())
}

fn texts_of<'a>(version: &'a Version, players: &[Player]) -> Result<Vec<RecordText<'a>>, Error> {
    let owners = contributor_of_each_record(version, players)?;
    let numbered = version.records().iter().zip(owners).zip(0..);
    Ok(numbered
        .map(|((record, contributor), number)| RecordText {
            record: number,
            contributor,
            text: record.canonical().completion(),
        })
        .collect())
}

/// The records that the receipt cites, with the contributors whose they are.
fn cited(document: &ReceiptDocument) -> Vec<RecordText<'_>> {
    document
        .evidence
        .citations
        .iter()
        .filter_map(|citation| {
            let text = citation.messages.last()?.content.as_str();
            let contributor = document.evidence.contributor_of_record(citation.record)?;
            Some(RecordText { record: citation.record, contributor: contributor as u32, text })
        })
        .collect()
}

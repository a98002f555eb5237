//! The contributors of a model: how they are grouped into players, and what each has to do with an answer.
//!
//! ```text
//! records ─▶ tokens, content clusters ─▶ Grouping ─▶ players of the design
//! answer, spans, records ─▶ charge, likeness ─▶ Member ─▶ Division of the players' shares
//! ```

use openledger_attribution::{
    Basis, Contributor, Grouping, Member, SIMILARITY_SHOWN_MIN, Similarity, SpanCredit,
    content_clusters,
};
use openledger_datanet::Version;
use openledger_model::{ChatTemplate, Tokenizer};
use openledger_primitives::{B256, keccak256};

use crate::{Error, document::Player, examples::answer_tokens};

/// Groups the contributors of a version into at most `players_max` players: everybody alone where there is
/// room, else heavy contributors alone and the others with those who write about the same things.
///
/// Errors: [`Error::Attribution`] for `players_max` out of bounds; text that cannot be tokenised.
pub fn group(
    version: &Version,
    players: &[Player],
    players_max: usize,
    tokenizer: &Tokenizer,
    template: &ChatTemplate,
) -> Result<Grouping, Error> {
    if players.len() <= players_max {
        return Ok(Grouping::alone(players.len())?);
    }
    let contributors = weighed(version, players, players_max, tokenizer, template)?;
    Ok(Grouping::new(&contributors, players_max)?)
}

/// The design of the next epoch, which looks inside the groups that earned most; `None` if no group of
/// several has earned anything.
///
/// `earnings`: one for each group of `grouping`, in any unit. Errors: as [`group`].
pub fn open_groups(
    version: &Version,
    players: &[Player],
    grouping: &Grouping,
    earnings: &[u128],
    players_max: usize,
    (tokenizer, template): (&Tokenizer, &ChatTemplate),
) -> Result<Option<Grouping>, Error> {
    let contributors = weighed(version, players, players_max, tokenizer, template)?;
    Ok(grouping.open(&contributors, earnings, players_max)?)
}

/// Tokens and content cluster of each contributor.
fn weighed(
    version: &Version,
    players: &[Player],
    players_max: usize,
    tokenizer: &Tokenizer,
    template: &ChatTemplate,
) -> Result<Vec<Contributor>, Error> {
    let owners = contributor_of_each_record(version, players)?;
    let mut contributors = vec![Contributor { tokens: 0, cluster: 0 }; players.len()];
    let mut texts: Vec<Vec<&str>> = vec![Vec::new(); players.len()];
    for (record, owner) in version.records().iter().zip(owners) {
        let tokens = answer_tokens(record.canonical(), tokenizer, template)?.len() as u64;
        contributors[owner as usize].tokens += tokens;
        texts[owner as usize].push(record.canonical().completion());
    }
    // Half of the seats are enough for content; the others are for those who are heavy or stand out.
    let clusters = content_clusters(&texts, players_max.div_ceil(2));
    for (contributor, cluster) in contributors.iter_mut().zip(clusters) {
        contributor.cluster = cluster;
    }
    Ok(contributors)
}

/// Contributor of each record, in record order: an index into `players`.
///
/// Errors: [`Error::Corrupt`] if a record belongs to none of them.
pub(crate) fn contributor_of_each_record(
    records: &Version,
    players: &[Player],
) -> Result<Vec<u32>, Error> {
    let number: std::collections::HashMap<_, u32> =
        players.iter().map(|player| player.wallet).zip(0u32..).collect();
    let owner = |record: &openledger_datanet::Record| {
        record.contributor().wallet().and_then(|wallet| number.get(&wallet).copied())
    };
    records
        .records()
        .iter()
        .map(|record| {
            owner(record)
                .ok_or_else(|| Error::Corrupt("a record's contributor is no player".into()))
        })
        .collect()
}

/// keccak-256 of the RFC 8785 form of the wallets behind each player: who is paid for whom.
pub(crate) fn players_hash<'a>(
    players: &[Player],
    groups: impl IntoIterator<Item = impl IntoIterator<Item = &'a u32>>,
) -> B256 {
    let wallet = |contributor: &u32| players.get(*contributor as usize).map(|one| one.wallet);
    let wallets: Vec<Vec<_>> =
        groups.into_iter().map(|group| group.into_iter().map(wallet).collect::<Vec<_>>()).collect();
    keccak256(serde_json_canonicalizer::to_vec(&wallets).expect("strings and lists"))
}

/// What the members of a model's groups have to do with an answer, beyond what its design measures.
#[derive(Debug)]
pub(crate) struct Members {
    grouping: Grouping,
    /// Contributor of each record.
    owners: Vec<u32>,
    /// Tokens of each contributor's completions.
    tokens: Vec<u64>,
    likeness: Similarity,
}

impl Members {
    /// `completions`: tokens of each record's completion, in record order.
    pub(crate) fn new(
        grouping: &Grouping,
        records: &Version,
        owners: Vec<u32>,
        completions: &[Vec<u32>],
    ) -> Self {
        let mut tokens = vec![0; grouping.contributors()];
        for (owner, completion) in owners.iter().zip(completions) {
            tokens[*owner as usize] += completion.len() as u64;
        }
        let texts = records.records().iter().map(|record| record.canonical().completion());
        Self { grouping: grouping.clone(), owners, tokens, likeness: Similarity::new(texts) }
    }

    /// Who stands behind each player, and what they have to do with this answer: the charge of their own
    /// text, and the sum of the likeness of their records to it, in parts per million, of those alike
    /// enough to be shown. A player's only member needs no weight but one.
    pub(crate) fn of_answer(
        &self,
        answer: &str,
        credit: &SpanCredit,
        records: &Version,
    ) -> Vec<Vec<Member>> {
        let mut charged = vec![0u64; self.tokens.len()];
        for span in &credit.spans {
            let Some(holder) = span.earliest else { continue };
            let owner = self.owners.get(holder.record as usize);
            if let Some(charged) = owner.and_then(|owner| charged.get_mut(*owner as usize)) {
                *charged += span.charged;
            }
        }
        let likeness = self.likeness.to(answer);
        let mut weights = vec![0u64; self.tokens.len()];
        for (record, owner) in records.records().iter().zip(&self.owners) {
            let alike = likeness(record.canonical().completion());
            if alike >= SIMILARITY_SHOWN_MIN {
                weights[*owner as usize] += u64::from(alike);
            }
        }
        let member = |contributor: &u32, alone: bool| {
            let at = *contributor as usize;
            let (weight, basis) =
                if alone { (1, Basis::Measured) } else { (weights[at], Basis::Apportioned) };
            let (charged, tokens) = (charged[at], self.tokens[at]);
            Member { contributor: *contributor, charged, weight, basis, tokens }
        };
        let groups = self.grouping.groups().iter();
        groups
            .map(|group| group.iter().map(|one| member(one, group.len() == 1)).collect())
            .collect()
    }
}

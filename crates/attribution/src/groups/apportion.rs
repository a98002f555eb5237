//! What of a group's share goes to each of its members.

use openledger_primitives::{B256, Share, U256};
use serde::{Deserialize, Serialize};

use crate::shares::{paid_effects, round};
use crate::{Error, Influence, Outcome};

/// What a member's weight is: what the part of a group's share that its effect earned is divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// The effect of the member: of the player itself if it is alone, else in a design of the members,
    /// above its noise floor.
    Measured,
    /// Similarity of their records to the answer, or their tokens: an estimate, until the group is
    /// opened.
    Apportioned,
}

/// What one member of a group has to do with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Its number among the contributors.
    pub contributor: u32,
    /// Surprisal charged to its text, in units of 2⁻²⁰ nat.
    pub charged: u64,
    /// Its effect above the noise floor, or the similarity of its records to the answer, in any unit
    /// that adds up when a contributor is split; anything but 0 for a player's only member.
    pub weight: u64,
    /// Which of the two the weight is.
    pub basis: Basis,
    /// Tokens of its records: they decide where no member has a weight.
    pub tokens: u64,
}

/// What a member gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberShare {
    /// Its number among the contributors.
    pub contributor: u32,
    /// Its part of the data pot.
    pub share: Share,
    /// How much of that was measured, by its own text or its own effect. The rest is apportioned.
    pub measured: Share,
}

/// Divides the share of one player among the contributors behind it. Their shares sum to it exactly.
///
/// The part that repeated text earned goes to those whose text it is. The part that the effect earned is
/// divided by weight, and by tokens if all weights are zero. So a contributor that splits into several
/// inside its group gets the same in all, but for rounding: at most one part of 2³² for each member.
/// Largest remainders, ties as in [`crate::shares`], by position in `members`.
///
/// Errors: [`Error::Members`] unless the charges of the members sum to the player's, and somebody has
/// tokens or weight.
pub fn apportion(
    outcome: &Outcome,
    influence: Influence,
    player: usize,
    members: &[Member],
    tie_seed: B256,
) -> Result<Vec<MemberShare>, Error> {
    let whole = outcome.shares.of(player);
    let charged: u128 = members.iter().map(|member| u128::from(member.charged)).sum();
    let expected = outcome.credit.per_player.get(player).copied().map(u128::from);
    let by_weight = members.iter().any(|member| member.weight > 0);
    let weight =
        |member: &Member| U256::from(if by_weight { member.weight } else { member.tokens });
    let weights: U256 = members.iter().map(weight).sum();
    if expected != Some(charged) || weights.is_zero() || members.len() > usize::from(u8::MAX) {
        return Err(Error::Members { player });
    }

    // The player's share is in proportion w·Σφ⁺ : (W − covered)·φ⁺ of text and effect.
    let paid = paid_effects(&outcome.effects, outcome.noise_floor, influence);
    let effects = paid.iter().sum::<U256>().max(U256::from(1));
    let credit = &outcome.credit;
    let uncovered = if credit.total == 0 { 1 } else { credit.total - credit.covered };
    let effect = U256::from(uncovered) * paid[player];
    let text = |member: &Member| U256::from(member.charged) * effects * weights;
    let all = (U256::from(charged) * effects + effect) * weights;
    if all.is_zero() {
        // Nobody earned anything.
        let nothing = |member: &Member| MemberShare {
            contributor: member.contributor,
            share: Share::ZERO,
            measured: Share::ZERO,
        };
        return Ok(members.iter().map(nothing).collect());
    }

    // In 33 + 49 + 57 + 72 bits.
    let numerators: Vec<U256> = members
        .iter()
        .map(|member| U256::from(whole.parts()) * (text(member) + effect * weight(member)))
        .collect();
    let shares = round(&numerators, all, tie_seed);
    let measured = |member: &Member, share: Share| match member.basis {
        Basis::Measured if by_weight => share,
        Basis::Measured | Basis::Apportioned => {
            let parts = U256::from(whole.parts()) * text(member) / all;
            let parts = u64::try_from(parts).ok().and_then(Share::from_parts);
            parts.expect("at most the player's share").min(share)
        }
    };
    Ok(members
        .iter()
        .zip(shares)
        .map(|(member, share)| MemberShare {
            contributor: member.contributor,
            share,
            measured: measured(member, share),
        })
        .collect())
}

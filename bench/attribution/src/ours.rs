//! Our method on the values of a design's runs: effects, noise floor, shares.

use eyre::Result;
use openledger_attribution::{Design, Influence, charge, effects, explained, noise_floor, shares};
use openledger_primitives::{B256, Share};

/// What the design says about one answer.
#[derive(Clone, Debug)]
pub(crate) struct Attributed {
    /// m·φ_c of each player.
    pub(crate) effects: Vec<i64>,
    /// Share of the data pot of each player, no spans considered.
    pub(crate) shares: Vec<f64>,
    /// Whether the effect was paid.
    pub(crate) paid: Vec<bool>,
    /// ε.
    pub(crate) explained: f64,
}

/// Attributes one answer of `tokens` tokens by effects alone.
pub(crate) fn attribute(design: &Design, values: &[i64], tokens: u64) -> Result<Attributed> {
    let effects = effects(design, values)?;
    let floor = noise_floor(&effects);
    let explained = explained(values[design.order()], values[0], tokens);
    // No surprisal: no spans, so the effects decide alone.
    let credit = charge(design.players(), &[], &[])?;
    let shares = shares(explained, &effects, floor, Influence::Paid, &credit, B256::ZERO);
    Ok(Attributed {
        paid: shares.players.iter().map(|share| *share != Share::ZERO).collect(),
        shares: shares.players.iter().map(part).collect(),
        effects: effects.per_player().to_vec(),
        explained: part(&explained),
    })
}

/// ε of an answer of `tokens` tokens alone.
pub(crate) fn explained_part(base: i64, published: i64, tokens: u64) -> f64 {
    part(&explained(base, published, tokens))
}

fn part(share: &Share) -> f64 {
    share.parts() as f64 / Share::ONE.parts() as f64
}

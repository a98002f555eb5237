//! From effects and span credit to integer shares.

use core::cmp::Reverse;

use openledger_primitives::{B256, Share, U256, keccak256};
use serde::{Deserialize, Serialize};

use crate::{Effects, SpanCredit};

/// Who gets which part of the data pot of one answer. The parts and the commons sum to the whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shares {
    /// One per player of the design.
    pub players: Vec<Share>,
    /// What nobody earned.
    pub commons: Share,
}

impl Shares {
    /// The share of a player; nothing for one that the design does not have.
    pub fn of(&self, player: usize) -> Share {
        self.players.get(player).copied().unwrap_or(Share::ZERO)
    }
}

/// Whether the effects of a model's answers move money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Influence {
    /// They do: the model's fidelity reaches the floor that governance sets.
    Paid,
    /// They do not, and their part goes to the commons: its fidelity is below that floor, see
    /// [`crate::Certificate::influence`]. Repeated text is paid all the same; it needs no estimate.
    Commons,
}

/// s_c = ε · (w_c/W + (1 − a)·φ⁺_c/Σφ⁺), with w_c the surprisal charged to the text of player c, W the
/// surprisal of the answer, a the part of W that spans cover, φ⁺ the effects above the noise floor.
///
/// `explained`: ε. The commons takes 1 − ε, the spans that too many hold, and (1 − a)·ε where no effect
/// clears the floor or `influence` is the commons'. An answer without surprisal (W = 0) has no spans: a = 0.
///
/// Rounding: the players together get ⌊Σ s_c⌋ parts of 2³², so it favours the commons; among them each
/// gets ⌊s_c⌋ and the parts still missing go one by one to the largest remainders. Ties: the lower
/// keccak256(`tie_seed` ‖ player as one byte) first; a seed that no player can choose, such as the hash
/// of the salted answer, favours nobody. A player with s_c = 0 gets exactly 0.
///
/// Panics if `effects` and `credit` are not of the same players, or sum above the bounds they were
/// checked for.
pub fn shares(
    explained: Share,
    effects: &Effects,
    noise_floor: i64,
    influence: Influence,
    credit: &SpanCredit,
    tie_seed: B256,
) -> Shares {
    let effects = effects.per_player();
    assert_eq!(effects.len(), credit.per_player.len(), "one span credit per player");
    let paid = paid_effects(effects, noise_floor, influence);
    // An empty sum stands for one: its numerators are zero.
    let effect_sum = paid.iter().sum::<U256>().max(U256::from(1));
    // An answer without surprisal is all uncovered: the effects decide alone.
    let (total, uncovered) =
        if credit.total == 0 { (1, 1) } else { (credit.total, credit.total - credit.covered) };

    // s_c · 2³² = explained · (w_c · Σφ⁺ + (W − covered) · φ⁺_c) / (W · Σφ⁺), in 32 + 49 + 57 bits.
    let denominator = U256::from(total) * effect_sum;
    let weight = |(charged, effect): (&u64, &U256)| {
        U256::from(*charged) * effect_sum + U256::from(uncovered) * effect
    };
    let weights = credit.per_player.iter().zip(&paid).map(weight);
    let numerators: Vec<U256> = weights.map(|w| U256::from(explained.parts()) * w).collect();

    let players = round(&numerators, denominator, tie_seed);
    let paid_out: u64 = players.iter().map(|share| share.parts()).sum();
    assert!(paid_out <= explained.parts(), "players never get more than is explained");
    let commons = Share::from_parts(paid_out).expect("at most the whole").complement();
    Shares { players, commons }
}

/// φ⁺ of each player: the effect if it is above the floor and effects are paid, else nothing.
pub(crate) fn paid_effects(effects: &[i64], noise_floor: i64, influence: Influence) -> Vec<U256> {
    let paid = |effect: &i64| match influence {
        Influence::Paid if *effect > noise_floor => u64::try_from(*effect).unwrap_or(0),
        Influence::Paid | Influence::Commons => 0,
    };
    effects.iter().map(paid).map(U256::from).collect()
}

/// Largest-remainder rounding of numerators over one denominator, down to whole parts in the sum.
pub(crate) fn round(numerators: &[U256], denominator: U256, tie_seed: B256) -> Vec<Share> {
    let mut parts: Vec<U256> = numerators.iter().map(|n| n / denominator).collect();
    let remainder = |player: usize| numerators[player] % denominator;
    let missing = (0..parts.len()).map(remainder).sum::<U256>() / denominator;

    let mut by_remainder: Vec<usize> = (0..parts.len()).collect();
    by_remainder.sort_by_cached_key(|player| {
        let tie = keccak256([tie_seed.as_slice(), &[*player as u8]].concat());
        (Reverse(remainder(*player)), tie)
    });
    // Fewer parts are missing than there are players with a remainder.
    let missing = usize::try_from(missing).expect("fewer missing parts than players");
    by_remainder[..missing].iter().for_each(|player| parts[*player] += U256::from(1));
    parts
        .into_iter()
        .map(|part| {
            u64::try_from(part).ok().and_then(Share::from_parts).expect("at most the whole")
        })
        .collect()
}

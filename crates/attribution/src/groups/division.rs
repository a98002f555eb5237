//! What each contributor of a grouped design gets, and how much of that was measured.

use openledger_primitives::{B256, Share};
use serde::{Deserialize, Serialize};

use crate::{Error, Influence, Member, MemberShare, Outcome, apportion};

/// The shares of the players of one answer, divided among the contributors behind them.
///
/// **Invariant:** the shares of a player's members sum to the player's share exactly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Division {
    /// Who stands behind each player of the design, and what they have to do with the answer.
    pub players: Vec<Vec<Member>>,
    /// What each contributor gets, in their order.
    pub shares: Vec<MemberShare>,
}

impl Division {
    /// Divides the share of each player among its members.
    ///
    /// Errors: [`Error::Members`] as [`apportion`], and where the members are not each contributor
    /// from 0 on exactly once.
    pub fn new(
        outcome: &Outcome,
        influence: Influence,
        players: Vec<Vec<Member>>,
        tie_seed: B256,
    ) -> Result<Self, Error> {
        let shares = divided(outcome, influence, &players, tie_seed)?;
        Ok(Self { players, shares })
    }

    /// Checks that the shares follow from what is said of the members.
    ///
    /// Errors: those of [`Division::new`]; [`Error::DivisionMismatch`] where a share is another.
    pub fn verify(
        &self,
        outcome: &Outcome,
        influence: Influence,
        tie_seed: B256,
    ) -> Result<(), Error> {
        let shares = divided(outcome, influence, &self.players, tie_seed)?;
        match shares.iter().zip(&self.shares).position(|(derived, found)| derived != found) {
            Some(contributor) => Err(Error::DivisionMismatch { contributor }),
            None if shares.len() != self.shares.len() => {
                Err(Error::DivisionMismatch { contributor: shares.len().min(self.shares.len()) })
            }
            None => Ok(()),
        }
    }

    /// The player that a contributor stands behind.
    pub fn player_of(&self, contributor: u32) -> Option<usize> {
        let stands = |members: &Vec<Member>| members.iter().any(|m| m.contributor == contributor);
        self.players.iter().position(stands)
    }
}

fn divided(
    outcome: &Outcome,
    influence: Influence,
    players: &[Vec<Member>],
    tie_seed: B256,
) -> Result<Vec<MemberShare>, Error> {
    if players.len() != outcome.shares.players.len() {
        return Err(Error::Members { player: players.len().min(outcome.shares.players.len()) });
    }
    let mut shares = Vec::new();
    for (player, members) in players.iter().enumerate() {
        let divided = apportion(outcome, influence, player, members, tie_seed)?;
        // Conservation: no part of a player's share is lost or made among its members.
        let sum: u64 = divided.iter().map(|member| member.share.parts()).sum();
        assert_eq!(sum, outcome.shares.of(player).parts(), "members get what their player gets");
        shares.extend(divided.into_iter().map(|share| (player, share)));
    }
    shares.sort_by_key(|(_, share)| share.contributor);
    for (number, (player, share)) in shares.iter().enumerate() {
        if share.contributor as usize != number {
            return Err(Error::Members { player: *player });
        }
    }
    Ok(shares.into_iter().map(|(_, share)| share).collect())
}

impl MemberShare {
    /// What of the share is an estimate by similarity or by tokens.
    pub fn apportioned(&self) -> Share {
        let parts = self.share.parts() - self.measured.parts();
        Share::from_parts(parts).expect("a part of a share")
    }
}

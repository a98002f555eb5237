//! Which half of the players each run trains on.

mod budget;
mod hadamard;

use alloy_sol_types::{SolValue, sol};
use openledger_primitives::{B256, keccak256};
use serde::{Deserialize, Serialize};

use crate::Error;
use hadamard::Construction;

/// Players in one design, at most.
pub const PLAYERS_MAX: u8 = 63;
/// Largest order of a design.
pub const ORDER_MAX: u8 = 64;

sol! {
    /// What the design hash commits to, as the contract sees it.
    struct DesignEncoding {
        uint8 players;
        uint8 order;
        uint64[] rows;
    }
}

/// Folded Hadamard design D = [H; −H] over the players of one training set.
///
/// Run r < m trains on the players c with `H[r,c] = +1`, run m + r on the others; m is the order. Run 0
/// is everyone, the published adapter; run m is nobody, the base. No subset occurs twice. A contributor
/// outside the training set is no player and gets nothing.
///
/// Sources: Plackett and Burman 1946 (main effects from Hadamard matrices); Box and Hunter 1961
/// (the fold-over keeps main effects clear of two-way interactions).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Design {
    players: u8,
    /// Bit c of row r is set where `H[r,c] = +1`.
    rows: Vec<u64>,
    /// Where each column stands in a Sylvester matrix, if it is one.
    sylvester: Option<Vec<usize>>,
}

/// What one run of a design trains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Run {
    /// θ(N): all players. The adapter that answers.
    Published,
    /// θ(∅): no players. Nothing to train.
    Base,
    /// A counterfactual adapter, numbered from 0 in the order of the runs.
    Counterfactual(u8),
}

/// A design by name: enough to build it again, and the hash it must then have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DesignRef {
    /// Number of players.
    pub players: u8,
    /// Order of the Hadamard matrix.
    pub order: u8,
    /// [`Design::hash`].
    pub hash: B256,
}

impl Design {
    /// The smallest design for `players`: least training. [`Design::within`] spends more runs, for more
    /// precision and a lower noise floor; with 3 or 4 players the floor is high (`CONTRASTS_MIN`).
    ///
    /// Errors: [`Error::PlayerCount`] for none or more than [`PLAYERS_MAX`].
    pub fn new(players: usize) -> Result<Self, Error> {
        let count = checked(players)?;
        (count..=ORDER_MAX)
            .find_map(|order| Self::with_order(players, order).ok())
            .ok_or(Error::PlayerCount(players))
    }

    /// A design of a given order: more training than needed, but more unused contrasts, so a better
    /// noise floor, and less aliasing.
    ///
    /// Errors: [`Error::PlayerCount`]; [`Error::Order`] if `order` has no construction or is below
    /// `players`; [`Error::RunsRepeat`] if two runs would train the same subset, and so give the same
    /// value and the illusion of a small error. Powers of two never do up to order 2^(players − 1),
    /// where every subset is trained; of the other orders some do for up to 12 players.
    pub fn with_order(players: usize, order: u8) -> Result<Self, Error> {
        let players = checked(players)?;
        let unavailable = Error::Order { players, order };
        let construction =
            Construction::of(order).filter(|_| players <= order).ok_or(unavailable.clone())?;
        let sylvester = (construction == Construction::Sylvester)
            .then(|| construction.column_order(usize::from(order)));
        let design = Self { players, rows: hadamard::rows(order).ok_or(unavailable)?, sylvester };
        let mut subsets: Vec<u64> = (0..design.run_count()).map(|r| design.mask(r)).collect();
        subsets.sort_unstable();
        if subsets.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Error::RunsRepeat { players, order });
        }
        Ok(design)
    }

    /// Number of players C.
    pub fn players(&self) -> usize {
        usize::from(self.players)
    }

    /// Order m of the Hadamard matrix; effects are scaled by it.
    pub fn order(&self) -> usize {
        self.rows.len()
    }

    /// Number of runs, 2m.
    pub fn run_count(&self) -> usize {
        2 * self.order()
    }

    /// What each run trains, in order. 2m − 2 of them are counterfactual.
    pub fn runs(&self) -> Vec<Run> {
        let order = self.order();
        (0..self.run_count())
            .map(|run| match run {
                0 => Run::Published,
                _ if run == order => Run::Base,
                // Below ORDER_MAX · 2, so it fits.
                _ if run < order => Run::Counterfactual((run - 1) as u8),
                _ => Run::Counterfactual((run - 2) as u8),
            })
            .collect()
    }

    /// Which players run `run` trains on, one flag per player.
    ///
    /// Panics if `run` is not below [`Design::run_count`].
    pub fn subset(&self, run: usize) -> Vec<bool> {
        crate::players_in(self.mask(run), self.players())
    }

    /// Rows of H: bit c of row r is set where `H[r,c] = +1`. The first `players` columns are players,
    /// the others measure noise.
    pub fn rows(&self) -> &[u64] {
        &self.rows
    }

    /// Canonical encoding: `abi.encode` of the Solidity struct
    /// `DesignEncoding { uint8 players; uint8 order; uint64[] rows; }`.
    pub fn encode(&self) -> Vec<u8> {
        let order = self.order() as u8; // at most ORDER_MAX
        DesignEncoding { players: self.players, order, rows: self.rows.clone() }.abi_encode()
    }

    /// Keccak-256 of [`Design::encode`].
    pub fn hash(&self) -> B256 {
        keccak256(self.encode())
    }

    /// The design by name.
    pub fn reference(&self) -> DesignRef {
        DesignRef { players: self.players, order: self.order() as u8, hash: self.hash() }
    }

    /// Where each column stands in the natural Sylvester matrix, if this design is made of one.
    pub(crate) fn sylvester_columns(&self) -> Option<&[usize]> {
        self.sylvester.as_deref()
    }

    fn mask(&self, run: usize) -> u64 {
        let players = (1u64 << self.players) - 1;
        match run.checked_sub(self.order()) {
            None => self.rows[run] & players,
            Some(folded) => !self.rows[folded] & players,
        }
    }
}

/// Builds the named design and checks its hash.
///
/// Errors: as [`Design::with_order`]; [`Error::DesignHash`].
impl TryFrom<&DesignRef> for Design {
    type Error = Error;

    fn try_from(name: &DesignRef) -> Result<Self, Error> {
        let design = Self::with_order(usize::from(name.players), name.order)?;
        if design.hash() == name.hash { Ok(design) } else { Err(Error::DesignHash) }
    }
}

fn checked(players: usize) -> Result<u8, Error> {
    u8::try_from(players)
        .ok()
        .filter(|count| (1..=PLAYERS_MAX).contains(count))
        .ok_or(Error::PlayerCount(players))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn designs() -> impl Iterator<Item = Design> {
        (1..=PLAYERS_MAX).flat_map(|players| {
            (1..=ORDER_MAX).filter_map(move |o| Design::with_order(usize::from(players), o).ok())
        })
    }

    #[test]
    fn the_first_run_is_the_published_adapter_and_its_fold_is_the_base() {
        for design in designs() {
            let (order, runs) = (design.order(), design.runs());
            assert!(design.subset(0).iter().all(|inside| *inside));
            assert!(design.subset(order).iter().all(|inside| !inside));
            assert_eq!((runs[0], runs[order]), (Run::Published, Run::Base));
            let trained = runs.iter().filter(|run| matches!(run, Run::Counterfactual(_)));
            let numbers: Vec<Run> = trained.copied().collect();
            let expected = (0..2 * order - 2).map(|i| Run::Counterfactual(i as u8));
            assert_eq!(numbers, expected.collect::<Vec<_>>());
        }
    }

    #[test]
    fn every_player_is_in_half_of_the_runs_and_every_pair_in_a_quarter() {
        for design in designs() {
            let runs: Vec<_> = (0..design.run_count()).map(|r| design.subset(r)).collect();
            for a in 0..design.players() {
                assert_eq!(runs.iter().filter(|s| s[a]).count(), design.order());
                for b in 0..a {
                    let both = runs.iter().filter(|s| s[a] && s[b]).count();
                    assert_eq!(both * 2, design.order());
                }
            }
        }
    }

    #[test]
    fn the_smallest_order_with_room_is_chosen() {
        let orders = |players: &[usize]| -> Vec<usize> {
            players.iter().map(|p| Design::new(*p).unwrap().order()).collect()
        };
        assert_eq!(orders(&[1, 2, 3, 4, 5, 8, 9, 12, 13]), [1, 2, 4, 4, 8, 8, 12, 12, 16]);
        assert_eq!(orders(&[20, 28, 40, 49, 63]), [20, 28, 40, 56, 64]);
        assert_eq!(Design::new(0), Err(Error::PlayerCount(0)));
        assert_eq!(Design::new(64), Err(Error::PlayerCount(64)));
        assert_eq!(Design::new(300), Err(Error::PlayerCount(300)));
    }

    #[test]
    fn a_power_of_two_works_until_every_subset_is_trained_and_nothing_trains_one_twice() {
        for players in 1..=usize::from(PLAYERS_MAX) {
            for order in (1..=ORDER_MAX).filter(|o| hadamard::rows(*o).is_some()) {
                let made = Design::with_order(players, order);
                let too_many_runs = 2 * u128::from(order) > 1u128 << players;
                match made {
                    Ok(design) => {
                        let runs = (0..design.run_count()).map(|run| design.subset(run));
                        assert_eq!(runs.collect::<HashSet<_>>().len(), design.run_count());
                    }
                    Err(Error::Order { .. }) => assert!(players > usize::from(order)),
                    Err(Error::RunsRepeat { .. }) => {
                        assert!(too_many_runs || !order.is_power_of_two());
                    }
                    Err(other) => panic!("{other}"),
                }
            }
        }
    }

    #[test]
    fn a_design_is_found_again_by_name_and_another_hash_is_refused() {
        for design in designs().step_by(17) {
            let name = design.reference();
            assert_eq!(Design::try_from(&name).unwrap(), design);
            let other = DesignRef { hash: B256::ZERO, ..name };
            assert_eq!(Design::try_from(&other), Err(Error::DesignHash));
        }
    }
}

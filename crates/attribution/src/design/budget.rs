//! The best design that a budget allows, and how precise it is.

use super::{Design, ORDER_MAX, checked};
use crate::Error;

impl Design {
    /// The most precise design for `players` with at most `runs_max` runs, the published adapter and the
    /// base among them. `runs_max − 2` adapters are trained for it and each answer is scored `runs_max`
    /// times.
    ///
    /// What fewer runs cost is [`Design::standard_error_ppm`].
    ///
    /// Errors: [`Error::PlayerCount`]; [`Error::Budget`] if every design for so many players has more
    /// runs; it names the number of players that fit, for [`crate::Grouping`].
    pub fn within(players: usize, runs_max: usize) -> Result<Self, Error> {
        checked(players)?;
        let best = |players: usize| {
            let orders = (1..=ORDER_MAX).rev().filter(|order| 2 * usize::from(*order) <= runs_max);
            orders.into_iter().find_map(|order| Self::with_order(players, order).ok())
        };
        best(players).ok_or_else(|| Error::Budget {
            players,
            runs_max,
            runs_needed: Self::new(players).map_or(0, |smallest| smallest.run_count()),
            players_max: (1..players).rev().find(|fewer| best(*fewer).is_some()).unwrap_or(0),
        })
    }

    /// Contrasts that belong to no player and measure the noise: 2m − 1 − C.
    pub fn contrasts(&self) -> usize {
        2 * self.order() - 1 - self.players()
    }

    /// Standard error of an effect φ_c relative to that of the value of one run, in parts per million,
    /// rounded up: √(2/m).
    ///
    /// Of 2m runs with independent errors of variance σ², φ_c = (1/m) Σ ± v has variance 2σ²/m. Of all
    /// ways to spend 2m runs none estimates it better, and leaving one player out at a time costs
    /// √2 σ each with C + 1 runs.
    pub fn standard_error_ppm(&self) -> u32 {
        let square = 2_000_000_000_000 / self.order() as u64;
        let root = square.isqrt();
        (root + u64::from(root * root < square || 2_000_000_000_000 % self.order() as u64 != 0))
            as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PLAYERS_MAX;

    #[test]
    fn a_larger_budget_never_gives_a_less_precise_design() {
        for players in 1..=usize::from(PLAYERS_MAX) {
            let mut error = u32::MAX;
            for runs_max in 0..=2 * usize::from(ORDER_MAX) + 3 {
                let Ok(design) = Design::within(players, runs_max) else { continue };
                assert!(design.run_count() <= runs_max);
                assert!(design.standard_error_ppm() <= error);
                error = design.standard_error_ppm();
            }
            assert!(error < u32::MAX, "{players} players fit the largest budget");
        }
    }

    #[test]
    fn a_budget_that_is_too_small_says_what_would_fit() {
        let refused = |players, runs_max| match Design::within(players, runs_max) {
            Err(Error::Budget { runs_needed, players_max, .. }) => (runs_needed, players_max),
            other => panic!("{other:?}"),
        };
        assert_eq!(refused(10, 20), (24, 8));
        assert_eq!(refused(63, 127), (128, 60));
        assert_eq!(refused(2, 3), (4, 1));
        assert_eq!(refused(1, 1), (2, 0));
        assert_eq!(Design::within(8, 16).unwrap().order(), 8);
        assert_eq!(Design::within(8, 31).unwrap().order(), 12);
        assert_eq!(Design::within(4, 1_000).unwrap().order(), 8, "every subset is trained");
        assert_eq!(Design::within(64, 1_000), Err(Error::PlayerCount(64)));
        let fits = Design::within(8, 20).unwrap();
        assert!(Design::within(fits.players(), fits.run_count()).is_ok());
    }

    #[test]
    fn precision_is_the_root_of_two_over_the_order() {
        let ppm = |players, order| Design::with_order(players, order).unwrap().standard_error_ppm();
        assert_eq!(ppm(2, 2), 1_000_000);
        assert_eq!(ppm(8, 8), 500_000);
        assert_eq!(ppm(12, 12), 408_249);
        assert_eq!(ppm(63, 64), 176_777);
        assert_eq!(Design::new(8).unwrap().contrasts(), 7);
    }
}

//! Which subsets of the players are trained: those of the designs, and others to judge by.
//!
//! **Invariant:** no subset of a design that is judged is among those it is judged by.

use std::collections::BTreeSet;

use openledger_attribution::Design;
use openledger_tensor::Random;
use serde::{Deserialize, Serialize};

/// Players as bits.
pub(crate) type Mask = u64;

/// How many players a subset lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Stratum {
    OneOut,
    QuarterOut,
    HalfOut,
    Other,
}

impl Stratum {
    pub(crate) fn of(mask: Mask, players: usize) -> Self {
        match players - mask.count_ones() as usize {
            1 => Self::OneOut,
            out if out == players.div_ceil(4) => Self::QuarterOut,
            out if out == players / 2 => Self::HalfOut,
            _ => Self::Other,
        }
    }
}

/// The subset as one flag per player.
pub(crate) fn flags(mask: Mask, players: usize) -> Vec<bool> {
    (0..players).map(|player| mask >> player & 1 == 1).collect()
}

/// The subsets of a design, in the order of its runs.
pub(crate) fn of_design(design: &Design) -> Vec<Mask> {
    (0..design.run_count())
        .map(|run| {
            let inside = design.subset(run).into_iter().enumerate().filter(|(_, inside)| *inside);
            inside.map(|(player, _)| 1 << player).sum()
        })
        .collect()
}

/// Up to `count` subsets outside `taken`: all with one player out, then as many each of a quarter out, of
/// half out and of any size as there is room for. `None` for all there are.
pub(crate) fn held_out(
    players: usize,
    taken: &BTreeSet<Mask>,
    count: Option<usize>,
    seed: u64,
) -> Vec<Mask> {
    let everyone: Mask = (1 << players) - 1;
    let mut free: Vec<Mask> = (1..everyone).filter(|mask| !taken.contains(mask)).collect();
    Random::new(seed, 1 << 20).shuffle(&mut free);
    let Some(count) = count else { return free };
    let stratum = |mask: &Mask| Stratum::of(*mask, players);
    let mut chosen: Vec<Mask> =
        free.iter().copied().filter(|m| stratum(m) == Stratum::OneOut).take(count).collect();
    let room = count - chosen.len();
    for (i, wanted) in [Stratum::QuarterOut, Stratum::HalfOut].into_iter().enumerate() {
        let part = (room * (i + 1) / 3) - (room * i / 3);
        let new = free.iter().copied().filter(|m| stratum(m) == wanted && !chosen.contains(m));
        let new: Vec<Mask> = new.take(part).collect();
        chosen.extend(new);
    }
    let rest: Vec<Mask> = free.into_iter().filter(|mask| !chosen.contains(mask)).collect();
    let room = count - chosen.len();
    chosen.extend(rest.into_iter().take(room));
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_out_subset_is_of_no_design_and_none_comes_twice() {
        let design = Design::new(8).expect("eight players");
        let taken: BTreeSet<Mask> = of_design(&design).into_iter().collect();
        assert_eq!(taken.len(), 16);
        assert_eq!(held_out(8, &taken, None, 1).len(), 240);
        let some = held_out(8, &taken, Some(40), 1);
        assert_eq!(some.len(), 40);
        assert!(some.iter().all(|mask| !taken.contains(mask)));
        assert_eq!(some.iter().collect::<BTreeSet<_>>().len(), 40);
        let strata = |wanted| some.iter().filter(|m| Stratum::of(**m, 8) == wanted).count();
        assert_eq!(strata(Stratum::OneOut), 8);
        assert!(strata(Stratum::QuarterOut) >= 10 && strata(Stratum::HalfOut) >= 10);
    }

    #[test]
    fn a_small_game_gives_what_it_has() {
        let taken = of_design(&Design::new(3).expect("three players")).into_iter().collect();
        assert_eq!(held_out(3, &taken, Some(40), 1).len(), 0);
    }
}

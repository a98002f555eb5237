//! From the values of the runs to one effect per player.

use crate::{Design, Error};

/// Values and surprisals count 2⁻²⁰ nat.
pub const VALUE_UNITS_PER_NAT: i64 = 1 << 20;
/// Largest magnitude of a value: 2²⁴ nat. Sums over 128 runs then stay below 2⁵³, so that every number
/// of the evidence survives a reader that keeps JSON numbers as doubles.
pub const VALUE_MAX: i64 = 1 << 44;

/// Contrasts from which the empty run gets a parameter of its own: what designs of order 8 and more have.
/// With fewer, a trimmed mean is one or two numbers, and the noise floor would pay for its uncertainty.
pub const EMPTY_RUN_CONTRASTS_MIN: usize = 7;

/// Contrasts of one answer, each the mean over the runs with a column at +1 minus the mean over the
/// others, times the order m of the design, in units of 2⁻²⁰ nat, without what the empty run alone adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effects {
    per_player: Vec<i64>,
    unused: Vec<i64>,
}

impl Effects {
    /// m·φ_c, one per player.
    pub fn per_player(&self) -> &[i64] {
        &self.per_player
    }

    /// Contrasts that belong to no player and would be zero in an additive game scored without error:
    /// first the columns of H beyond the players, then the m − 1 even contrasts of the fold-over,
    /// which are sums of aliased two-way interactions. Signed so that the empty run counts +.
    pub fn unused(&self) -> &[i64] {
        &self.unused
    }
}

/// Effect of each player on one answer, and the contrasts that nobody owns.
///
/// `values`: v(S_r) for each run r of `design`, in units of 2⁻²⁰ nat. Returns m·φ_c with
/// `φ_c = (1/m) (Σ_r D[r,c]·v(S_r) + t)`: an estimate of the Banzhaf value of player c (arXiv 2205.15466)
/// in the game without the empty set. Integers only; the sums by the fast Walsh–Hadamard transform where
/// the matrix is Sylvester's.
///
/// The empty set stands apart: whoever comes first teaches the form of the answers, so v(∅) lies far below
/// what the players are worth one by one, and every player's sum has it with the sign −. In a game of C
/// players it is one subset of 2^C, in the design one run of 2m. So the model has a parameter δ for it,
/// `v(S) = μ + Σ_c φ_c·z_c + δ·[S = ∅]`, z = ±1. Each unused contrast, signed so that ∅ counts +, is δ plus
/// error. t, the estimate of δ, is their mean without the smallest and the largest, rounded down, or 0
/// where it is positive: nobody is paid for a base that does better than expected. Their plain mean would
/// be the least-squares estimate; without the extremes one large interaction, such as that of two holders
/// of one fact, moves nothing where it falls into one contrast, which it does where the matrix is
/// Sylvester's.
///
/// Errors: [`Error::RunCount`], [`Error::ValueTooLarge`].
pub fn effects(design: &Design, values: &[i64]) -> Result<Effects, Error> {
    check(design, values)?;
    match design.sylvester_columns() {
        None => Ok(split(design, values, plain)),
        Some(columns) => Ok(split(design, values, |_, runs| {
            let natural = walsh_hadamard(runs);
            columns.iter().map(|c| natural[*c]).collect()
        })),
    }
}

fn check(design: &Design, values: &[i64]) -> Result<(), Error> {
    if values.len() != design.run_count() {
        return Err(Error::RunCount { expected: design.run_count(), found: values.len() });
    }
    let too_large = values.iter().position(|v| v.unsigned_abs() > VALUE_MAX.unsigned_abs());
    too_large.map_or(Ok(()), |run| Err(Error::ValueTooLarge(run)))
}

/// Column c of [H; −H] contrasts the differences v_r − v_{m+r}, column c of [H; H] their sums.
fn split(
    design: &Design,
    values: &[i64],
    transform: impl Fn(&Design, Vec<i64>) -> Vec<i64>,
) -> Effects {
    let (first, folded) = values.split_at(design.order());
    let pairs = || first.iter().zip(folded);
    let mut per_player = transform(design, pairs().map(|(a, b)| a - b).collect());
    let even = transform(design, pairs().map(|(a, b)| a + b).collect());
    // The empty run is the fold of the first row, which is all +: − in each column, + in even contrasts.
    let mut unused: Vec<i64> = per_player.split_off(design.players()).iter().map(|c| -c).collect();
    // Even contrast 0 is the grand mean.
    unused.extend_from_slice(&even[1..]);
    let empty = empty_run(&unused);
    per_player.iter_mut().for_each(|effect| *effect += empty);
    unused.iter_mut().for_each(|contrast| *contrast -= empty);
    Effects { per_player, unused }
}

/// t of [`effects`]. Sums of at most 127 contrasts, each below 2⁵¹, stay below 2⁵⁸.
fn empty_run(unused: &[i64]) -> i64 {
    let (Some(least), Some(most)) = (unused.iter().min(), unused.iter().max()) else { return 0 };
    if unused.len() < EMPTY_RUN_CONTRASTS_MIN {
        return 0;
    }
    let kept = unused.iter().sum::<i64>() - least - most;
    kept.div_euclid(unused.len() as i64 - 2).min(0)
}

/// Hᵀ·runs.
fn plain(design: &Design, runs: Vec<i64>) -> Vec<i64> {
    let signed =
        |row: &u64, column, value: &i64| if row >> column & 1 == 1 { *value } else { -value };
    (0..design.order())
        .map(|c| design.rows().iter().zip(&runs).map(|(row, value)| signed(row, c, value)).sum())
        .collect()
}

/// Fast Walsh–Hadamard transform in natural order, m log m additions.
fn walsh_hadamard(mut values: Vec<i64>) -> Vec<i64> {
    let mut half = 1;
    while half < values.len() {
        for block in values.chunks_exact_mut(2 * half) {
            let (left, right) = block.split_at_mut(half);
            for (a, b) in left.iter_mut().zip(right) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        half *= 2;
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ORDER_MAX, PLAYERS_MAX};
    use proptest::prelude::*;

    /// By the definition: every sign of the matrix times every value.
    fn effects_plain(design: &Design, values: &[i64]) -> Effects {
        split(design, values, plain)
    }

    fn design() -> impl Strategy<Value = Design> {
        (1..=usize::from(PLAYERS_MAX), 0..=ORDER_MAX).prop_map(|(players, order)| {
            Design::with_order(players, order).unwrap_or_else(|_| Design::new(players).unwrap())
        })
    }

    fn scored() -> impl Strategy<Value = (Design, Vec<i64>)> {
        design().prop_flat_map(|design| {
            let values = prop::collection::vec(-VALUE_MAX..=VALUE_MAX, design.run_count());
            (Just(design), values)
        })
    }

    proptest! {
        #[test]
        fn the_fast_transform_agrees_with_the_definition((design, values) in scored()) {
            let fast = effects(&design, &values).unwrap();
            prop_assert_eq!(&fast, &effects_plain(&design, &values));
            prop_assert_eq!(fast.per_player().len(), design.players());
            prop_assert_eq!(fast.unused().len(), 2 * design.order() - 1 - design.players());
        }

        #[test]
        fn effects_of_an_additive_game_are_its_weights_exactly(
            design in design(),
            weights in prop::collection::vec(-1_000_000i64..1_000_000, usize::from(PLAYERS_MAX)),
            base in -1_000_000i64..0,
        ) {
            let value = |run| -> i64 {
                let inside = design.subset(run);
                base + weights.iter().zip(inside).filter(|(_, i)| *i).map(|(w, _)| w).sum::<i64>()
            };
            let values: Vec<i64> = (0..design.run_count()).map(value).collect();
            let effects = effects(&design, &values).unwrap();
            let order = design.order() as i64;
            let expected: Vec<i64> =
                weights[..design.players()].iter().map(|w| w * order).collect();
            prop_assert_eq!(effects.per_player(), expected);
            prop_assert!(effects.unused().iter().all(|c| *c == 0));
        }

        #[test]
        fn a_two_way_interaction_raises_no_effect_and_touches_none_in_a_sylvester_design(
            design in design(),
            pick in any::<(prop::sample::Index, prop::sample::Index)>(),
            strength in -1_000i64..1_000,
        ) {
            let a = pick.0.index(design.players());
            let b = pick.1.index(design.players());
            prop_assume!(a != b);
            let sign = |inside: bool| if inside { 1 } else { -1 };
            let values: Vec<i64> = (0..design.run_count())
                .map(|run| design.subset(run))
                .map(|inside| strength * sign(inside[a]) * sign(inside[b]))
                .collect();
            let effects = effects(&design, &values).unwrap();
            // Elsewhere it is spread over all even contrasts, by a third each, and lowers all effects alike.
            let first = effects.per_player()[0];
            prop_assert!(first <= 0 && effects.per_player().iter().all(|effect| *effect == first));
            prop_assert!(first == 0 || design.sylvester_columns().is_none());
        }

        #[test]
        fn an_empty_run_far_below_the_others_changes_no_effect_of_an_additive_game(
            design in design(),
            weights in prop::collection::vec(-1_000_000i64..1_000_000, usize::from(PLAYERS_MAX)),
            below in 0i64..1 << 30,
        ) {
            prop_assume!(design.contrasts() >= EMPTY_RUN_CONTRASTS_MIN);
            let value = |run| -> i64 {
                let inside = design.subset(run);
                let sum = weights.iter().zip(&inside).filter(|(_, i)| **i).map(|(w, _)| w).sum::<i64>();
                if inside.contains(&true) { sum } else { sum - below }
            };
            let empty_runs = (0..design.run_count())
                .filter(|run| !design.subset(*run).contains(&true))
                .count();
            // Few players in a large design: the empty set is in it more than once, at other places.
            prop_assume!(empty_runs == 1);
            let values: Vec<i64> = (0..design.run_count()).map(value).collect();
            let effects = effects(&design, &values).unwrap();
            let order = design.order() as i64;
            let expected: Vec<i64> =
                weights[..design.players()].iter().map(|w| w * order).collect();
            prop_assert_eq!(effects.per_player(), expected);
            prop_assert!(effects.unused().iter().all(|c| *c == 0));
        }
    }

    #[test]
    fn values_must_be_one_per_run_and_in_bounds() {
        let design = Design::new(3).unwrap();
        assert_eq!(effects(&design, &[0; 7]), Err(Error::RunCount { expected: 8, found: 7 }));
        let mut values = [0; 8];
        values[5] = i64::MIN;
        assert_eq!(effects(&design, &values), Err(Error::ValueTooLarge(5)));
    }
}

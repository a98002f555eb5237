//! From the values of the runs to one effect per player.

use crate::{Design, Error};

/// Values and surprisals count 2⁻²⁰ nat.
pub const VALUE_UNITS_PER_NAT: i64 = 1 << 20;
/// Largest magnitude of a value: 2²⁴ nat. Sums over 128 runs then stay below 2⁵³, so that every number
/// of the evidence survives a reader that keeps JSON numbers as doubles.
pub const VALUE_MAX: i64 = 1 << 44;

/// Contrasts of one answer, each the mean over the runs with a column at +1 minus the mean over the
/// others, times the order m of the design, in units of 2⁻²⁰ nat.
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
    /// which are sums of aliased two-way interactions.
    pub fn unused(&self) -> &[i64] {
        &self.unused
    }
}

/// Effect of each player on one answer, and the contrasts that nobody owns.
///
/// `values`: v(S_r) for each run r of `design`, in units of 2⁻²⁰ nat. Returns m·φ_c with
/// `φ_c = (1/m) Σ_r D[r,c]·v(S_r)`: an estimate of the Banzhaf value of player c (arXiv 2205.15466).
/// Exact: additions and subtractions only, by the fast Walsh–Hadamard transform where the matrix is
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
    let mut unused = per_player.split_off(design.players());
    // Even contrast 0 is the grand mean.
    unused.extend_from_slice(&even[1..]);
    Effects { per_player, unused }
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
        fn a_two_way_interaction_never_reaches_an_effect(
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
            prop_assert!(effects.per_player().iter().all(|effect| *effect == 0));
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

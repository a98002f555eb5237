//! How large an effect must be to be more than the error of its own measurement.

mod multiples;

pub use multiples::floor_multiple;

use crate::Effects;

/// Unused contrasts below which there is no noise floor: a median of one or two numbers is robust
/// against nothing.
///
/// Fewer occur only for one or two players. Those designs train every subset there is, so their
/// effects are the exact Banzhaf values and nothing is estimated. One interaction contrast beside two
/// effects would be worse than none: when both players hold the same fact, it is exactly as large as
/// their effects.
pub const CONTRASTS_MIN: usize = 3;

/// No floor is above this, and no effect reaches it: 2⁵², so that a reader that keeps JSON numbers as
/// doubles reads it right.
pub const FLOOR_MAX: i64 = 1 << 52;

/// The noise floor of one answer: a multiple of Lenth's pseudo standard error of its unused contrasts,
/// rounded up, in the units of [`Effects`]. An effect is paid if it is greater.
///
/// With c the magnitudes of the contrasts: s₀ = 1.5·median c; PSE = 1.5·median of those c < 2.5·s₀.
/// The trimming keeps real interactions, which are few, from raising the floor. Lenth applies this to
/// all contrasts and relies on few effects being active; here the contrasts of the players are left
/// out, since an answer that all players shaped would otherwise set its own floor. There are m − C
/// columns without a player and m − 1 even contrasts of the fold-over; both kinds are sums of ±v over
/// all 2m runs and so have the variance of an effect. Columns without a player carry three-way
/// interactions and even contrasts two-way ones, so the floor errs upwards, towards the commons. What the
/// empty run adds to all of them is no noise and was taken from them before, see [`crate::effects`].
///
/// The multiple is [`floor_multiple`]: an effect that is nothing but normal noise clears the floor in
/// 0.9 % of answers, whatever the number of contrasts. A fixed multiple cannot do that: at 2 it is 6 %
/// with 7 contrasts and 3 % with 50. The price is paid where contrasts are few, since their PSE is
/// itself uncertain: 4.4 PSE with 7 of them, 8.3 with 3. A larger order buys a lower floor.
/// `tests/it/recovery.rs` prints who clears it, for players and orders of all sizes.
///
/// Source: Lenth 1989, "Quick and easy analysis of unreplicated factorials", Technometrics 31(4).
pub fn noise_floor(effects: &Effects) -> i64 {
    let mut magnitudes: Vec<i64> = effects.unused().iter().map(|c| c.abs()).collect();
    let Some(multiple) = floor_multiple(magnitudes.len()) else { return 0 };
    magnitudes.sort_unstable();
    let median = twice_median(&magnitudes);
    // c < 2.5 · 1.5 · median, with twice the median in hand.
    let inert = magnitudes.partition_point(|c| 8 * i128::from(*c) < 15 * i128::from(median));
    // multiple / 64 · 1.5 · median, rounded up
    let scaled = 3 * i128::from(multiple) * i128::from(twice_median(&magnitudes[..inert]));
    let floor = (scaled + 255) / 256;
    i64::try_from(floor).map_or(FLOOR_MAX, |floor| floor.min(FLOOR_MAX))
}

/// Twice the median of ascending numbers, so that it is whole. Zero for none.
fn twice_median(ascending: &[i64]) -> i64 {
    let count = ascending.len();
    if count == 0 { 0 } else { ascending[(count - 1) / 2] + ascending[count / 2] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Design, effects};

    /// Floor of a design of 4 players, order 4, whose three even contrasts are given.
    fn floor_of(even: [i64; 3]) -> i64 {
        let design = Design::new(4).unwrap();
        let sign =
            |run: usize, column: usize| (design.rows()[run % 4] >> column & 1) as i64 * 2 - 1;
        let values: Vec<i64> = (0..8)
            .map(|run| even.iter().enumerate().map(|(i, e)| e * sign(run, i + 1)).sum())
            .collect();
        let effects = effects(&design, &values).unwrap();
        assert_eq!(effects.per_player(), [0; 4]);
        // Each contrast sums its own sign over 8 runs.
        assert_eq!(effects.unused(), even.map(|e| 8 * e));
        noise_floor(&effects)
    }

    /// ⌈multiple · 1.5 · median⌉.
    fn of_median(contrasts: usize, twice_median: i64) -> i64 {
        let multiple = i64::from(floor_multiple(contrasts).unwrap());
        (3 * multiple * twice_median + 255) / 256
    }

    #[test]
    fn one_large_interaction_does_not_raise_the_floor() {
        let even = |magnitude: i64| of_median(3, 2 * magnitude);
        assert_eq!(floor_of([10, 10, 10]), even(80));
        assert_eq!(floor_of([10, -10, 1_000_000]), even(80));
        assert_eq!(floor_of([1, 2, 3]), even(16));
        assert_eq!(floor_of([0, 0, 7]), 0);
    }

    #[test]
    fn no_effect_reaches_the_largest_floor() {
        let runs = 2 * i64::from(crate::ORDER_MAX);
        assert!(runs * crate::VALUE_MAX < FLOOR_MAX);
        let design = Design::new(4).unwrap();
        let high = [1, 1, 1, -1, 1, 1, 1, -1].map(|sign: i64| sign * crate::VALUE_MAX);
        assert!(noise_floor(&effects(&design, &high).unwrap()) <= FLOOR_MAX);
    }

    #[test]
    fn an_even_count_takes_the_middle_of_the_two_and_rounds_up() {
        assert_eq!(twice_median(&[1, 2]), 3);
        // 3 players, order 4: one column without a player and three even contrasts.
        let design = Design::new(3).unwrap();
        let effects = effects(&design, &[5, 0, 0, 0, 0, 0, 0, 0]).unwrap();
        assert_eq!(effects.unused(), [-5, 5, 5, 5]);
        assert_eq!(noise_floor(&effects), of_median(4, 10));
        let effects = crate::effects(&design, &[1, 0, 0, 2, 0, 0, 0, 0]).unwrap();
        let mut unused: Vec<i64> = effects.unused().iter().map(|c| c.abs()).collect();
        unused.sort_unstable();
        assert_eq!(unused, [1, 1, 3, 3]);
        assert_eq!(noise_floor(&effects), of_median(4, 4));
    }

    #[test]
    fn two_holders_of_the_same_fact_are_not_lost_in_their_own_interaction() {
        for players in [2, 3] {
            let design = Design::new(players).unwrap();
            let value = |run| if design.subset(run)[..2].contains(&true) { 0 } else { -1_000_000 };
            let values: Vec<i64> = (0..design.run_count()).map(value).collect();
            let effects = effects(&design, &values).unwrap();
            let floor = noise_floor(&effects);
            assert!(effects.per_player()[..2].iter().all(|effect| *effect > floor));
            assert!(effects.per_player()[2..].iter().all(|effect| *effect <= floor));
        }
    }
}

//! How much of an answer fine-tuning explains.

use openledger_primitives::Share;

/// ⌊2⁶⁴ · ln 2⌋.
const LN_2: u128 = 0xB172_17F7_D1CF_79AB;
/// 2⁶⁴, the one of this file's fixed point.
const ONE: u128 = 1 << 64;
/// Terms of the series of exp: 0.694²²/22! < 2⁻⁸¹.
const TERMS: u128 = 22;

/// Explained fraction ε = max(0, 1 − exp((v(∅) − v(N))/T)): the share of the answer's per-token
/// probability that fine-tuning added, rounded down.
///
/// `base` and `published`: v(∅) and v(N), in units of 2⁻²⁰ nat, within ±[`crate::VALUE_MAX`].
/// `tokens`: T, the answer tokens over which both sum; an empty answer is not explained.
/// Error: exp is within 2⁻⁵⁷ (see `exp_neg`), so the result is the exact one or, where that lies within
/// 2⁻⁵⁷ of a multiple of 2⁻³², its neighbour. Integers only: recomputed in the contract as written.
pub fn explained(base: i64, published: i64, tokens: u64) -> Share {
    let gain = i128::from(published) - i128::from(base);
    let (Ok(gain), Some(_)) = (u128::try_from(gain), tokens.checked_sub(1)) else {
        return Share::ZERO;
    };
    // From 2⁻²⁰ to 2⁻⁶⁴: below 2⁶⁴ · 2⁴⁴ even for absurd values.
    let exponent = (gain << 44) / u128::from(tokens);
    let parts = (ONE - exp_neg(exponent)) >> 32;
    u64::try_from(parts).ok().and_then(Share::from_parts).unwrap_or(Share::ONE)
}

/// exp(−x) in units of 2⁻⁶⁴, x in units of 2⁻⁶⁴.
///
/// x = k·ln 2 + r, 0 ≤ r < ln 2; exp(−r) by Horner's scheme, shifted down by k. Absolute error: at most
/// k·2⁻⁶⁴ from ln 2, scaled by 2⁻ᵏ, so below 2⁻⁶⁴; one rounding in 2⁻⁶⁴ for each of the 22 terms, so
/// below 2⁻⁵⁹; 2⁻⁸¹ from the end of the series.
fn exp_neg(x: u128) -> u128 {
    let (halvings, rest) = (x / LN_2, x % LN_2);
    if halvings > 64 {
        return 0;
    }
    // exp(−r) = 1 − r(1 − r/2·(1 − r/3·(…))); rest · sum < 0.7 · 2⁶⁴ · 2⁶⁴.
    let series = (1..=TERMS).rev().fold(ONE, |sum, n| ONE - ((rest * sum) >> 64) / n);
    series >> halvings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{VALUE_MAX, VALUE_UNITS_PER_NAT};
    use proptest::prelude::*;

    #[test]
    fn what_the_base_knew_is_not_explained() {
        assert_eq!(explained(-5, -5, 3), Share::ZERO);
        assert_eq!(explained(-5, -900, 3), Share::ZERO);
        assert_eq!(explained(-900, -5, 0), Share::ZERO);
        assert_eq!(explained(-VALUE_MAX, VALUE_MAX, 1), Share::ONE);
    }

    #[test]
    fn the_series_meets_its_error_bound_where_the_answer_is_known() {
        // exp(−k·ln 2) = 2⁻ᵏ; LN_2 is rounded down.
        for halvings in 0..=40 {
            assert_eq!(exp_neg(halvings * LN_2), ONE >> halvings);
        }
        // exp(−1) = 0.3678794411714423215955237701614608674458111310317678…
        let exact = 6_786_177_901_268_885_274u128; // ⌊2⁶⁴/e⌋
        assert!(exp_neg(ONE).abs_diff(exact) < 1 << 5);
    }

    proptest! {
        #[test]
        fn it_agrees_with_floating_point(
            base in -(1i64 << 33)..0,
            gain in 0i64..1 << 30,
            tokens in 1u64..2_000,
        ) {
            let nats = gain as f64 / VALUE_UNITS_PER_NAT as f64 / tokens as f64;
            let exact = -(-nats).exp_m1() * (1u64 << 32) as f64;
            let parts = explained(base, base + gain, tokens).parts() as f64;
            prop_assert!((parts - exact).abs() <= 1.0 + 1e-5, "{parts} {exact}");
        }

        #[test]
        fn a_likelier_answer_is_not_explained_less(gain in 0i64..1 << 34, more in 0i64..1 << 20) {
            let less = explained(-(1 << 35), -(1 << 35) + gain, 20);
            prop_assert!(explained(-(1 << 35), -(1 << 35) + gain + more, 20) >= less);
        }
    }
}

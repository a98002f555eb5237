//! Spearman's rank correlation in integers.

/// Rank correlation of two equally long series of at most 2¹³ numbers, in parts per million, cut towards
/// zero. Ties get the mean of the ranks they span. Zero where one series is all ties: it ranks nothing.
///
/// Source: Spearman 1904; with ties it is Pearson's correlation of the ranks.
pub fn rank_correlation_ppm(first: &[i64], second: &[i64]) -> i32 {
    let (first, second) = (centred_ranks(first), centred_ranks(second));
    let dot = |a: &[i64], b: &[i64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<i64>();
    let covariance = dot(&first, &second);
    // n³ < 2³⁹ each.
    let spread =
        dot(&first, &first).unsigned_abs() as u128 * dot(&second, &second).unsigned_abs() as u128;
    if spread == 0 {
        return 0;
    }
    // 10⁶ · √(c²/s), in 78 + 40 bits.
    let square = u128::from(covariance.unsigned_abs()).pow(2) * 1_000_000_000_000 / spread;
    let magnitude = square.isqrt() as i32; // at most 10⁶, by Cauchy and Schwarz
    if covariance < 0 { -magnitude } else { magnitude }
}

/// Twice each rank, less its mean: whole numbers that sum to zero.
fn centred_ranks(series: &[i64]) -> Vec<i64> {
    let mut by_value: Vec<usize> = (0..series.len()).collect();
    by_value.sort_by_key(|place| series[*place]);
    let mut ranks = vec![0; series.len()];
    let mut before = 0i64;
    for ties in by_value.chunk_by(|a, b| series[*a] == series[*b]) {
        let count = ties.len() as i64;
        // Ranks before + 1 ..= before + count; their mean, doubled, less n + 1.
        ties.iter().for_each(|place| ranks[*place] = 2 * before + count - series.len() as i64);
        before += count;
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_correlations_are_given() {
        assert_eq!(rank_correlation_ppm(&[1, 2, 3, 4], &[10, 20, 30, 40]), 1_000_000);
        assert_eq!(rank_correlation_ppm(&[1, 2, 3, 4], &[9, 5, 2, -7]), -1_000_000);
        assert_eq!(rank_correlation_ppm(&[1, 2, 3, 4], &[5, 5, 5, 5]), 0);
        assert_eq!(rank_correlation_ppm(&[], &[]), 0);
        // 1 − 6·Σd²/(n(n² − 1)) = 1 − 6·8/60.
        assert_eq!(rank_correlation_ppm(&[1, 2, 3, 4], &[3, 1, 4, 2]), 0);
        assert_eq!(rank_correlation_ppm(&[1, 2, 3, 4], &[2, 1, 4, 3]), 600_000);
        // Ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4: √(4.5/5).
        assert_eq!(rank_correlation_ppm(&[1, 7, 7, 9], &[1, 2, 3, 4]), 948_683);
    }

    proptest! {
        #[test]
        fn it_is_pearsons_correlation_of_the_mean_ranks(
            pairs in prop::collection::vec((-9i64..9, -9i64..9), 2..60),
        ) {
            let (first, second): (Vec<i64>, Vec<i64>) = pairs.into_iter().unzip();
            let rank = |series: &[i64], value: i64| {
                let below = series.iter().filter(|other| **other < value).count() as f64;
                let equal = series.iter().filter(|other| **other == value).count() as f64;
                below + (equal + 1.0) / 2.0
            };
            let ranks = |series: &[i64]| -> Vec<f64> {
                let mean = (series.len() as f64 + 1.0) / 2.0;
                series.iter().map(|value| rank(series, *value) - mean).collect()
            };
            let (a, b) = (ranks(&first), ranks(&second));
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            let spread = (dot(&a, &a) * dot(&b, &b)).sqrt();
            let expected = if spread == 0.0 { 0.0 } else { dot(&a, &b) / spread * 1e6 };
            let found = f64::from(rank_correlation_ppm(&first, &second));
            prop_assert!((found - expected).abs() < 1.01, "{found} {expected}");
            prop_assert_eq!(rank_correlation_ppm(&second, &first) as f64, found);
        }
    }
}

//! Rank correlation, intervals, least squares.

use openledger_tensor::Random;

/// Resamples of a bootstrap interval.
const RESAMPLES: usize = 2_000;

/// Ranks from 0; equals share the middle of their ranks.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut from = 0;
    while from < order.len() {
        let same = |i: &&usize| values[**i] == values[order[from]];
        let to = from + order[from..].iter().take_while(same).count();
        let middle = (from + to - 1) as f64 / 2.0;
        order[from..to].iter().for_each(|i| ranks[*i] = middle);
        from = to;
    }
    ranks
}

/// Pearson's correlation. `None` where one side does not vary.
pub(crate) fn pearson(a: &[f64], b: &[f64]) -> Option<f64> {
    let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (x, y) in a.iter().zip(b) {
        let (x, y) = (x - mean_a, y - mean_b);
        ab += x * y;
        aa += x * x;
        bb += y * y;
    }
    let size = (aa * bb).sqrt();
    (size > 0.0).then(|| ab / size)
}

/// Spearman's rank correlation; nothing correlates with what does not vary.
pub(crate) fn spearman(a: &[f64], b: &[f64]) -> f64 {
    pearson(&ranks(a), &ranks(b)).unwrap_or(0.0)
}

/// A mean and the middle 95 % of the means of resamples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Estimate {
    pub(crate) mean: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// Bootstrap by percentiles over the values. `None` without values.
pub(crate) fn bootstrap(values: &[f64]) -> Option<Estimate> {
    if values.is_empty() {
        return None;
    }
    let n = values.len();
    let mut random = Random::new(7, 7);
    let mut means: Vec<f64> = (0..RESAMPLES)
        .map(|_| (0..n).map(|_| values[random.below(n)]).sum::<f64>() / n as f64)
        .collect();
    means.sort_unstable_by(f64::total_cmp);
    let at = |part: f64| means[(part * (RESAMPLES - 1) as f64).round() as usize];
    Some(Estimate { mean: values.iter().sum::<f64>() / n as f64, low: at(0.025), high: at(0.975) })
}

/// Least squares y ≈ X·b by its normal equations, with each point's prediction from all others.
///
/// `rows`: X, one row per point. A trace of a ridge keeps directions that no point has at zero.
/// Returns (b, predictions left out).
pub(crate) fn least_squares(rows: &[Vec<f64>], y: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let width = rows.first().map_or(0, Vec::len);
    let mut normal = vec![vec![0.0; width]; width];
    let mut right = vec![0.0; width];
    for (row, y) in rows.iter().zip(y) {
        for i in 0..width {
            right[i] += row[i] * y;
            (0..width).for_each(|j| normal[i][j] += row[i] * row[j]);
        }
    }
    (0..width).for_each(|i| normal[i][i] += 1e-9);
    let solve = |b: &[f64]| gauss(normal.clone(), b.to_vec());
    let b = solve(&right);
    let dot = |x: &[f64], y: &[f64]| -> f64 { x.iter().zip(y).map(|(x, y)| x * y).sum() };
    let left_out = rows.iter().zip(y).map(|(row, y)| {
        let leverage = dot(row, &solve(row));
        y - (y - dot(row, &b)) / (1.0 - leverage).max(1e-9)
    });
    let left_out = left_out.collect();
    (b, left_out)
}

/// Gauss elimination with pivoting.
fn gauss(mut a: Vec<Vec<f64>>, mut b: Vec<f64>) -> Vec<f64> {
    let n = b.len();
    for column in 0..n {
        let pivot = (column..n)
            .max_by(|i, j| a[*i][column].abs().total_cmp(&a[*j][column].abs()))
            .unwrap_or(column);
        a.swap(column, pivot);
        b.swap(column, pivot);
        for row in column + 1..n {
            let (above, below) = a.split_at_mut(row);
            let (pivot, row_values) = (&above[column], &mut below[0]);
            let factor = row_values[column] / pivot[column];
            row_values.iter_mut().zip(pivot).for_each(|(x, p)| *x -= factor * p);
            b[row] -= factor * b[column];
        }
    }
    for row in (0..n).rev() {
        let known: f64 = (row + 1..n).map(|k| a[row][k] * b[k]).sum();
        b[row] = (b[row] - known) / a[row][row];
    }
    b
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rank_correlation_sees_order_and_shares_ranks_among_equals() {
        assert_eq!(spearman(&[1.0, 2.0, 3.0], &[10.0, 100.0, 1000.0]), 1.0);
        assert_eq!(spearman(&[1.0, 2.0, 3.0], &[3.0, 2.0, 1.0]), -1.0);
        assert_eq!(spearman(&[1.0, 1.0, 1.0], &[3.0, 2.0, 1.0]), 0.0);
        assert_eq!(ranks(&[5.0, 1.0, 5.0, 7.0]), [1.5, 0.0, 1.5, 3.0]);
    }

    #[test]
    fn a_fit_finds_the_line_and_leaves_each_point_out() {
        let rows: Vec<Vec<f64>> = (0..6).map(|i| vec![1.0, f64::from(i)]).collect();
        let mut y: Vec<f64> = (0..6).map(|i| 2.0 + 3.0 * f64::from(i)).collect();
        let (b, left_out) = least_squares(&rows, &y);
        assert!((b[0] - 2.0).abs() < 1e-6 && (b[1] - 3.0).abs() < 1e-6);
        assert!(left_out.iter().zip(&y).all(|(a, b)| (a - b).abs() < 1e-6));
        y[5] += 10.0;
        let (_, left_out) = least_squares(&rows, &y);
        assert!((left_out[5] - 17.0).abs() < 1e-6, "the others still lie on the line");
    }

    #[test]
    fn an_interval_holds_its_mean() {
        let values: Vec<f64> = (0..50).map(|i| f64::from(i % 7)).collect();
        let estimate = bootstrap(&values).expect("values");
        assert!(estimate.low < estimate.mean && estimate.mean < estimate.high);
        assert_eq!(bootstrap(&[]), None);
    }
}

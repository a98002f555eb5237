//! DataInf: influence with the inverse of the empirical Fisher replaced by a mean of inverses, which has
//! a closed form.

use crate::gradients::dot;
use crate::scores::only;
use crate::{Damped, Damping, Error, Method, Problem, Scores};

/// For each matrix l: r = λ⁻¹ (v − (1/n) Σ_i ⟨g_i, v⟩ / (λ + ‖g_i‖²) · g_i), score Σ_l ⟨r_l, g_l⟩.
///
/// The damping of the paper is a tenth of the mean squared gradient: `Damping::Relative(0.1)`.
/// Source: 2310.00902, equation 5. Computed from inner products alone, so an answer costs n of them per
/// matrix and nothing of the size of the adapter is kept beside the gradients.
#[derive(Clone, Copy, Debug)]
pub struct DataInf {
    /// Added to the diagonal.
    pub damping: Damping,
}

impl Method for DataInf {
    fn name(&self) -> String {
        "DataInf".into()
    }

    fn scores(&self, problem: &Problem<'_>) -> Result<Scores, Error> {
        self.scores_under(problem, &[self.damping]).map(only)
    }
}

impl Damped for DataInf {
    fn scores_under(
        &self,
        problem: &Problem<'_>,
        dampings: &[Damping],
    ) -> Result<Vec<Scores>, Error> {
        problem.check()?;
        let (train, queries) = (problem.train, problem.queries);
        let (n, asked) = (train.rows(), queries.rows());
        let mut sums = vec![Scores::zeros(asked, n); dampings.len()];
        for block in problem.blocks {
            let of = |row: usize| &train.row(row)[block.range.clone()];
            let mut kernel = vec![0.0; n * n];
            for i in 0..n {
                for j in 0..=i {
                    let product = dot(of(i), of(j));
                    (kernel[i * n + j], kernel[j * n + i]) = (product, product);
                }
            }
            let squares: f64 = (0..n).map(|i| kernel[i * n + i]).sum();
            let mean = squares / (n * block.range.len()) as f64;
            for q in 0..asked {
                let query = &queries.row(q)[block.range.clone()];
                let products: Vec<f64> = (0..n).map(|i| dot(query, of(i))).collect();
                for (damping, sum) in dampings.iter().zip(&mut sums) {
                    add(&mut sum.data[q * n..][..n], &products, &kernel, damping.of(mean));
                }
            }
        }
        Ok(sums)
    }
}

/// Adds what one matrix says of one answer. `products`: of the answer's gradient with each record's;
/// `kernel`: of the records' with each other.
fn add(row: &mut [f64], products: &[f64], kernel: &[f64], damping: f64) {
    let n = row.len();
    let weights: Vec<f64> = (0..n).map(|i| products[i] / (damping + kernel[i * n + i])).collect();
    for (k, score) in row.iter_mut().enumerate() {
        let kernel = &kernel[k * n..][..n];
        let shrunk: f64 = weights.iter().zip(kernel).map(|(w, x)| w * x).sum();
        *score += (products[k] - shrunk / n as f64) / damping;
    }
}

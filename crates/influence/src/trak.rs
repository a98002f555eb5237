//! TRAK: a linear model on randomly projected gradients.

use openledger_tensor::Random;

use crate::gradients::dot;
use crate::scores::only;
use crate::{Damped, Damping, Error, Gradients, Method, Problem, Scores};

/// φ_q (ΦᵀΦ + λ)⁻¹ Φᵀ · (1 − p), φ = P·g / √numbers, P of signs [dimensions, numbers].
///
/// One model, no ensemble. Computed as φ_q Φᵀ (ΦΦᵀ + λ)⁻¹, the same by the push-through identity, so that
/// the matrix to invert has the size of the records. Source: 2303.14186, equation 17.
#[derive(Clone, Copy, Debug)]
pub struct Trak {
    /// Rows of P.
    pub dimensions: usize,
    /// Added to the diagonal; relative to the mean of that of ΦΦᵀ.
    pub damping: Damping,
    /// Seeds P.
    pub seed: u64,
}

impl Trak {
    /// Row `dimension` of P: each entry +1 or −1.
    pub fn projection(&self, dimension: usize, numbers: usize) -> Vec<f32> {
        let mut random = Random::new(self.seed, dimension as u64);
        let mut row = Vec::with_capacity(numbers + 64);
        while row.len() < numbers {
            let bits = random.next();
            row.extend((0..64).map(|bit| if bits >> bit & 1 == 1 { 1.0 } else { -1.0 }));
        }
        row.truncate(numbers);
        row
    }

    fn project(&self, gradients: [&Gradients; 2]) -> [Gradients; 2] {
        let numbers = gradients[0].columns;
        let scale = 1.0 / (numbers as f64).sqrt();
        let empty = |g: &Gradients| vec![0.0f32; g.rows() * self.dimensions];
        let mut data = gradients.map(empty);
        for dimension in 0..self.dimensions {
            let signs = self.projection(dimension, numbers);
            for (gradients, data) in gradients.iter().zip(&mut data) {
                for row in 0..gradients.rows() {
                    let value = dot(gradients.row(row), &signs) * scale;
                    data[row * self.dimensions + dimension] = value as f32;
                }
            }
        }
        data.map(|data| Gradients { columns: self.dimensions, data })
    }
}

impl Method for Trak {
    fn name(&self) -> String {
        format!("TRAK, k = {}", self.dimensions)
    }

    fn scores(&self, problem: &Problem<'_>) -> Result<Scores, Error> {
        self.scores_under(problem, &[self.damping]).map(only)
    }
}

impl Damped for Trak {
    fn scores_under(
        &self,
        problem: &Problem<'_>,
        dampings: &[Damping],
    ) -> Result<Vec<Scores>, Error> {
        problem.check()?;
        let [train, queries] = self.project([problem.train, problem.queries]);
        let n = train.rows();
        crate::error::same("likelihoods of the records", problem.likelihoods.len(), n)?;
        let kernel: Vec<f64> =
            (0..n * n).map(|i| dot(train.row(i / n), train.row(i % n))).collect();
        let trace: f64 = (0..n).map(|i| kernel[i * n + i]).sum();
        let products = Scores::from_fn(queries.rows(), n, |q, i| dot(queries.row(q), train.row(i)));
        let under = |damping: &Damping| {
            let mut kernel = kernel.clone();
            let damping = damping.of(trace / n as f64);
            (0..n).for_each(|i| kernel[i * n + i] += damping);
            if !cholesky(&mut kernel, n) {
                return Err(Error::Singular { method: "TRAK" });
            }
            let mut scores = products.clone();
            for row in scores.data.chunks_exact_mut(n.max(1)) {
                solve(&kernel, n, row);
                let weighted = row.iter_mut().zip(problem.likelihoods);
                weighted.for_each(|(score, p)| *score *= 1.0 - p);
            }
            Ok(scores)
        };
        dampings.iter().map(under).collect()
    }
}

/// A = L·Lᵀ in place of its lower half. False if A is not positive definite.
fn cholesky(a: &mut [f64], n: usize) -> bool {
    for j in 0..n {
        for i in j..n {
            let known: f64 = (0..j).map(|k| a[i * n + k] * a[j * n + k]).sum();
            let rest = a[i * n + j] - known;
            if i == j {
                if rest.is_nan() || rest <= 0.0 {
                    return false;
                }
                a[j * n + j] = rest.sqrt();
            } else {
                a[i * n + j] = rest / a[j * n + j];
            }
        }
    }
    true
}

/// Solves L·Lᵀ·x = b in place.
fn solve(l: &[f64], n: usize, b: &mut [f64]) {
    for i in 0..n {
        let known: f64 = (0..i).map(|k| l[i * n + k] * b[k]).sum();
        b[i] = (b[i] - known) / l[i * n + i];
    }
    for i in (0..n).rev() {
        let known: f64 = (i + 1..n).map(|k| l[k * n + i] * b[k]).sum();
        b[i] = (b[i] - known) / l[i * n + i];
    }
}

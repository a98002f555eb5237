//! EK-FAC: curvature of each matrix in the eigenbasis of two small ones, with corrected eigenvalues.

use crate::error::same;
use crate::gradients::dot;
use crate::scores::only;
use crate::{Block, Damped, Damping, Error, Gradients, Method, Problem, Scores, eigen};

/// (H + λ)⁻¹ V = Q_S [(Q_Sᵀ V Q_A) / (Λ + λ)] Q_Aᵀ, Λ = mean of (Q_Sᵀ G_i Q_A)² over the records.
///
/// As a [`Method`] on an adapter's gradients, the bases are those of ΣGᵀG and ΣGGᵀ over the records, since
/// a gradient is all there is; where a layer's inputs and output gradients are at hand,
/// [`EkFac::scores_with_rows`] takes the bases from them, as the method is defined.
/// Sources: 1806.03884 (EK-FAC), 2308.03296 (influence with it).
#[derive(Clone, Copy, Debug)]
pub struct EkFac {
    /// Added to Λ; relative to its mean.
    pub damping: Damping,
}

/// What passed through one linear layer W [outputs, inputs]: one row per record.
#[derive(Clone, Debug)]
pub struct LayerRows {
    /// [records, inputs].
    pub inputs: Gradients,
    /// Gradient of the loss with respect to the layer's output [records, outputs].
    pub outputs: Gradients,
}

/// Two symmetric matrices: over the rows of a block, and over its columns.
struct Factors {
    rows: Vec<f64>,
    columns: Vec<f64>,
}

impl Method for EkFac {
    fn name(&self) -> String {
        "EK-FAC".into()
    }

    fn scores(&self, problem: &Problem<'_>) -> Result<Scores, Error> {
        self.scores_under(problem, &[self.damping]).map(only)
    }
}

impl Damped for EkFac {
    fn scores_under(
        &self,
        problem: &Problem<'_>,
        dampings: &[Damping],
    ) -> Result<Vec<Scores>, Error> {
        problem.check()?;
        sums(problem, dampings, |block, _| of_gradients(block, problem.train))
    }
}

impl EkFac {
    /// With the bases of the layers' own inputs and output gradients, one [`LayerRows`] per block.
    ///
    /// Errors: [`Error::Shape`], [`Error::Eigen`].
    pub fn scores_with_rows(
        &self,
        problem: &Problem<'_>,
        layers: &[LayerRows],
    ) -> Result<Scores, Error> {
        problem.check()?;
        same("layers", layers.len(), problem.blocks.len())?;
        for (layer, block) in layers.iter().zip(problem.blocks) {
            same("inputs of a layer", layer.inputs.columns, block.columns)?;
            same("outputs of a layer", layer.outputs.columns, block.rows)?;
        }
        let factors = |_: &Block, at: usize| Factors {
            rows: covariance(&layers[at].outputs),
            columns: covariance(&layers[at].inputs),
        };
        sums(problem, &[self.damping], factors).map(only)
    }
}

/// Scores under each damping, summed over the matrices of the adapter.
fn sums(
    problem: &Problem<'_>,
    dampings: &[Damping],
    factors: impl Fn(&Block, usize) -> Factors,
) -> Result<Vec<Scores>, Error> {
    let (n, asked) = (problem.train.rows(), problem.queries.rows());
    let mut sums = vec![Scores::zeros(asked, n); dampings.len()];
    for (at, block) in problem.blocks.iter().enumerate() {
        let factors = factors(block, at);
        let single = |v: Vec<f64>| v.into_iter().map(|x| x as f32).collect::<Vec<f32>>();
        let rows = single(eigen(&factors.rows, block.rows)?.1);
        let columns = single(eigen(&factors.columns, block.columns)?.1);
        let turned = |g: &Gradients| -> Vec<Vec<f32>> {
            (0..g.rows())
                .map(|i| turn(&g.row(i)[block.range.clone()], block, &rows, &columns))
                .collect()
        };
        let (train, queries) = (turned(problem.train), turned(problem.queries));
        let mut eigenvalues = vec![0.0f64; block.range.len()];
        for gradient in &train {
            let squares = eigenvalues.iter_mut().zip(gradient);
            squares.for_each(|(sum, x)| *sum += f64::from(*x).powi(2) / n as f64);
        }
        let mean = eigenvalues.iter().sum::<f64>() / eigenvalues.len() as f64;
        for (damping, sum) in dampings.iter().zip(&mut sums) {
            let damping = damping.of(mean);
            for (query, row) in queries.iter().zip(sum.data.chunks_exact_mut(n.max(1))) {
                let scaled = query.iter().zip(&eigenvalues);
                let scaled: Vec<f32> =
                    scaled.map(|(x, l)| (f64::from(*x) / (l + damping)) as f32).collect();
                row.iter_mut().zip(&train).for_each(|(score, g)| *score += dot(&scaled, g));
            }
        }
    }
    Ok(sums)
}

/// ΣGGᵀ and ΣGᵀG over the records.
fn of_gradients(block: &Block, train: &Gradients) -> Factors {
    let (r, c) = (block.rows, block.columns);
    let mut factors = Factors { rows: vec![0.0; r * r], columns: vec![0.0; c * c] };
    for i in 0..train.rows() {
        let g = &train.row(i)[block.range.clone()];
        for a in 0..r {
            for b in 0..r {
                factors.rows[a * r + b] += dot(&g[a * c..][..c], &g[b * c..][..c]);
            }
            let row = &g[a * c..][..c];
            for (x, sums) in row.iter().zip(factors.columns.chunks_exact_mut(c)) {
                sums.iter_mut().zip(row).for_each(|(sum, y)| *sum += f64::from(x * y));
            }
        }
    }
    factors
}

/// XᵀX / rows.
fn covariance(x: &Gradients) -> Vec<f64> {
    let c = x.columns;
    let mut sums = vec![0.0; c * c];
    for i in 0..x.rows() {
        for (a, sums) in x.row(i).iter().zip(sums.chunks_exact_mut(c)) {
            sums.iter_mut().zip(x.row(i)).for_each(|(sum, b)| *sum += f64::from(a * b));
        }
    }
    sums.iter_mut().for_each(|sum| *sum /= x.rows() as f64);
    sums
}

/// Q_Sᵀ · G · Q_A, with the eigenvectors as rows.
fn turn(g: &[f32], block: &Block, rows: &[f32], columns: &[f32]) -> Vec<f32> {
    let (r, c) = (block.rows, block.columns);
    let mut right = vec![0.0f32; r * c];
    for a in 0..r {
        for (k, vector) in columns.chunks_exact(c).enumerate() {
            right[a * c + k] = dot(&g[a * c..][..c], vector) as f32;
        }
    }
    let mut both = vec![0.0f32; r * c];
    for (j, vector) in rows.chunks_exact(r).enumerate() {
        for (weight, right) in vector.iter().zip(right.chunks_exact(c)) {
            let sums = both[j * c..][..c].iter_mut().zip(right);
            sums.for_each(|(sum, x)| *sum += weight * x);
        }
    }
    both
}

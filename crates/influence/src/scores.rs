//! The one interface of all methods that read gradients.

use crate::error::same;
use crate::{Block, Error, Gradients};

/// What a method may read about a trained adapter.
#[derive(Clone, Copy, Debug)]
pub struct Problem<'a> {
    /// Gradient of each record's loss at the published adapter.
    pub train: &'a Gradients,
    /// Gradient of each answer's loss at the published adapter.
    pub queries: &'a Gradients,
    /// The matrices of the adapter.
    pub blocks: &'a [Block],
    /// Mean probability per token of each record, for those that weigh by it.
    pub likelihoods: &'a [f64],
    /// States of the run, for those that follow it.
    pub checkpoints: &'a [Checkpoint],
}

/// Gradients at one state of the run.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// Learning rate there.
    pub rate: f64,
    /// Of the records.
    pub train: Gradients,
    /// Of the answers.
    pub queries: Gradients,
}

impl Problem<'_> {
    pub(crate) fn check(&self) -> Result<(), Error> {
        same("columns of the answers' gradients", self.queries.columns, self.train.columns)?;
        let end = self.blocks.last().map_or(0, |block| block.range.end);
        same("numbers in the blocks", end, self.train.columns)
    }
}

/// How much is added to the diagonal of a curvature.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Damping {
    /// This number.
    Fixed(f64),
    /// This part of the mean eigenvalue of each matrix.
    Relative(f64),
}

impl Damping {
    pub(crate) fn of(self, mean_eigenvalue: f64) -> f64 {
        match self {
            Self::Fixed(damping) => damping,
            // A matrix that nothing moves has no curvature; any positive number serves.
            Self::Relative(part) => (part * mean_eigenvalue).max(1e-30),
        }
    }
}

/// A method: from gradients to one score per answer and record.
pub trait Method {
    /// As it is called in tables.
    fn name(&self) -> String;

    /// Scores of every record for every answer.
    ///
    /// Errors: [`Error::Shape`], [`Error::Missing`], [`Error::Singular`].
    fn scores(&self, problem: &Problem<'_>) -> Result<Scores, Error>;
}

/// A method that adds a damping to the diagonal of a curvature.
pub trait Damped: Method {
    /// Scores under each of some dampings. What they have in common is computed once, so that a damping can
    /// be chosen at little more than the price of one.
    ///
    /// Errors: as [`Method::scores`].
    fn scores_under(
        &self,
        problem: &Problem<'_>,
        dampings: &[Damping],
    ) -> Result<Vec<Scores>, Error>;
}

/// One score per answer and record [answers, records], row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    /// Records.
    pub columns: usize,
    /// Row after row.
    pub data: Vec<f64>,
}

/// The scores of the one damping that was asked for.
pub(crate) fn only(scores: Vec<Scores>) -> Scores {
    scores.into_iter().next().unwrap_or(Scores { columns: 0, data: Vec::new() })
}

impl Scores {
    pub(crate) fn from_fn(
        rows: usize,
        columns: usize,
        mut score: impl FnMut(usize, usize) -> f64,
    ) -> Self {
        let data = (0..rows * columns).map(|i| score(i / columns, i % columns)).collect();
        Self { columns, data }
    }

    pub(crate) fn zeros(rows: usize, columns: usize) -> Self {
        Self { columns, data: vec![0.0; rows * columns] }
    }

    /// The scores of one answer.
    pub fn row(&self, row: usize) -> &[f64] {
        &self.data[row * self.columns..][..self.columns]
    }

    /// Sum over the records of each player: `[answers][players]`.
    pub fn per_player(&self, owners: &[usize], players: usize) -> Vec<Vec<f64>> {
        self.data
            .chunks_exact(self.columns.max(1))
            .map(|row| {
                let mut sums = vec![0.0; players];
                row.iter().zip(owners).for_each(|(score, owner)| sums[*owner] += score);
                sums
            })
            .collect()
    }
}

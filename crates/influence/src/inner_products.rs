//! Methods without curvature: inner products of gradients, at the end or along the run.

use crate::gradients::dot;
use crate::{Error, Gradients, Method, Problem, Scores};

/// ⟨g_q, g_i⟩ at the published adapter.
#[derive(Clone, Copy, Debug)]
pub struct GradDot;

/// ⟨g_q, g_i⟩ / (‖g_q‖ · ‖g_i‖).
#[derive(Clone, Copy, Debug)]
pub struct GradCos;

/// Σ_t η_t ⟨g_q(θ_t), g_i(θ_t)⟩ over some states of the run. Source: 2002.08484.
#[derive(Clone, Copy, Debug)]
pub struct TracIn;

fn products(queries: &Gradients, train: &Gradients) -> Scores {
    Scores::from_fn(queries.rows(), train.rows(), |q, i| dot(queries.row(q), train.row(i)))
}

impl Method for GradDot {
    fn name(&self) -> String {
        "GradDot".into()
    }

    fn scores(&self, problem: &Problem<'_>) -> Result<Scores, Error> {
        problem.check()?;
        Ok(products(problem.queries, problem.train))
    }
}

impl Method for GradCos {
    fn name(&self) -> String {
        "GradCos".into()
    }

    fn scores(&self, problem: &Problem<'_>) -> Result<Scores, Error> {
        problem.check()?;
        let length = |row: &[f32]| dot(row, row).sqrt().max(f64::MIN_POSITIVE);
        let train: Vec<f64> =
            (0..problem.train.rows()).map(|i| length(problem.train.row(i))).collect();
        let mut scores = products(problem.queries, problem.train);
        for (q, row) in scores.data.chunks_exact_mut(train.len().max(1)).enumerate() {
            let query = length(problem.queries.row(q));
            row.iter_mut().zip(&train).for_each(|(score, train)| *score /= query * train);
        }
        Ok(scores)
    }
}

impl Method for TracIn {
    fn name(&self) -> String {
        "TracIn".into()
    }

    fn scores(&self, problem: &Problem<'_>) -> Result<Scores, Error> {
        let Some((first, rest)) = problem.checkpoints.split_first() else {
            return Err(Error::Missing { method: "TracIn", what: "at least one checkpoint" });
        };
        let mut sum = products(&first.queries, &first.train);
        sum.data.iter_mut().for_each(|score| *score *= first.rate);
        for checkpoint in rest {
            let scores = products(&checkpoint.queries, &checkpoint.train);
            crate::error::same("scores of a checkpoint", scores.data.len(), sum.data.len())?;
            let pairs = sum.data.iter_mut().zip(&scores.data);
            pairs.for_each(|(sum, score)| *sum += checkpoint.rate * score);
        }
        Ok(sum)
    }
}

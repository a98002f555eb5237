//! How well scores order held-out subsets: rank correlation with the truth, question by question.

use std::collections::BTreeMap;

use crate::measured::Measured;
use crate::statistics::{least_squares, spearman};
use crate::subsets::{Mask, Stratum};

/// Columns of rank correlation; the last one is over all held-out subsets.
pub(crate) const COLUMNS: [Option<Stratum>; 4] =
    [Some(Stratum::OneOut), Some(Stratum::QuarterOut), Some(Stratum::HalfOut), None];
/// The column over all held-out subsets.
pub(crate) const ALL: usize = COLUMNS.len() - 1;
/// Fewer subsets than this have no order worth a correlation.
const SUBSETS_MIN: usize = 4;

/// What scores say of a subset.
pub(crate) fn additive(scores: &[f64], mask: Mask) -> f64 {
    scores.iter().enumerate().filter(|(p, _)| mask >> p & 1 == 1).map(|(_, s)| s).sum()
}

/// Rank correlation of one question by column; `None` where a column has too few subsets.
pub(crate) fn correlations(
    measured: &Measured,
    query: usize,
    predicted: impl Fn(Mask) -> f64,
) -> [Option<f64>; COLUMNS.len()] {
    let truth: BTreeMap<Mask, f64> =
        measured.runs.iter().map(|(mask, values)| (*mask, values[query])).collect();
    COLUMNS.map(|stratum| {
        let of =
            |mask: &&Mask| stratum.is_none_or(|s| s == Stratum::of(**mask, measured.players.len()));
        let masks: Vec<Mask> = measured.held_out.iter().filter(of).copied().collect();
        let predictions: Vec<f64> = masks.iter().map(|mask| predicted(*mask)).collect();
        let truths: Vec<f64> = masks.iter().map(|mask| truth[mask]).collect();
        (masks.len() >= SUBSETS_MIN).then(|| spearman(&predictions, &truths))
    })
}

/// Mean rank correlation of additive scores over all held-out subsets and questions.
pub(crate) fn mean_over_all(measured: &Measured, scores: &[Vec<f64>]) -> f64 {
    let of = |q: usize| correlations(measured, q, |mask| additive(&scores[q], mask))[ALL];
    let all: Vec<f64> = (0..measured.queries.len()).filter_map(of).collect();
    all.iter().sum::<f64>() / all.len().max(1) as f64
}

/// For each question: what a least-squares fit to all other runs predicts for a subset. Without the empty
/// run, which has a parameter of its own in our effects.
pub(crate) fn additive_ceiling(measured: &Measured) -> Vec<BTreeMap<Mask, f64>> {
    let runs: Vec<(Mask, &Vec<f64>)> = measured
        .runs
        .iter()
        .filter(|(mask, _)| *mask != 0)
        .map(|(mask, values)| (*mask, values))
        .collect();
    let row = |mask: Mask| {
        let inside = (0..measured.players.len()).map(|p| (mask >> p & 1) as f64);
        std::iter::once(1.0).chain(inside).collect()
    };
    let rows: Vec<Vec<f64>> = runs.iter().map(|(mask, _)| row(*mask)).collect();
    (0..measured.queries.len())
        .map(|q| {
            let values: Vec<f64> = runs.iter().map(|(_, values)| values[q]).collect();
            let (_, left_out) = least_squares(&rows, &values);
            runs.iter().map(|(mask, _)| *mask).zip(left_out).collect()
        })
        .collect()
}

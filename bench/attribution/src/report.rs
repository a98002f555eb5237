//! The table of everything that is measured.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use eyre::Result;

use crate::measured::{LEAVE_ONE_OUT, Measured, Method, OURS};
use crate::statistics::{Estimate, bootstrap, least_squares, spearman};
use crate::subsets::{Mask, Stratum};

/// Columns of rank correlation.
const COLUMNS: [Option<Stratum>; 4] =
    [Some(Stratum::OneOut), Some(Stratum::QuarterOut), Some(Stratum::HalfOut), None];
/// Fewer subsets than this have no order worth a correlation.
const SUBSETS_MIN: usize = 4;
/// The best that an additive score can do.
const CEILING: &str = "best additive fit";

/// What one method reached on one task, over all questions of all seeds.
#[derive(Default)]
struct Reached {
    /// By column: rank correlation of each question.
    correlations: [Vec<f64>; 4],
    right_seen: Vec<f64>,
    right_fresh: Vec<f64>,
    trainings: f64,
    setup_seconds: f64,
    answer_seconds: f64,
    bytes: u64,
    seeds: u64,
}

/// Prints one table per task and draws the figure.
pub(crate) fn report(out: &Path, figure: &Path) -> Result<()> {
    let all = read(out)?;
    for (task, measured) in &all {
        print_task(task, measured);
    }
    fs::write(figure, crate::figure::draw(&all))?;
    Ok(())
}

/// All measurements, by task.
pub(crate) fn read(out: &Path) -> Result<BTreeMap<String, Vec<Measured>>> {
    let mut all: BTreeMap<String, Vec<Measured>> = BTreeMap::new();
    let mut files: Vec<_> = fs::read_dir(out)?.collect::<Result<Vec<_>, _>>()?;
    files.sort_by_key(fs::DirEntry::file_name);
    for file in files {
        let path = file.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let measured: Measured = serde_json::from_slice(&fs::read(path)?)?;
            all.entry(measured.task.clone()).or_default().push(measured);
        }
    }
    Ok(all)
}

fn print_task(task: &str, all: &[Measured]) {
    let mut order: Vec<String> = Vec::new();
    let mut reached: BTreeMap<String, Reached> = BTreeMap::new();
    for measured in all {
        let ceiling = ceiling(measured);
        for method in &measured.methods {
            if !order.contains(&method.name) {
                order.push(method.name.clone());
            }
            let entry = reached.entry(method.name.clone()).or_default();
            add(entry, measured, method, |q, mask| additive(&method.scores[q], mask));
        }
        if !order.iter().any(|name| name == CEILING) {
            order.insert(0, CEILING.into());
        }
        let entry = reached.entry(CEILING.into()).or_default();
        let runs = measured.runs.len() as f64 / 2.0;
        entry.trainings += runs;
        for (q, predicted) in ceiling.iter().enumerate() {
            correlate(entry, measured, q, |mask| predicted[&mask]);
        }
        entry.seeds += 1;
    }
    let first = &all[0];
    let held_out: Vec<String> =
        all.iter().map(|measured| measured.held_out.len().to_string()).collect();
    println!("\n### {task}\n");
    println!(
        "{} seed(s); {} contributors, {} records, {} steps a run, {} questions a seed; judged by {} held-out subsets.\n",
        all.len(),
        first.players.len(),
        first.records,
        first.steps,
        first.queries.len(),
        held_out.join(", ")
    );
    println!(
        "| method | 1 out | quarter out | half out | all | top-1 trained | top-1 fresh | trainings | setup, s | s per answer | kept |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    order.sort_by(|a, b| {
        let all = |name: &String| bootstrap(&reached[name].correlations[3]).map_or(0.0, |e| e.mean);
        all(b).total_cmp(&all(a))
    });
    for name in &order {
        print_row(name, &reached[name]);
    }
    let mean = |name: &str| Some(bootstrap(&reached.get(name)?.correlations[3])?.mean);
    if let (Some(ours), Some(best)) = (mean(OURS), mean(CEILING)) {
        println!("\n{OURS}: {:.3} of the best additive fit.", ours / best);
    }
}

fn print_row(name: &str, reached: &Reached) {
    let mut cells: Vec<String> = reached.correlations.iter().map(|c| shown(bootstrap(c))).collect();
    if name == LEAVE_ONE_OUT {
        // These subsets are what it is made of.
        cells[0].push_str(" †");
    }
    let part = |right: &[f64]| {
        let mean = right.iter().sum::<f64>() / right.len() as f64;
        if right.is_empty() { "–".to_owned() } else { format!("{:.0} %", 100.0 * mean) }
    };
    let seeds = reached.seeds.max(1) as f64;
    println!(
        "| {name} | {} | {} | {} | {:.1} | {:.2} | {:.4} | {} |",
        cells.join(" | "),
        part(&reached.right_seen),
        part(&reached.right_fresh),
        reached.trainings / seeds,
        reached.setup_seconds / seeds,
        reached.answer_seconds / seeds,
        size(reached.bytes / reached.seeds.max(1)),
    );
}

fn size(bytes: u64) -> String {
    match bytes {
        0 => "–".into(),
        _ if bytes < 1_000_000 => format!("{:.0} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

fn shown(estimate: Option<Estimate>) -> String {
    match estimate {
        Some(Estimate { mean, low, high }) => format!("{mean:.3} [{low:.3}, {high:.3}]"),
        None => "–".into(),
    }
}

pub(crate) fn additive(scores: &[f64], mask: Mask) -> f64 {
    scores.iter().enumerate().filter(|(p, _)| mask >> p & 1 == 1).map(|(_, s)| s).sum()
}

fn add(
    entry: &mut Reached,
    measured: &Measured,
    method: &Method,
    predicted: impl Fn(usize, Mask) -> f64,
) {
    for (q, asked) in measured.queries.iter().enumerate() {
        correlate(entry, measured, q, |mask| predicted(q, mask));
        let scores = &method.scores[q];
        let best = scores.iter().fold(f64::NEG_INFINITY, |a, b| a.max(*b));
        let right = f64::from(u8::from(scores[asked.owner] == best));
        if asked.seen { &mut entry.right_seen } else { &mut entry.right_fresh }.push(right);
    }
    entry.trainings += method.cost.trainings;
    entry.setup_seconds += method.cost.setup_seconds;
    entry.answer_seconds += method.cost.answer_seconds;
    entry.bytes += method.cost.bytes;
    entry.seeds += 1;
}

/// Adds the rank correlations of one question.
fn correlate(entry: &mut Reached, measured: &Measured, q: usize, predicted: impl Fn(Mask) -> f64) {
    let truth: BTreeMap<Mask, f64> =
        measured.runs.iter().map(|(mask, values)| (*mask, values[q])).collect();
    for (column, stratum) in COLUMNS.into_iter().enumerate() {
        let of =
            |mask: &&Mask| stratum.is_none_or(|s| s == Stratum::of(**mask, measured.players.len()));
        let masks: Vec<Mask> = measured.held_out.iter().filter(of).copied().collect();
        if masks.len() >= SUBSETS_MIN {
            let predictions: Vec<f64> = masks.iter().map(|mask| predicted(*mask)).collect();
            let truths: Vec<f64> = masks.iter().map(|mask| truth[mask]).collect();
            entry.correlations[column].push(spearman(&predictions, &truths));
        }
    }
}

/// For each question: what a least-squares fit to all other runs predicts for a subset.
fn ceiling(measured: &Measured) -> Vec<BTreeMap<Mask, f64>> {
    let rows: Vec<Vec<f64>> = measured
        .runs
        .iter()
        .map(|(mask, _)| {
            let inside = (0..measured.players.len()).map(|p| (mask >> p & 1) as f64);
            std::iter::once(1.0).chain(inside).collect()
        })
        .collect();
    (0..measured.queries.len())
        .map(|q| {
            let values: Vec<f64> = measured.runs.iter().map(|(_, values)| values[q]).collect();
            let (_, left_out) = least_squares(&rows, &values);
            measured.runs.iter().map(|(mask, _)| *mask).zip(left_out).collect()
        })
        .collect()
}

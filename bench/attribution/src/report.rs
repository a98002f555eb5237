//! The tables of everything that is measured.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use eyre::{OptionExt, Result};

use crate::damping_choice::DampingChoice;
use crate::judge::{ALL, COLUMNS, additive, additive_ceiling, correlations};
use crate::measured::{Cost, LEAVE_ONE_OUT, Measured, OURS};
use crate::statistics::{Estimate, bootstrap};
use crate::subsets::Mask;
use crate::written_section::publish;

/// The best that an additive score can do.
const CEILING: &str = "best additive fit";
/// What one training says of another of the same subset: no method can be asked for more of the next model.
const OTHER_SEED: &str = "truth of another training seed";
/// Goals of the design's LDS.
const GOAL_SYNTHETIC: f64 = 0.90;
const GOAL_TEXT: f64 = 0.85;
/// Goal of its part of the best additive fit.
const GOAL_PART: f64 = 0.97;

/// What one method reached on one task, over all questions of all seeds.
#[derive(Default)]
struct Reached {
    /// By column: rank correlation of each question.
    correlations: [Vec<f64>; COLUMNS.len()],
    right_seen: Vec<f64>,
    right_fresh: Vec<f64>,
    cost: Cost,
    seeds: usize,
}

/// One task: what every method reached, and which dampings were chosen.
struct Table<'a> {
    task: &'a str,
    all: &'a [Measured],
    reached: BTreeMap<String, Reached>,
    /// Method, and the damping of each seed.
    chosen: BTreeMap<String, Vec<f64>>,
}

/// Prints a summary and one table per task, and draws the figure. `results`: where they go as well.
pub(crate) fn report(out: &Path, figure: &Path, results: Option<&Path>) -> Result<()> {
    let all = read(out)?;
    let tables: Vec<Table<'_>> = all.iter().map(|(task, all)| Table::new(task, all)).collect();
    publish(results, "summary", &summary(&tables)?)?;
    let texts: Vec<String> = tables.iter().map(Table::text).collect::<Result<_>>()?;
    publish(results, "tables", &texts.join("\n"))?;
    fs::write(figure, crate::figure::draw(&all))?;
    Ok(())
}

/// All measurements, by task.
fn read(out: &Path) -> Result<BTreeMap<String, Vec<Measured>>> {
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

/// The design against its goals, task by task.
fn summary(tables: &[Table<'_>]) -> Result<String> {
    let mut text = String::from(
        "| task | seeds | LDS of the design, 16 runs | goal | best additive fit | part of it | goal | truth of another training seed |\n|---|---|---|---|---|---|---|---|\n",
    );
    for table in tables {
        let of = |name: &str| bootstrap(&table.reached.get(name)?.correlations[ALL]);
        let (Some(ours), Some(best)) = (of(OURS), of(CEILING)) else { continue };
        let goal = if table.task == "synthetic" { GOAL_SYNTHETIC } else { GOAL_TEXT };
        let (part, seeds) = (ours.mean / best.mean, table.all.len());
        let verdict = |reached: bool| if reached { "reached" } else { "**missed**" };
        writeln!(
            text,
            "| {} | {seeds} | {} | ≥ {goal}: {} | {} | {part:.3} | ≥ {GOAL_PART}: {} | {} |",
            table.task,
            shown(Some(ours)),
            verdict(ours.mean >= goal),
            shown(Some(best)),
            verdict(part >= GOAL_PART),
            shown(of(OTHER_SEED)),
        )?;
    }
    Ok(text)
}

impl<'a> Table<'a> {
    fn new(task: &'a str, all: &'a [Measured]) -> Self {
        let mut table = Self { task, all, reached: BTreeMap::new(), chosen: BTreeMap::new() };
        let choice = DampingChoice::new(all);
        for (seed, measured) in all.iter().enumerate() {
            for method in &measured.methods {
                table.add(measured, &method.name, &method.scores, method.cost);
                let Some(best) = choice.best(&method.name, &measured.tried, seed) else { continue };
                table.add(measured, &tuned(&method.name), &best.scores, method.cost);
                table.chosen.entry(method.name.clone()).or_default().push(best.damping);
            }
            let ceiling = additive_ceiling(measured);
            let trainings = |masks: &mut dyn Iterator<Item = Mask>| -> f64 {
                masks.map(|mask| f64::from(mask.count_ones())).sum::<f64>()
                    / measured.players.len() as f64
            };
            let cost = |trainings| Cost { trainings, ..Cost::default() };
            let runs = trainings(&mut measured.runs.iter().map(|(mask, _)| *mask));
            table.predicted(measured, CEILING, cost(runs), |q, mask| ceiling[q][&mask]);
            let again: BTreeMap<Mask, &Vec<f64>> =
                measured.reseeded.iter().map(|(mask, values)| (*mask, values)).collect();
            if measured.held_out.iter().all(|mask| again.contains_key(mask)) {
                let runs = trainings(&mut again.keys().copied());
                table.predicted(measured, OTHER_SEED, cost(runs), |q, mask| again[&mask][q]);
            }
        }
        table
    }

    fn add(&mut self, measured: &Measured, name: &str, scores: &[Vec<f64>], cost: Cost) {
        self.predicted(measured, name, cost, |q, mask| additive(&scores[q], mask));
        let entry = self.reached.entry(name.into()).or_default();
        for (asked, scores) in measured.queries.iter().zip(scores) {
            let best = scores.iter().fold(f64::NEG_INFINITY, |a, b| a.max(*b));
            let right = f64::from(u8::from(scores[asked.owner] == best));
            if asked.seen { &mut entry.right_seen } else { &mut entry.right_fresh }.push(right);
        }
    }

    /// Adds one seed of something that predicts the value of a subset.
    fn predicted(
        &mut self,
        measured: &Measured,
        name: &str,
        cost: Cost,
        predicted: impl Fn(usize, Mask) -> f64,
    ) {
        let entry = self.reached.entry(name.into()).or_default();
        for q in 0..measured.queries.len() {
            let columns = correlations(measured, q, |mask| predicted(q, mask));
            for (all, one) in entry.correlations.iter_mut().zip(columns) {
                all.extend(one);
            }
        }
        entry.cost.trainings += cost.trainings;
        entry.cost.setup_seconds += cost.setup_seconds;
        entry.cost.answer_seconds += cost.answer_seconds;
        entry.cost.bytes += cost.bytes;
        entry.seeds += 1;
    }

    fn mean(&self, name: &str) -> Option<f64> {
        let all = &self.reached.get(name)?.correlations[ALL];
        (!all.is_empty()).then(|| all.iter().sum::<f64>() / all.len() as f64)
    }

    fn text(&self) -> Result<String> {
        let first = self.all.first().ok_or_eyre("a task has a measurement")?;
        let held_out: Vec<String> =
            self.all.iter().map(|measured| measured.held_out.len().to_string()).collect();
        let mut text = format!("### {}\n\n", self.task);
        writeln!(
            text,
            "{} seed(s); {} contributors, {} records, {} steps a run, {} questions a seed; judged by {} held-out subsets.\n",
            self.all.len(),
            first.players.len(),
            first.records,
            first.steps,
            first.queries.len(),
            held_out.join(", ")
        )?;
        text.push_str(
            "| method | 1 out | quarter out | half out | all | top-1 trained | top-1 fresh | trainings | setup, s | s per answer | kept |\n|---|---|---|---|---|---|---|---|---|---|---|\n",
        );
        let mut order: Vec<&String> = self.reached.keys().collect();
        order.sort_by(|a, b| {
            let all = |name: &str| self.mean(name).unwrap_or(0.0);
            all(b).total_cmp(&all(a))
        });
        for name in order {
            self.row(&mut text, name)?;
        }
        if let (Some(ours), Some(best)) = (self.mean(OURS), self.mean(CEILING)) {
            writeln!(text, "\n{OURS}: {:.3} of the best additive fit.", ours / best)?;
        }
        for (i, (method, dampings)) in self.chosen.iter().enumerate() {
            let shown: Vec<String> = dampings.iter().map(|damping| format!("{damping}")).collect();
            let before = if i == 0 { "\nDampings chosen, seed by seed: " } else { "; " };
            write!(text, "{before}{method} {}", shown.join(", "))?;
        }
        text.push_str(if self.chosen.is_empty() { "" } else { ".\n" });
        Ok(text)
    }

    fn row(&self, text: &mut String, name: &str) -> Result<()> {
        let reached = &self.reached[name];
        let mut cells: Vec<String> =
            reached.correlations.iter().map(|c| shown(bootstrap(c))).collect();
        if name == LEAVE_ONE_OUT {
            // These subsets are what it is made of.
            cells[0].push_str(" †");
        }
        let part = |right: &[f64]| {
            let mean = right.iter().sum::<f64>() / right.len() as f64;
            if right.is_empty() { "–".to_owned() } else { format!("{:.0} %", 100.0 * mean) }
        };
        // A row over fewer seeds is not comparable, and says so.
        let fewer = match reached.seeds {
            seeds if seeds == self.all.len() => String::new(),
            seeds => format!(" ({seeds} of {} seeds)", self.all.len()),
        };
        let seeds = reached.seeds.max(1);
        writeln!(
            text,
            "| {name}{fewer} | {} | {} | {} | {:.1} | {:.2} | {:.4} | {} |",
            cells.join(" | "),
            part(&reached.right_seen),
            part(&reached.right_fresh),
            reached.cost.trainings / seeds as f64,
            reached.cost.setup_seconds / seeds as f64,
            reached.cost.answer_seconds / seeds as f64,
            size(reached.cost.bytes / seeds as u64),
        )?;
        Ok(())
    }
}

/// The row of a method whose damping was chosen.
fn tuned(method: &str) -> String {
    format!("{method}, damping chosen")
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measured::{Asked, Method, Tried};

    /// Four players whose values nearly add up.
    fn measured(seed: u64, reseeded: bool) -> Measured {
        let value = |mask: Mask| vec![additive(&[1.0, 2.0, 4.0, 8.0], mask).powf(1.1)];
        let held_out: Vec<Mask> = (1..15).collect();
        let scores = |sign: f64| vec![[1.0, 2.0, 4.0, 8.0].map(|x| sign * x).to_vec()];
        let tried =
            |damping: f64, sign: f64| Tried { method: "M".into(), damping, scores: scores(sign) };
        let again = |mask: &Mask| (*mask, value(*mask));
        Measured {
            task: "t".into(),
            seed,
            players: vec![String::new(); 4],
            queries: vec![Asked { owner: 3, seen: true, explained: 1.0 }],
            runs: (0..16).map(|mask| (mask, value(mask))).collect(),
            methods: vec![Method {
                name: "M".into(),
                scores: scores(-1.0),
                shares: None,
                cost: Cost { bytes: 2_000, ..Cost::default() },
            }],
            tried: vec![tried(0.1, -1.0), tried(10.0, 1.0)],
            reseeded: if reseeded { held_out.iter().map(again).collect() } else { Vec::new() },
            held_out,
            ..Measured::default()
        }
    }

    #[test]
    fn a_table_shows_a_method_as_it_comes_and_with_the_damping_that_other_seeds_chose() {
        let all = [measured(0, false), measured(1, false)];
        let table = Table::new("t", &all);
        let of = |name: &str| table.mean(name).expect("a row");
        assert!((of("M") + 1.0).abs() < 1e-12 && (of("M, damping chosen") - 1.0).abs() < 1e-12);
        assert_eq!(table.chosen["M"], [10.0, 10.0]);
        let text = table.text().expect("written");
        assert!(text.contains("M 10, 10."), "{text}");
        assert!(text.contains("| 2 kB |"), "{text}");
        let alone = Table::new("t", &all[..1]);
        assert!(alone.mean("M, damping chosen").is_none());
    }

    #[test]
    fn a_row_over_fewer_seeds_than_the_table_says_so() {
        let all = [measured(0, true), measured(1, false)];
        let table = Table::new("t", &all);
        assert!((table.mean(OTHER_SEED).expect("a row") - 1.0).abs() < 1e-12);
        let text = table.text().expect("written");
        assert!(text.contains("truth of another training seed (1 of 2 seeds)"), "{text}");
    }
}

//! The tables, as Markdown.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::{
    latency,
    measure::Run,
    nodes::{Kind, Node},
    plan::Case,
    statistics::{Spread, percentile},
    workload::Workload,
};

/// Reasons of refusal that a row names.
const REASONS_SHOWN: usize = 2;

/// The runs of one case.
pub(crate) struct Row {
    pub(crate) case: Case,
    /// In the order in which they were made.
    pub(crate) runs: Vec<Result<Run, String>>,
}

/// What one row looks like in the file of raw figures.
#[derive(Serialize, Deserialize)]
pub(crate) struct RawRow {
    node: String,
    workload: String,
    residents: u64,
    shape: String,
    runs: Vec<Run>,
    failed: Vec<String>,
}

impl Row {
    fn good(&self) -> impl Iterator<Item = &Run> + Clone {
        self.runs.iter().filter_map(|run| run.as_ref().ok())
    }

    fn spread(&self, figure: impl Fn(&Run) -> f64) -> Option<Spread> {
        Spread::of(self.good().map(figure))
    }

    fn tps(&self) -> f64 {
        self.spread(|run| run.tps).map_or(0.0, |spread| spread.median)
    }

    /// Every figure of every run.
    pub(crate) fn raw(&self) -> RawRow {
        RawRow {
            node: self.case.node.name.clone(),
            workload: format!("{:?}", self.case.workload).to_lowercase(),
            residents: self.case.residents,
            shape: self.case.shape.name(),
            runs: self.good().cloned().collect(),
            failed: self.runs.iter().filter_map(|run| run.as_ref().err().cloned()).collect(),
        }
    }
}

/// All tables.
pub(crate) fn tables(rows: &[Row]) -> String {
    let mut out = String::new();
    let mut keys: Vec<(Workload, u64)> = Vec::new();
    for row in rows {
        if !keys.contains(&row.case.table()) {
            keys.push(row.case.table());
        }
    }
    for key in keys {
        let table: Vec<&Row> = rows.iter().filter(|row| row.case.table() == key).collect();
        let state = match key.1 {
            0 => "empty state".to_owned(),
            residents => format!("{residents} accounts in the state"),
        };
        let _ = writeln!(out, "### {}, {state}\n", capitalised(key.0.name()));
        throughput(&mut out, &table);
        if table.iter().any(|row| row.good().any(|run| run.latency.is_some())) {
            let _ = writeln!(out, "Waiting times at half of each node's own throughput:\n");
            waiting(&mut out, &table);
        }
        summary(&mut out, &table);
    }
    filled_against_empty(&mut out, rows);
    out
}

fn throughput(out: &mut String, table: &[&Row]) {
    out.push_str(
        "| node | handed over | included TPS: median (min–max) | sent/s | node CPU µs/tx \
         | generator CPU µs/tx | peak MiB | ready after s | refused | accepted, not included |\n\
         |---|---|---|---|---|---|---|---|---|---|\n",
    );
    for row in table {
        let Case { node, shape, .. } = &row.case;
        let _ = write!(out, "| {} | {} | ", node.name, shape.name());
        if row.good().next().is_none() {
            let reason = row.runs.iter().find_map(|run| run.as_ref().err());
            let reason = reason.map_or("not measured", String::as_str).replace(['\n', '|'], " ");
            let _ = writeln!(out, "failed: {reason} | – | – | – | – | – | – | – |");
            continue;
        }
        let tps = row.spread(|run| run.tps).map(show_spread).unwrap_or_default();
        let median = |figure: fn(&Run) -> f64| row.spread(figure).map_or(0.0, |s| s.median);
        let missing: u64 = row.good().map(|run| run.accepted.saturating_sub(run.included)).sum();
        let failed = row.runs.len() - row.good().count();
        let note = if failed > 0 { format!(" ({failed} runs failed)") } else { String::new() };
        let _ = writeln!(
            out,
            "{tps}{note} | {:.0} | {:.0} | {:.1} | {:.0} | {:.1} | {} | {missing} |",
            median(|run| run.sent_per_s),
            median(|run| run.node_cpu_us),
            median(|run| run.generator_cpu_us),
            median(|run| run.peak_mib as f64),
            median(|run| run.ready_s),
            refusals(row),
        );
    }
    out.push('\n');
}

fn refusals(row: &Row) -> String {
    let total: u64 = row.good().flat_map(|run| run.refused.values()).sum();
    if total == 0 {
        return "0".to_owned();
    }
    let mut reasons: Vec<&str> =
        row.good().flat_map(|run| run.refused.keys()).map(String::as_str).collect();
    reasons.sort_unstable();
    reasons.dedup();
    reasons.truncate(REASONS_SHOWN);
    format!("{total}: {}", reasons.join("; ").replace('|', " "))
}

fn waiting(out: &mut String, table: &[&Row]) {
    out.push_str(
        "| node | at tx/s | receipt p50 / p99 ms | sendRawTransactionSync p50 / p99 ms \
         | in a block p50 / p99 ms | samples | lost |\n|---|---|---|---|---|---|---|\n",
    );
    for row in table {
        let all: Vec<_> = row.good().filter_map(|run| run.latency.as_ref()).collect();
        if all.is_empty() {
            continue;
        }
        let pool = |list: fn(&latency::Latency) -> &Vec<f64>| {
            all.iter().flat_map(|latency| list(latency).iter().copied()).collect::<Vec<f64>>()
        };
        let receipt = pool(|latency| &latency.receipt_ms);
        let sync = pool(|latency| &latency.sync_ms);
        let rate = Spread::of(all.iter().map(|latency| latency.rate)).map_or(0.0, |s| s.median);
        let _ = writeln!(
            out,
            "| {} | {rate:.0} | {} | {} | {} | {} | {} |",
            row.case.node.name,
            show_waiting(&receipt),
            show_waiting(&sync),
            show_waiting(&pool(|latency| &latency.inclusion_ms)),
            receipt.len() + sync.len(),
            all.iter().map(|latency| latency.lost).sum::<u64>(),
        );
    }
    out.push('\n');
}

/// Each node in the shape that suits it best, against anvil in the one that suits it best.
fn summary(out: &mut String, table: &[&Row]) {
    let best = |node: &Node| {
        let rows = table.iter().filter(|row| row.case.node == *node);
        rows.max_by(|a, b| a.tps().total_cmp(&b.tps())).copied()
    };
    let mut nodes: Vec<&Node> = Vec::new();
    for row in table {
        if !nodes.contains(&&row.case.node) {
            nodes.push(&row.case.node);
        }
    }
    let anvil = nodes.iter().find(|node| node.kind == Kind::Anvil).and_then(|node| best(node));
    let Some(anvil) = anvil.filter(|row| row.tps() > 0.0) else { return };
    let cpu = |row: &Row| row.spread(|run| run.node_cpu_us).map_or(f64::NAN, |s| s.median);
    out.push_str(
        "| node at its best | TPS against anvil at its best | CPU per tx against anvil |\n\
         |---|---|---|\n",
    );
    for row in nodes.into_iter().filter_map(best).filter(|row| row.tps() > 0.0) {
        let _ = writeln!(
            out,
            "| {} ({}) | {} | {:.2}× |",
            row.case.node.name,
            row.case.shape.name(),
            show_ratio(row.tps() / anvil.tps()),
            cpu(row) / cpu(anvil),
        );
    }
    out.push('\n');
}

/// What a filled state costs.
fn filled_against_empty(out: &mut String, rows: &[Row]) {
    let mut lines = String::new();
    for filled in rows.iter().filter(|row| row.case.residents > 0 && row.tps() > 0.0) {
        let empty = rows.iter().find(|row| {
            row.case.residents == 0 && Case { residents: 0, ..filled.case.clone() } == row.case
        });
        if let Some(empty) = empty.filter(|row| row.tps() > 0.0) {
            let _ = writeln!(
                lines,
                "| {} | {} | {:.2}× |",
                filled.case.node.name,
                filled.case.shape.name(),
                filled.tps() / empty.tps()
            );
        }
    }
    if !lines.is_empty() {
        let _ = writeln!(
            out,
            "### What a filled state costs\n\n\
             | node | handed over | TPS with the filled state against the empty one |\n\
             |---|---|---|\n{lines}"
        );
    }
}

fn show_spread(spread: Spread) -> String {
    let Spread { min, median, max } = spread;
    format!("**{median:.0}** ({min:.0}–{max:.0})")
}

fn show_waiting(values: &[f64]) -> String {
    match (percentile(values, 0.5), percentile(values, 0.99)) {
        (Some(half), Some(most)) => format!("{half:.1} / {most:.1}"),
        _ => "–".to_owned(),
    }
}

/// A loss is named as one.
fn show_ratio(ratio: f64) -> String {
    match ratio {
        ratio if ratio < 0.995 => format!("{ratio:.2}× (slower)"),
        ratio => format!("{ratio:.2}×"),
    }
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

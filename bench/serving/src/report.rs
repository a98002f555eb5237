//! The table of all measurements.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::Form;
use crate::job::Plan;
use crate::ours::{Measured, cpu_key, key};

/// Tokens of one answer, as every plan has it.
const ANSWER: f64 = 16.0;

/// Measurements by engine.
#[derive(Default)]
pub(crate) struct Table {
    engines: BTreeMap<String, Measured>,
}

impl Table {
    pub(crate) fn add_ours(&mut self, form: Form, measured: Measured) {
        let (kv, adapters) = form.companions();
        self.add(format!("ours: {form:?} weights, {kv:?} pages, {adapters:?} adapters"), measured);
    }

    pub(crate) fn add_peer(&mut self, peer: &str, measured: Measured) {
        self.add(peer.into(), measured);
    }

    fn add(&mut self, engine: String, measured: Measured) {
        let all = self.engines.entry(engine).or_default();
        for (key, seconds) in measured {
            all.entry(key).or_default().extend(seconds);
        }
    }

    /// Markdown: tokens per second and core, median, and in brackets the ratio to the engine's base alone and
    /// the tenth and ninetieth percentile; then the same by time on the processor, where it was measured.
    pub(crate) fn render(&self, threads: usize) -> String {
        let mut text = String::new();
        for batch in Plan::new(false).batches {
            self.table(&mut text, batch, threads, "tokens/s/core", key);
            self.table(&mut text, batch, threads, "tokens per second on the processor", cpu_key);
        }
        text
    }

    fn table(
        &self,
        text: &mut String,
        batch: usize,
        threads: usize,
        unit: &str,
        key: impl Fn(usize, usize) -> String,
    ) {
        let rate = |measured: &Measured, distinct: usize| {
            let mut seconds = measured.get(&key(batch, distinct))?.clone();
            seconds.sort_by(f64::total_cmp);
            let at = |part: usize| {
                let seconds = seconds[(seconds.len() - 1) * part / 10];
                batch as f64 * ANSWER / seconds / threads as f64
            };
            Some((at(5), at(9), at(1)))
        };
        if self.engines.values().all(|m| rate(m, 0).is_none()) {
            return;
        }
        let plan = Plan::new(false);
        let _ = write!(
            text,
            "\nBatch {batch}, {threads} threads: {unit} (ratio to base only; 10 to 90 %)\n\n| engine | base only |"
        );
        for distinct in &plan.distinct {
            let _ = write!(text, " {distinct} |");
        }
        let _ = writeln!(text, "\n|---|---{}|", "|---".repeat(plan.distinct.len()));
        for (engine, measured) in &self.engines {
            let Some((base, ..)) = rate(measured, 0) else { continue };
            let _ = write!(text, "| {engine} |");
            for distinct in std::iter::once(&0).chain(&plan.distinct) {
                let _ = match rate(measured, *distinct) {
                    None => write!(text, " – |"),
                    Some((m, low, high)) => {
                        write!(text, " {m:.0} ({:.2}; {low:.0}–{high:.0}) |", m / base)
                    }
                };
            }
            text.push('\n');
        }
    }
}

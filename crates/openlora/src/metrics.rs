//! What an engine has done and how fast: plain numbers, and their text for Prometheus. By name: `usage`.

use std::{
    fmt::{self, Write},
    sync::Arc,
};

use crate::{
    AdapterInfo,
    usage::{Usage, Use, escaped},
};

/// What answers without an adapter are counted under, among the adapters.
const BASE: &str = "base";

/// Upper bounds of the time buckets, in seconds.
const SECONDS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Upper bounds of the buckets of rows in a step.
const ROWS: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// How often a value fell below each of some bounds.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    bounds: &'static [f64],
    /// One more than bounds: the last is everything above them.
    counts: Vec<u64>,
    sum: f64,
}

impl Histogram {
    pub(crate) fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len() + 1], sum: 0.0 }
    }

    /// Counts a value.
    pub fn observe(&mut self, value: f64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket] += 1;
        self.sum += value;
    }

    /// Values counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Their sum.
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// Takes another one's values too. Both have the same bounds.
    pub(crate) fn add(&mut self, other: &Self) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(count, more)| *count += more);
        self.sum += other.sum;
    }

    fn write(&self, out: &mut String, name: &str) -> fmt::Result {
        writeln!(out, "# TYPE {name} histogram")?;
        self.write_series(out, name, "")
    }

    /// With `label`, as `key="value"`, or without one.
    pub(crate) fn write_series(&self, out: &mut String, name: &str, label: &str) -> fmt::Result {
        let (open, close, comma) = if label.is_empty() { ("", "", "") } else { ("{", "}", ",") };
        let mut below = 0;
        for (bound, count) in self.bounds.iter().zip(&self.counts) {
            below += count;
            writeln!(out, "{name}_bucket{{{label}{comma}le=\"{bound}\"}} {below}")?;
        }
        let count = self.count();
        writeln!(out, "{name}_bucket{{{label}{comma}le=\"+Inf\"}} {count}")?;
        writeln!(out, "{name}_sum{open}{label}{close} {}", self.sum)?;
        writeln!(out, "{name}_count{open}{label}{close} {count}")
    }
}

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub struct Metrics {
    /// From the request to the step in which it began, in seconds.
    pub queue_time: Histogram,
    /// From the request to its first token, in seconds.
    pub time_to_first_token: Histogram,
    /// Between tokens of one answer, in seconds.
    pub inter_token: Histogram,
    /// Length of a step, in seconds.
    pub step: Histogram,
    /// Sequences in a step.
    pub step_rows: Histogram,
    /// Requests refused because the queue was full.
    pub refused: u64,
    /// Answers that ended by themselves.
    pub finished: u64,
    /// Answers whose asker left.
    pub cancelled: u64,
    /// Answers that failed.
    pub failed: u64,
    /// Answers that gave their pages back and were read again.
    pub preemptions: u64,
    /// Tokens of prompts that were read.
    pub prompt_tokens: u64,
    /// Tokens of prompts whose pages were cached.
    pub prompt_tokens_cached: u64,
    /// Tokens generated.
    pub answer_tokens: u64,
    /// Adapters loaded.
    pub adapter_loads: u64,
    /// Adapters that could not be loaded.
    pub adapter_load_failures: u64,
    /// Adapters that gave way.
    pub adapter_evictions: u64,
    /// Copies of the base that a blend was merged into.
    pub merged_copies: u64,
    /// From the start of a load to its end, in seconds.
    pub adapter_load: Histogram,
    /// Now.
    pub gauges: Gauges,
    tenants: Usage,
    adapters: Usage,
    /// Where the adapters are that are counted apart.
    residency: Vec<AdapterInfo>,
}

/// How things stand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Sequences that wait.
    pub waiting: usize,
    /// Sequences under way.
    pub running: usize,
    /// Pages in all.
    pub pages: usize,
    /// Pages of sequences under way.
    pub pages_running: usize,
    /// Pages of cached prefixes that nobody uses now.
    pub pages_cached: usize,
    /// Pages' worth of adapters in memory or on their way.
    pub pages_adapters: usize,
    /// Pages of pinned adapters.
    pub pages_pinned: usize,
    /// Pages that memory was taken for.
    pub pages_taken: usize,
    /// Pages that are free, or are at once when something is needed.
    pub pages_available: usize,
    /// Memory of a page.
    pub page_bytes: usize,
    /// Adapters that can be named.
    pub adapters_registered: usize,
    /// Adapters in memory.
    pub adapters_resident: usize,
    /// Adapters on their way.
    pub adapters_loading: usize,
    /// Memory of the copies of the base that a blend was merged into.
    pub merged_bytes: usize,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            queue_time: Histogram::new(&SECONDS),
            time_to_first_token: Histogram::new(&SECONDS),
            inter_token: Histogram::new(&SECONDS),
            step: Histogram::new(&SECONDS),
            step_rows: Histogram::new(&ROWS),
            refused: 0,
            finished: 0,
            cancelled: 0,
            failed: 0,
            preemptions: 0,
            prompt_tokens: 0,
            prompt_tokens_cached: 0,
            answer_tokens: 0,
            adapter_loads: 0,
            adapter_load_failures: 0,
            adapter_evictions: 0,
            merged_copies: 0,
            adapter_load: Histogram::new(&SECONDS),
            gauges: Gauges::default(),
            tenants: Usage::default(),
            adapters: Usage::default(),
            residency: Vec::new(),
        }
    }
}

impl Metrics {
    /// Counts something for a tenant and for each adapter of a blend.
    pub(crate) fn count(
        &mut self,
        tenant: &Arc<str>,
        adapters: &[Arc<str>],
        what: impl Fn(&mut Use),
    ) {
        self.tenants.count(tenant, &what);
        adapters.iter().for_each(|adapter| self.adapters.count(adapter, &what));
        if adapters.is_empty() {
            self.adapters.count(&BASE.into(), &what);
        }
    }

    /// What was done for a tenant that is counted apart.
    pub fn tenant(&self, name: &str) -> Option<&Use> {
        self.tenants.of(name)
    }

    /// What was done with an adapter that is counted apart; `base` is the base alone.
    pub fn adapter(&self, name: &str) -> Option<&Use> {
        self.adapters.of(name)
    }

    /// Without what was done in whose name.
    pub fn without_tenants(mut self) -> Self {
        self.tenants.clear();
        self
    }

    /// With where those adapters are that are counted apart.
    pub(crate) fn with_residency(mut self, of: impl Fn(&str) -> Option<AdapterInfo>) -> Self {
        self.residency = self.adapters.names().filter_map(|name| of(name)).collect();
        self
    }

    /// In the text format of Prometheus.
    pub fn to_prometheus(&self) -> String {
        let mut out = String::new();
        self.write(&mut out).expect("a string takes everything");
        out
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        let gauges = &self.gauges;
        for (name, value) in [
            ("requests_refused", self.refused),
            ("answers_finished", self.finished),
            ("answers_cancelled", self.cancelled),
            ("answers_failed", self.failed),
            ("preemptions", self.preemptions),
            ("prompt_tokens", self.prompt_tokens),
            ("prompt_tokens_cached", self.prompt_tokens_cached),
            ("answer_tokens", self.answer_tokens),
            ("adapter_loads", self.adapter_loads),
            ("adapter_load_failures", self.adapter_load_failures),
            ("adapter_evictions", self.adapter_evictions),
            ("merged_copies", self.merged_copies),
        ] {
            writeln!(out, "# TYPE openlora_{name}_total counter\nopenlora_{name}_total {value}")?;
        }
        for (name, value) in [
            ("waiting", gauges.waiting),
            ("running", gauges.running),
            ("pages", gauges.pages),
            ("pages_running", gauges.pages_running),
            ("pages_cached", gauges.pages_cached),
            ("pages_adapters", gauges.pages_adapters),
            ("pages_pinned", gauges.pages_pinned),
            ("pages_taken", gauges.pages_taken),
            ("pages_available", gauges.pages_available),
            ("page_bytes", gauges.page_bytes),
            ("adapters_registered", gauges.adapters_registered),
            ("adapters_resident", gauges.adapters_resident),
            ("adapters_loading", gauges.adapters_loading),
            ("merged_bytes", gauges.merged_bytes),
        ] {
            writeln!(out, "# TYPE openlora_{name} gauge\nopenlora_{name} {value}")?;
        }
        self.queue_time.write(out, "openlora_queue_time_seconds")?;
        self.time_to_first_token.write(out, "openlora_time_to_first_token_seconds")?;
        self.inter_token.write(out, "openlora_inter_token_seconds")?;
        self.step.write(out, "openlora_step_seconds")?;
        self.step_rows.write(out, "openlora_step_rows")?;
        self.adapter_load.write(out, "openlora_adapter_load_seconds")?;
        self.tenants.write(out, "tenant")?;
        self.adapters.write(out, "adapter")?;
        self.write_residency(out)
    }

    fn write_residency(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "# TYPE openlora_adapter_bytes gauge")?;
        for adapter in &self.residency {
            let name = escaped(&adapter.name);
            let memory = adapter.resident_bytes.unwrap_or(0) as u64;
            for (tier, bytes) in [("memory", memory), ("disk", adapter.file_bytes)] {
                writeln!(
                    out,
                    "openlora_adapter_bytes{{adapter=\"{name}\",tier=\"{tier}\"}} {bytes}"
                )?;
            }
        }
        writeln!(out, "# TYPE openlora_adapter_pinned gauge")?;
        for adapter in &self.residency {
            let (name, pinned) = (escaped(&adapter.name), u8::from(adapter.pinned));
            writeln!(out, "openlora_adapter_pinned{{adapter=\"{name}\"}} {pinned}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative_and_names_are_escaped() {
        let mut metrics = Metrics::default();
        [0.001, 0.02, 99.0].into_iter().for_each(|time| metrics.inter_token.observe(time));
        metrics.count(&"a\"b\n".into(), &[], |_| {});
        let text = metrics.to_prometheus();
        for line in [
            "openlora_inter_token_seconds_bucket{le=\"0.001\"} 1",
            "openlora_inter_token_seconds_bucket{le=\"0.025\"} 2",
            "openlora_inter_token_seconds_bucket{le=\"30\"} 2",
            "openlora_inter_token_seconds_bucket{le=\"+Inf\"} 3",
            "openlora_inter_token_seconds_count 3",
            "openlora_tenant_answers_total{tenant=\"a\\\"b\\n\"} 0",
            "openlora_tenant_queue_time_seconds_bucket{tenant=\"a\\\"b\\n\",le=\"0.1\"} 0",
            "openlora_adapter_queue_time_seconds_count{adapter=\"base\"} 0",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} is missing in\n{text}");
        }
    }
}

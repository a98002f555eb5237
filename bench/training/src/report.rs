//! The table of all measurements.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::job::STEP_TOKENS;
use crate::measure::{Measured, Trainer};

/// Measurements by number of threads and trainer.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: BTreeMap<(usize, &'static str), Vec<Measured>>,
}

impl Table {
    pub(crate) fn add(&mut self, trainer: Trainer, threads: usize, measured: Measured) {
        self.rows.entry((threads, trainer.name())).or_default().push(measured);
    }

    /// Markdown: median and best step, tokens per second of both, CPU time, ratio to torch, memory.
    pub(crate) fn render(&self) -> String {
        let mut text = String::from(
            "| threads | trainer | steps | median s/step | tok/s (median) | best s/step | tok/s (best) | CPU s/step | × torch-f32 (median, best) | × torch-bf16 (median, best) | CPU × torch-f32, × torch-bf16 | first loss | peak MiB | base matrices MiB |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n",
        );
        for ((threads, name), runs) in &self.rows {
            let figures = Figures::of(runs);
            let peers = ["torch-f32", "torch-bf16"].map(|peer| {
                self.rows.get(&(*threads, peer)).map_or("–".into(), |peer| {
                    let peer = Figures::of(peer);
                    let (median, best) = (peer.median / figures.median, peer.best / figures.best);
                    format!("{median:.2}, {best:.2}")
                })
            });
            let cpu_ratios = ["torch-f32", "torch-bf16"].map(|peer| {
                let peer = self.rows.get(&(*threads, peer)).map(|p| Figures::of(p).cpu);
                peer.map_or("–".into(), |peer| format!("{:.2}", peer / figures.cpu))
            });
            let rate = |seconds: f64| STEP_TOKENS as f64 / seconds;
            let Figures { steps, median, best, cpu, loss, peak, matrices } = figures;
            let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            let _ = writeln!(
                text,
                "| {threads} | {name} | {steps} | {median:.3} | {:.0} | {best:.3} | {:.0} | {cpu:.3} | {} | {} | {} | {loss:.4} | {:.0} | {:.1} |",
                rate(median),
                rate(best),
                peers[0],
                peers[1],
                cpu_ratios.join(", "),
                mib(peak),
                mib(matrices),
            );
        }
        text
    }
}

struct Figures {
    steps: usize,
    median: f64,
    best: f64,
    cpu: f64,
    loss: f32,
    peak: u64,
    matrices: u64,
}

impl Figures {
    fn of(runs: &[Measured]) -> Self {
        let mut seconds: Vec<f64> = runs.iter().flat_map(|run| run.seconds.clone()).collect();
        seconds.sort_by(f64::total_cmp);
        let mut cpu: Vec<f64> =
            runs.iter().map(|run| run.cpu_seconds / run.seconds.len().max(1) as f64).collect();
        cpu.sort_by(f64::total_cmp);
        Self {
            steps: seconds.len(),
            median: seconds[seconds.len() / 2],
            best: seconds[0],
            cpu: cpu[cpu.len() / 2],
            loss: runs[0].losses[0],
            peak: runs.iter().map(|run| run.peak_bytes).max().unwrap_or(0),
            matrices: runs[0].matrix_bytes,
        }
    }
}

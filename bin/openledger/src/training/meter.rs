//! How far a training is, for people: bars on a terminal, lines elsewhere, and when it may end.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use indicatif::ProgressBar;
use openledger_gateway::TrainingProgress;

use crate::{output::tell, terminal::Terminal};

/// Without a terminal, a line of progress this often.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Progress of a training: bars on a terminal, a line every ten seconds elsewhere.
pub(super) struct Meter {
    published: ProgressBar,
    counterfactual: ProgressBar,
    lines: bool,
    started: Instant,
    published_ms: AtomicU64,
    line_at_s: AtomicU32,
}

impl Meter {
    pub(super) fn new(terminal: Terminal, steps: u64) -> Self {
        Self {
            published: terminal.bar("Train", steps),
            counterfactual: terminal.bar("Counterfactual adapters", 0),
            lines: terminal.lines(),
            started: Instant::now(),
            published_ms: AtomicU64::new(0),
            line_at_s: AtomicU32::new(0),
        }
    }

    pub(super) fn show(&self, progress: TrainingProgress) {
        let text = match progress {
            TrainingProgress::Published { step, loss } => {
                self.published.set_position(step.into());
                self.published.set_message(format!("loss {loss:.2}"));
                let elapsed_ms = self.started.elapsed().as_millis() as u64;
                self.published_ms.store(elapsed_ms, Ordering::Relaxed);
                format!("training: step {step}, loss {loss:.2}")
            }
            TrainingProgress::Traced(_) => return,
            TrainingProgress::Counterfactual { steps, of } => {
                self.counterfactual.set_length(of);
                self.counterfactual.set_position(steps);
                format!("counterfactual adapters: step {steps} of {of}")
            }
        };
        if self.lines && self.line_is_due() {
            tell(&text);
        }
    }

    fn line_is_due(&self) -> bool {
        let now_s = self.started.elapsed().as_secs() as u32;
        let due = self.line_at_s.load(Ordering::Relaxed) + LINE_EVERY.as_secs() as u32;
        // Several runs report at once; one of them writes the line.
        now_s >= due
            && self
                .line_at_s
                .compare_exchange(
                    due - LINE_EVERY.as_secs() as u32,
                    now_s,
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                )
                .is_ok()
    }

    pub(super) fn published_took(&self) -> Duration {
        Duration::from_millis(self.published_ms.load(Ordering::Relaxed))
    }

    /// Removes the bars. Returns how long the counterfactual adapters took.
    pub(super) fn end(&self) -> Duration {
        self.published.finish_and_clear();
        self.counterfactual.finish_and_clear();
        self.started.elapsed().saturating_sub(self.published_took())
    }
}

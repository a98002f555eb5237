//! How far a training is: bars on a terminal, lines elsewhere, a status in the API, and when it may end.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use indicatif::ProgressBar;
use openledger_factory::Recipe;
use openledger_gateway::{Gateway, Pace, TrainingProgress, TrainingStatus};

use crate::{output::tell, terminal::Terminal};

/// Without a terminal, a line of progress this often.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Progress of one training.
pub(super) struct Meter {
    gateway: Arc<Gateway>,
    model: String,
    job_id: u64,
    published: ProgressBar,
    counterfactual: ProgressBar,
    steps: u64,
    /// Of the published adapter and of the others.
    paces: Mutex<[Pace; 2]>,
    lines: bool,
    started: Instant,
    published_ms: AtomicU64,
    line_at_s: AtomicU32,
}

impl Meter {
    pub(super) fn new(
        terminal: Terminal,
        gateway: &Arc<Gateway>,
        model: &str,
        job_id: u64,
        recipe: &Recipe,
    ) -> Self {
        let steps = recipe.steps as u64;
        Self {
            gateway: Arc::clone(gateway),
            model: model.to_owned(),
            job_id,
            published: terminal.bar("Train", steps),
            counterfactual: terminal.bar("Counterfactual adapters", 0),
            steps,
            paces: Mutex::default(),
            lines: terminal.lines(),
            started: Instant::now(),
            published_ms: AtomicU64::new(0),
            line_at_s: AtomicU32::new(0),
        }
    }

    pub(super) fn show(&self, progress: TrainingProgress) {
        match progress {
            TrainingProgress::Published { step, loss } => {
                let elapsed_ms = self.started.elapsed().as_millis() as u64;
                self.published_ms.store(elapsed_ms, Ordering::Relaxed);
                let left = self.left(0, step.into(), self.steps);
                self.published.set_position(step.into());
                self.published.set_message(format!("loss {loss:.2}{}", words(left)));
                self.status("published adapter", (step.into(), self.steps), left);
                self.line(|| {
                    let of = self.steps;
                    format!("training: step {step} of {of}, loss {loss:.2}{}", words(left))
                });
            }
            TrainingProgress::Counterfactual { steps, of } => {
                let left = self.left(1, steps, of);
                self.counterfactual.set_length(of);
                self.counterfactual.set_position(steps);
                self.counterfactual.set_message(words(left).trim_start_matches(", ").to_owned());
                self.status("counterfactual adapters", (steps, of), left);
                self.line(|| {
                    format!("counterfactual adapters: step {steps} of {of}{}", words(left))
                });
            }
            TrainingProgress::Traced(_) => {}
        }
    }

    fn left(&self, phase: usize, done: u64, of: u64) -> Option<Duration> {
        let mut paces = self.paces.lock().unwrap_or_else(PoisonError::into_inner);
        paces[phase].left(done, of, self.started.elapsed())
    }

    fn status(&self, phase: &'static str, (steps_done, steps): (u64, u64), left: Option<Duration>) {
        self.gateway.show_training(TrainingStatus {
            job_id: self.job_id,
            model: self.model.clone(),
            phase,
            steps_done,
            steps,
            seconds_left: left.map(|left| left.as_secs()),
        });
    }

    fn line(&self, text: impl FnOnce() -> String) {
        if self.lines && self.line_is_due() {
            tell(&text());
        }
    }

    fn line_is_due(&self) -> bool {
        let now_s = self.started.elapsed().as_secs() as u32;
        let last_s = self.line_at_s.load(Ordering::Relaxed);
        // Several runs report at once; one of them writes the line.
        now_s >= last_s + LINE_EVERY.as_secs() as u32
            && self
                .line_at_s
                .compare_exchange(last_s, now_s, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    pub(super) fn published_took(&self) -> Duration {
        Duration::from_millis(self.published_ms.load(Ordering::Relaxed))
    }

    /// Removes the bars and the status. Returns how long the counterfactual adapters took.
    pub(super) fn end(&self) -> Duration {
        self.published.finish_and_clear();
        self.counterfactual.finish_and_clear();
        self.gateway.end_training(self.job_id);
        self.started.elapsed().saturating_sub(self.published_took())
    }
}

/// `, 3 min left`; nothing where it is not known.
pub fn words(left: Option<Duration>) -> String {
    match left.map(|left| left.as_secs()) {
        None => String::new(),
        Some(seconds @ 0..=90) => format!(", {seconds} s left"),
        Some(seconds) => format!(", {} min left", seconds.div_ceil(60)),
    }
}

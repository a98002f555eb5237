//! How far trainings are, for the API and for people.

use std::time::Duration;

use serde::Serialize;

/// A training under way, as `GET /v1/training/jobs` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TrainingStatus {
    /// Its number on chain.
    pub job_id: u64,
    /// Name of the model.
    pub model: String,
    /// What is trained now.
    pub phase: &'static str,
    /// Steps done in this phase.
    pub steps_done: u64,
    /// Steps of this phase.
    pub steps: u64,
    /// Seconds until this phase ends, at the pace so far.
    pub seconds_left: Option<u64>,
}

/// The pace of one phase.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pace {
    /// Steps and time of the first report: what was done before, by an earlier process, says nothing of the pace.
    first: Option<(u64, Duration)>,
}

impl Pace {
    /// Time left after `done` of `of` steps at `now`, counted from any moment; nothing before two reports.
    pub fn left(&mut self, done: u64, of: u64, now: Duration) -> Option<Duration> {
        let (before, began) = *self.first.get_or_insert((done, now));
        let steps = done.checked_sub(before).filter(|steps| *steps > 0)?;
        let (left, took) = (of.saturating_sub(done), now.saturating_sub(began));
        Some(took.mul_f64(left as f64 / steps as f64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_follows_from_the_pace_of_this_process_alone() {
        let mut pace = Pace::default();
        let at = Duration::from_secs;
        assert_eq!(pace.left(500, 1_000, at(100)), None);
        assert_eq!(pace.left(500, 1_000, at(110)), None);
        assert_eq!(pace.left(600, 1_000, at(110)), Some(at(40)));
        assert_eq!(pace.left(1_000, 1_000, at(150)), Some(at(0)));
        assert_eq!(pace.left(1_100, 1_000, at(150)), Some(at(0)));
    }
}

//! Whether the node lives, and whether it is ready to be used. Values in, verdict out.

use std::time::Duration;

use serde::Serialize;

use crate::BlockProduction;

/// A node whose latest block is older than this has stopped making them, or is still filling a pause.
pub(super) const HEAD_AGE_MAX: Duration = Duration::from_secs(10);

/// Where a node is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Stage {
    /// It reads its chain back.
    Recovering,
    /// It makes blocks and answers.
    Running,
    /// It has ended.
    Stopped,
}

/// What a look at the node shows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Vitals {
    pub(super) stage: Stage,
    pub(super) production: BlockProduction,
    /// Wall clock minus the latest block's time; `None` while the chain is read back.
    pub(super) head_age: Option<Duration>,
    pub(super) disk_accepts: bool,
}

/// Why a node is ready or not, as `/ready` says it.
#[derive(Debug, Serialize)]
pub(super) struct Readiness {
    pub(super) ready: bool,
    stage: Stage,
    head_age_seconds: Option<f64>,
    head_age_max_seconds: u64,
    disk_accepts: bool,
}

impl Vitals {
    /// Whether there is any point in letting the process go on.
    pub(super) fn healthy(&self) -> bool {
        self.stage != Stage::Stopped
    }

    pub(super) fn readiness(&self) -> Readiness {
        // Blocks on command may be as old as they like.
        let fresh = self.production == BlockProduction::Manual
            || self.head_age.is_some_and(|age| age <= HEAD_AGE_MAX);
        Readiness {
            ready: self.stage == Stage::Running && fresh && self.disk_accepts,
            stage: self.stage,
            head_age_seconds: self.head_age.map(|age| age.as_secs_f64()),
            head_age_max_seconds: HEAD_AGE_MAX.as_secs(),
            disk_accepts: self.disk_accepts,
        }
    }
}

/// How old a block of this time is. One from the future is new.
pub(super) fn age(now: Duration, timestamp: u64) -> Duration {
    now.saturating_sub(Duration::from_secs(timestamp))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WELL: Vitals = Vitals {
        stage: Stage::Running,
        production: BlockProduction::EverySecond,
        head_age: Some(Duration::from_secs(1)),
        disk_accepts: true,
    };

    #[test]
    fn a_node_is_ready_when_it_runs_is_up_to_date_and_can_write() {
        assert!(WELL.readiness().ready && WELL.healthy());
        let late = HEAD_AGE_MAX + Duration::from_millis(1);
        let behind = Vitals { head_age: Some(late), ..WELL };
        assert!(!behind.readiness().ready && behind.healthy());
        let on_command = Vitals { production: BlockProduction::Manual, ..behind };
        assert!(on_command.readiness().ready, "it makes no blocks by itself");
        let full_disk = Vitals { disk_accepts: false, ..WELL };
        assert!(!full_disk.readiness().ready && full_disk.healthy(), "it tries again");
        let starting = Vitals { stage: Stage::Recovering, head_age: None, ..WELL };
        assert!(!starting.readiness().ready && starting.healthy());
        let ended = Vitals { stage: Stage::Stopped, ..WELL };
        assert!(!ended.readiness().ready && !ended.healthy());
    }

    #[test]
    fn a_block_from_the_future_is_new() {
        assert_eq!(age(Duration::from_millis(1_500), 1), Duration::from_millis(500));
        assert_eq!(age(Duration::from_secs(1), 2), Duration::ZERO);
    }
}

//! The wall clock, as a thing that tests can hold.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Tells the time.
pub(crate) trait Clock: Send {
    /// Time since 1970.
    fn now(&self) -> Duration;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        // A clock before 1970 reads as 1970: no block is then due.
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }
}

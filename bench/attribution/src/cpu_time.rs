//! Processor time of this process: what work costs on a machine that others use as well.

use std::time::Instant;

/// Clock ticks in a second, of every Linux that this runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// A moment.
#[derive(Debug)]
pub(crate) struct CpuTime {
    ticks: Option<u64>,
    wall: Instant,
}

impl CpuTime {
    pub(crate) fn now() -> Self {
        Self { ticks: ticks(), wall: Instant::now() }
    }

    /// Processor seconds since then, of all threads; wall time where the system does not tell.
    pub(crate) fn seconds(&self) -> f64 {
        match (self.ticks, ticks()) {
            (Some(from), Some(to)) => (to - from) as f64 / TICKS_PER_SECOND,
            _ => self.wall.elapsed().as_secs_f64(),
        }
    }
}

/// User and system ticks: fields 14 and 15 of `/proc/self/stat`; the second field may hold spaces.
fn ticks() -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system) = (fields.next()?, fields.next()?);
    Some(user.parse::<u64>().ok()? + system.parse::<u64>().ok()?)
}

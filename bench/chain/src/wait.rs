//! Waiting with an end.

use std::{
    thread,
    time::{Duration, Instant},
};

use eyre::{Result, bail};

/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(20);

/// Tries until there is something, for at most `limit`. Errors: that of a try, or that `what` did not
/// come.
pub(crate) fn until<T>(
    limit: Duration,
    what: &str,
    mut attempt: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = attempt()? {
            return Ok(found);
        }
        if start.elapsed() > limit {
            bail!("waited {} s for {what}", limit.as_secs());
        }
        thread::sleep(PAUSE);
    }
}

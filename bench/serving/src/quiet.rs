//! Whether the machine has other work.

use eyre::{Result, ensure};

/// Load per core up to which figures are taken.
const LOAD_MAX: f64 = 0.3;

/// Refuses to measure on a machine with other work, unless that is wanted.
pub(crate) fn check(loaded: bool) -> Result<()> {
    let cores = std::thread::available_parallelism()?.get() as f64;
    let load = load();
    ensure!(
        loaded || load <= LOAD_MAX * cores,
        "the load is {load}, more than {LOAD_MAX} per core: wait, or say --loaded to measure all the same"
    );
    Ok(())
}

/// Load of the last minute; zero where `/proc` does not say.
pub(crate) fn load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(0.0)
}

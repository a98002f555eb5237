//! What the system says about a process: processor time of all its threads, and its memory.

use std::{fs, time::Duration};

use eyre::{ContextCompat, Result, WrapErr};

/// Clock ticks per second in `/proc`; a constant of the Linux interface.
const TICKS_PER_SECOND: u64 = 100;

/// Processor time that all threads of a process have used, theirs and the kernel's on their behalf.
pub(crate) fn cpu_time(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).wrap_err_with(|| format!("cannot read {path}"))?;
    // The second field is the program's name in parentheses and may hold anything.
    let (_, fields) = stat.rsplit_once(") ").wrap_err_with(|| format!("{path} has no fields"))?;
    let ticks: Vec<u64> = fields.split(' ').map(|field| field.parse().unwrap_or(0)).collect();
    // utime and stime: fields 14 and 15 of which 2 are cut off.
    let used = ticks.get(11).zip(ticks.get(12)).map(|(user, system)| user + system);
    let used = used.wrap_err_with(|| format!("{path} is too short"))?;
    Ok(Duration::from_millis(used * 1_000 / TICKS_PER_SECOND))
}

/// The most memory that a process has held, in MiB.
pub(crate) fn peak_memory_mib(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).wrap_err_with(|| format!("cannot read {path}"))?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = kib.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
    Ok(kib.wrap_err_with(|| format!("{path} has no VmHWM"))? >> 10)
}

/// The system's load average over one minute.
pub(crate) fn load_average() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_time_and_memory() {
        let pid = std::process::id();
        let mut sum = 0u64;
        while cpu_time(pid).unwrap() < Duration::from_millis(20) {
            sum = std::hint::black_box(sum.wrapping_mul(31) + 1);
        }
        assert!(peak_memory_mib(pid).unwrap() >= 1);
        assert!(load_average() >= 0.0);
    }
}

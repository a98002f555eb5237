//! What the system knows of this process, by the names that Prometheus gives it.

use std::fs;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};

/// Clock ticks in a second as `/proc` counts them (`USER_HZ`), on every Linux that Rust supports.
const TICKS_PER_SECOND: f64 = 100.0;

/// Reads `/proc/self` at each scrape. Elsewhere than on Linux there is none, and nothing is told.
#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        if let Some(bytes) = fs::read_to_string("/proc/self/status").ok().and_then(resident_bytes) {
            let help = "Memory of the process that is in RAM.";
            let (name, unit) = ("process_resident_memory", Unit::Bytes);
            let metric = encoder.encode_descriptor(name, help, Some(&unit), MetricType::Gauge)?;
            ConstGauge::new(bytes).encode(metric)?;
        }
        if let Some(seconds) = fs::read_to_string("/proc/self/stat").ok().and_then(cpu_seconds) {
            let help = "Processor time of all threads, user and system.";
            let (name, unit) = ("process_cpu", Unit::Seconds);
            let metric = encoder.encode_descriptor(name, help, Some(&unit), MetricType::Counter)?;
            ConstCounter::new(seconds).encode(metric)?;
        }
        if let Ok(open) = fs::read_dir("/proc/self/fd") {
            let help = "Open files and sockets.";
            let metric =
                encoder.encode_descriptor("process_open_fds", help, None, MetricType::Gauge)?;
            ConstGauge::new(open.count() as u64).encode(metric)?;
        }
        Ok(())
    }
}

/// `VmRSS` of `/proc/self/status`.
fn resident_bytes(status: String) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// Fields 14 and 15 of `/proc/self/stat`, counted behind the name, which may hold anything.
fn cpu_seconds(stat: String) -> Option<f64> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut ticks = behind_name.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
    Some((ticks.next()?.ok()? + ticks.next()?.ok()?) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_files_are_read_whatever_the_process_is_called() {
        let status = "Name:\tx\nVmPeak:\t  99 kB\nVmRSS:\t   12 kB\n".to_owned();
        assert_eq!(resident_bytes(status), Some(12 * 1024));
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 1 0 9".to_owned();
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(resident_bytes("nonsense".to_owned()), None);
        assert_eq!(cpu_seconds("nonsense".to_owned()), None);
    }
}

//! What the figures were measured on.

use std::{fs, path::Path, process::Command, thread};

/// One line: processors, memory, kernel and file system.
pub(crate) fn describe(scratch: &Path) -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        cpuinfo
            .lines()
            .find_map(|line| line.strip_prefix(name)?.split_once(':'))
            .map(|f| f.1.trim())
    };
    let model = field("model name").unwrap_or("unknown processor");
    let number = field("model\t").unwrap_or("?");
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = kib.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
    let gib = kib.unwrap_or(0) as f64 / f64::from(1 << 20);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let kernel = kernel.trim().split('-').next().unwrap_or_default();
    let system = Command::new("stat").args(["-f", "-c", "%T"]).arg(scratch).output();
    let system =
        system.ok().map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    let system = system.unwrap_or_else(|| "unknown file system".to_owned());
    format!(
        "{cores} processors ({model}, model {number}), {gib:.0} GiB, Linux {kernel}, \
         data on {system}"
    )
}

//! What the operating system says of a process.

use std::time::Duration;

/// Memory of a process in MiB.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// Now.
    pub(crate) now: f64,
    /// At most so far.
    pub(crate) peak: f64,
}

/// Reads `/proc/<pid>/status`.
pub(crate) fn memory(pid: u32) -> Memory {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mib = |key: &str| {
        let line = status.lines().find(|line| line.starts_with(key));
        line.and_then(|l| l.split_whitespace().nth(1))
            .and_then(|kib| kib.parse::<f64>().ok())
            .unwrap_or(0.0)
            / 1024.0
    };
    Memory {
        now: mib("VmRSS:"),
        peak: mib("VmHWM:"),
    }
}

/// Processor time a process has used.
pub(crate) fn cpu(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let ticks: u64 = [11, 12]
        .iter()
        .filter_map(|i| fields.get(*i)?.parse::<u64>().ok())
        .sum();
    Duration::from_millis(ticks * 10)
}

/// Processor time used by the children of a process that still live.
pub(crate) fn cpu_of_children(pid: u32) -> Duration {
    let list = format!("/proc/{pid}/task/{pid}/children");
    let children = std::fs::read_to_string(list).unwrap_or_default();
    children
        .split_whitespace()
        .filter_map(|child| child.parse().ok())
        .map(cpu)
        .sum()
}

/// Median, least and greatest of some ratios.
pub(crate) fn spread(ratios: &[f64]) -> (f64, f64, f64) {
    let mut sorted = ratios.to_vec();
    sorted.sort_by(f64::total_cmp);
    let pick = |i: usize| sorted.get(i).copied().unwrap_or(f64::NAN);
    (
        pick(sorted.len() / 2),
        pick(0),
        pick(sorted.len().saturating_sub(1)),
    )
}

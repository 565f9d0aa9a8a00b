//! What a process costs, as the kernel counts it.

use super::Result;
use rustix::param::clock_ticks_per_second;
use serde::Serialize;
use std::fs;

/// A process at one moment.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Usage {
    /// User and system time so far. The kernel counts in ticks of 10 ms.
    pub cpu_ms: f64,
    /// Resident memory.
    pub rss_kib: f64,
    /// The same, with shared pages divided among those who share them.
    pub pss_kib: f64,
    /// Open file descriptors.
    pub descriptors: usize,
}

impl Usage {
    /// Of the process with this id.
    pub fn of(pid: u32) -> Result<Self> {
        let file = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}"));
        let memory = file("smaps_rollup")?;
        Ok(Self {
            cpu_ms: cpu_ticks(&file("stat")?).ok_or("stat has no times")? * 1000.0 / clock_ticks_per_second() as f64,
            rss_kib: kib(&memory, "Rss:").ok_or("no resident memory")?,
            pss_kib: kib(&memory, "Pss:").ok_or("no proportional memory")?,
            descriptors: fs::read_dir(format!("/proc/{pid}/fd"))?.count(),
        })
    }
}

/// Fields 14 and 15, user and system time. The second field is the program's name, which may hold anything.
fn cpu_ticks(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn kib(memory: &str, field: &str) -> Option<f64> {
    memory.lines().find_map(|line| line.strip_prefix(field))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{Usage, cpu_ticks, kib};

    #[test]
    fn a_programs_name_does_not_move_the_fields() {
        let stat = "7 (a ) 1 2) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 3 0 100 1000 10";
        assert_eq!(cpu_ticks(stat), Some(300.0));
    }

    #[test]
    fn memory_is_read_by_the_name_of_its_line() {
        let memory = "Rss:                1780 kB\nPss:                 455 kB\nPss_Dirty:           112 kB\n";
        assert_eq!((kib(memory, "Rss:"), kib(memory, "Pss:")), (Some(1780.0), Some(455.0)));
    }

    #[test]
    fn this_process_has_memory_and_descriptors() {
        let usage = Usage::of(std::process::id()).unwrap();
        assert!(usage.rss_kib > 100.0 && usage.pss_kib > 100.0 && usage.descriptors >= 3, "{usage:?}");
    }
}

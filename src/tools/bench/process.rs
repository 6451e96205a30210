//! What the kernel says about a process: processor time and resident memory.

use std::fs;
use std::io;

use crate::client::conn::invalid;

/// Length of a tick of `/proc/PID/stat`: `USER_HZ` is 100 on every Linux that Rust runs on.
const TICK_US: u64 = 10_000;

/// Microseconds of processor time, user and system, of all threads of these processes.
pub fn cpu_us(pids: &[u32]) -> io::Result<u64> {
    let mut ticks = 0;
    for pid in pids {
        ticks += stat_ticks(&fs::read_to_string(format!("/proc/{pid}/stat"))?)?;
    }
    Ok(ticks * TICK_US)
}

/// Resident memory of these processes in kilobytes.
pub fn rss_kb(pids: &[u32]) -> io::Result<u64> {
    let mut sum = 0;
    for pid in pids {
        sum += status_rss(&fs::read_to_string(format!("/proc/{pid}/status"))?)?;
    }
    Ok(sum)
}

fn stat_ticks(stat: &str) -> io::Result<u64> {
    // The command's name may hold anything, so count from the parenthesis that ends it.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let mut times = fields.split_whitespace().skip(11).map(str::parse::<u64>);
    match (times.next(), times.next()) {
        (Some(Ok(user)), Some(Ok(system))) => Ok(user + system),
        _ => Err(invalid(format!("cannot read /proc stat line '{stat}'"))),
    }
}

fn status_rss(status: &str) -> io::Result<u64> {
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    line.and_then(|l| l.trim().strip_suffix(" kB"))
        .and_then(|n| n.parse().ok())
        .ok_or_else(|| invalid("no VmRSS in /proc status"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_found_behind_any_name() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 99 0 0 0 31 11 0 0 20 0 1 0 5 6 7";
        assert_eq!(stat_ticks(stat).unwrap(), 42);
        assert!(stat_ticks("7 (a) S 1").is_err());
        assert_eq!(status_rss("Name:\tx\nVmRSS:\t   1234 kB\n").unwrap(), 1234);
    }

    #[test]
    fn this_process_can_be_read() {
        let me = [std::process::id()];
        assert!(rss_kb(&me).unwrap() > 500);
        cpu_us(&me).unwrap();
    }
}

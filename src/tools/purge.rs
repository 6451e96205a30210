//! Deletes snapshots and logs that are not needed any more: `ironkeeper purge LOGDIR [SNAPDIR] -n
//! COUNT`, which `zkCleanup.sh` runs. Knows no server; one may be running on the directories.
//! Answers to Java's `PurgeTxnLog`.

use std::path::Path;
use std::process::ExitCode;

use crate::storage::purge::{OldFile, old_files, remove};
use crate::storage::{Disk, Layout, RealDisk, StorageError};
use crate::sys;

const USAGE: &str = "\
Usage:
PurgeTxnLog dataLogDir [snapDir] -n count
\tdataLogDir -- path to the txn log directory
\tsnapDir -- path to the snapshot directory
\tcount -- the number of old snaps/logs you want to keep, value should be \
greater than or equal to 3";

/// The least number of snapshots to keep.
const MIN_COUNT: usize = 3;

/// Runs the command with the words that follow `purge`.
pub fn run(arguments: &[String]) -> ExitCode {
    let (layout, count) = match parse(arguments) {
        Ok(parsed) => parsed,
        Err(complaint) => {
            if !complaint.is_empty() {
                eprintln!("{complaint}");
            }
            println!("{USAGE}");
            return ExitCode::FAILURE;
        }
    };
    match purge(&layout, count) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// The directories and the count, or what is wrong with the arguments.
fn parse(arguments: &[String]) -> Result<(Layout, usize), String> {
    let (log_dir, snap_dir, option, count) = match arguments {
        [log, option, count] => (log, log, option, count),
        [log, snap, option, count] => (log, snap, option, count),
        _ => return Err(String::new()),
    };
    for dir in [log_dir, snap_dir] {
        if !RealDisk.is_dir(Path::new(dir)) {
            return Err(format!("Path '{dir}' does not exist. "));
        }
    }
    let Ok(number) = count.parse::<i32>() else {
        return Err(format!("'{count}' can not be parsed to integer."));
    };
    let count = usize::try_from(number).unwrap_or(0);
    if count < MIN_COUNT {
        return Err(format!("count should be greater than or equal to {MIN_COUNT}"));
    }
    if option != "-n" {
        return Err(String::new());
    }
    Ok((Layout::new(snap_dir, Some(log_dir.into())), count))
}

fn purge(layout: &Layout, count: usize) -> Result<(), StorageError> {
    let (log_dir, snap_dir) = (layout.log_dir(), layout.snap_dir());
    if !RealDisk.is_dir(&log_dir) || !RealDisk.is_dir(&snap_dir) {
        return Ok(());
    }
    layout.check_contents(&RealDisk)?;
    for file in old_files(&RealDisk, &log_dir, &snap_dir, count)? {
        println!("{}", announcement(&file));
        if let Err(error) = remove(&RealDisk, &file) {
            eprintln!("Failed to remove {}: {error}", file.path.display());
        }
    }
    Ok(())
}

/// The line about a file, as Java prints it in an English locale.
pub fn announcement(file: &OldFile) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let date = match sys::local_time(file.modified.div_euclid(1000)) {
        None => String::from("?"),
        Some(t) => {
            let (hour, half) = (t.hour % 12, if t.hour < 12 { "AM" } else { "PM" });
            format!(
                "{} {}, {}, {}:{:02}:{:02} {half}",
                MONTHS[t.month % 12],
                t.day,
                t.year,
                if hour == 0 { 12 } else { hour },
                t.minute,
                t.second
            )
        }
    };
    format!("Removing file: {date}\t{}", file.path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(String::from).collect()
    }

    #[test]
    fn arguments_and_complaints() {
        for (text, complaint) in [
            ("a", ""),
            ("/nowhere -n 3", "Path '/nowhere' does not exist. "),
            ("/ -n 2", "count should be greater than or equal to 3"),
            ("/ -n -7", "count should be greater than or equal to 3"),
            ("/ -n x", "'x' can not be parsed to integer."),
            ("/ -x 3", ""),
            ("/ / / -n 3", ""),
        ] {
            assert_eq!(parse(&words(text)), Err(complaint.to_string()), "{text}");
        }
        assert_eq!(parse(&words("/ -n +3")), Ok((Layout::new("/", None), 3)));
        let two = Layout::new("/tmp", Some("/".into()));
        assert_eq!(parse(&words("/ /tmp -n 4")), Ok((two, 4)));
    }

    #[test]
    fn a_file_is_announced_with_its_local_time() {
        // 86400 × 365.25 × 56.9 s after 1970: the same month and year in every time zone.
        let file = OldFile { path: "/d/version-2/log.1".into(), modified: 1_795_612_345_000 };
        let line = announcement(&file);
        assert!(line.starts_with("Removing file: Nov 2"), "{line}");
        assert!(line.ends_with("M\t/d/version-2/log.1") && line.contains(", 2026, "), "{line}");
    }
}

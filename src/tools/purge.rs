//! Deletes old logs and snapshots once: `ironkeeper purge LOGDIR [SNAPDIR] -n COUNT`, as zkCleanup.sh
//! calls it. Answers to Java's `PurgeTxnLog`; which files are old is `storage::purge`'s to say.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use crate::server::logging::timestamp;
use crate::storage::{self, Disk, Layout, RealDisk, StorageError, purge};

const USAGE: &str = "\
Usage:
ironkeeper purge dataLogDir [snapDir] -n count
\tdataLogDir -- path to the txn log directory
\tsnapDir -- path to the snapshot directory
\tcount -- the number of snapshots to keep, 3 or more";

/// Fewer snapshots than this are not kept.
const MIN_COUNT: usize = 3;

/// What the words ask for.
#[derive(Debug, PartialEq, Eq)]
struct Job {
    layout: Layout,
    keep: usize,
}

/// Runs the command with the words that follow `purge`.
pub fn run(arguments: &[String]) -> ExitCode {
    let job = match parse(arguments) {
        Ok(job) => job,
        Err(reason) => {
            eprintln!("{reason}");
            println!("{USAGE}");
            return ExitCode::FAILURE;
        }
    };
    match work(&job) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(arguments: &[String]) -> Result<Job, String> {
    let (directories, count) = match arguments {
        [directories @ .., option, count] if option == "-n" => (directories, count),
        _ => return Err("the number of snapshots to keep is missing: -n count".to_owned()),
    };
    let layout = match directories {
        [both] => Layout::new(both, None),
        [logs, snapshots] => Layout::new(snapshots, Some(PathBuf::from(logs))),
        _ => return Err("one directory is needed, or two".to_owned()),
    };
    let keep: usize = count.parse().map_err(|_| format!("'{count}' is not a whole number"))?;
    if keep < MIN_COUNT {
        return Err(format!("count should be greater than or equal to {MIN_COUNT}"));
    }
    Ok(Job { layout, keep })
}

fn work(job: &Job) -> storage::Result<()> {
    let disk = RealDisk;
    let (logs, snapshots) = (job.layout.log_dir(), job.layout.snap_dir());
    for path in [&logs, &snapshots] {
        if !disk.is_dir(path) {
            let text = format!("Path '{}' does not exist.", path.display());
            return Err(StorageError::Datadir(text));
        }
    }
    job.layout.prepare(&disk, false)?;
    for file in purge::old_files(&disk, &logs, &snapshots, job.keep)? {
        let modified = UNIX_EPOCH + Duration::from_millis(file.modified.max(0) as u64);
        println!("Removing file: {}\t{}", timestamp(modified), file.path.display());
        purge::remove(&disk, &file)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_and_count_are_read() {
        let job = |words: &[&str]| {
            parse(&words.iter().map(|&word| word.to_owned()).collect::<Vec<String>>())
        };
        let expected = |layout| Ok(Job { layout, keep: 4 });
        assert_eq!(job(&["/l", "-n", "4"]), expected(Layout::new("/l", None)));
        let two = Layout::new("/s", Some(PathBuf::from("/l")));
        assert_eq!(job(&["/l", "/s", "-n", "4"]), expected(two));
        for (words, reason) in [
            (&["/l", "-n", "2"][..], "greater than or equal to 3"),
            (&["/l", "-n", "many"], "'many' is not a whole number"),
            (&["-n", "3"], "one directory"),
            (&["/a", "/b", "/c", "-n", "3"], "one directory"),
            (&["/l"], "-n count"),
        ] {
            let error = job(words).unwrap_err();
            assert!(error.contains(reason), "{words:?}: {error}");
        }
    }
}

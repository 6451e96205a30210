//! `ironkeeper bench`: loads ZooKeeper servers, this one or Java's, and says how they fare.
//! It shares a machine with the server that it measures, so it spends as little as it can: requests
//! are encoded once, replies are read no further than their header.

mod disk;
mod engine;
mod gap;
mod histogram;
mod link;
mod load;
mod options;
mod process;
mod report;
mod request;
mod sessions;
mod setup;

use std::io;

use options::Options;
use report::Report;

const USAGE: &str = "\
usage: ironkeeper bench MODE [options]
modes:
  mix      keep connections full with a mix of operations; -c 1 -o 1 for the plain latency
  fill     create many nodes: 1,000 to a parent, names of 13 bytes
  watch    many sessions watch one node: how long until a write has reached them all
  idle     open sessions and hold them
  gap      one client writes; the longest gap between its acknowledged writes
  disk     fdatasync of small appends; waking a thread";

/// Runs one benchmark. Gives the exit code: 0 done, 1 failed, 2 wrong usage.
pub fn main(args: &[String]) -> i32 {
    let Some((mode, rest)) = args.split_first() else {
        eprintln!("{}", options::table().usage(USAGE));
        return 2;
    };
    let run: fn(&Options) -> io::Result<Report> = match mode.as_str() {
        "mix" => load::mix,
        "fill" => load::fill,
        "watch" => sessions::watch,
        "idle" => sessions::idle,
        "gap" => gap::gap,
        "disk" => disk::disk,
        _ => {
            eprintln!("{}", options::table().usage(USAGE));
            return 2;
        }
    };
    let options = match options::parse(rest) {
        Ok(options) => options,
        Err(e) => {
            eprintln!("ironkeeper bench: {e}");
            return 2;
        }
    };
    match run(&options) {
        Ok(report) if options.json => println!("{}", report.to_json()),
        Ok(report) => print!("{}", report.to_text()),
        Err(e) => {
            eprintln!("ironkeeper bench {mode}: {e}");
            return 1;
        }
    }
    0
}

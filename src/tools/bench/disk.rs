//! What the disk alone takes: small appends into a preallocated file, one fdatasync each – the
//! floor under every write's latency.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::time::Instant;

use super::histogram::Histogram;
use super::options::Options;
use super::report::Report;

/// Java's and our transaction logs grow by this much at a time.
const PREALLOCATED: usize = 64 << 20;

pub fn disk(options: &Options) -> io::Result<Report> {
    let path = options.dir.join(format!("ironkeeper-bench-{}", std::process::id()));
    let result = measure(options, &File::create_new(&path)?);
    fs::remove_file(&path)?;
    let mut report = Report::default();
    report.latency("fdatasync", result?);
    Ok(report)
}

fn measure(options: &Options, file: &File) -> io::Result<Histogram> {
    file.write_all_at(&vec![0; PREALLOCATED], 0)?;
    file.sync_all()?;
    let record = vec![b'v'; options.value_size + 100];
    let mut histogram = Histogram::default();
    for i in 0..options.rounds {
        let offset = (i * record.len()) % (PREALLOCATED - record.len());
        let start = Instant::now();
        file.write_all_at(&record, offset as u64)?;
        file.sync_data()?;
        histogram.record(start.elapsed().as_nanos() as u64);
    }
    Ok(histogram)
}

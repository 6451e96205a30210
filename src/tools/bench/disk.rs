//! What the machine itself takes: small appends into a preallocated file, one fdatasync each, and
//! waking a thread that sleeps – the floor under every write's latency.

use std::fs::{self, File};
use std::hint;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{TryRecvError, bounded};

use super::histogram::Histogram;
use super::options::Options;
use super::report::Report;

/// After which nobody is awake any more who was.
const PAUSE: Duration = Duration::from_millis(1);

/// Java's and our transaction logs grow by this much at a time.
const PREALLOCATED: usize = 64 << 20;

pub fn disk(options: &Options) -> io::Result<Report> {
    let path = options.dir.join(format!("ironkeeper-bench-{}", std::process::id()));
    let result = measure(options, &File::create_new(&path)?);
    fs::remove_file(&path)?;
    let mut report = Report::default();
    report.latency("fdatasync", result?);
    report.latency("wake-up", wake_ups(options.rounds)?);
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

/// From a byte that is sent until the thread that waits for it runs, on another core: this one is
/// kept busy.
fn wake_ups(rounds: usize) -> io::Result<Histogram> {
    let (mut caller, mut sleeper) = UnixStream::pair()?;
    let (sender, woken) = bounded(1);
    let mut histogram = Histogram::default();
    thread::scope(|scope| {
        // Ends when the caller hangs up.
        scope.spawn(move || {
            while sleeper.read_exact(&mut [0]).is_ok() {
                let _ = sender.send(Instant::now());
            }
        });
        for _ in 0..rounds {
            thread::sleep(PAUSE);
            let start = Instant::now();
            caller.write_all(&[0])?;
            let at = loop {
                match woken.try_recv() {
                    Ok(at) => break at,
                    Err(TryRecvError::Empty) => hint::spin_loop(),
                    Err(e) => return Err(io::Error::other(e)),
                }
            };
            histogram.record(at.duration_since(start).as_nanos() as u64);
        }
        drop(caller);
        Ok(histogram)
    })
}

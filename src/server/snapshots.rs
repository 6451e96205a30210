//! The snapshot thread: writes frozen views of the tree to disk, one at a time, and purges old
//! files. Java: the snapshot thread of `SyncRequestProcessor`, `DatadirCleanupManager`.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::boot::StorageSettings;
use super::exit;
use crate::mailbox;
use crate::metrics::ServerMetrics;
use crate::pipeline::node::Event;
use crate::storage::{StorageError, purge, snap_store};
use crate::sys;
use crate::tree::FrozenTree;

/// When to purge, and what to keep.
#[derive(Debug, Clone, Copy)]
pub struct PurgePlan {
    pub retain: usize,
    pub interval: Duration,
}

/// The way to the snapshot thread.
pub struct Snapshots {
    jobs: Sender<FrozenTree>,
}

impl Snapshots {
    pub fn start(
        settings: StorageSettings,
        purge: Option<PurgePlan>,
        events: mailbox::Sender<Event>,
        metrics: Arc<ServerMetrics>,
    ) -> io::Result<Self> {
        // The node asks for one snapshot at a time.
        let (jobs, receiver) = bounded(1);
        thread::Builder::new()
            .name("snapshot".into())
            .spawn(move || run(&settings, purge, &receiver, &events, &metrics))?;
        Ok(Self { jobs })
    }

    pub fn take(&self, tree: FrozenTree) {
        if self.jobs.try_send(tree).is_err() {
            log::warn!("Too busy to snap, skipping");
        }
    }
}

fn run(
    settings: &StorageSettings,
    plan: Option<PurgePlan>,
    jobs: &Receiver<FrozenTree>,
    events: &mailbox::Sender<Event>,
    metrics: &ServerMetrics,
) {
    if let Err(e) = sys::lower_thread_priority() {
        log::warn!("snapshots are written at the same priority as all else: {e}");
    }
    let mut next_purge = Instant::now();
    loop {
        if let Some(plan) = plan.filter(|_| Instant::now() >= next_purge) {
            next_purge = Instant::now() + plan.interval;
            if let Err(error) = purge_old(settings, plan.retain) {
                log::error!("purging failed, the next try is in {:?}: {error}", plan.interval);
            }
        }
        let wait = match plan {
            Some(_) => next_purge.saturating_duration_since(Instant::now()),
            None => Duration::from_secs(3600),
        };
        match jobs.recv_timeout(wait) {
            Ok(tree) => {
                let started = Instant::now();
                let zxid = tree.last_zxid();
                match save(settings, &tree) {
                    Ok(()) => metrics.snapshottime.add(started.elapsed().as_millis() as i64),
                    Err(error) => exit::on_disk_error(&error),
                }
                let _ = events.send(Event::SnapshotDone { zxid });
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn save(settings: &StorageSettings, tree: &FrozenTree) -> Result<(), StorageError> {
    let dir = settings.layout.snap_dir();
    snap_store::save(&*settings.disk, &dir, tree, settings.snapshot)?;
    Ok(())
}

fn purge_old(settings: &StorageSettings, retain: usize) -> Result<(), StorageError> {
    log::info!("Purge task started.");
    let disk = &*settings.disk;
    for file in
        purge::old_files(disk, &settings.layout.log_dir(), &settings.layout.snap_dir(), retain)?
    {
        log::info!("Removing file: {}", file.path.display());
        purge::remove(disk, &file)?;
    }
    log::info!("Purge task completed.");
    Ok(())
}

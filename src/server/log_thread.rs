//! The log thread: carries out the node's orders to the log, in order, and reports. A disk error
//! ends the process: nothing may be acknowledged that is not durable, and nobody can know what a
//! failed fsync has lost. Java: `SyncRequestProcessor`.

use std::sync::{Arc, Condvar};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::boot::{self, StorageSettings};
use super::mailbox::{Receiver, Sender};
use super::{background, exit};
use crate::metrics::ServerMetrics;
use crate::pipeline::node::{Event, LogOrder};
use crate::storage::log_worker::is_slow;
use crate::storage::{LogCommand, LogEvent, LogWorker, MemberFiles, StorageError};

/// Starts the thread. It ends when the sender of `orders` is dropped, everything done.
pub fn start(
    settings: StorageSettings,
    members: Option<MemberFiles>,
    last_zxid: i64,
    slow: Duration,
    mut orders: Receiver<Vec<LogOrder>, Condvar>,
    events: Sender<Event>,
    metrics: Arc<ServerMetrics>,
) -> std::io::Result<JoinHandle<()>> {
    let StorageSettings { disk, layout, log, snapshot, .. } = settings.clone();
    let mut worker = LogWorker::new(disk, layout, log, snapshot, last_zxid);
    members.into_iter().for_each(|files| worker.keep_members(files));
    let mut thread = LogThread { settings, worker, slow, events, metrics };
    thread::Builder::new().name("log".into()).spawn(move || thread.run(&mut orders))
}

struct LogThread {
    settings: StorageSettings,
    worker: LogWorker,
    slow: Duration,
    events: Sender<Event>,
    metrics: Arc<ServerMetrics>,
}

impl LogThread {
    fn run(&mut self, orders: &mut Receiver<Vec<LogOrder>, Condvar>) {
        while let Ok(mut batch) = orders.recv() {
            // Whatever came while the disk was busy goes with one fsync.
            while let Some(more) = orders.try_recv() {
                batch.extend(more);
            }
            if let Err(error) = self.carry_out(batch) {
                exit::on_disk_error(&error);
            }
        }
    }

    fn carry_out(&mut self, batch: Vec<LogOrder>) -> Result<(), StorageError> {
        let mut commands: Vec<LogCommand> = Vec::with_capacity(batch.len());
        for order in batch {
            match order {
                LogOrder::Do(command) => commands.push(command),
                LogOrder::Reload => {
                    self.execute(std::mem::take(&mut commands))?;
                    self.reload()?;
                }
            }
        }
        self.execute(commands)
    }

    fn execute(&mut self, commands: Vec<LogCommand>) -> Result<(), StorageError> {
        let is_append = |c: &&LogCommand| matches!(c, LogCommand::Append { .. });
        let appended = commands.iter().filter(is_append).count() as i64;
        let mut reports = Vec::new();
        let installs = |c: &LogCommand| matches!(c, LogCommand::InstallSnapshot { .. });
        if commands.iter().any(installs) {
            let install = || self.worker.execute(commands, &mut reports);
            background::run("snapshot-log", install)
                .unwrap_or_else(|e| exit::on_bug(&format!("no thread to write a snapshot: {e}")))?;
        } else {
            self.worker.execute(commands, &mut reports)?;
        }
        let mut done = None;
        for report in reports {
            match report {
                LogEvent::Durable(token) => done = Some(token),
                LogEvent::Committed(committed) => {
                    let took_ms = committed.sync.as_millis() as i64;
                    self.metrics.fsynctime.add(took_ms);
                    self.metrics.sync_processor_queue_flush_time_ms.add(took_ms);
                    if is_slow(&committed, self.slow) {
                        log::warn!(
                            "fsync-ing the write ahead log took {}ms which will adversely effect \
                             operation latency. File size is {} bytes. \
                             See the ZooKeeper troubleshooting guide",
                            committed.sync.as_millis(),
                            committed.file_size
                        );
                    }
                }
                LogEvent::SnapshotInstalled(file) => {
                    log::info!("{} is durable", file.path.display())
                }
            }
        }
        if appended > 0 {
            self.metrics.sync_processor_request_queued.add(appended);
            self.metrics.sync_processor_batch_size.add(appended);
        }
        if let Some(token) = done {
            // The commit thread is gone only when the server ends.
            let _ = self.events.send(Event::LogDone { token });
        }
        Ok(())
    }

    fn reload(&mut self) -> Result<(), StorageError> {
        let (tree, boot, _) = boot::recover(&self.settings, true)?;
        let _ = self.events.send(Event::Reloaded { tree: Box::new(tree), recent: boot.recent });
        Ok(())
    }
}

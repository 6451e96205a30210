//! The log thread: carries out the node's orders to the log, in order, and reports. A disk error
//! ends the process: nothing may be acknowledged that is not durable, and nobody can know what a
//! failed fsync has lost. Java: `SyncRequestProcessor`.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::boot::{self, StorageSettings};
use super::peers::Links;
use super::{background, exit};
use crate::mailbox::{Receiver, Sender, UNBOUNDED, mailbox};
use crate::metrics::ServerMetrics;
use crate::pipeline::node::{Event, LinkCommand, LogOrder};
use crate::quorum::leader::LinkId;
use crate::storage::log_worker::is_slow;
use crate::storage::{Committed, LogCommand, LogEvent, LogWorker, MemberFiles, StorageError};

/// To whom the log thread reports, and what it finds slow.
pub struct Reports {
    pub events: Sender<Event>,
    pub links: Links,
    pub metrics: Arc<ServerMetrics>,
    /// `fsync.warningthresholdms`.
    pub slow: Duration,
}

/// The way to the log thread.
pub type Orders = Sender<Vec<LogOrder>, Condvar>;

/// Starts the thread. It ends when its orders' sender is dropped, everything done.
///
/// Orders have no bound of their own: the log thread reports into the commit thread's mailbox, so
/// neither may wait for the other. What can be in it is bounded by what clients may have
/// unanswered, and by what a leader lets its learners have unacknowledged.
pub fn start(
    settings: StorageSettings,
    members: Option<MemberFiles>,
    last_zxid: i64,
    reports: Reports,
) -> std::io::Result<(Orders, JoinHandle<()>)> {
    let (orders, ordered) = mailbox(UNBOUNDED, Condvar::new());
    let StorageSettings { disk, layout, log, snapshot, .. } = settings.clone();
    let mut worker = LogWorker::new(disk, layout, log, snapshot, last_zxid);
    members.into_iter().for_each(|files| worker.keep_members(files));
    let mut thread = LogThread { settings, worker, reports };
    let thread = thread::Builder::new().name("log".into()).spawn(move || thread.run(ordered))?;
    Ok((orders, thread))
}

struct LogThread {
    settings: StorageSettings,
    worker: LogWorker,
    reports: Reports,
}

/// What goes with one fsync.
#[derive(Default)]
struct Work {
    commands: Vec<LogCommand>,
    /// To be sent when all is durable.
    packets: BTreeMap<LinkId, Vec<u8>>,
    /// Of so many of the commands the packets tell.
    told: usize,
}

impl Work {
    /// Transactions that others are told of: the node itself need not hear of them at once.
    fn is_for_others(&self) -> bool {
        let plain = |c: &LogCommand| matches!(c, LogCommand::Append { .. } | LogCommand::Flush(_));
        self.told == self.commands.len() && self.commands.iter().all(plain)
    }
}

impl LogThread {
    fn run(&mut self, mut orders: Receiver<Vec<LogOrder>, Condvar>) {
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
        let mut work = Work { commands: Vec::with_capacity(batch.len()), ..Work::default() };
        for order in batch {
            match order {
                LogOrder::Do(command) => work.commands.push(command),
                LogOrder::Send { link, bytes } => {
                    work.packets.entry(link).or_default().extend(bytes);
                    work.told = work.commands.len();
                }
                LogOrder::Reload => {
                    self.execute(std::mem::take(&mut work))?;
                    self.reload()?;
                }
            }
        }
        self.execute(work)
    }

    fn execute(&mut self, work: Work) -> Result<(), StorageError> {
        let quietly = work.is_for_others();
        let reports = self.write(work.commands)?;
        for (link, bytes) in work.packets {
            if let Some(link) = self.reports.links.get(link) {
                link.send(LinkCommand::Bytes(bytes));
            }
        }
        let mut done = None;
        for report in reports {
            match report {
                LogEvent::Durable(token) => done = Some(token),
                LogEvent::Committed(committed) => self.measure(&committed),
                LogEvent::SnapshotInstalled(file) => {
                    log::info!("{} is durable", file.path.display())
                }
            }
        }
        match done {
            Some(token) if quietly => self.reports.events.leave(Event::LogDone { token }),
            // The commit thread is gone only when the server ends.
            Some(token) => drop(self.reports.events.send(Event::LogDone { token })),
            None => {}
        }
        Ok(())
    }

    fn write(&mut self, commands: Vec<LogCommand>) -> Result<Vec<LogEvent>, StorageError> {
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
        if appended > 0 {
            self.reports.metrics.sync_processor_request_queued.add(appended);
            self.reports.metrics.sync_processor_batch_size.add(appended);
        }
        Ok(reports)
    }

    fn measure(&self, committed: &Committed) {
        let took_ms = committed.sync.as_millis() as i64;
        self.reports.metrics.fsynctime.add(took_ms);
        self.reports.metrics.sync_processor_queue_flush_time_ms.add(took_ms);
        if is_slow(committed, self.reports.slow) {
            log::warn!(
                "fsync-ing the write ahead log took {took_ms}ms which will adversely effect \
                 operation latency. File size is {} bytes. \
                 See the ZooKeeper troubleshooting guide",
                committed.file_size
            );
        }
    }

    fn reload(&mut self) -> Result<(), StorageError> {
        let (tree, boot, _) = boot::recover(&self.settings, true)?;
        let _ =
            self.reports.events.send(Event::Reloaded { tree: Box::new(tree), recent: boot.recent });
        Ok(())
    }
}

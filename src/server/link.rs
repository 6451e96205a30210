//! One TCP link between a learner and its leader, seen from either end: a reader thread that
//! turns bytes into packets until the learner is synchronised (`packets.rs`), a writer thread that
//! writes what the commit thread has put into the link's outbox. What the socket takes at once the
//! commit thread writes itself: nobody need be woken for that. Decides nothing.
//! Java: the socket halves of `LearnerHandler` and `Learner`.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use mio::Registry;

use super::background;
use super::packets::{self, PacketReader, Steady};
use crate::pipeline::node::{LinkCommand, LinkEvent};
use crate::quorum::leader::LinkId;
use crate::quorum::sync_plan::OnDisk;
use crate::storage::log_range::{self, LogRange, Wanted};
use crate::storage::log_reader::RawTxn;
use crate::storage::{Layout, SharedDisk, snapshot};
use crate::sys;
use crate::tree::TreeOptions;
use crate::wire::Record;
use crate::wire::quorum::{QuorumPacket, packet};

/// Bytes that may wait in a link's outbox, see [`Outbox`].
pub const MAX_WAITING: usize = 256 << 20;

/// More at once than this is a long transfer.
const LONG_BYTES: usize = 1 << 20;

/// Between two lines in the log about a long transfer.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// Bounds and whereabouts a link needs.
#[derive(Clone)]
pub struct LinkSettings {
    /// Bytes of the largest packet that a learner may send.
    pub max_packet: usize,
    /// [`MAX_WAITING`].
    pub max_waiting: usize,
    pub write_timeout: Duration,
    pub disk: SharedDisk,
    pub layout: Layout,
    pub tree_options: TreeOptions,
    /// The commit thread's poll, for the sockets of steady links.
    pub poll: Arc<Registry>,
}

/// What waits for a link's writer. A peer that is too far behind is cut off: it will be
/// synchronised anew when it comes back. While a long transfer is under way more may wait, as much
/// as the peer has taken of it: who takes it faster than new transactions come will catch up.
#[derive(Default)]
struct Outbox {
    state: Mutex<OutboxState>,
    changed: Condvar,
    /// Bytes that the peer has taken of a long transfer.
    taken: AtomicUsize,
}

#[derive(Default)]
struct OutboxState {
    items: VecDeque<LinkCommand>,
    bytes: usize,
    /// The writer has taken items and is not done with them.
    writing: bool,
    closed: bool,
}

impl OutboxState {
    /// The socket is nobody's until something is queued.
    fn is_idle(&self) -> bool {
        self.items.is_empty() && !self.writing && !self.closed
    }
}

impl Outbox {
    fn lock(&self) -> MutexGuard<'_, OutboxState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One end of a link, for those who send.
pub struct Link {
    outbox: Arc<Outbox>,
    max_waiting: usize,
    stream: TcpStream,
    steady: Arc<Steady>,
    poll: Arc<Registry>,
}

impl Link {
    /// Starts the two threads. `report` is called from them; what `up` reports comes before all.
    pub fn start(
        id: LinkId,
        stream: TcpStream,
        settings: LinkSettings,
        up: impl FnOnce() + Send + 'static,
        report: impl Fn(LinkId, LinkEvent) + Send + Sync + Clone + 'static,
    ) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(settings.write_timeout))?;
        let outbox = Arc::<Outbox>::default();
        let link = Self {
            outbox: Arc::clone(&outbox),
            max_waiting: settings.max_waiting,
            stream: stream.try_clone()?,
            steady: Arc::default(),
            poll: Arc::clone(&settings.poll),
        };
        let mut input = PacketReader::new(stream.try_clone()?, settings.max_packet);
        let (output, steady) = (stream, Arc::clone(&link.steady));
        let (reader_settings, reader_report) = (settings.clone(), report.clone());
        thread::Builder::new().name(format!("link-{id}-read")).spawn(move || {
            up();
            let read = packets::read_until_steady(id, &mut input, &reader_settings, &reader_report);
            let handed_over = read.and_then(|()| {
                let begun = steady.begin(id, input, &reader_settings.poll);
                begun.map_err(|e| format!("cannot be polled: {e}"))
            });
            if let Err(reason) = handed_over {
                reader_report(id, LinkEvent::Closed { reason });
            }
        })?;
        thread::Builder::new().name(format!("link-{id}-write")).spawn(move || {
            let mut writer = Writer { id, output, outbox, settings, report };
            if let Err(e) = writer.run() {
                log::info!("link {id}: cannot write: {e}");
            }
            // The reader notices and reports.
            let _ = writer.output.shutdown(Shutdown::Both);
            writer.outbox.lock().closed = true;
        })?;
        Ok(link)
    }

    /// Sends something: at once as far as the socket takes it, else behind what waits already. A
    /// link whose outbox is full is closed.
    pub fn send(&self, mut item: LinkCommand) {
        let mut state = self.outbox.lock();
        if let LinkCommand::Bytes(bytes) = &mut item
            && state.is_idle()
        {
            // A broken socket is the writer's to find out.
            let taken = sys::send_now(&self.stream, bytes).unwrap_or(0);
            if taken == bytes.len() {
                return;
            }
            bytes.drain(..taken);
        }
        if state.closed {
            return;
        }
        if let LinkCommand::Bytes(bytes) = &item {
            state.bytes += bytes.len();
        }
        if state.bytes > self.max_waiting + self.outbox.taken.load(Relaxed) {
            log::warn!("peer does not keep up: {} bytes wait for it; link closed", state.bytes);
            state.closed = true;
            let _ = self.stream.shutdown(Shutdown::Both);
        }
        state.items.push_back(item);
        drop(state);
        self.outbox.changed.notify_one();
    }

    /// Closes the link: what is queued already is still written if the peer takes it at once.
    pub fn close(&self) {
        self.outbox.lock().closed = true;
        self.outbox.changed.notify_one();
        self.steady.close(&self.poll);
    }

    /// See [`Steady::read`].
    pub fn read(&self, closing: bool, report: impl FnMut(LinkEvent)) -> bool {
        self.steady.read(closing, &self.poll, report)
    }
}

struct Writer<F> {
    id: LinkId,
    output: TcpStream,
    outbox: Arc<Outbox>,
    settings: LinkSettings,
    report: F,
}

impl<F: Fn(LinkId, LinkEvent) + Sync> Writer<F> {
    fn run(&mut self) -> io::Result<()> {
        loop {
            let (items, closed) = {
                let mut state = self.outbox.lock();
                state.writing = false;
                while state.items.is_empty() && !state.closed {
                    let waited = self.outbox.changed.wait(state);
                    state = waited.unwrap_or_else(PoisonError::into_inner);
                }
                state.writing = true;
                state.bytes = 0;
                self.outbox.taken.store(0, Relaxed);
                (std::mem::take(&mut state.items), state.closed)
            };
            self.write_all(items)?;
            if closed {
                return Ok(());
            }
        }
    }

    fn write_all(&mut self, items: VecDeque<LinkCommand>) -> io::Result<()> {
        let mut batch: Vec<u8> = Vec::new();
        for item in items {
            match item {
                LinkCommand::Bytes(bytes) if batch.is_empty() => batch = bytes,
                LinkCommand::Bytes(bytes) => batch.extend_from_slice(&bytes),
                other => {
                    self.write(&batch)?;
                    batch.clear();
                    self.write_long(other)?;
                }
            }
        }
        self.write(&batch)
    }

    /// What is much may be long on its way.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match bytes.len() > LONG_BYTES {
            true => self.progressing("of transactions are sent").write_all(bytes),
            false => self.output.write_all(bytes),
        }
    }

    fn progressing(&self, what: &'static str) -> Progressing<'_, F> {
        let told = Told::new(self.id, what);
        let Self { id, output, outbox, report, .. } = self;
        Progressing { id: *id, output, outbox, report, told }
    }

    fn write_long(&mut self, item: LinkCommand) -> io::Result<()> {
        match item {
            LinkCommand::Bytes(_) | LinkCommand::Close => Ok(()),
            LinkCommand::Snapshot(tree) => {
                let snap = QuorumPacket::bare(packet::SNAP, tree.last_zxid());
                let mut out = self.progressing("of the snapshot are sent");
                out.write_all(&snap.to_bytes())?;
                background::run("snapshot-link", || snapshot::write_stream(&tree, &mut out))?
            }
            LinkCommand::SearchLog(wanted) => {
                let found = self.search_log(wanted);
                (self.report)(self.id, LinkEvent::LogSearched(found));
                Ok(())
            }
            LinkCommand::LogRange { after, upto } => self.write_range(after, upto),
        }
    }

    /// A log that cannot be read is no reason to send nothing: there is the snapshot.
    fn search_log(&self, wanted: Wanted) -> Option<OnDisk> {
        let LinkSettings { disk, layout, .. } = &self.settings;
        let mut progress = || (self.report)(self.id, LinkEvent::Progress);
        let found = log_range::find(&**disk, layout, wanted, &mut progress).unwrap_or_else(|e| {
            log::warn!("link {}: no transactions from the logs: {e}", self.id);
            None
        });
        found.map(|floor| OnDisk { floor, upto: wanted.upto })
    }

    fn write_range(&mut self, after: i64, upto: i64) -> io::Result<()> {
        let LinkSettings { disk, layout, .. } = &self.settings;
        let mut progress = || (self.report)(self.id, LinkEvent::Progress);
        let range = LogRange::seek(&**disk, layout, (after, upto), &mut progress);
        let range = range.map_err(io::Error::other)?.filter(|range| range.floor() == after);
        let Some(mut range) = range else {
            return Err(io::Error::other(format!("the logs hold {after:#x} no more")));
        };
        let mut out = self.progressing("of the logs are sent");
        let mut batch = Vec::new();
        while range.advance(&**disk).map_err(io::Error::other)? {
            let RawTxn { zxid, bytes } = range.record();
            QuorumPacket::new(packet::PROPOSAL, zxid, bytes).write(&mut batch);
            QuorumPacket::bare(packet::COMMIT, zxid).write(&mut batch);
            if batch.len() > LONG_BYTES {
                out.write_all(&batch)?;
                batch.clear();
            }
        }
        out.write_all(&batch)
    }
}

/// Tells the log now and then how far a long transfer has come.
pub struct Told {
    id: LinkId,
    what: &'static str,
    bytes: usize,
    next: Instant,
}

impl Told {
    pub fn new(id: LinkId, what: &'static str) -> Self {
        Self { id, what, bytes: 0, next: Instant::now() + TOLD_EVERY }
    }

    pub fn add(&mut self, bytes: usize) {
        if let Some(line) = self.line(bytes, Instant::now()) {
            log::info!("{line}");
        }
    }

    /// What is to be told after `bytes` more, if it is time.
    fn line(&mut self, bytes: usize, now: Instant) -> Option<String> {
        self.bytes += bytes;
        if now < self.next {
            return None;
        }
        self.next = now + TOLD_EVERY;
        Some(format!("link {}: {} MB {} so far", self.id, self.bytes >> 20, self.what))
    }
}

/// Reports progress whenever the kernel has taken some, at the latest when a write has timed out
/// with only part of it taken.
struct Progressing<'a, F> {
    id: LinkId,
    output: &'a TcpStream,
    outbox: &'a Outbox,
    report: &'a F,
    told: Told,
}

impl<F: Fn(LinkId, LinkEvent)> Write for Progressing<'_, F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = (&mut self.output).write(bytes)?;
        self.outbox.taken.fetch_add(n, Relaxed);
        self.told.add(n);
        (self.report)(self.id, LinkEvent::Progress);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use mio::Poll;

    use super::*;
    use crate::storage::mem_disk::MemDisk;
    use crate::tree::DataTree;
    use crate::wire::txn::CreateTxn;
    use crate::wire::{Acl, Txn, TxnHeader};

    /// More than sockets hold by themselves.
    const TREE_BYTES: usize = 64 << 20;
    const MAX_WAITING: usize = 1 << 20;
    const DEADLINE: Duration = Duration::from_secs(60);

    fn big_tree() -> DataTree {
        let mut tree = DataTree::new(TreeOptions::default());
        for i in 0..64 {
            let (path, data) = (format!("/{i}"), Some(vec![7; TREE_BYTES / 64].into()));
            let (acl, ephemeral) = (Acl::open_unsafe().into(), false);
            let txn = Txn::Create(CreateTxn { path, data, acl, ephemeral, parent_cversion: -1 });
            let header = TxnHeader { client_id: 1, cxid: 1, zxid: i + 1, time: 1, op: txn.op() };
            tree.apply(&header, &txn, &mut |_| {});
        }
        tree
    }

    /// A link that has begun to send a snapshot, and its other end.
    fn sending() -> (Link, TcpStream, Poll) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let far = listener.accept().unwrap().0;
        far.set_read_timeout(Some(DEADLINE)).unwrap();
        let poll = Poll::new().unwrap();
        let settings = LinkSettings {
            max_packet: MAX_WAITING,
            max_waiting: MAX_WAITING,
            write_timeout: DEADLINE,
            disk: Arc::new(MemDisk::new()),
            layout: Layout::new("/data", None),
            tree_options: TreeOptions::default(),
            poll: Arc::new(poll.registry().try_clone().unwrap()),
        };
        let link = Link::start(1, near, settings, || {}, |_, _| {}).unwrap();
        link.send(LinkCommand::Snapshot(big_tree().freeze()));
        (link, far, poll)
    }

    #[test]
    fn a_peer_that_takes_a_snapshot_may_have_as_much_waiting() {
        let (link, mut far, _poll) = sending();
        let mut taken = vec![0; TREE_BYTES / 2];
        far.read_exact(&mut taken).unwrap();
        let proposal = vec![9; MAX_WAITING];
        (0..TREE_BYTES / 2 / MAX_WAITING)
            .for_each(|_| link.send(LinkCommand::Bytes(proposal.clone())));
        assert!(!link.outbox.lock().closed);
        link.close();
        let mut rest = Vec::new();
        far.read_to_end(&mut rest).unwrap();
        assert!(rest.ends_with(&vec![9; TREE_BYTES / 2]) && rest.len() >= TREE_BYTES);
    }

    #[test]
    fn a_peer_that_takes_nothing_is_cut_off() {
        let (link, far, _poll) = sending();
        let deadline = Instant::now() + DEADLINE;
        while !link.outbox.lock().closed {
            assert!(Instant::now() < deadline, "anything may wait for it");
            link.send(LinkCommand::Bytes(vec![9; MAX_WAITING]));
        }
        // What the sockets hold counts as taken.
        assert!(link.outbox.lock().bytes < TREE_BYTES);
        drop(far);
    }

    #[test]
    fn a_long_transfer_is_told_of_every_ten_seconds() {
        let start = Instant::now();
        let mut told = Told { id: 7, what: "are sent", bytes: 0, next: start + TOLD_EVERY };
        let mut lines = Vec::new();
        for second in 1..=29 {
            let line = told.line(1 << 20, start + Duration::from_secs(second));
            lines.extend(line.map(|line| (second, line)));
        }
        let expected =
            [(10, "link 7: 10 MB are sent so far"), (20, "link 7: 20 MB are sent so far")];
        assert_eq!(lines, expected.map(|(second, line)| (second, line.to_string())));
    }
}

//! What an I/O thread works at: its connections, and all it needs to read, answer and write. It
//! takes the read lock of the database once a batch, never while it talks to a socket, and empties
//! its mailbox after taking the lock and before it executes reads: an event that the commit thread
//! posted while it held the write lock is thereby sent before any read that sees the change.
//! Java: the workers of `NIOServerCnxnFactory`.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Sender;
use log::Level;
use mio::{Events, Registry};

use super::connection::{Connection, Fate};
use super::fleet::Fleet;
use super::mail::Mail;
use super::round::{Round, Tally, Word};
use super::transport::Transport;
use super::{Shared, Submit};
use crate::mailbox::Receiver;
use crate::metrics::ServerMetrics;
use crate::pipeline::read::ReadView;
use crate::pipeline::{ConnId, IoEvent, ToIo};
use crate::tree::WatcherId;
use crate::wire::perms;

/// Bytes read in one batch, and from one connection in it.
const ARENA: usize = 512 << 10;
const CHUNK: usize = 32 << 10;
/// Bytes of requests executed under one hold of the lock, so that writers get their turn.
const LOCKED_BYTES: usize = 32 << 10;
/// Sessions are reported as alive at most that often, ms.
const TOUCH_INTERVAL: i64 = 50;

/// Bytes of one connection in the arena.
#[derive(Debug)]
struct Input {
    conn: ConnId,
    start: usize,
    end: usize,
    /// The end of the connection's input follows.
    last: bool,
}

/// See the module.
pub struct Desk {
    index: usize,
    shared: Arc<Shared>,
    submit: Arc<dyn Submit>,
    words: Sender<Word>,
    metrics: Arc<ServerMetrics>,
    /// Of the thread's poll.
    registry: Registry,
    mail: Receiver<Mail>,
    fleet: Fleet,
    arena: Box<[u8]>,
    /// Letters that need no lock.
    errands: Vec<Mail>,
    tally: Tally,
    batch: Vec<IoEvent>,
    asked: Vec<Word>,
    /// When the current batch was there to be read.
    received: i64,
    last_touch: i64,
    stop: bool,
}

impl Desk {
    pub(super) fn new(
        index: usize,
        shared: Arc<Shared>,
        submit: Arc<dyn Submit>,
        words: Sender<Word>,
        metrics: Arc<ServerMetrics>,
        (mail, registry): (Receiver<Mail>, Registry),
    ) -> Self {
        Self {
            index,
            shared,
            submit,
            words,
            metrics,
            registry,
            mail,
            fleet: Fleet::new(index),
            arena: vec![0; ARENA].into_boxed_slice(),
            errands: Vec::new(),
            tally: Tally::default(),
            batch: Vec::new(),
            asked: Vec::new(),
            received: 0,
            last_touch: 0,
            stop: false,
        }
    }

    /// Does what there is to do now that the poll has brought this; false when that was all.
    pub fn serve(&mut self, events: &Events) -> bool {
        self.received = self.shared.now();
        self.note(events);
        self.turn();
        self.expire();
        if self.stop {
            self.close_everything();
        }
        !self.stop
    }

    /// Delivers the mail on behalf of the thread, which sleeps; what else there is is left to it.
    pub fn answer(&mut self) {
        self.received = self.shared.now();
        self.execute(&[]);
        self.write();
        self.tally.settle(&self.shared.stats[self.index], &self.metrics);
        let left = !self.batch.is_empty()
            || !self.errands.is_empty()
            || !self.fleet.ready.is_empty()
            || !self.fleet.stalled.is_empty();
        if left || !self.mail.may_sleep() {
            self.shared.mailboxes[self.index].ring();
        }
    }

    /// How long there is nothing to do unless something happens.
    pub fn patience(&mut self) -> Option<Duration> {
        if !self.fleet.ready.is_empty() || !self.mail.may_sleep() {
            return Some(Duration::ZERO);
        }
        let now = self.shared.now();
        let stall = self.shared.options.limits.throttle_stall_time_ms;
        let waits = [
            self.fleet.next_due().map(|due| due - now),
            (!self.fleet.touched.is_empty()).then(|| self.last_touch + TOUCH_INTERVAL - now),
            (!self.fleet.stalled.is_empty()).then_some(stall),
        ];
        let wait = waits.into_iter().flatten().min()?;
        Some(Duration::from_millis(wait.max(1) as u64))
    }

    /// Notes who is ready.
    fn note(&mut self, events: &Events) {
        let in_process = self.shared.in_process();
        for event in events {
            let Some(client) = self.fleet.by_token(event.token()) else { continue };
            let id = client.conn.id();
            if event.is_readable() || event.is_read_closed() || event.is_error() {
                client.readable = true;
                client.ending |= event.is_read_closed() || event.is_error();
                self.fleet.queue(id, &self.shared.options, in_process);
            }
            if event.is_writable() && self.fleet.get(id).is_some_and(|c| c.conn.has_unsent()) {
                self.fleet.get_dirty(id);
            }
        }
        if !self.fleet.stalled.is_empty() && !self.shared.options.limits.stalls(in_process) {
            self.metrics.request_throttle_wait_count.add(1);
            self.fleet.release_stalled();
        }
    }

    /// One batch: read, execute, hand over, write.
    fn turn(&mut self) {
        let inputs = self.gather();
        let mut done = 0;
        loop {
            done += self.execute(&inputs[done..]);
            self.hand_over();
            self.run_errands();
            self.write();
            self.hand_over();
            if done == inputs.len() {
                break;
            }
        }
        self.report_sessions();
    }

    /// Reads from the sockets that are ready, as far as the arena goes.
    fn gather(&mut self) -> Vec<Input> {
        let (options, in_process) = (&self.shared.options, self.shared.in_process());
        let mut inputs = Vec::new();
        let mut end = 0;
        for conn in self.fleet.take_ready() {
            let Some(client) = self.fleet.get(conn) else { continue };
            if !client.conn.takes_input(options, in_process) || end + CHUNK > self.arena.len() {
                self.fleet.queue(conn, options, in_process);
                continue;
            }
            let start = end;
            let mut last = false;
            if client.readable {
                match client.transport.read(&mut self.arena[start..start + CHUNK]) {
                    Ok(0) => (last, client.readable) = (true, false),
                    Ok(n) => {
                        end += n;
                        client.heard = self.received;
                        // Less than we asked for: there is no more, and epoll will tell of more.
                        client.readable = n == CHUNK || client.ending;
                    }
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => client.readable = false,
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) => {
                        client.readable = false;
                        client.conn.close(Level::Info, format_args!("cannot read: {e}"));
                        self.fleet.get_dirty(conn);
                        continue;
                    }
                }
            }
            if end > start || last || client.conn.holds_requests() {
                inputs.push(Input { conn, start, end, last });
            }
            self.fleet.queue(conn, options, in_process);
        }
        inputs
    }

    /// Under the lock: letters first, then requests. Returns how many inputs were used up.
    fn execute(&mut self, inputs: &[Input]) -> usize {
        let shared = Arc::clone(&self.shared);
        let state = shared.db.read();
        let now = shared.now();
        let mut round = Round {
            options: &shared.options,
            server: &shared.view,
            serving: shared.view.serving(),
            view: ReadView {
                state: &state,
                auth: &shared.auth,
                reads: &self.metrics.read_per_namespace,
            },
            enforce: shared.enforce.as_ref(),
            admit: &mut |kind| shared.throttle.admit(kind, now, &self.metrics),
            received: self.received,
            now,
            in_process: shared.in_process(),
            large_bytes: shared.large_bytes(),
            submit: &mut self.batch,
            words: &mut self.asked,
            tally: &mut self.tally,
        };
        while let Some(mail) = self.mail.try_recv() {
            match mail {
                Mail::Commit(message) => deliver(message, &mut self.fleet, &mut round),
                Mail::Text(conn, text) => {
                    if let Some(client) = self.fleet.get_dirty(conn) {
                        client.conn.send_text(&text, &mut round);
                    }
                }
                errand => self.errands.push(errand),
            }
        }
        let mut bytes = 0;
        for (done, input) in inputs.iter().enumerate() {
            if bytes > LOCKED_BYTES {
                return done;
            }
            bytes += input.end - input.start;
            self.fleet.touch(input.conn);
            let Some(client) = self.fleet.get_dirty(input.conn) else { continue };
            client.conn.feed(&self.arena[input.start..input.end], &mut round);
            if input.last {
                client.conn.end_of_input(&mut round);
            }
        }
        inputs.len()
    }

    /// Gives the batch to the commit thread, the words to the admin thread, the counts to all.
    fn hand_over(&mut self) {
        self.tally.settle(&self.shared.stats[self.index], &self.metrics);
        if !self.batch.is_empty() {
            // The next batch is probably as long.
            let room = Vec::with_capacity(self.batch.len());
            self.submit.submit(std::mem::replace(&mut self.batch, room));
        }
        for word in self.asked.drain(..) {
            if self.words.try_send(word).is_err()
                && let Some(client) = self.fleet.get_dirty(word.conn)
            {
                let why = "too many four-letter words wait for an answer";
                client.conn.close(Level::Warn, format_args!("{why}"));
            }
        }
    }

    fn run_errands(&mut self) {
        for errand in std::mem::take(&mut self.errands) {
            match errand {
                Mail::Accepted(socket, peer) => self.welcome(socket, peer),
                Mail::Inspect(reply) => {
                    let options = &self.shared.options;
                    let in_process = self.shared.in_process();
                    let epoch = super::wall_clock() - self.shared.now();
                    let info = |c: &mut super::fleet::Client| {
                        c.conn.info(c.conn.takes_input(options, in_process), epoch + c.bucket)
                    };
                    // Whoever asked may have gone.
                    let _ = reply.send(self.fleet.iter().map(info).collect());
                }
                Mail::Probe(answer) => {
                    let _ = answer.send(());
                }
                Mail::ResetConnections => self.fleet.iter().for_each(|c| c.conn.reset_stats()),
                Mail::Shutdown => self.stop = true,
                Mail::Commit(_) | Mail::Text(..) => unreachable!("delivered under the lock"),
            }
        }
    }

    fn welcome(&mut self, socket: mio::net::TcpStream, peer: std::net::SocketAddr) {
        let options = &self.shared.options;
        let established = super::wall_clock();
        let added = Transport::new(socket, options).and_then(|transport| {
            let make = |id| Connection::new(id, peer, established);
            self.fleet.add(transport, &self.registry, self.received, options, make)
        });
        if let Err(e) = added {
            log::warn!("{peer}: cannot serve this connection: {e}");
            self.metrics.connection_rejected.add(1);
            self.shared.counts.leave(peer.ip());
        }
    }

    /// Writes to everybody who has something to get, and buries the dead.
    fn write(&mut self) {
        let options = Arc::clone(&self.shared);
        let options = &options.options;
        let in_process = self.shared.in_process();
        let mut gone = Vec::new();
        for id in self.fleet.take_dirty() {
            if self.fleet.flush(id) == Fate::Dead {
                if let Some(mut client) = self.fleet.remove(id) {
                    client.conn.abandon(options, &mut self.tally);
                    self.shared.counts.leave(client.conn.peer().ip());
                    if client.conn.is_known() {
                        gone.push(id);
                        let session = client.conn.session();
                        self.batch.push(IoEvent::Disconnected { conn: id, session });
                    }
                    client.transport.close();
                }
            } else {
                self.fleet.queue(id, options, in_process);
                self.fleet.file(id, options);
            }
        }
        if !gone.is_empty() {
            let state = self.shared.db.read();
            let mut watches = state.watches();
            gone.iter().for_each(|id| watches.remove_watcher(WatcherId(id.0)));
        }
    }

    fn report_sessions(&mut self) {
        let now = self.received;
        if !self.fleet.touched.is_empty() && now - self.last_touch >= TOUCH_INTERVAL {
            self.last_touch = now;
            self.submit.submit(vec![IoEvent::Touch(self.fleet.take_touched())]);
        }
    }

    /// Closes connections that have been silent for too long (C-105).
    fn expire(&mut self) {
        let expired = self.fleet.expired(self.received, &self.shared.options);
        if expired.is_empty() {
            return;
        }
        for id in expired {
            if let Some(client) = self.fleet.get_dirty(id) {
                client.conn.close(Level::Info, format_args!("nothing heard for too long"));
                self.metrics.sessionless_connections_expired.add(1);
            }
        }
        self.write();
        self.hand_over();
    }

    /// The server stops: everybody gets what the socket takes at once.
    fn close_everything(&mut self) {
        for id in self.fleet.ids() {
            self.fleet.flush(id);
            if let Some(client) = self.fleet.remove(id) {
                self.shared.counts.leave(client.conn.peer().ip());
                client.transport.close();
            }
        }
    }
}

/// Hands a message of the commit thread to the connections that it is for; those that are gone
/// miss it.
fn deliver(message: ToIo, fleet: &mut Fleet, round: &mut Round<'_>) {
    match message {
        ToIo::Replies { bytes, entries } => {
            for entry in &entries {
                let Some(client) = fleet.get_dirty(entry.conn) else {
                    round.tally.stale_replies += 1;
                    continue;
                };
                let frame = &bytes[entry.start as usize..entry.end as usize];
                client.conn.complete(entry, frame, round);
            }
        }
        ToIo::Event { frame, acl, conns } => {
            let auth = round.view.auth;
            // Most lists let everybody read: asked once, for somebody without any id.
            let public = auth.check_acl(&acl, perms::READ, &[]);
            for conn in conns {
                let Some(client) = fleet.get_dirty(conn) else { continue };
                if public || auth.check_acl(&acl, perms::READ, client.conn.ids()) {
                    client.conn.notify(&frame, round);
                }
            }
        }
        ToIo::Session { conn, session, timeout_ms, passwd } => {
            if let Some(client) = fleet.get_dirty(conn) {
                client.conn.session_ready(session, timeout_ms, passwd, round);
            }
        }
        ToIo::Close { conn, reason } => {
            if let Some(client) = fleet.get_dirty(conn) {
                client.conn.close_for(reason);
            }
        }
        ToIo::CloseAll { reason } => {
            for id in fleet.ids() {
                if let Some(client) = fleet.get_dirty(id) {
                    client.conn.close_for(reason);
                }
            }
        }
    }
}

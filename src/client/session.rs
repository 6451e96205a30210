//! One session over changing connections: a thread that connects, reads replies and events, pings,
//! and goes to the next server when it loses the present one. Java: `ClientCnxn`.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::conn::{Connection, Hello, invalid, put_request, resolve};
use super::error::CONNECTION_LOSS;
use super::paths::ConnectString;
use super::watches::{Watches, Wish};
use super::{KeeperState, WatchedEvent};
use crate::wire::op::xid;
use crate::wire::proto::{AuthPacket, ReplyHeader, WatcherEvent};
use crate::wire::{ErrorCode, Reader, Record, code};

/// Pause after all servers have refused.
const RETRY: Duration = Duration::from_millis(100);

/// What a session is doing. Java: `ZooKeeper.States`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Connecting,
    Connected,
    ConnectedReadOnly,
    Closed,
    AuthFailed,
}

impl State {
    /// Whether the session may still come to something.
    pub fn is_alive(self) -> bool {
        !matches!(self, Self::Closed | Self::AuthFailed)
    }
}

/// A reply: its header's error code and zxid, and its body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reply {
    pub err: i32,
    pub zxid: i64,
    pub body: Vec<u8>,
}

/// A request under way; the reply comes through it.
#[derive(Debug)]
pub struct Ticket(Receiver<Reply>);

impl Ticket {
    /// Waits for the reply; a lost connection is one too, with [`CONNECTION_LOSS`].
    pub fn wait(self) -> Reply {
        self.0.recv().unwrap_or(Reply { err: CONNECTION_LOSS, ..Reply::default() })
    }

    /// [`Ticket::wait`], but not for ever.
    pub fn wait_for(self, patience: Duration) -> Option<Reply> {
        self.0.recv_timeout(patience).ok()
    }
}

#[derive(Debug)]
struct Pending {
    xid: i32,
    watch: Option<Wish>,
    reply: Sender<Reply>,
}

impl Pending {
    fn finish(self, reply: Reply) {
        // Nobody waits any more: that is the caller's choice.
        let _ = self.reply.send(reply);
    }
}

/// The sending half; its lock is held over writes, so that requests go out as `pending` lists them.
#[derive(Debug)]
struct Outgoing {
    stream: Option<TcpStream>,
    next_xid: i32,
    /// Frames submitted while there was no connection.
    queued: Vec<u8>,
    last_sent: Instant,
    /// Sent first on every new connection.
    auth: Vec<AuthPacket>,
}

impl Outgoing {
    fn send(&mut self, frame: &[u8]) {
        match &mut self.stream {
            None => self.queued.extend_from_slice(frame),
            Some(stream) => {
                self.last_sent = Instant::now();
                if stream.write_all(frame).is_err() {
                    // The reading side notices and fails everything under way.
                    let _ = stream.shutdown(Shutdown::Both);
                }
            }
        }
    }
}

#[derive(Debug)]
struct Shared {
    state: State,
    closing: bool,
    pending: VecDeque<Pending>,
    watches: Watches,
    hello: Hello,
}

/// What the caller's threads and the session's thread share. Locks: `outgoing` before `shared`.
#[derive(Debug)]
pub struct Session {
    outgoing: Mutex<Outgoing>,
    shared: Mutex<Shared>,
    servers: ConnectString,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere leaves these plain values whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Session {
    pub fn new(servers: ConnectString, hello: Hello) -> Self {
        let (stream, queued, auth) = (None, Vec::new(), Vec::new());
        let outgoing = Outgoing { stream, next_xid: 1, queued, last_sent: Instant::now(), auth };
        let shared = Shared {
            state: State::Connecting,
            closing: false,
            pending: VecDeque::new(),
            watches: Watches::default(),
            hello,
        };
        Self { outgoing: Mutex::new(outgoing), shared: Mutex::new(shared), servers }
    }

    pub fn servers(&self) -> &ConnectString {
        &self.servers
    }

    pub fn state(&self) -> State {
        lock(&self.shared).state
    }

    pub fn session_id(&self) -> i64 {
        lock(&self.shared).hello.session_id
    }

    /// Milliseconds, as granted, or as asked for before the first connection.
    pub fn timeout_ms(&self) -> i32 {
        lock(&self.shared).hello.timeout_ms
    }

    /// Runs with the watches locked.
    pub fn with_watches<T>(&self, f: impl FnOnce(&mut Watches) -> T) -> T {
        f(&mut lock(&self.shared).watches)
    }

    /// Sends a request, or queues it while there is no connection.
    pub fn submit(&self, op: i32, watch: Option<Wish>, body: impl FnOnce(&mut Vec<u8>)) -> Ticket {
        let (reply, receiver) = bounded(1);
        let mut outgoing = lock(&self.outgoing);
        let id = outgoing.next_xid;
        outgoing.next_xid = if id == i32::MAX { 1 } else { id + 1 };
        let pending = Pending { xid: id, watch, reply };
        let mut shared = lock(&self.shared);
        match shared.state {
            State::Closed => {
                pending.finish(failed(ErrorCode::SessionExpired.code()));
                return Ticket(receiver);
            }
            State::AuthFailed => {
                pending.finish(failed(ErrorCode::AuthFailed.code()));
                return Ticket(receiver);
            }
            _ => shared.pending.push_back(pending),
        }
        drop(shared);
        let mut frame = Vec::new();
        put_request(&mut frame, id, op, body);
        outgoing.send(&frame);
        Ticket(receiver)
    }

    /// Adds credentials to this and every later connection.
    pub fn add_auth(&self, packet: AuthPacket) {
        let mut outgoing = lock(&self.outgoing);
        if outgoing.stream.is_some() {
            outgoing.send(&auth_frame(&packet));
        }
        outgoing.auth.push(packet);
    }

    /// From now on a lost connection is not replaced.
    pub fn begin_close(&self) {
        lock(&self.shared).closing = true;
    }

    /// Ends the connection and the session's thread.
    pub fn stop(&self) {
        let mut outgoing = lock(&self.outgoing);
        lock(&self.shared).closing = true;
        if let Some(stream) = outgoing.stream.take() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// The thread's life: until closed, expired or refused.
    pub fn run(&self, on_event: &dyn Fn(WatchedEvent)) {
        let mut next = 0;
        while !lock(&self.shared).closing {
            let server = &self.servers.servers[next % self.servers.servers.len()];
            next += 1;
            match self.connect(server) {
                Ok(connection) => {
                    if !self.welcome(connection, on_event) {
                        break;
                    }
                }
                Err(e) => {
                    log::debug!("{server}: {e}");
                    self.lost(State::Connecting, CONNECTION_LOSS);
                    if next.is_multiple_of(self.servers.servers.len()) {
                        thread::sleep(RETRY);
                    }
                }
            }
        }
        if self.state() != State::AuthFailed {
            self.lost(State::Closed, ErrorCode::SessionExpired.code());
        }
    }

    fn connect(&self, server: &str) -> io::Result<Connection> {
        let hello = lock(&self.shared).hello.clone();
        let share = hello.timeout_ms as u64 / self.servers.servers.len() as u64;
        let mut result = Err(io::ErrorKind::NotFound.into());
        for addr in resolve(server)? {
            result = Connection::open(addr, &hello, Duration::from_millis(share.max(1)));
            if result.is_ok() {
                break;
            }
        }
        result
    }

    /// Lives through one connection. `false`: the session is over.
    fn welcome(&self, connection: Connection, on_event: &dyn Fn(WatchedEvent)) -> bool {
        let granted = connection.hello().clone();
        let state = match (granted.timeout > 0, granted.read_only) {
            (false, _) => State::Closed,
            (true, Some(true)) => State::ConnectedReadOnly,
            (true, _) => State::Connected,
        };
        let mut shared = lock(&self.shared);
        shared.state = state;
        if state == State::Closed {
            drop(shared);
            self.lost(State::Closed, ErrorCode::SessionExpired.code());
            on_event(WatchedEvent::of(KeeperState::Expired));
            return false;
        }
        shared.hello.session_id = granted.session_id;
        shared.hello.passwd = granted.passwd;
        shared.hello.timeout_ms = granted.timeout;
        drop(shared);
        on_event(WatchedEvent::of(match state {
            State::ConnectedReadOnly => KeeperState::ConnectedReadOnly,
            _ => KeeperState::SyncConnected,
        }));
        let served = self
            .attach(connection.into_stream(), granted.timeout)
            .and_then(|stream| self.serve(stream, granted.timeout, on_event));
        if let Err(e) = served {
            log::debug!("connection lost: {e}");
        }
        lock(&self.outgoing).stream = None;
        if self.state() == State::AuthFailed {
            self.lost(State::AuthFailed, ErrorCode::AuthFailed.code());
            on_event(WatchedEvent::of(KeeperState::AuthFailed));
            return false;
        }
        self.lost(State::Connecting, CONNECTION_LOSS);
        if !lock(&self.shared).closing {
            on_event(WatchedEvent::of(KeeperState::Disconnected));
        }
        true
    }

    /// Sends credentials, watches and what has been waiting; gives the half to read from.
    fn attach(&self, stream: TcpStream, timeout: i32) -> io::Result<TcpStream> {
        // Often enough to ping after a third of the time-out.
        stream.set_read_timeout(Some(Duration::from_millis(timeout.max(6) as u64 / 6)))?;
        let mut outgoing = lock(&self.outgoing);
        if lock(&self.shared).closing {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let mut first: Vec<u8> = outgoing.auth.iter().flat_map(auth_frame).collect();
        let shared = lock(&self.shared);
        for request in shared.watches.to_requests(shared.hello.last_zxid_seen) {
            put_request(&mut first, xid::SET_WATCHES, code::SET_WATCHES2, |b| request.write(b));
        }
        drop(shared);
        first.append(&mut outgoing.queued);
        outgoing.stream = Some(stream.try_clone()?);
        outgoing.send(&first);
        Ok(stream)
    }

    /// Reads until the connection ends, pinging meanwhile.
    fn serve(
        &self,
        mut stream: TcpStream,
        timeout: i32,
        on_event: &dyn Fn(WatchedEvent),
    ) -> io::Result<()> {
        let third = Duration::from_millis(timeout as u64 / 3);
        let (mut bytes, mut buf) = (Vec::new(), vec![0; 64 << 10]);
        let mut heard = Instant::now();
        loop {
            match stream.read(&mut buf) {
                Ok(0) => return Ok(()),
                Ok(n) => {
                    heard = Instant::now();
                    bytes.extend_from_slice(&buf[..n]);
                    self.packets(&mut bytes, on_event)?;
                }
                Err(e) if is_time_out(&e) => {}
                Err(e) => return Err(e),
            }
            if heard.elapsed() >= third * 2 {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let mut outgoing = lock(&self.outgoing);
            if outgoing.last_sent.elapsed() >= third {
                let mut ping = Vec::new();
                put_request(&mut ping, xid::PING, code::PING, |_| {});
                outgoing.send(&ping);
            }
        }
    }

    /// Handles every complete packet and leaves the beginning of the next.
    fn packets(&self, bytes: &mut Vec<u8>, on_event: &dyn Fn(WatchedEvent)) -> io::Result<()> {
        let mut at = 0;
        while let Some(len) = bytes[at..].first_chunk::<4>() {
            let len = u32::from_be_bytes(*len) as usize;
            let Some(packet) = bytes.get(at + 4..at + 4 + len) else { break };
            self.packet(packet, on_event)?;
            at += 4 + len;
        }
        bytes.drain(..at);
        Ok(())
    }

    fn packet(&self, packet: &[u8], on_event: &dyn Fn(WatchedEvent)) -> io::Result<()> {
        let mut reader = Reader::new(packet);
        let header: ReplyHeader = reader.record().map_err(invalid)?;
        let mut shared = lock(&self.shared);
        match header.xid {
            xid::PING | xid::SET_WATCHES => {}
            xid::AUTH if header.err != 0 => {
                shared.state = State::AuthFailed;
                return Err(invalid("authentication failed"));
            }
            xid::AUTH => {}
            xid::NOTIFICATION => {
                let event: WatcherEvent = reader.record().map_err(invalid)?;
                shared.watches.fired(event.kind, &event.path);
                drop(shared);
                on_event(WatchedEvent {
                    kind: event.kind,
                    state: KeeperState::SyncConnected,
                    path: Some(self.servers.to_client(&event.path).to_owned()),
                    zxid: header.zxid,
                });
            }
            _ => {
                let Some(pending) = shared.pending.pop_front() else {
                    return Err(invalid(format!("reply {} to no request", header.xid)));
                };
                if pending.xid != header.xid {
                    shared.pending.push_front(pending);
                    return Err(invalid(format!("reply {} out of order", header.xid)));
                }
                if header.zxid > 0 {
                    shared.hello.last_zxid_seen = header.zxid;
                }
                if let Some(wish) = pending.watch.clone() {
                    shared.watches.answered(wish, header.err);
                }
                drop(shared);
                let (err, zxid, body) = (header.err, header.zxid, reader.rest().to_vec());
                pending.finish(Reply { err, zxid, body });
            }
        }
        Ok(())
    }

    /// Fails everything under way.
    fn lost(&self, state: State, err: i32) {
        let mut outgoing = lock(&self.outgoing);
        outgoing.queued.clear();
        let mut shared = lock(&self.shared);
        shared.state = state;
        for pending in shared.pending.drain(..) {
            pending.finish(failed(err));
        }
    }
}

fn failed(err: i32) -> Reply {
    Reply { err, ..Reply::default() }
}

fn is_time_out(e: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(e.kind(), WouldBlock | TimedOut | Interrupted)
}

fn auth_frame(packet: &AuthPacket) -> Vec<u8> {
    let mut frame = Vec::new();
    put_request(&mut frame, xid::AUTH, code::AUTH, |b| packet.write(b));
    frame
}

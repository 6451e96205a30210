//! One peer and the link to it. Its thread owns the link: it takes new connections over, writes
//! the newest vote, dials when there is no link, and reports what happened. A second thread reads.
//! Java: `QuorumCnxManager.SendWorker`, `RecvWorker`.

use std::io::{self, BufReader, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use log::{debug, info, warn};

use super::dial::dial;
use super::{MeshEvent, Shared, lock, spawn};
use crate::config::Address;
use crate::wire::election::{Notification, read_frame};

/// Between attempts to dial: doubling from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_millis(1_000);
/// How long the smaller id leaves it to the greater one to dial.
const GRACE: Duration = Duration::from_millis(100);
/// How long the greater one, asked to dial, has for it before it is asked again: asking while its
/// connection is under way would break that.
const ANSWER_TIME: Duration = Duration::from_millis(400);

pub(super) struct Peer {
    pub(super) sid: i64,
    shared: Arc<Shared>,
    state: Mutex<State>,
    changed: Condvar,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct State {
    /// Where the configuration says that it is.
    addresses: Vec<Address>,
    /// Where it said itself that it is, when it asked to be dialled.
    called_from: Vec<Address>,
    /// In the configuration. A stranger goes when its link does.
    member: bool,
    closed: bool,
    /// The frame to send next.
    outgoing: Option<Vec<u8>>,
    /// A connection to take over as the link.
    offered: Option<TcpStream>,
    link: Option<Arc<TcpStream>>,
    /// When the link was taken over.
    linked_at: Instant,
    /// Counts links, so that nothing of an old one is taken for the present one's.
    generation: u64,
    /// The link (by its generation) that can no longer be used: its reader is done, a write
    /// failed, or the peer says that it has no link to us.
    broken: u64,
    /// There is no link, and we know it from a link that broke or a dial that failed.
    lost: bool,
    dialling: bool,
    next_dial: Instant,
    pause: Duration,
    /// The mesh's owner has been told of the present link.
    told: bool,
    /// What the mesh's owner was told last: there is a link.
    told_up: bool,
}

/// What the peer's thread does next.
enum Action {
    End,
    TakeOver(TcpStream),
    HangUp,
    Write(Arc<TcpStream>, Vec<u8>),
    Dial(Vec<Address>),
    Report(MeshEvent),
}

impl Peer {
    pub(super) fn start(
        shared: Arc<Shared>,
        sid: i64,
        addresses: Vec<Address>,
        member: bool,
    ) -> io::Result<Arc<Peer>> {
        let grace = if sid < shared.config.sid { Duration::ZERO } else { GRACE };
        let state = State {
            addresses,
            called_from: Vec::new(),
            member,
            closed: false,
            outgoing: None,
            offered: None,
            link: None,
            linked_at: Instant::now(),
            generation: 0,
            broken: 0,
            lost: false,
            dialling: false,
            next_dial: Instant::now() + grace,
            pause: FIRST_PAUSE,
            told: false,
            told_up: false,
        };
        let (state, changed) = (Mutex::new(state), Condvar::new());
        let peer = Arc::new(Peer { sid, shared, state, changed, thread: Mutex::default() });
        let runner = peer.clone();
        let builder = std::thread::Builder::new().name(format!("election-link-{sid}"));
        let thread = builder.spawn(move || runner.run())?;
        *lock(&peer.thread) = Some(thread);
        Ok(peer)
    }

    fn update(&self, change: impl FnOnce(&mut State)) {
        change(&mut lock(&self.state));
        self.changed.notify_one();
    }

    pub(super) fn is_member(&self) -> bool {
        lock(&self.state).member
    }

    pub(super) fn is_connected(&self) -> bool {
        let state = lock(&self.state);
        state.member && state.link.is_some() && !state.is_broken()
    }

    /// Replaces what has not been sent yet.
    pub(super) fn send(&self, frame: Vec<u8>) {
        self.update(|state| {
            if state.link.is_some() || state.offered.is_some() {
                state.outgoing = Some(frame);
            } else if self.we_dial() {
                // Somebody needs the link now, though not more often than this.
                state.next_dial = state.next_dial.min(Instant::now() + FIRST_PAUSE);
            }
        });
    }

    /// A connection that the peer made, and that is to be the link.
    pub(super) fn offer(&self, stream: TcpStream) {
        self.update(|state| state.offered = Some(stream));
    }

    /// The peer, whose id is smaller than ours, has no link to us and wants one.
    pub(super) fn dial_back(&self, addresses: Vec<Address>) {
        self.update(|state| {
            state.called_from = addresses;
            // That it has none is no news if it was said while ours was under way; and ours may
            // be used already. If it should be right after all, it will say so again.
            if state.linked_at.elapsed() > ANSWER_TIME {
                state.broken = state.generation;
            }
            state.next_dial = Instant::now();
            // A stranger without an address cannot be dialled.
            state.lost |= !state.member && state.called_from.is_empty();
        });
    }

    pub(super) fn become_member(&self, addresses: Vec<Address>) {
        self.update(|state| (state.addresses, state.member) = (addresses, true));
    }

    pub(super) fn close(&self) {
        self.update(|state| {
            state.closed = true;
            if let Some(link) = &state.link {
                // Ends a read or a write that is under way. An error means it is closed already.
                let _ = link.shutdown(Shutdown::Both);
            }
        });
    }

    /// Waits for the peer's threads, after `close`.
    pub(super) fn join(&self) {
        if let Some(thread) = lock(&self.thread).take() {
            // A panic of that thread has been printed by its own hook.
            let _ = thread.join();
        }
    }

    fn run(self: &Arc<Self>) {
        let mut reader = None;
        loop {
            match self.next_action() {
                Action::End if self.retire() => return self.replace_link(None, &mut reader),
                Action::End => {}
                Action::TakeOver(stream) => self.take_over(stream, &mut reader),
                Action::HangUp => {
                    info!("the election link to server {} is lost", self.sid);
                    self.replace_link(None, &mut reader);
                }
                Action::Write(stream, frame) => {
                    if let Err(error) = (&*stream).write_all(&frame) {
                        debug!("cannot write to server {}: {error}", self.sid);
                        self.update(|state| state.broken = state.generation);
                    }
                }
                Action::Dial(addresses) => self.dial(addresses),
                Action::Report(event) => self.shared.emit(event, || lock(&self.state).closed),
            }
        }
    }

    /// Waits until there is something to do.
    fn next_action(&self) -> Action {
        let mut state = lock(&self.state);
        loop {
            if let Some(action) = state.next_action(self.sid) {
                return action;
            }
            let dials = state.link.is_none() && !state.dialling && !state.known_addresses_empty();
            state = if dials {
                let wait = state.next_dial.saturating_duration_since(Instant::now());
                let waited = self.changed.wait_timeout(state, wait);
                waited.unwrap_or_else(PoisonError::into_inner).0
            } else {
                self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
            };
        }
    }

    /// Whether it is really the end: a stranger may have become a member, or called again.
    fn retire(&self) -> bool {
        let mut peers = lock(&self.shared.peers);
        let mut state = lock(&self.state);
        if !state.closed && !state.is_stray() {
            return false;
        }
        state.closed = true;
        if peers.get(&self.sid).is_some_and(|peer| std::ptr::eq(&**peer, self)) {
            peers.remove(&self.sid);
        }
        true
    }

    /// Makes a connection the link, with a reader of its own.
    fn take_over(self: &Arc<Self>, stream: TcpStream, reader: &mut Option<JoinHandle<()>>) {
        let stream = Arc::new(stream);
        // First the link, then the news of it, then its reader: what comes in is of a link that
        // is known, and can be answered at once.
        self.replace_link(Some(stream.clone()), reader);
        let (event, generation) = {
            let mut state = lock(&self.state);
            (state.report(self.sid), state.generation)
        };
        if let Some(event) = event {
            self.shared.emit(event, || lock(&self.state).closed);
        }
        let peer = self.clone();
        let builder = std::thread::Builder::new().name(format!("election-reader-{}", self.sid));
        match builder.spawn(move || peer.read(&stream, generation)) {
            Ok(thread) => {
                info!("election link to server {} is up", self.sid);
                *reader = Some(thread);
            }
            Err(error) => {
                warn!("cannot start a thread to read from server {}: {error}", self.sid);
                self.replace_link(None, reader);
            }
        }
    }

    /// Puts a link, or none, in place of the one there was, and ends that one and its reader.
    fn replace_link(&self, link: Option<Arc<TcpStream>>, reader: &mut Option<JoinHandle<()>>) {
        let old = {
            let mut state = lock(&self.state);
            state.generation += 1;
            state.lost = link.is_none();
            if link.is_some() {
                // A new link is worth telling, also in place of another.
                state.told = false;
                state.linked_at = Instant::now();
            } else {
                state.outgoing = None;
                let grace = if self.we_dial() { Duration::ZERO } else { GRACE };
                state.next_dial = state.next_dial.max(Instant::now() + grace);
            }
            std::mem::replace(&mut state.link, link)
        };
        if let Some(old) = old {
            // An error means it is closed already.
            let _ = old.shutdown(Shutdown::Both);
        }
        if let Some(reader) = reader.take() {
            // A panic of that thread has been printed by its own hook.
            let _ = reader.join();
        }
    }

    fn we_dial(&self) -> bool {
        self.sid < self.shared.config.sid
    }

    fn dial(self: &Arc<Self>, addresses: Vec<Address>) {
        let peer = self.clone();
        let started = spawn(format!("election-dial-{}", self.sid), move || {
            let result = dial(&peer.shared, addresses);
            peer.update(|state| peer.dialled(state, result));
        });
        if started.is_none() {
            self.update(|state| self.dialled(state, Err(io::ErrorKind::OutOfMemory.into())));
        }
    }

    fn dialled(&self, state: &mut State, result: io::Result<TcpStream>) {
        state.dialling = false;
        let least = if self.we_dial() { Duration::ZERO } else { ANSWER_TIME };
        state.next_dial = Instant::now() + state.pause.max(least);
        state.pause = (state.pause * 2).min(LAST_PAUSE);
        match result {
            Ok(_) if state.closed => {}
            Ok(stream) if self.we_dial() => state.offered = Some(stream),
            // It knows now that we are here, closes this connection and dials back.
            Ok(_) => {}
            Err(error) => {
                if !state.lost {
                    info!("cannot reach server {} for elections: {error}", self.sid);
                }
                state.lost = state.link.is_none();
            }
        }
    }

    /// Turns what comes over a link into events, until the link ends or another takes its place.
    fn read(&self, stream: &TcpStream, generation: u64) {
        let mut reader = BufReader::new(stream);
        let stale = || lock(&self.state).generation > generation;
        let mut sound = false;
        while !stale() {
            let received = read_frame(&mut reader).and_then(|frame| {
                Notification::from_bytes(&frame)
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
            });
            match received {
                Ok(notification) => {
                    if !sound {
                        self.update(|state| state.pause = FIRST_PAUSE);
                        sound = true;
                    }
                    self.shared.emit(MeshEvent::Received { from: self.sid, notification }, stale);
                }
                Err(error) => {
                    if error.kind() == io::ErrorKind::InvalidData {
                        warn!("server {} sends what is no vote: {error}; hanging up", self.sid);
                    }
                    break;
                }
            }
        }
        self.update(|state| state.broken = state.broken.max(generation));
    }
}

impl State {
    fn next_action(&mut self, sid: i64) -> Option<Action> {
        if self.closed || self.is_stray() {
            return Some(Action::End);
        }
        if let Some(stream) = self.offered.take() {
            return Some(Action::TakeOver(stream));
        }
        if self.is_broken() {
            return Some(Action::HangUp);
        }
        if let Some(event) = self.report(sid) {
            return Some(Action::Report(event));
        }
        if let Some(link) = &self.link {
            let frame = self.outgoing.take()?;
            return Some(Action::Write(link.clone(), frame));
        }
        if self.dialling || self.known_addresses_empty() || Instant::now() < self.next_dial {
            return None;
        }
        self.dialling = true;
        let mut addresses = std::mem::take(&mut self.called_from);
        addresses.retain(|address| !self.addresses.contains(address));
        addresses.extend_from_slice(&self.addresses);
        Some(Action::Dial(addresses))
    }

    /// What the mesh's owner has to be told next.
    fn report(&mut self, sid: i64) -> Option<MeshEvent> {
        match &self.link {
            Some(_) if self.member && !self.told => {
                (self.told, self.told_up) = (true, true);
                Some(MeshEvent::Connected { sid })
            }
            None if self.member && self.told_up => {
                self.told_up = false;
                Some(MeshEvent::Disconnected { sid })
            }
            _ => None,
        }
    }

    fn is_broken(&self) -> bool {
        self.link.is_some() && self.broken == self.generation
    }

    fn known_addresses_empty(&self) -> bool {
        self.addresses.is_empty() && self.called_from.is_empty()
    }

    /// In no configuration, and nothing is left that holds us together.
    fn is_stray(&self) -> bool {
        !self.member
            && self.lost
            && self.link.is_none()
            && self.offered.is_none()
            && !self.dialling
            && self.called_from.is_empty()
    }
}

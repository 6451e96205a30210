//! The server's ends of its quorum links: the election mesh, the port on which a leader or observer
//! master accepts learners, and the connection to one. Carries out the node's commands; decides
//! nothing.
//! Java: `QuorumCnxManager`, `Leader.LearnerCnxAcceptor`, `Learner.connectToLeader`.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;

use super::exit;
use super::link::{Link, LinkSettings};
use super::mesh::{Members, Mesh, MeshConfig, MeshEvent};
use super::sockets;
use crate::config::{Address, Config, PeerAddress, QuorumConfig, WILDCARD};
use crate::mailbox::Sender;
use crate::pipeline::node::{Command, Event, LearnerPort, LinkCommand};
use crate::quorum::leader::LinkId;

/// Links that learners have opened are numbered from here on; those to a leader by the node. The
/// numbers are tokens of a poll, too, so 32 bits have to do on some machines.
const FIRST_LEARNER_LINK: LinkId = 1 << 30;

/// Waits between two tries to reach the leader, who may not listen yet: doubling, ms.
const RETRY_MS: std::ops::RangeInclusive<u64> = 5..=100;

/// Between two tries to bind the port for learners, and after one to accept that has failed.
const PAUSE: Duration = Duration::from_millis(100);

/// Votes and link news that may wait for the commit thread.
const MESH_EVENTS_MAX: usize = 1_000;

/// The links there are; the commit thread makes and ends them.
#[derive(Clone, Default)]
pub struct Links(Arc<Mutex<HashMap<LinkId, Arc<Link>>>>);

impl Links {
    fn lock(&self) -> MutexGuard<'_, HashMap<LinkId, Arc<Link>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None` once it is closed.
    pub fn get(&self, id: LinkId) -> Option<Arc<Link>> {
        self.lock().get(&id).cloned()
    }
}

/// What every link of this server needs.
#[derive(Clone)]
struct Shared {
    settings: LinkSettings,
    events: Sender<Event>,
    links: Links,
    /// How long the leader may be out of reach before the election starts again.
    patience: Duration,
}

/// See the module.
pub struct Peers {
    shared: Shared,
    my_id: i64,
    mesh: Mesh,
    own: Vec<PeerAddress>,
    listen_on_all_ips: bool,
    acceptors: Vec<Acceptor>,
    next_link: Arc<AtomicU64>,
}

impl Peers {
    pub fn start(
        config: &Config,
        settings: LinkSettings,
        links: Links,
        events: Sender<Event>,
    ) -> io::Result<Self> {
        let my_id = config.server_id.unwrap_or_default();
        let mesh_events = forward_mesh_events(events.clone())?;
        let tick = u64::from(config.tick_time_ms);
        let mesh_config = MeshConfig {
            listen_on_all_ips: config.quorum_listen_on_all_ips,
            multi_address: config.multi_address_enabled,
            connect_timeout: Duration::from_millis(u64::from(config.cnx_timeout_ms)),
            silence_timeout: match u64::try_from(config.quorum_cnxn_timeout_ms) {
                Ok(ms) => Duration::from_millis(ms),
                Err(_) => Duration::from_millis(tick * u64::from(config.sync_limit)),
            },
            keep_alive: config.tcp_keep_alive,
            bind_attempts: config.election_port_bind_retry,
            ..MeshConfig::new(my_id)
        };
        let last_seen = config.last_seen_quorum.as_ref().unwrap_or(&config.quorum);
        let members = Members::new(&config.quorum, last_seen, my_id);
        let mesh = Mesh::start(mesh_config, members, mesh_events)?;
        let own = config.quorum.servers.get(&my_id).map(|s| s.addresses.clone());
        let limit = u64::from(config.connect_to_learner_master_limit.max(1));
        Ok(Self {
            shared: Shared {
                settings,
                events,
                links,
                patience: Duration::from_millis((tick * limit).min(2_000)),
            },
            my_id,
            mesh,
            own: own.unwrap_or_default(),
            listen_on_all_ips: config.quorum_listen_on_all_ips,
            acceptors: Vec::new(),
            next_link: Arc::new(AtomicU64::new(FIRST_LEARNER_LINK)),
        })
    }

    /// Hands commands to a link, in order.
    pub fn deliver(&mut self, id: LinkId, commands: Vec<LinkCommand>) {
        let Some(link) = self.shared.links.get(id) else { return };
        for command in commands {
            if matches!(command, LinkCommand::Close) {
                link.close();
                self.shared.links.lock().remove(&id);
                return;
            }
            link.send(command);
        }
    }

    /// Hands what has come in over a steady link to `put`, without waiting; see [`Link::read`].
    pub fn read(&self, id: LinkId, closing: bool, mut put: impl FnMut(Event)) -> bool {
        let Some(link) = self.shared.links.get(id) else { return true };
        link.read(closing, |event| put(Event::Link { link: id, event }))
    }

    pub fn carry_out(&mut self, command: Command) {
        match command {
            Command::SendVote { to, notification } => self.mesh.send(to, &notification),
            Command::ListenForLearners(port) => {
                self.acceptors.clear();
                if let Some(port) = port {
                    self.listen(port);
                }
            }
            Command::SetMembers { committed, last_seen } => {
                self.set_members(&committed, &last_seen);
            }
            Command::ConnectLeader { link, addresses } => self.connect(link, addresses),
            other => log::error!("{other:?} is not for peers"),
        }
    }

    /// Leaves the ensemble. The election links go first: peers that then lose the link to their
    /// leader know it to be gone, and need not wait for its vote.
    pub fn stop(self) {
        self.mesh.stop();
        drop(self.acceptors);
        self.shared.links.lock().values().for_each(|link| link.close());
    }

    /// A server that leaves the ensemble keeps its addresses: it may come back.
    fn set_members(&mut self, committed: &QuorumConfig, last_seen: &QuorumConfig) {
        let mut members = Members::new(committed, last_seen, self.my_id);
        if let Some(own) = committed.servers.get(&self.my_id) {
            self.own.clone_from(&own.addresses);
        }
        members.own = self.own.iter().map(PeerAddress::election).collect();
        if let Err(e) = self.mesh.set_members(members) {
            exit::on_bug(&format!("no thread for a new member: {e}"));
        }
    }

    /// Accepts learners on every quorum address of this server. With quorumListenOnAllIPs its own
    /// names are not resolved.
    fn listen(&mut self, port: LearnerPort) {
        let places = self.own.iter().map(|address| {
            let host = if self.listen_on_all_ips { WILDCARD } else { &address.host };
            let port = match port {
                LearnerPort::Quorum => address.quorum_port,
                LearnerPort::ObserverMaster(port) => port,
            };
            Address { host: host.into(), port }
        });
        for address in places.collect::<BTreeSet<_>>() {
            match Acceptor::start(address, self.shared.clone(), Arc::clone(&self.next_link)) {
                Ok(acceptor) => self.acceptors.push(acceptor),
                Err(e) => exit::on_bug(&format!("no thread to accept learners: {e}")),
            }
        }
    }

    fn connect(&self, id: LinkId, addresses: Vec<PeerAddress>) {
        let shared = self.shared.clone();
        let addresses: Vec<Address> = addresses.iter().map(PeerAddress::quorum).collect();
        let spawned = thread::Builder::new().name("connect-leader".into()).spawn(move || {
            let events = shared.events.clone();
            if let Err(e) = shared.connect(id, &addresses) {
                let reason = e.to_string();
                let _ = events.send(Event::LeaderUnreachable { link: id, reason });
            }
        });
        if let Err(e) = spawned {
            exit::on_bug(&format!("no thread to connect to the leader: {e}"));
        }
    }
}

/// Turns the mesh's news into events of the commit thread.
fn forward_mesh_events(events: Sender<Event>) -> io::Result<crossbeam_channel::Sender<MeshEvent>> {
    let (sender, receiver) = bounded(MESH_EVENTS_MAX);
    thread::Builder::new().name("mesh-events".into()).spawn(move || {
        for event in receiver {
            let event = match event {
                MeshEvent::Received { from, notification } => Event::Vote { from, notification },
                MeshEvent::Connected { sid } => Event::PeerConnected { sid },
                MeshEvent::Disconnected { sid } => Event::PeerDisconnected { sid },
                MeshEvent::ListenerFailed { error } => {
                    log::error!("cannot listen on the election port: {error}");
                    std::process::exit(i32::from(exit::UNABLE_TO_BIND_QUORUM_PORT));
                }
            };
            if events.send(event).is_err() {
                return;
            }
        }
    })?;
    Ok(sender)
}

impl Shared {
    /// Starts the threads of a link; `up` is the first event of it.
    fn start_link(
        &self,
        id: LinkId,
        stream: TcpStream,
        settings: LinkSettings,
        up: Event,
    ) -> io::Result<()> {
        let (events, first) = (self.events.clone(), self.events.clone());
        let report = move |link, event| {
            let _ = events.send(Event::Link { link, event });
        };
        let up = move || {
            let _ = first.send(up);
        };
        // Held until the link can be found: its first event may be answered at once.
        let mut links = self.links.lock();
        let link = Link::start(id, stream, settings, up, report)?;
        links.insert(id, Arc::new(link));
        Ok(())
    }

    /// Tries the leader's addresses until one answers. Names are resolved at every try.
    fn connect(&self, id: LinkId, addresses: &[Address]) -> io::Result<()> {
        let deadline = Instant::now() + self.patience;
        let mut wait = *RETRY_MS.start();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = left.max(Duration::from_millis(*RETRY_MS.start()));
            let error = match sockets::connect(addresses.to_vec(), timeout) {
                Ok(stream) => {
                    // What a leader sends is history, however large.
                    let settings = LinkSettings { max_packet: usize::MAX, ..self.settings.clone() };
                    let up = Event::LeaderConnected { link: id };
                    return self.start_link(id, stream, settings, up);
                }
                Err(e) => e,
            };
            if Instant::now() + Duration::from_millis(wait) >= deadline {
                return Err(error);
            }
            thread::sleep(Duration::from_millis(wait));
            wait = (wait * 2).min(*RETRY_MS.end());
        }
    }
}

/// One thread that accepts learners on one address. Dropping it closes the port.
struct Acceptor {
    port: Arc<(Mutex<Port>, Condvar)>,
    thread: Option<thread::JoinHandle<()>>,
}

/// What the thread and its owner share: the socket, once it is bound, and that it is to end.
#[derive(Default)]
struct Port {
    stopped: bool,
    listener: Option<TcpListener>,
}

fn lock_port(port: &Mutex<Port>) -> MutexGuard<'_, Port> {
    port.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Acceptor {
    fn start(address: Address, shared: Shared, next_link: Arc<AtomicU64>) -> io::Result<Self> {
        let port = Arc::<(Mutex<Port>, Condvar)>::default();
        let own = Arc::clone(&port);
        let thread = thread::Builder::new().name("learner-acceptor".into()).spawn(move || {
            let Some(listener) = bind_patiently(&address, &own) else { return };
            accept(listener.incoming(), &own, |stream| {
                let id = next_link.fetch_add(1, Relaxed);
                let up = Event::LearnerConnected { link: id };
                shared.start_link(id, stream, shared.settings.clone(), up)
            });
        })?;
        Ok(Self { port, thread: Some(thread) })
    }
}

/// Binds, trying again while the port is another's or the name has no address; `None` when it is
/// not wanted any more.
fn bind_patiently(address: &Address, port: &(Mutex<Port>, Condvar)) -> Option<TcpListener> {
    let mut failed = false;
    loop {
        let bound = sockets::bind(address).and_then(|l| Ok((l.try_clone()?, l)));
        let mut state = lock_port(&port.0);
        if state.stopped {
            return None;
        }
        match bound {
            Ok((listener, own)) => {
                log::info!("accepting learners on {address}");
                state.listener = Some(own);
                return Some(listener);
            }
            Err(e) if !failed => log::error!("cannot listen for learners on {address}: {e}"),
            Err(_) => {}
        }
        failed = true;
        drop(port.1.wait_timeout(state, PAUSE));
    }
}

/// Takes what dials in until the port is not wanted any more.
fn accept<S>(
    streams: impl Iterator<Item = io::Result<S>>,
    port: &(Mutex<Port>, Condvar),
    mut start: impl FnMut(S) -> io::Result<()>,
) {
    for stream in streams {
        if lock_port(&port.0).stopped {
            return;
        }
        if let Err(e) = stream.and_then(&mut start) {
            log::warn!("cannot accept a learner: {e}");
            // Too many open files, mostly: give the process time to close some.
            let state = lock_port(&port.0);
            drop(port.1.wait_timeout_while(state, PAUSE, |port| !port.stopped));
        }
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        let listener = {
            let mut port = lock_port(&self.port.0);
            port.stopped = true;
            port.listener.take()
        };
        self.port.1.notify_one();
        // A name server may have a thread without a socket wait; it ends by itself.
        let Some(listener) = listener else { return };
        // Shutting the listening socket down makes accept() return.
        let _ = crate::sys::shutdown_socket(&listener);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_cannot_accept_is_not_asked_without_end() {
        let port = Arc::<(Mutex<Port>, Condvar)>::default();
        let asked = Arc::<AtomicU64>::default();
        let started = Instant::now();
        let accepting = thread::spawn({
            let (port, asked) = (Arc::clone(&port), Arc::clone(&asked));
            let failing = move || {
                asked.fetch_add(1, Relaxed);
                Some(Err::<(), _>(io::Error::other("Too many open files")))
            };
            move || accept(std::iter::from_fn(failing), &port, Ok)
        });
        let deadline = started + Duration::from_secs(60);
        while asked.load(Relaxed) < 3 {
            assert!(Instant::now() < deadline, "it has given up");
            thread::sleep(Duration::from_millis(1));
        }
        let pauses = started.elapsed().as_millis() / PAUSE.as_millis();
        assert!(pauses >= 2, "three tries in {pauses} pauses");
        lock_port(&port.0).stopped = true;
        port.1.notify_one();
        accepting.join().unwrap();
    }
}

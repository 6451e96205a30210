//! The election mesh: one TCP link to every other server, over which votes travel. A shell of
//! blocking threads; it decides nothing, and knows of a vote only how to read and write it.
//! Java: `QuorumCnxManager`.
//!
//! | thread | does |
//! |---|---|
//! | listener | accepts on the election addresses |
//! | handshake, one a fresh connection | reads who dialled ([`listener`]) |
//! | link, one a peer | owns the peer's link: writes, dials, reports ([`peer`]) |
//! | dial, one an attempt | resolves and connects ([`dial`]) |
//! | reader, one a link | turns bytes into events ([`peer`]) |
//!
//! Between two servers the one with the greater id dials. The other one, when it has no
//! link, dials as well, but only to say so: its connection is closed and dialled back.
//!
//! Unlike Java's, links are kept up also while there is no election, so that a server's death is
//! known when it happens; and nothing is queued for a peer without a link, since what it would
//! get later would be stale: the election core tells a new link what holds then.

mod dial;
mod listener;
mod peer;

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::{SendTimeoutError, Sender};
use log::{info, warn};

use crate::config::{Address, PeerAddress, QuorumConfig};
use crate::wire::election::{Notification, write_frame};

use listener::Listener;
use peer::Peer;

/// Peers that are in no configuration of ours (joiners, observers of old) at most.
const MAX_STRANGERS: usize = 64;

/// Settings of a mesh, for its life.
#[derive(Debug, Clone)]
pub struct MeshConfig {
    /// Our own id.
    pub sid: i64,
    /// `quorumListenOnAllIPs`: bind the port of each address on every interface.
    pub listen_on_all_ips: bool,
    /// `multiAddress.enabled`: tell peers all our addresses.
    pub multi_address: bool,
    /// `cnxTimeout`; zero: as long as the kernel tries.
    pub connect_timeout: Duration,
    /// `quorumCnxnTimeoutMs`, or syncLimit ticks: how long who dialled may take to say who it is,
    /// and what is sent may wait for the peer's kernel to confirm it.
    pub silence_timeout: Duration,
    /// `tcpKeepAlive`.
    pub keep_alive: bool,
    /// `electionPortBindRetry`: attempts to bind, a second apart; 0: without end.
    pub bind_attempts: u32,
}

impl MeshConfig {
    /// Java's defaults.
    pub fn new(sid: i64) -> Self {
        Self {
            sid,
            listen_on_all_ips: false,
            multi_address: false,
            connect_timeout: Duration::from_millis(5_000),
            silence_timeout: Duration::from_millis(10_000),
            keep_alive: false,
            bind_attempts: 3,
        }
    }
}

/// Who is in the ensemble, and where.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Members {
    /// Our own election addresses.
    pub own: Vec<Address>,
    /// Election addresses of the others.
    pub peers: BTreeMap<i64, Vec<Address>>,
}

impl Members {
    /// What server `my_id` makes of the configuration in force and the one seen last: who is in
    /// either of them.
    pub fn new(committed: &QuorumConfig, last_seen: &QuorumConfig, my_id: i64) -> Self {
        let mut all = BTreeMap::new();
        for spec in last_seen.servers.values().chain(committed.servers.values()) {
            let addresses: Vec<_> = spec.addresses.iter().map(PeerAddress::election).collect();
            all.insert(spec.id, addresses);
        }
        Self { own: all.remove(&my_id).unwrap_or_default(), peers: all }
    }
}

/// What a mesh has to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MeshEvent {
    Received {
        from: i64,
        notification: Notification,
    },
    /// There is a (new) link to a member.
    Connected {
        sid: i64,
    },
    /// The link to a member broke, and there is no other.
    Disconnected {
        sid: i64,
    },
    /// No election address can be bound: this server cannot take part. Java exits with 14.
    ListenerFailed {
        error: String,
    },
}

/// What all threads of a mesh share. Locks: `peers` before a peer's own.
struct Shared {
    config: MeshConfig,
    events: Sender<MeshEvent>,
    own: Mutex<Vec<Address>>,
    peers: Mutex<BTreeMap<i64, Arc<Peer>>>,
    closed: AtomicBool,
    /// The id that the next observer without one gets.
    next_anonymous: AtomicI64,
}

/// A panic elsewhere ends the process; until then the state behind a lock is whole, since every
/// critical section here only assigns.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Hands an event over, waiting while the channel is full: that holds back the peer's TCP
    /// stream, which is the bound on what it can make us keep. Gives up once `until` is true.
    fn emit(&self, mut event: MeshEvent, until: impl Fn() -> bool) {
        while !until() {
            match self.events.send_timeout(event, Duration::from_millis(50)) {
                Err(SendTimeoutError::Timeout(back)) => event = back,
                Ok(()) | Err(SendTimeoutError::Disconnected(_)) => return,
            }
        }
    }

    fn peer(&self, sid: i64) -> Option<Arc<Peer>> {
        lock(&self.peers).get(&sid).cloned()
    }

    /// The peer, made if it is a stranger and there are not too many of them.
    fn peer_or_stranger(self: &Arc<Self>, sid: i64) -> io::Result<Arc<Peer>> {
        let mut peers = lock(&self.peers);
        if let Some(peer) = peers.get(&sid) {
            return Ok(peer.clone());
        }
        if peers.values().filter(|peer| !peer.is_member()).count() >= MAX_STRANGERS {
            return Err(io::Error::other(format!(
                "server {sid} is not in the configuration, and there are {MAX_STRANGERS} \
                 connections of such servers already"
            )));
        }
        if self.is_closed() {
            return Err(io::Error::other("shutting down"));
        }
        let peer = Peer::start(self.clone(), sid, Vec::new(), false)?;
        peers.insert(sid, peer.clone());
        Ok(peer)
    }
}

/// The running mesh. Dropping it stops it.
pub struct Mesh {
    shared: Arc<Shared>,
    listener: Option<Listener>,
}

impl Mesh {
    /// Starts listening and dialling. Events come through `events`, which should be bounded.
    /// Fails only if threads or a poll cannot be made; a port that cannot be bound is an event.
    pub fn start(
        config: MeshConfig,
        members: Members,
        events: Sender<MeshEvent>,
    ) -> io::Result<Mesh> {
        let shared = Arc::new(Shared {
            config,
            events,
            own: Mutex::default(),
            peers: Mutex::default(),
            closed: AtomicBool::new(false),
            next_anonymous: AtomicI64::new(-1),
        });
        let listener = Listener::start(shared.clone())?;
        let mut mesh = Mesh { shared, listener: Some(listener) };
        mesh.set_members(members)?;
        Ok(mesh)
    }

    /// Sends a peer our vote. What was not sent before is replaced; without a link it is dropped,
    /// and the link tried at once.
    pub fn send(&self, to: i64, notification: &Notification) {
        let Some(peer) = self.shared.peer(to) else { return };
        let mut frame = Vec::new();
        write_frame(&notification.to_bytes(), &mut frame);
        peer.send(frame);
    }

    /// Takes over a new membership: binds again if our addresses changed, dials who is new, hangs
    /// up on who is gone.
    pub fn set_members(&mut self, members: Members) -> io::Result<()> {
        let Members { own, peers } = members;
        let changed = std::mem::replace(&mut *lock(&self.shared.own), own.clone()) != own;
        if let Some(listener) = self.listener.as_ref().filter(|_| changed) {
            listener.listen_on(own)?;
        }
        let mut known = lock(&self.shared.peers);
        for (sid, peer) in known.iter() {
            if !peers.contains_key(sid) && peer.is_member() {
                info!("server {sid} is no longer in the configuration");
                peer.close();
            }
        }
        known.retain(|sid, peer| peers.contains_key(sid) || !peer.is_member());
        for (sid, addresses) in peers {
            if sid == self.shared.config.sid {
                continue;
            }
            match known.get(&sid) {
                Some(peer) => peer.become_member(addresses),
                None => {
                    let peer = Peer::start(self.shared.clone(), sid, addresses, true)?;
                    known.insert(sid, peer);
                }
            }
        }
        Ok(())
    }

    /// The ids of the members to which there is a link.
    pub fn connected(&self) -> Vec<i64> {
        let peers = lock(&self.shared.peers);
        peers.values().filter(|peer| peer.is_connected()).map(|peer| peer.sid).collect()
    }

    /// Ends all threads of the mesh and waits for them, but for dials under way, which end by
    /// themselves.
    pub fn stop(mut self) {
        self.shut_down();
    }

    fn shut_down(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
        if let Some(listener) = self.listener.take() {
            listener.stop();
        }
        let peers = std::mem::take(&mut *lock(&self.shared.peers));
        peers.values().for_each(|peer| peer.close());
        peers.values().for_each(|peer| peer.join());
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        self.shut_down();
    }
}

/// Warns about a thread that could not be started; the caller tries again later.
fn spawn(name: String, body: impl FnOnce() + Send + 'static) -> Option<()> {
    match std::thread::Builder::new().name(name).spawn(body) {
        Ok(_) => Some(()),
        Err(error) => {
            warn!("cannot start a thread of the election mesh: {error}");
            None
        }
    }
}

#[cfg(test)]
mod tests;

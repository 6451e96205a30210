//! The commit thread: takes every event that waits, lets the node decide, delivers what it put
//! out. Decides nothing itself.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::arrivals::Arrivals;
use super::exit;
use super::log_thread::Orders;
use super::peers::Peers;
use super::snapshots::Snapshots;
use super::status::Status;
use crate::config::Address;
use crate::net::{Clients, Door, ServerView, Serving};
use crate::pipeline::node::{Command, Cx, Event, Node, Now, Outputs};
use crate::tree::Db;

/// What is taken before outputs are delivered: so many events, or requests if an event brings
/// several. Few enough that the log writes the first while the rest are still decided.
const BATCH_MAX: usize = 128;

/// Longest sleep, ms: the clock is looked at so often at least.
const SLEEP_MS_MAX: i64 = 1_000;

/// Everything the commit thread delivers to.
pub struct CommitThread {
    pub node: Node,
    pub db: Arc<Db>,
    pub clients: Clients,
    pub door: Arc<Door>,
    /// `clientPortListenBacklog`.
    pub client_backlog: i32,
    pub view: Arc<ServerView>,
    pub log: Orders,
    pub snapshots: Snapshots,
    pub peers: Option<Peers>,
    pub status: Arc<Status>,
    pub started: Instant,
}

impl CommitThread {
    fn now(&self) -> Now {
        now(self.started)
    }

    /// Runs until `Event::Stop` comes.
    pub fn run(mut self, mut arrivals: Arrivals) {
        let applied = self.db.read().tree.last_zxid();
        let mut out = Outputs::new(self.clients.io_threads(), applied);
        {
            let db = self.db.read();
            self.node.start(Cx { db: &db, now: now(self.started) }, &mut out);
        }
        self.deliver(&mut out);
        loop {
            let now = self.now();
            let sleep = (self.node.next_deadline() - now.mono).clamp(0, SLEEP_MS_MAX);
            let sleep = Duration::from_millis(sleep as u64);
            if let Err(e) = arrivals.wait(sleep, self.peers.as_ref()) {
                exit::on_bug(&format!("the commit thread cannot wait for events: {e}"));
            }
            if self.take_batch(&mut arrivals, &mut out) {
                return self.stop();
            }
            self.deliver(&mut out);
        }
    }

    /// Lets the node take what waits; true if the server is to stop.
    fn take_batch(&mut self, arrivals: &mut Arrivals, out: &mut Outputs) -> bool {
        let mut stop = false;
        out.random = super::boot::random();
        let now = self.now();
        let db = Arc::clone(&self.db);
        let db = db.read();
        let cx = Cx { db: &db, now };
        let mut taken = 0;
        while let Some(event) = arrivals.next() {
            taken += match &event {
                Event::Io(requests) => requests.len(),
                _ => 1,
            };
            match event {
                Event::Stop => stop = true,
                event => self.node.step(event, cx, out),
            }
            if taken >= BATCH_MAX {
                break;
            }
        }
        if self.node.next_deadline() <= now.mono {
            self.node.step(Event::Tick, cx, out);
        }
        self.node.end_batch(out);
        stop
    }

    /// First what needs time elsewhere – disk and peers –, then commits and clients.
    fn deliver(&mut self, out: &mut Outputs) {
        self.deliver_orders(out);
        if self.node.has_ready() {
            let db = Arc::clone(&self.db);
            let mut db = db.write();
            self.node.commit(&mut db, self.now(), out);
            self.send_to_clients(out);
            drop(db);
            self.clients.wake();
            self.node.end_batch(out);
            self.deliver_orders(out);
        }
        self.send_to_clients(out);
        self.clients.wake();
        for command in out.commands.drain(..) {
            self.carry_out(command);
        }
    }

    /// The door is closed before those who are in are sent away: they come back at once.
    fn send_to_clients(&self, out: &mut Outputs) {
        if out.commands.iter().any(|command| matches!(command, Command::StopServing)) {
            self.view.set_serving(Serving::No);
        }
        out.io.drain(|io_thread, message| self.clients.send(io_thread, message));
    }

    /// Peers first: the ACKs that the log thread sends must not overtake that of NEWLEADER.
    fn deliver_orders(&mut self, out: &mut Outputs) {
        if let Some(peers) = &mut self.peers {
            for (link, commands) in std::mem::take(&mut out.links) {
                peers.deliver(link, commands);
            }
        }
        if !out.log.is_empty() {
            // The next batch is probably as long.
            let room = Vec::with_capacity(out.log.len());
            if self.log.send(std::mem::replace(&mut out.log, room)).is_err() {
                super::exit::on_bug("the log thread is gone");
            }
        }
    }

    fn carry_out(&mut self, command: Command) {
        match command {
            Command::Serve { read_only: true } => self.view.set_serving(Serving::ReadOnly),
            Command::Serve { read_only: false } => self.view.set_serving(Serving::Yes),
            Command::StopServing => self.view.set_serving(Serving::No),
            Command::TakeSnapshot(tree) => self.snapshots.take(tree),
            Command::Report(report) => self.status.set_role(report),
            Command::ListenForClients(address) => self.listen_for_clients(address),
            other => {
                if let Some(peers) = &mut self.peers {
                    peers.carry_out(other);
                }
            }
        }
    }

    /// On a thread of its own: a name server may take its time.
    fn listen_for_clients(&self, address: Address) {
        let (door, backlog) = (Arc::clone(&self.door), self.client_backlog);
        let spawned = thread::Builder::new().name("client-port".into()).spawn(move || {
            match super::listen_address(&address, backlog) {
                Ok(resolved) => door.move_to(resolved),
                Err(e) => log::error!("Error reconfiguring client port to {address}: {e}"),
            }
        });
        if let Err(e) = spawned {
            exit::on_bug(&format!("no thread to resolve the client address: {e}"));
        }
    }

    /// What clients were promised is durable before the process ends: the log thread empties its
    /// queue when this end of it is dropped.
    fn stop(self) {
        self.view.set_serving(Serving::No);
        log::info!("shutting down");
        if let Some(peers) = self.peers {
            peers.stop();
        }
    }
}

pub fn now(started: Instant) -> Now {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now { mono: started.elapsed().as_millis() as i64, wall: wall.as_millis() as i64 }
}

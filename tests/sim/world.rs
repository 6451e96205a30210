//! The simulated world: one queue of things to happen, in the order of simulated time.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;

use ironkeeper::config::QuorumConfig;
use ironkeeper::pipeline::node::{Event, LinkEvent};
use ironkeeper::quorum::leader::LinkId;

use super::checks::Checks;
use super::clients::{Client, Conn};
use super::coverage::Coverage;
use super::knobs::Knobs;
use super::network::{Pair, Wire};
use super::reconfig;
use super::rng::Rng;
use super::server::Server;
use super::trace::trace;

/// µs since the history began.
pub type Time = u64;

pub const MS: Time = 1_000;
pub const SECOND: Time = 1_000 * MS;

/// `tickTime` of the simulated servers, ms.
pub const TICK_MS: i64 = 100;

/// Something that is going to happen.
pub enum Action {
    /// A server's commit thread looks at its events.
    Wake {
        s: usize,
        token: u64,
    },
    /// A server's log thread takes orders.
    Log {
        s: usize,
        inc: u64,
    },
    Snapshot {
        s: usize,
        inc: u64,
    },
    Post {
        s: usize,
        inc: u64,
        event: Event,
    },
    /// A server's log thread sends packets.
    Send {
        s: usize,
        inc: u64,
        link: LinkId,
        bytes: Vec<u8>,
    },
    /// The next items of one direction of a link arrive.
    Flow {
        wire: u64,
        dir: usize,
    },
    Connect {
        s: usize,
        inc: u64,
        link: LinkId,
        to: usize,
        port: u16,
        until: Time,
    },
    Vote {
        pair: (usize, usize),
        dir: usize,
    },
    MeshDial {
        pair: (usize, usize),
    },
    Client {
        c: usize,
    },
    ToServer {
        conn: u64,
    },
    ToClient {
        conn: u64,
    },
    Fault,
    Heal {
        partition: u64,
    },
    Restart {
        s: usize,
    },
    /// Somebody asks for another membership.
    Reconfig,
    /// A leader falls in the midst of a reconfiguration.
    Strike {
        s: usize,
        inc: u64,
    },
}

struct Scheduled {
    at: Time,
    seq: u64,
    action: Action,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    /// The earliest is the greatest.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.seq).cmp(&(self.at, self.seq))
    }
}

pub struct World {
    pub now: Time,
    queue: BinaryHeap<Scheduled>,
    seq: u64,
    pub rng: Rng,
    pub knobs: Knobs,
    pub servers: Vec<Server>,
    /// The last configuration that came into force, as an operator knows it.
    pub members: Arc<QuorumConfig>,
    pub wires: BTreeMap<u64, Wire>,
    pub next_wire: u64,
    pub pairs: BTreeMap<(usize, usize), Pair>,
    pub clients: Vec<Client>,
    pub conns: BTreeMap<u64, Conn>,
    pub next_conn: u64,
    /// Connections that were answered in this batch.
    pub answered: BTreeSet<u64>,
    /// Directions in which nothing gets through, each with the partition that it belongs to.
    pub blocked: BTreeSet<(u64, usize, usize)>,
    pub next_partition: u64,
    /// Faults go on.
    pub chaos: bool,
    /// Clients send requests.
    pub busy: bool,
    pub checks: Checks,
    pub coverage: Coverage,
}

impl World {
    pub fn new(seed: u64, limit: impl FnOnce(&mut Knobs)) -> Self {
        let mut rng = Rng::new(seed);
        let mut knobs = Knobs::draw(&mut rng);
        limit(&mut knobs);
        trace!(0, "seed {seed}: {knobs:?}");
        let servers = (0..knobs.servers()).map(|s| Server::new(s, &knobs, &mut rng)).collect();
        let clients = (0..knobs.clients).map(|_| Client::new()).collect();
        let n = knobs.servers();
        let mut world = Self {
            now: 0,
            queue: BinaryHeap::new(),
            seq: 0,
            rng,
            servers,
            members: Arc::new(reconfig::first_members(&knobs)),
            wires: BTreeMap::new(),
            next_wire: 1,
            pairs: BTreeMap::new(),
            clients,
            conns: BTreeMap::new(),
            next_conn: 1,
            answered: BTreeSet::new(),
            blocked: BTreeSet::new(),
            next_partition: 1,
            chaos: true,
            busy: true,
            checks: Checks::default(),
            coverage: Coverage::default(),
            knobs,
        };
        if world.knobs.reconfig {
            (0..n).for_each(|s| world.set_up(s));
            world.at(SECOND, Action::Reconfig);
        }
        for s in 0..n {
            let at = world.rng.below(50 * MS);
            world.at(at, Action::Restart { s });
            for t in s + 1..n {
                world.pairs.insert((s, t), Pair::default());
                world.at(MS, Action::MeshDial { pair: (s, t) });
            }
        }
        for c in 0..world.clients.len() {
            world.at(300 * MS, Action::Client { c });
        }
        world.at(SECOND, Action::Fault);
        world
    }

    pub fn at(&mut self, at: Time, action: Action) {
        debug_assert!(at >= self.now);
        self.seq += 1;
        self.queue.push(Scheduled { at, seq: self.seq, action });
    }

    pub fn after(&mut self, delay: Time, action: Action) {
        self.at(self.now + delay, action);
    }

    /// A time a message takes: mostly short, sometimes as long as this history allows.
    pub fn delay(&mut self, most: Time) -> Time {
        match self.rng.below(10) {
            0 => self.rng.range(most / 2, most),
            _ => self.rng.range(20, 20 + most / 5),
        }
    }

    /// Lets things happen until `until`, or until `done` holds after one of them.
    pub fn run(&mut self, until: Time, mut done: impl FnMut(&Self) -> bool) -> bool {
        while self.queue.peek().is_some_and(|next| next.at <= until) {
            let Some(next) = self.queue.pop() else { break };
            self.now = next.at;
            self.happen(next.action);
            if done(self) {
                return true;
            }
        }
        self.now = until;
        false
    }

    fn happen(&mut self, action: Action) {
        match action {
            Action::Wake { s, token } => self.wake(s, token),
            Action::Log { s, inc } => self.log_thread(s, inc),
            Action::Snapshot { s, inc } => self.snapshot_thread(s, inc),
            Action::Post { s, inc, event } => self.post(s, inc, event),
            Action::Send { s, inc, link, bytes } => self.send(s, inc, link, bytes),
            Action::Flow { wire, dir } => self.flow(wire, dir),
            Action::Connect { s, inc, link, to, port, until } => {
                self.try_connect(s, inc, link, (to, port), until);
            }
            Action::Vote { pair, dir } => self.deliver_vote(pair, dir),
            Action::MeshDial { pair } => self.mesh_dial(pair),
            Action::Client { c } => self.client_timer(c),
            Action::ToServer { conn } => self.server_receives(conn),
            Action::ToClient { conn } => self.client_receives(conn),
            Action::Fault => self.fault(),
            Action::Heal { partition } => self.heal(partition),
            Action::Restart { s } => self.start(s),
            Action::Reconfig => self.reconfig_timer(),
            Action::Strike { s, inc } => self.strike(s, inc),
        }
    }

    pub fn is_blocked(&self, from: usize, to: usize) -> bool {
        self.blocked.iter().any(|(_, f, t)| (*f, *t) == (from, to))
    }

    /// Both directions work.
    pub fn reachable(&self, a: usize, b: usize) -> bool {
        !self.is_blocked(a, b) && !self.is_blocked(b, a)
    }

    pub fn closed(&mut self, s: usize, inc: u64, link: LinkId, why: &str) {
        let event = LinkEvent::Closed { reason: why.into() };
        let delay = self.delay(self.knobs.link_delay);
        self.after(delay, Action::Post { s, inc, event: Event::Link { link, event } });
    }
}

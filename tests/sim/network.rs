//! The simulated network: quorum links (ordered streams that can break or fall silent), attempts
//! to connect, and the election mesh.

use std::collections::VecDeque;

use ironkeeper::pipeline::node::{Event, LinkCommand, LinkEvent};
use ironkeeper::quorum::leader::LinkId;
use ironkeeper::quorum::sync_plan::OnDisk;
use ironkeeper::storage::log_range::{self, LogRange, Wanted};
use ironkeeper::storage::{StorageError, snapshot};
use ironkeeper::wire::election::Notification;
use ironkeeper::wire::quorum::packet;
use ironkeeper::wire::{QuorumPacket, Reader, Record, counter_of};

use super::server::OBSERVER_MASTER_PORT;
use super::trace::trace;
use super::world::{Action, MS, Time, World};

/// What flows through a link.
enum Item {
    Packet(QuorumPacket),
    Snapshot {
        zxid: i64,
        bytes: Vec<u8>,
    },
    /// The sender has closed it.
    End,
}

#[derive(Clone, Copy)]
pub struct LinkEnd {
    pub s: usize,
    inc: u64,
    link: LinkId,
    /// Nothing of the link was reported closed here yet.
    open: bool,
}

/// A link; end 0 is the learner.
pub struct Wire {
    pub ends: [LinkEnd; 2],
    /// What is under way from each end.
    flows: [VecDeque<Item>; 2],
    moving: [bool; 2],
}

/// The election link between two servers.
#[derive(Default)]
pub struct Pair {
    pub up: bool,
    votes: [VecDeque<Notification>; 2],
    /// Each end was told that the other is there, or gone.
    told_up: [bool; 2],
    told_gone: [bool; 2],
}

impl World {
    // ---- quorum links ----------------------------------------------------------------------

    /// A learner tries to reach a leader or an observer master, until its patience ends.
    pub fn try_connect(
        &mut self,
        s: usize,
        inc: u64,
        link: LinkId,
        (to, port): (usize, u16),
        until: Time,
    ) {
        if self.servers[s].process(inc).is_none() {
            return;
        }
        let reachable = self.reachable(s, to);
        let to_inc = self.servers[to].inc;
        let process = self.servers[to].process.as_mut();
        let Some(p) = process.filter(|p| p.listening == Some(port) && reachable) else {
            let wait = self.rng.range(5 * MS, 100 * MS);
            if self.now + wait < until {
                return self.after(wait, Action::Connect { s, inc, link, to, port, until });
            }
            let reason = "connection refused".into();
            return self.post(s, inc, Event::LeaderUnreachable { link, reason });
        };
        p.next_learner_link += 1;
        let theirs = p.next_learner_link;
        let wire = self.next_wire;
        self.next_wire += 1;
        p.links.insert(theirs, (wire, 1));
        if let Some(p) = self.servers[s].process(inc) {
            p.links.insert(link, (wire, 0));
        }
        let ends = [
            LinkEnd { s, inc, link, open: true },
            LinkEnd { s: to, inc: to_inc, link: theirs, open: true },
        ];
        let flows = [VecDeque::new(), VecDeque::new()];
        self.wires.insert(wire, Wire { ends, flows, moving: [false; 2] });
        trace!(self.now, "[{}] link {link} to [{}] link {theirs:#x}", s + 1, to + 1);
        self.coverage.observer_masters += u64::from(port == OBSERVER_MASTER_PORT);
        self.post(to, to_inc, Event::LearnerConnected { link: theirs });
        self.post(s, inc, Event::LeaderConnected { link });
    }

    pub fn link_command(&mut self, s: usize, link: LinkId, command: LinkCommand) {
        let Some(p) = &mut self.servers[s].process else { return };
        let inc = p.inc;
        let Some(&(wire, end)) = p.links.get(&link) else { return };
        let items = match command {
            LinkCommand::Bytes(bytes) => packets(&bytes),
            LinkCommand::Snapshot(tree) => {
                let mut bytes = Vec::new();
                snapshot::write_stream(&tree, &mut bytes).expect("into memory");
                self.coverage.snaps += 1;
                vec![Item::Snapshot { zxid: tree.last_zxid(), bytes }]
            }
            LinkCommand::SearchLog(wanted) => return self.search_log(s, link, wanted),
            LinkCommand::LogRange { after, upto } => match self.log_range(s, after, upto) {
                Ok(items) => items,
                Err(error) => {
                    trace!(self.now, "[{}] link {link:#x}: {error}", s + 1);
                    return match error.contains("power") {
                        true => self.disk_failed(s, &error),
                        false => self.cut_wire(wire),
                    };
                }
            },
            LinkCommand::Close => {
                p.links.remove(&link);
                self.closed(s, inc, link, "closed here");
                vec![Item::End]
            }
        };
        let closing = matches!(items.last(), Some(Item::End));
        for item in &items {
            if let Item::Packet(p) = item {
                self.coverage.diffs += u64::from(p.kind == packet::DIFF);
                self.coverage.truncs += u64::from(p.kind == packet::TRUNC);
                let is_last = counter_of(p.zxid) == self.knobs.last_counter;
                self.coverage.epochs_used_up += u64::from(p.kind == packet::PROPOSAL && is_last);
                trace!(
                    self.now,
                    "[{}] link {link:#x} > {} {:#x}",
                    s + 1,
                    packet::name(p.kind),
                    p.zxid
                );
            }
        }
        let Some(w) = self.wires.get_mut(&wire) else { return };
        w.flows[end].extend(items);
        if closing {
            w.ends[end].open = false;
        }
        self.move_on(wire, end);
    }

    fn search_log(&mut self, s: usize, link: LinkId, wanted: Wanted) {
        let (disk, layout) = (self.servers[s].disk.shared(), self.servers[s].layout());
        let found = match log_range::find(&*disk, &layout, wanted, &mut || {}) {
            Ok(floor) => floor.map(|floor| OnDisk { floor, upto: wanted.upto }),
            Err(error) if error.to_string().contains("power") => {
                return self.disk_failed(s, &error.to_string());
            }
            Err(error) => {
                trace!(self.now, "[{}] link {link:#x}: {error}", s + 1);
                None
            }
        };
        trace!(self.now, "[{}] link {link:#x}: {wanted:x?}, on disk is {found:x?}", s + 1);
        self.coverage.log_searches += 1;
        let (inc, delay) = (self.servers[s].inc, self.delay(self.knobs.log_delay));
        let event = Event::Link { link, event: LinkEvent::LogSearched(found) };
        self.after(delay, Action::Post { s, inc, event });
    }

    fn log_range(&mut self, s: usize, after: i64, upto: i64) -> Result<Vec<Item>, String> {
        let (disk, layout) = (self.servers[s].disk.shared(), self.servers[s].layout());
        let says = |error: StorageError| error.to_string();
        let range = LogRange::seek(&*disk, &layout, (after, upto), &mut || {}).map_err(says)?;
        let mut range = range.filter(|range| range.floor() == after).ok_or("purged meanwhile")?;
        let mut items = Vec::new();
        while range.advance(&*disk).map_err(says)? {
            let record = range.record();
            let proposal = QuorumPacket::new(packet::PROPOSAL, record.zxid, record.bytes);
            items.push(Item::Packet(proposal));
            items.push(Item::Packet(QuorumPacket::bare(packet::COMMIT, record.zxid)));
        }
        self.coverage.diffs_from_disk += 1;
        Ok(items)
    }

    fn move_on(&mut self, wire: u64, dir: usize) {
        let delay = self.delay(self.knobs.link_delay);
        let Some(w) = self.wires.get_mut(&wire) else { return };
        if !w.moving[dir] && !w.flows[dir].is_empty() {
            w.moving[dir] = true;
            self.after(delay, Action::Flow { wire, dir });
        }
    }

    /// Some of what is under way arrives.
    pub fn flow(&mut self, wire: u64, dir: usize) {
        let Some(w) = self.wires.get(&wire) else { return };
        let (from, to) = (w.ends[dir].s, w.ends[1 - dir]);
        if self.is_blocked(from, to.s) || self.servers[to.s].silent {
            let wait = self.rng.range(5 * MS, 40 * MS);
            return self.after(wait, Action::Flow { wire, dir });
        }
        let most = self.rng.range(1, self.knobs.batch);
        let Some(w) = self.wires.get_mut(&wire) else { return };
        w.moving[dir] = false;
        let mut batch = Vec::new();
        let mut events = Vec::new();
        for _ in 0..most {
            match w.flows[dir].pop_front() {
                Some(Item::Packet(packet)) => batch.push(packet),
                Some(Item::Snapshot { zxid, bytes }) => {
                    events.push(LinkEvent::Packets(std::mem::take(&mut batch)));
                    events.push(LinkEvent::Progress);
                    let options = self.servers[to.s].tree_options();
                    let tree = snapshot::read_stream(&bytes[..], zxid, options);
                    let tree = Box::new(tree.expect("a snapshot as it was sent"));
                    events.push(LinkEvent::Snapshot { zxid, tree });
                }
                Some(Item::End) => {
                    events.push(LinkEvent::Packets(std::mem::take(&mut batch)));
                    events.push(LinkEvent::Closed { reason: "the peer closed it".into() });
                }
                None => break,
            }
        }
        events.push(LinkEvent::Packets(batch));
        for event in events {
            self.report(wire, 1 - dir, event);
        }
        self.move_on(wire, dir);
    }

    /// Tells one end of a link something.
    fn report(&mut self, wire: u64, end: usize, event: LinkEvent) {
        let Some(w) = self.wires.get_mut(&wire) else { return };
        let LinkEnd { s, inc, link, open } = w.ends[end];
        if !open || matches!(&event, LinkEvent::Packets(packets) if packets.is_empty()) {
            return;
        }
        if matches!(event, LinkEvent::Closed { .. }) {
            w.ends[end].open = false;
        }
        self.post(s, inc, Event::Link { link, event });
    }

    /// A link breaks: what is under way is lost, and both ends notice sooner or later.
    pub fn cut_wire(&mut self, wire: u64) {
        let Some(w) = self.wires.remove(&wire) else { return };
        self.coverage.links_cut += 1;
        for end in w.ends {
            if end.open {
                self.closed(end.s, end.inc, end.link, "broken pipe");
            }
        }
    }

    /// The process at one end of its links is gone.
    pub fn abandon_wires(&mut self, s: usize) {
        let silent = self.servers[s].silent;
        let touched = self.wires.iter_mut().filter(|(_, w)| w.ends.iter().any(|e| e.s == s));
        let mut moved = Vec::new();
        for (id, w) in touched {
            let end = usize::from(w.ends[1].s == s);
            w.ends[end].open = false;
            if silent {
                w.flows[end].clear();
            } else {
                w.flows[end].push_back(Item::End);
                moved.push((*id, end));
            }
        }
        for (wire, end) in moved {
            self.move_on(wire, end);
        }
    }

    /// A machine that is back knows nothing of its old connections: whoever still uses one learns
    /// that it is broken.
    pub fn reset_stale_wires(&mut self, s: usize) {
        let inc = self.servers[s].inc;
        let stale: Vec<u64> = self
            .wires
            .iter()
            .filter(|(_, w)| w.ends.iter().any(|e| e.s == s && e.inc != inc))
            .map(|(id, _)| *id)
            .collect();
        for wire in stale {
            let Some(w) = self.wires.remove(&wire) else { continue };
            for end in w.ends {
                if end.open && end.s != s {
                    self.closed(end.s, end.inc, end.link, "connection reset");
                }
            }
        }
    }

    // ---- the election mesh -----------------------------------------------------------------

    pub fn send_vote(&mut self, from: usize, to: usize, vote: Notification) {
        let (pair, dir) = (ordered(from, to), usize::from(from > to));
        let replaces = self.rng.chance(500);
        let delay = self.delay(self.knobs.link_delay);
        let Some(p) = self.pairs.get_mut(&pair) else { return };
        if !p.up {
            return;
        }
        trace!(self.now, "[{}] vote > [{}] {vote:?}", from + 1, to + 1);
        if replaces {
            p.votes[dir].clear();
        }
        p.votes[dir].push_back(vote);
        self.after(delay, Action::Vote { pair, dir });
    }

    pub fn deliver_vote(&mut self, pair: (usize, usize), dir: usize) {
        let (from, to) = if dir == 0 { pair } else { (pair.1, pair.0) };
        if self.is_blocked(from, to) {
            let wait = self.rng.range(5 * MS, 40 * MS);
            return self.after(wait, Action::Vote { pair, dir });
        }
        let Some(p) = self.pairs.get_mut(&pair) else { return };
        let Some(notification) = p.votes[dir].pop_front() else { return };
        let (inc, from) = (self.servers[to].inc, from as i64 + 1);
        self.post(to, inc, Event::Vote { from, notification });
    }

    /// Every now and then: links that are down come up if they can, and those who cannot be
    /// reached for long are given up.
    pub fn mesh_dial(&mut self, pair: (usize, usize)) {
        let again = self.rng.range(20 * MS, 200 * MS);
        self.after(again, Action::MeshDial { pair });
        let alive = [pair.0, pair.1].map(|s| self.servers[s].process.is_some());
        // Who is dialled and does not know who dials takes the link all the same.
        let acquainted = self.knows(pair.0, pair.1) || self.knows(pair.1, pair.0);
        let can = alive == [true; 2] && self.reachable(pair.0, pair.1) && acquainted;
        let gives_up = !can && self.rng.chance(100);
        let Some(p) = self.pairs.get_mut(&pair) else { return };
        if p.up && gives_up {
            self.pair_down(pair);
        } else if !p.up && can {
            p.up = true;
            p.told_gone = [false; 2];
            self.tell_up(pair);
        } else if p.up {
            self.tell_up(pair);
        } else {
            self.tell_gone(pair);
        }
    }

    /// Whether a server has another in a configuration.
    fn knows(&self, s: usize, other: usize) -> bool {
        self.servers[s].process.as_ref().is_some_and(|p| p.peers.contains(&(other as i64 + 1)))
    }

    /// A server whose configurations do not have another any more closes their link.
    pub fn hang_up(&mut self, s: usize, other: usize) {
        let pair = ordered(s, other);
        let Some(p) = self.pairs.get_mut(&pair).filter(|p| p.up) else { return };
        p.told_gone[usize::from(s == pair.1)] = true;
        self.pair_down(pair);
    }

    /// Only members are told of.
    fn tell_up(&mut self, pair: (usize, usize)) {
        for (end, (s, other)) in [pair, (pair.1, pair.0)].into_iter().enumerate() {
            let knows = self.knows(s, other);
            let Some(p) = self.pairs.get_mut(&pair) else { return };
            if knows && !std::mem::replace(&mut p.told_up[end], true) {
                let inc = self.servers[s].inc;
                self.post(s, inc, Event::PeerConnected { sid: other as i64 + 1 });
            }
        }
    }

    pub fn pair_down(&mut self, pair: (usize, usize)) {
        let Some(p) = self.pairs.get_mut(&pair) else { return };
        p.up = false;
        p.told_up = [false; 2];
        p.votes = [VecDeque::new(), VecDeque::new()];
        self.tell_gone(pair);
    }

    fn tell_gone(&mut self, pair: (usize, usize)) {
        for (end, (s, other)) in [pair, (pair.1, pair.0)].into_iter().enumerate() {
            let knows = self.knows(s, other);
            let Some(p) = self.pairs.get_mut(&pair) else { return };
            if !std::mem::replace(&mut p.told_gone[end], true) && knows {
                let inc = self.servers[s].inc;
                self.post(s, inc, Event::PeerDisconnected { sid: other as i64 + 1 });
            }
        }
    }

    /// A machine that is back has no election links.
    pub fn reset_stale_pairs(&mut self, s: usize) {
        for other in 0..self.servers.len() {
            let pair = ordered(s, other);
            if self.pairs.get(&pair).is_some_and(|p| p.up) {
                self.pair_down(pair);
            }
        }
    }

    pub fn abandon_pairs(&mut self, s: usize) {
        let silent = self.servers[s].silent;
        for other in 0..self.servers.len() {
            let pair = ordered(s, other);
            if let Some(p) = self.pairs.get_mut(&pair) {
                p.votes = [VecDeque::new(), VecDeque::new()];
                p.told_gone[usize::from(pair.1 == s)] = false;
                if !silent {
                    self.pair_down(pair);
                }
            }
        }
    }
}

pub fn ordered(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
}

fn packets(bytes: &[u8]) -> Vec<Item> {
    let mut reader = Reader::new(bytes);
    let mut items = Vec::new();
    while !reader.is_empty() {
        items.push(Item::Packet(QuorumPacket::read(&mut reader).expect("whole packets")));
    }
    items
}

//! What goes wrong, and how a history ends: everything heals, and then all must be well.

use ironkeeper::storage::mem_disk::{Fault as DiskFault, Unsynced};

use super::knobs::Fault;
use super::trace::trace;
use super::world::{Action, MS, SECOND, Time, World};

/// How long a healed ensemble may take to serve and agree.
const PATIENCE: Time = 40 * SECOND;

impl World {
    pub fn fault(&mut self) {
        if !self.chaos {
            return;
        }
        let next = self.rng.range(self.knobs.fault_every / 4, 2 * self.knobs.fault_every);
        self.after(next, Action::Fault);
        let fault = self.rng.pick(&self.knobs.faults.clone());
        let s = self.rng.below(self.servers.len() as u64) as usize;
        // More often than by chance the one that matters most.
        let leader = self
            .servers
            .iter()
            .position(|s| s.process.as_ref().is_some_and(|p| p.leads_since.is_some()));
        let s = leader.filter(|_| self.rng.chance(300)).unwrap_or(s);
        trace!(self.now, "fault: {fault:?}, server {}", s + 1);
        match fault {
            Fault::Kill => self.crash(s, Unsynced::Kept),
            Fault::PowerCut => {
                let unsynced = self.some_unsynced();
                self.crash(s, unsynced);
            }
            Fault::DiskCrash if self.servers[s].process.is_none() => {}
            Fault::DiskCrash => self.arm_disk(s),
            // Happens while outputs are delivered.
            Fault::CrashPoint => {}
            Fault::Split | Fault::Isolate | Fault::OneWay => self.partition(fault, s),
            Fault::Cut => self.cut_something(),
            Fault::Pause => {
                self.coverage.pauses += 1;
                let time = self.rng.range(20 * MS, 1_500 * MS);
                self.servers[s].paused_until = self.now + time;
            }
            Fault::Blackout => self.blackout(),
        }
    }

    fn blackout(&mut self) {
        self.coverage.blackouts += 1;
        for s in 0..self.servers.len() {
            let unsynced = self.some_unsynced();
            self.crash(s, unsynced);
        }
    }

    fn partition(&mut self, fault: Fault, s: usize) {
        let partition = self.next_partition;
        self.next_partition += 1;
        self.coverage.partitions += 1;
        let n = self.servers.len();
        let side: Vec<bool> = (0..n)
            .map(|t| if fault == Fault::Split { self.rng.chance(500) } else { t == s })
            .collect();
        for from in 0..n {
            for to in 0..n {
                let out_only = fault == Fault::OneWay;
                if side[from] != side[to] && (side[from] || !out_only) {
                    self.blocked.insert((partition, from, to));
                }
            }
        }
        let time = match self.rng.below(3) {
            0 => self.rng.range(10 * MS, 300 * MS),
            _ => self.rng.range(300 * MS, 3 * SECOND),
        };
        self.after(time, Action::Heal { partition });
    }

    pub fn heal(&mut self, partition: u64) {
        self.blocked.retain(|(p, _, _)| *p != partition);
    }

    fn cut_something(&mut self) {
        match self.rng.below(4) {
            0 => {
                let pairs: Vec<_> = self.pairs.keys().copied().collect();
                let pair = self.rng.pick(&pairs);
                self.pair_down(pair);
            }
            1 => {
                let conns: Vec<u64> = self.conns.keys().copied().collect();
                if !conns.is_empty() {
                    let conn = self.rng.pick(&conns);
                    self.cut_conn(conn);
                }
            }
            _ => {
                let wires: Vec<u64> = self.wires.keys().copied().collect();
                if !wires.is_empty() {
                    let wire = self.rng.pick(&wires);
                    self.cut_wire(wire);
                }
            }
        }
    }

    // ---- a whole history -------------------------------------------------------------------

    pub fn history(&mut self) {
        let chaos = SECOND + self.knobs.chaos;
        self.run(chaos, |_| false);
        self.all_well();
        if self.knobs.final_blackout {
            trace!(self.now, "everybody loses power; a quorum comes back");
            self.blackout();
            let voters = self.members.participants().map(|server| server.id as usize - 1);
            let mut back: Vec<usize> = voters.collect();
            let quorum = back.len() / 2 + 1;
            while back.len() > quorum {
                let one = self.rng.below(back.len() as u64) as usize;
                back.remove(one);
            }
            back.into_iter().for_each(|s| self.start(s));
            self.serves_again();
            self.all_well();
        }
        self.check_configs_on_disk();
        let first = self.member_servers().next().expect("a member");
        let member = self.servers[first].process.as_ref().expect("everybody is up");
        let (last, digest) = {
            let db = member.db.read();
            (db.tree.last_zxid(), db.tree.digest())
        };
        self.checks.finish(last, digest);
    }

    /// Heals everything and waits until all members serve, write, and agree.
    fn all_well(&mut self) {
        self.chaos = false;
        trace!(self.now, "everything heals");
        self.blocked.clear();
        for s in 0..self.servers.len() {
            self.servers[s].paused_until = 0;
            self.servers[s].disk.fail(1 << 40, DiskFault::Io);
            self.start(s);
        }
        self.serves_again();
        let all_serve = self.run(self.now + PATIENCE, |w| {
            w.member_servers().all(|s| w.servers[s].process.as_ref().is_some_and(|p| p.serving))
        });
        assert!(all_serve, "not every member serves {} s after all healed", PATIENCE / SECOND);
        self.busy = false;
        let agreed = self.run(self.now + PATIENCE, World::agrees);
        self.busy = true;
        assert!(agreed, "no agreement {} s after all healed", PATIENCE / SECOND);
    }

    fn serves_again(&mut self) {
        let healed = self.now;
        let written = self.run(healed + PATIENCE, |w| w.checks.acked_since(healed));
        assert!(written, "nothing can be written {} s after all healed", PATIENCE / SECOND);
    }

    fn agrees(&self) -> bool {
        let zxid =
            |s: usize| self.servers[s].process.as_ref().map(|p| p.db.read().tree.last_zxid());
        let mut zxids = self.member_servers().map(zxid);
        let first = zxids.next().flatten();
        first.is_some()
            && zxids.all(|zxid| zxid == first)
            && self.clients.iter().all(|c| c.is_idle())
            && self.one_config()
    }
}

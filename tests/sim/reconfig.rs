//! An ensemble whose membership changes: the configuration files of the simulated servers, the
//! operator who sets servers up, the administrator who asks for reconfigurations.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use ironkeeper::config::launch::Words;
use ironkeeper::config::{Config, QuorumConfig, Role, load};
use ironkeeper::pipeline::node::{NodeSettings, QuorumSettings};
use ironkeeper::server::boot;
use ironkeeper::server::mesh::Members;
use ironkeeper::storage::mem_disk::Unsynced;
use ironkeeper::storage::{MemberFiles, MemberOrder, disk};
use ironkeeper::tree::CONFIG_NODE;
use ironkeeper::wire::counter_of;
use ironkeeper::wire::proto::ReconfigRequest;

use super::knobs::{Fault, Knobs};
use super::trace::trace;
use super::world::{Action, MS, TICK_MS, World};

const CONFIG_FILE: &str = "/conf/zoo.cfg";

/// What a server of the simulated ensemble has for its line.
struct Line {
    id: i64,
    role: Role,
    /// It listens for learners on its second port.
    moved: bool,
    /// Where clients connect is part of the line.
    client: bool,
}

impl Line {
    fn spec(&self) -> String {
        let Self { id, role, .. } = self;
        let quorum = if self.moved { 2_500 + id } else { 2_000 + id };
        let client =
            if self.client { format!(";10.0.0.{id}:{}", client_port(*id)) } else { String::new() };
        format!("10.0.0.{id}:{quorum}:{}:{role}{client}", 3_000 + id)
    }
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "server.{}={}", self.id, self.spec())
    }
}

fn client_port(id: i64) -> i64 {
    5_000 + id
}

/// The membership with which a history begins.
pub fn first_members(knobs: &Knobs) -> QuorumConfig {
    let line = |n: usize| {
        let role = if n <= knobs.voters { Role::Participant } else { Role::Observer };
        let client = knobs.reconfig && !knobs.static_client_port;
        Line { id: n as i64, role, moved: false, client }.to_string()
    };
    let lines: Vec<String> = (1..=knobs.voters + knobs.observers).map(line).collect();
    QuorumConfig::parse(&lines.join("\n"), false).expect("a good configuration")
}

/// With what a server starts.
pub struct Start {
    pub quorum: QuorumSettings,
    /// `None`: the membership never changes.
    pub files: Option<MemberFiles>,
}

impl World {
    // ---- servers and their files -----------------------------------------------------------

    /// What a server's configuration says. One whose files do not have it in the ensemble any more
    /// cannot start: an operator sets it up anew, or waits until that is safe.
    pub fn read_config(&mut self, s: usize) -> Option<Start> {
        let settings = self.servers[s].quorum_settings();
        if !self.knobs.reconfig {
            return Some(Start { quorum: settings, files: None });
        }
        if boot::check_own_id(&self.load_config(s)).is_err() {
            if !self.may_set_up(s) {
                return None;
            }
            self.coverage.locked_out += 1;
            self.set_up(s);
        }
        let config = self.load_config(s);
        let disk = self.servers[s].disk.shared();
        let files = boot::member_files_on(disk, Path::new(CONFIG_FILE), &config);
        let files = files.unwrap_or_else(|e| panic!("server {}: {e}", s + 1));
        let quorum = boot::quorum_settings(&config);
        let quorum = QuorumSettings { election: settings.election, ..quorum };
        Some(Start { quorum, files: Some(files) })
    }

    /// Who is set up as a joiner forgets that it was removed. With others who never heard of that
    /// it could be a quorum of a configuration of old (Java: likewise), so there must be none.
    fn may_set_up(&self, s: usize) -> bool {
        let id = self.servers[s].id;
        let is_voter = |config: &QuorumConfig| config.participants().any(|server| server.id == id);
        let is_behind = |config: &QuorumConfig| config.version < self.members.version;
        let mut others = (0..self.servers.len()).filter(|t| *t != s);
        self.members.servers.contains_key(&id)
            || others.all(|t| {
                let config = self.load_config(t).quorum;
                !is_behind(&config) || !is_voter(&config)
            })
    }

    fn load_config(&self, s: usize) -> Config {
        let disk = self.servers[s].disk.shared();
        let words = Words::sort(&[CONFIG_FILE.into()], &[]);
        load::config_read_by(&words, &|path| disk::read_all(&*disk, path))
            .unwrap_or_else(|e| panic!("server {} cannot read its configuration: {e}", s + 1))
    }

    /// Writes a server's configuration file as an operator does: for a member, with what is in
    /// force; for a joiner with the members that are known, and itself as an observer, which cannot
    /// decide anything.
    pub fn set_up(&mut self, s: usize) {
        let server = &self.servers[s];
        let id = server.id;
        let mut text = format!(
            "tickTime={TICK_MS}\ninitLimit=10\nsyncLimit=5\ndataDir=/data\nreconfigEnabled=true\n\
             standaloneEnabled={}\n",
            self.knobs.standalone
        );
        if self.knobs.static_client_port {
            text += &format!("clientPort={}\n", client_port(id));
        }
        let mut files = Vec::new();
        if self.members.version != 0 && self.members.servers.contains_key(&id) {
            let dynamic = format!("{CONFIG_FILE}.dynamic.{:x}", self.members.version);
            text += &format!("dynamicConfigFile={dynamic}\n");
            files.push((dynamic, self.members.dynamic_file_text(false)));
        } else {
            for (id, spec) in &self.members.servers {
                text += &format!("server.{id}={spec}\n");
            }
        }
        if !self.members.servers.contains_key(&id) {
            let client = !self.knobs.static_client_port;
            let line = Line { id, role: Role::Observer, moved: false, client };
            text += &format!("{line}\n");
        }
        trace!(self.now, "[{}] is set up with {}", s + 1, self.members);
        let disk = server.disk.shared();
        files.push((CONFIG_FILE.into(), text));
        files.push(("/data/myid".into(), id.to_string()));
        for (path, text) in files {
            let path = Path::new(&path);
            disk.create_dir_all(disk::parent(path)).expect("a directory");
            disk::write_atomically(&*disk, path, text.as_bytes()).expect("a file");
        }
    }

    /// The node gives its log an order about its configurations.
    pub fn members_ordered(&mut self, s: usize, order: &MemberOrder) {
        let Some(p) = &mut self.servers[s].process else { return };
        let (inc, leads) = (p.inc, p.leads_since.is_some());
        match order {
            MemberOrder::Propose(config) => {
                p.proposed = Some(config.version);
                if leads && self.strikes() {
                    let most = 2 * self.knobs.link_delay + self.knobs.log_delay;
                    let delay = self.rng.below(most);
                    self.after(delay, Action::Strike { s, inc });
                }
            }
            MemberOrder::Withdraw => p.proposed = None,
            MemberOrder::Activate { config, .. } => self.activated(s, config),
        }
    }

    fn strikes(&mut self) -> bool {
        let may = [Fault::Kill, Fault::PowerCut].iter().any(|f| self.knobs.faults.contains(f));
        self.chaos && may && self.rng.chance(250)
    }

    /// The leader falls in the midst of a reconfiguration.
    pub fn strike(&mut self, s: usize, inc: u64) {
        if self.chaos && self.servers[s].process(inc).is_some() {
            let kept = self.knobs.faults.contains(&Fault::Kill) && self.rng.chance(500);
            let unsynced = if kept { Unsynced::Kept } else { self.some_unsynced() };
            self.crash(s, unsynced);
        }
    }

    fn activated(&mut self, s: usize, config: &Arc<QuorumConfig>) {
        self.checks.activated(s, config);
        if config.version <= self.members.version {
            return;
        }
        self.check_kept_by_quorums(config);
        let old = std::mem::replace(&mut self.members, Arc::clone(config));
        self.coverage.reconfigs += u64::from(counter_of(config.version) != 0);
        let kept = config.servers.values().filter_map(|new| Some((new, old.servers.get(&new.id)?)));
        self.coverage.role_changes += kept.filter(|(new, old)| new.role != old.role).count() as u64;
    }

    /// A configuration comes into force only when quorums of it and of the one before keep it:
    /// whoever leads next learns of it.
    fn check_kept_by_quorums(&self, config: &QuorumConfig) {
        for of in [&*self.members, config] {
            let voters = of.participants().map(|server| server.id as usize - 1);
            let (with, without): (Vec<usize>, Vec<usize>) =
                voters.partition(|s| self.version_kept(*s) >= config.version);
            let version = config.version;
            assert!(
                with.len() > without.len(),
                "{version:#x} is in force and kept by {with:?} only"
            );
        }
    }

    /// The latest version on a server's disk.
    fn version_kept(&self, s: usize) -> i64 {
        let disk = self.servers[s].disk.shared();
        let next = disk::read_all(&*disk, Path::new(&format!("{CONFIG_FILE}.dynamic.next")));
        let next = String::from_utf8(next.unwrap_or_default()).expect("a text");
        let next = QuorumConfig::parse(&next, false).expect("a configuration");
        self.load_config(s).quorum.version.max(next.version)
    }

    // ---- the election mesh -----------------------------------------------------------------

    /// Election links and the port for learners follow the configurations.
    pub fn set_members(&mut self, s: usize, committed: &QuorumConfig, last_seen: &QuorumConfig) {
        let id = self.servers[s].id;
        let Some(p) = &mut self.servers[s].process else { return };
        if let Some(own) = committed.servers.get(&id) {
            p.quorum_port = own.addresses[0].quorum_port;
        }
        let peers: Vec<i64> = Members::new(committed, last_seen, id).peers.into_keys().collect();
        let old = std::mem::replace(&mut p.peers, peers.iter().copied().collect());
        for gone in old.into_iter().filter(|sid| !peers.contains(sid)) {
            self.hang_up(s, gone as usize - 1);
        }
    }

    // ---- the administrator -----------------------------------------------------------------

    /// Every now and then a client asks for another membership.
    pub fn reconfig_timer(&mut self) {
        if !self.chaos {
            return;
        }
        let again = self.rng.range(self.knobs.reconfig_every / 4, 2 * self.knobs.reconfig_every);
        self.after(again.max(MS), Action::Reconfig);
        let request = self.draw_reconfig();
        self.ask_for_reconfig(&request);
    }

    fn draw_reconfig(&mut self) -> ReconfigRequest {
        let last = Arc::clone(&self.members);
        let mut lines: BTreeMap<i64, Line> = BTreeMap::new();
        for (id, spec) in &last.servers {
            let moved = spec.addresses[0].quorum_port > 2_500;
            lines.insert(*id, Line { id: *id, role: spec.role, moved, client: true });
        }
        let (mut joining, mut leaving) = (Vec::new(), Vec::new());
        for id in self.draw_servers() {
            let voters = lines.values().filter(|l| l.role == Role::Participant).count();
            let (line, leaves) = self.draw_change(id, lines.get(&id), voters);
            if leaves {
                leaving.push(id.to_string());
                lines.remove(&id);
            } else {
                joining.push(line.to_string());
                lines.insert(id, line);
            }
        }
        let config_id = match self.rng.below(10) {
            0 => self.rng.below(3) as i64,
            1..=2 => last.version,
            _ => -1,
        };
        let list = |items: Vec<String>| (!items.is_empty()).then(|| items.join(","));
        if self.rng.chance(250) {
            let members = lines.values().map(Line::to_string).collect();
            let (joining, leaving) = (None, None);
            return ReconfigRequest { joining, leaving, new_members: list(members), config_id };
        }
        let (joining, leaving) = (list(joining), list(leaving));
        ReconfigRequest { joining, leaving, new_members: None, config_id }
    }

    /// One to three servers, each once.
    fn draw_servers(&mut self) -> Vec<i64> {
        let count = self.rng.pick(&[1, 1, 1, 2, 2, 3]);
        let mut ids: Vec<i64> = Vec::new();
        for _ in 0..count {
            let id = self.rng.range(1, self.servers.len() as u64) as i64;
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        ids
    }

    /// What becomes of a server; true: it leaves. Somebody stays to vote, and mostly more.
    fn draw_change(&mut self, id: i64, old: Option<&Line>, voters: usize) -> (Line, bool) {
        let is_voter = old.is_some_and(|line| line.role == Role::Participant);
        let moved = old.is_some_and(|line| line.moved) != self.rng.chance(80);
        let fewer = match voters {
            1 => false,
            2 => self.rng.chance(200),
            _ => true,
        };
        let votes = match is_voter {
            true => !fewer || self.rng.chance(200),
            false => self.rng.chance(750),
        };
        let role = if votes { Role::Participant } else { Role::Observer };
        let leaves = old.is_some() && !votes && self.rng.chance(600);
        (Line { id, role, moved, client: true }, leaves)
    }

    // ---- the end ---------------------------------------------------------------------------

    /// The servers of the configuration in force.
    pub fn member_servers(&self) -> impl Iterator<Item = usize> + use<'_> {
        self.members.servers.keys().map(|id| *id as usize - 1)
    }

    /// The members have one configuration, and nothing of it is still on its way to their disks.
    pub fn one_config(&self) -> bool {
        let text = self.members.to_string();
        !self.knobs.reconfig
            || self.member_servers().all(|s| {
                let Some(p) = &self.servers[s].process else { return false };
                let tree = &p.db.read().tree;
                let node = tree.lookup(CONFIG_NODE).and_then(|id| tree.node(id).data());
                p.proposed.is_none() && p.log_is_idle() && node == Some(text.as_bytes())
            })
    }

    /// A restart would find that configuration.
    pub fn check_configs_on_disk(&self) {
        for s in self.member_servers().filter(|_| self.knobs.reconfig) {
            let config = self.load_config(s);
            let (text, last) = (config.quorum.to_string(), self.members.to_string());
            assert_eq!(text, last, "server {} keeps another configuration", s + 1);
            // A crash between the two leaves what came into force among the proposals.
            let proposed = config.last_seen_quorum.map_or(0, |config| config.version);
            assert!(proposed <= self.members.version, "server {} keeps a proposal", s + 1);
        }
    }
}

/// How a server is set that can be reconfigured.
pub fn enable(settings: &mut NodeSettings, standalone: bool) {
    settings.prep.reconfig = true;
    settings.prep.standalone = standalone;
    if let Some(quorum) = &mut settings.quorum {
        quorum.election.reconfig_enabled = true;
    }
}

//! Zab's cores against scripts: every `*.txt` beside this file is a course of events that has gone
//! wrong in some ZooKeeper server, named by its issue, and what the cores put out step by step.
//! Lines without indentation are what happens; the indented ones after each are its outputs.
//! `ZAB_WRITE=1 cargo test --test zab` writes the outputs anew; look at the difference.
//!
//! zxids are `epoch:counter`. Commands:
//!   learner id=2 accepted=1 current=1 last=1:7 [observer]
//!   leader id=3 voters=1,2,3 accepted=1 current=1 last=1:9 [epoch-size=2]
//!   observer-master epoch=2 last=2:5
//!   > KIND zxid [key=value]         a packet from the leader
//!   10 > KIND zxid [key=value]      a packet from the learner of link 10
//!   committed zxid  reconfigured zxid  activated leader  
//!   revalidated session (valid|expired) (observer|client)
//!   accepted-durable  current-durable  tree-ready  logged zxid  tick ms  end
//!   connect link  disconnect link  progress link  propose zxid
//!   found link [disk=zxid..zxid]    what was looked for on disk
//!   elected-by sid,sid  lost sid    whose votes made a leader, and who looks again
//!   plan peer=zxid ring=zxid,zxid last=zxid [disk=zxid..zxid]
//! and those of `election.rs`.

mod election;

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use ironkeeper::config::QuorumConfig;
use ironkeeper::quorum::Election;
use ironkeeper::quorum::leader::{
    Configs, LAST_COUNTER, LeaderCore, LeaderOutput, LeaderSettings, StateSummary,
};
use ironkeeper::quorum::learner::{LearnerCore, LearnerOutput, LearnerSettings, LogState};
use ironkeeper::quorum::observer_master::{
    ObserverMasterCore, ObserverMasterOutput, ObserverMasterSettings,
};
use ironkeeper::quorum::sync_plan::{History, OnDisk, RingView, Source, SyncPlan, sync_plan};
use ironkeeper::wire::quorum::{ForwardedRequest, LearnerInfo, PROTOCOL_VERSION, packet};
use ironkeeper::wire::{
    QuorumPacket, Record, Txn, TxnHeader, TxnRecord, code, counter_of, epoch_of,
};

/// `tickTime` of the scripts' servers, ms; initLimit and syncLimit are 10 and 5.
const TICK_MS: i64 = 100;

fn zxid(text: &str) -> i64 {
    if text == "-1" {
        return -1;
    }
    let (epoch, counter) = text.split_once(':').unwrap_or_else(|| panic!("{text} is no zxid"));
    epoch.parse::<i64>().expect("an epoch") << 32 | counter.parse::<i64>().expect("a counter")
}

fn shown(zxid: i64) -> String {
    match zxid {
        -1 => "-1".into(),
        _ => format!("{}:{}", epoch_of(zxid), counter_of(zxid)),
    }
}

/// The words of a line: positional ones, and `key=value`.
struct Words<'a>(Vec<&'a str>);

impl<'a> Words<'a> {
    fn get(&self, key: &str) -> Option<&'a str> {
        self.0.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    }

    fn number(&self, key: &str) -> i64 {
        let text = self.get(key).unwrap_or_else(|| panic!("{key}= is missing in {:?}", self.0));
        text.parse().expect("a number")
    }

    fn zxid(&self, key: &str) -> i64 {
        zxid(self.get(key).unwrap_or_else(|| panic!("{key}= is missing in {:?}", self.0)))
    }

    fn at(&self, position: usize) -> &'a str {
        self.0.get(position).unwrap_or_else(|| panic!("{:?} is too short", self.0))
    }
}

fn txn(zxid: i64) -> Vec<u8> {
    let header = TxnHeader { client_id: 1, cxid: 1, zxid, time: 0, op: code::DELETE };
    TxnRecord { header, txn: Txn::Delete(format!("/{}", counter_of(zxid))), digest: None }
        .to_bytes()
}

const KINDS: [i32; 19] = {
    let mut kinds = [0; 19];
    let mut n = 0;
    while n < kinds.len() {
        kinds[n] = n as i32 + 1;
        n += 1;
    }
    kinds
};

/// The packet that the words from `start` on describe.
fn read_packet(words: &Words<'_>, start: usize) -> QuorumPacket {
    let name = words.at(start);
    let kind = KINDS.into_iter().find(|kind| packet::name(*kind) == name);
    let kind = kind.unwrap_or_else(|| panic!("{name} is no packet"));
    let at = match words.0.get(start + 1) {
        Some(word) if word.contains(':') && !word.contains('=') => zxid(word),
        _ => -1,
    };
    match kind {
        packet::PROPOSAL | packet::INFORM => QuorumPacket::new(kind, at, txn(at)),
        packet::LEADERINFO => QuorumPacket::new(kind, at, PROTOCOL_VERSION.to_be_bytes()),
        packet::FOLLOWERINFO | packet::OBSERVERINFO => {
            let sid = words.number("sid");
            let info = LearnerInfo { sid, protocol_version: PROTOCOL_VERSION, config_version: 0 };
            QuorumPacket::new(kind, at, info.to_bytes())
        }
        packet::ACKEPOCH => {
            let epoch = words.number("epoch") as i32;
            QuorumPacket::new(kind, at, epoch.to_be_bytes())
        }
        packet::REVALIDATE => {
            let mut data = [0; 12];
            data[7] = words.get("session").map_or(0, |n| n.parse().expect("a small number"));
            QuorumPacket::new(kind, at, data)
        }
        packet::REQUEST => {
            let op = words.number("op") as i32;
            let request = ForwardedRequest { session_id: 1, cxid: 1, op, body: &[] };
            QuorumPacket::new(kind, at, request.to_bytes())
        }
        packet::PING => QuorumPacket::new(kind, at, []),
        _ => QuorumPacket::bare(kind, at),
    }
}

fn show_packet(packet: &QuorumPacket) -> String {
    let mut text = format!("{} {}", packet::name(packet.kind), shown(packet.zxid));
    if packet.kind == packet::ACKEPOCH {
        let epoch: i32 = packet.decode().expect("an epoch");
        let _ = write!(text, " epoch={epoch}");
    }
    text
}

fn show_learner(output: &LearnerOutput) -> String {
    match output {
        LearnerOutput::Send(packet) => format!("send {}", show_packet(packet)),
        LearnerOutput::Pong { zxid } => format!("pong {}", shown(*zxid)),
        LearnerOutput::SetAcceptedEpoch(epoch) => format!("keep accepted epoch {epoch}"),
        LearnerOutput::SetCurrentEpoch(epoch) => format!("keep current epoch {epoch}"),
        LearnerOutput::Truncate { zxid } => format!("truncate {}", shown(*zxid)),
        LearnerOutput::InstallSnapshot { zxid } => format!("install snapshot {}", shown(*zxid)),
        LearnerOutput::Append { zxid, .. } => format!("append {}", shown(*zxid)),
        LearnerOutput::Commit(record, _) => format!("apply {}", shown(record.header.zxid)),
        LearnerOutput::Serve { epoch } => format!("serve in epoch {epoch}"),
        LearnerOutput::StepDown { reason } => format!("step down: {reason}"),
        other => format!("{other:?}"),
    }
}

fn show_search(link: u64, peer: i64) -> String {
    format!("find the history of {link} from {}", shown(peer))
}

fn show_sync(link: u64, peer: i64, disk: Option<OnDisk>) -> String {
    let disk = disk.map(|d| format!(", on disk {}..{}", shown(d.floor), shown(d.upto)));
    format!("synchronize {link} from {}{}", shown(peer), disk.unwrap_or_default())
}

fn show_leader(output: &LeaderOutput) -> String {
    match output {
        LeaderOutput::Send { link, packet } => format!("send {link} {}", show_packet(packet)),
        LeaderOutput::Close { link, reason } => format!("close {link}: {reason}"),
        LeaderOutput::SetAcceptedEpoch(epoch) => format!("keep accepted epoch {epoch}"),
        LeaderOutput::SetCurrentEpoch(epoch) => format!("keep current epoch {epoch}"),
        LeaderOutput::FindHistory { link, peer } => show_search(*link, *peer),
        LeaderOutput::Synchronize { link, peer, disk, .. } => show_sync(*link, *peer, *disk),
        LeaderOutput::Established { epoch } => format!("established in epoch {epoch}"),
        LeaderOutput::Commit { zxid } => format!("apply up to {}", shown(*zxid)),
        LeaderOutput::StepDown { reason } => format!("step down: {reason}"),
        other => format!("{other:?}"),
    }
}

fn show_observer_master(output: &ObserverMasterOutput) -> String {
    match output {
        ObserverMasterOutput::Send { link, packet } => {
            format!("send {link} {}", show_packet(packet))
        }
        ObserverMasterOutput::Close { link, reason } => format!("close {link}: {reason}"),
        ObserverMasterOutput::FindHistory { link, peer } => show_search(*link, *peer),
        ObserverMasterOutput::Synchronize { link, peer, disk, .. } => {
            show_sync(*link, *peer, *disk)
        }
        ObserverMasterOutput::Forward(packet) => format!("forward {}", show_packet(packet)),
        ObserverMasterOutput::ForwardSync { link, packet } => {
            format!("forward {}, a sync of {link}", show_packet(packet))
        }
        ObserverMasterOutput::Touch(sessions) => format!("touch {sessions:?}"),
    }
}

/// What a script is about.
enum Subject {
    Nothing,
    ObserverMaster(ObserverMasterCore),
    Learner(LearnerCore),
    Leader(LeaderCore),
    Election(Box<Election>),
}

struct Script {
    subject: Subject,
    now: i64,
}

impl Script {
    fn step(&mut self, line: &str) -> Vec<String> {
        let words = Words(line.split_whitespace().collect());
        match words.at(0) {
            "learner" => self.new_learner(&words),
            "leader" => self.new_leader(&words),
            "observer-master" => {
                self.subject = Subject::ObserverMaster(new_observer_master(&words, self.now));
                Vec::new()
            }
            "election" => {
                let (election, shown) = election::new(&words, self.now);
                self.subject = Subject::Election(Box::new(election));
                shown
            }
            "plan" => vec![plan(&words)],
            "tick" => {
                self.now += words.at(1).parse::<i64>().expect("milliseconds");
                self.event(&words)
            }
            _ => self.event(&words),
        }
    }

    fn new_learner(&mut self, words: &Words<'_>) -> Vec<String> {
        let settings = LearnerSettings {
            my_id: words.number("id"),
            observer: words.0.contains(&"observer"),
            tick_ms: TICK_MS,
            init_limit: 10,
            sync_limit: 5,
            config_version: 0,
        };
        let log = LogState {
            accepted_epoch: words.number("accepted"),
            current_epoch: words.number("current"),
            last_logged: words.zxid("last"),
        };
        let mut out = Vec::new();
        self.subject = Subject::Learner(LearnerCore::new(settings, log, self.now, &mut out));
        out.iter().map(show_learner).collect()
    }

    fn new_leader(&mut self, words: &Words<'_>) -> Vec<String> {
        let settings = LeaderSettings {
            my_id: words.number("id"),
            tick_ms: TICK_MS,
            init_limit: 10,
            sync_limit: 5,
            reconfig_enabled: false,
            sync_limits: ironkeeper::quorum::leader::SyncLimits::default(),
            last_counter: words
                .get("epoch-size")
                .map_or(LAST_COUNTER, |n| n.parse().expect("a number")),
        };
        let config = config(words.get("voters").expect("voters="));
        let configs = Configs { committed: Arc::clone(&config), last_seen: config };
        let mine =
            StateSummary { current_epoch: words.number("current"), last_zxid: words.zxid("last") };
        let (accepted, mut out) = (words.number("accepted"), Vec::new());
        let core = LeaderCore::new(settings, configs, accepted, mine, self.now, &mut out);
        self.subject = Subject::Leader(core);
        out.iter().map(show_leader).collect()
    }

    fn event(&mut self, words: &Words<'_>) -> Vec<String> {
        match &mut self.subject {
            Subject::Nothing => panic!("{:?}: there is no server yet", words.0),
            Subject::Learner(core) => {
                let mut out = Vec::new();
                let mut more = learner_event(core, words, self.now, &mut out);
                let mut shown: Vec<String> = out.iter().map(show_learner).collect();
                shown.append(&mut more);
                shown
            }
            Subject::Election(core) => election::event(core, words, self.now),
            Subject::ObserverMaster(core) => {
                let mut out = Vec::new();
                observer_master_event(core, words, self.now, &mut out);
                out.iter().map(show_observer_master).collect()
            }
            Subject::Leader(core) => {
                let mut out = Vec::new();
                leader_event(core, words, self.now, &mut out);
                out.iter().map(show_leader).collect()
            }
        }
    }
}

fn config(voters: &str) -> Arc<QuorumConfig> {
    let line = |n: &str| format!("server.{n}=h{n}:2888:3888:participant\n");
    let text: String = voters.split(',').map(line).collect();
    Arc::new(QuorumConfig::parse(&(text + "version=0"), false).expect("a configuration"))
}

fn new_observer_master(words: &Words<'_>, now: i64) -> ObserverMasterCore {
    let settings = ObserverMasterSettings {
        tick_ms: TICK_MS,
        init_limit: 10,
        sync_limit: 5,
        sync_limits: ironkeeper::quorum::leader::SyncLimits::default(),
    };
    let (epoch, last) = (words.number("epoch"), words.zxid("last"));
    ObserverMasterCore::new(settings, epoch, config("1,2,3"), last, now)
}

fn observer_master_event(
    core: &mut ObserverMasterCore,
    words: &Words<'_>,
    now: i64,
    out: &mut Vec<ObserverMasterOutput>,
) {
    let number = |position| words.at(position).parse::<i64>().expect("a number");
    match words.at(0) {
        "connect" => core.connected(number(1) as u64, now),
        "disconnect" => core.disconnected(number(1) as u64),
        "progress" => core.progress(number(1) as u64, now),
        "committed" | "reconfigured" => {
            let (at, reconfig) = (zxid(words.at(1)), words.at(0) == "reconfigured");
            core.committed(at, txn(at).into(), reconfig, out);
        }
        "activated" => core.activated(number(1), out),
        "found" => core.history_found(number(1) as u64, on_disk(words), out),
        "revalidated" => {
            let by_observer = core.revalidated(number(1), words.at(2) == "valid", out);
            assert_eq!(by_observer, words.at(3) == "observer", "who has asked: {:?}", words.0);
        }
        "tick" => core.tick(now, out),
        _ if words.at(1) == ">" => core.packet(number(0) as u64, read_packet(words, 2), now, out),
        other => panic!("{other} is nothing that happens to an observer master"),
    }
}

fn learner_event(
    core: &mut LearnerCore,
    words: &Words<'_>,
    now: i64,
    out: &mut Vec<LearnerOutput>,
) -> Vec<String> {
    match words.at(0) {
        ">" => core.packet(read_packet(words, 1), now, out),
        "accepted-durable" => core.accepted_epoch_durable(out),
        "current-durable" => core.current_epoch_durable(out),
        "tree-ready" => core.tree_ready(out),
        "logged" => core.logged(zxid(words.at(1)), out),
        "tick" => core.tick(now, out),
        "end" => {
            return vec![match core.tree_in_doubt() {
                true => "memory must be loaded from disk".into(),
                false => "memory is as the log".into(),
            }];
        }
        other => panic!("{other} is nothing that happens to a learner"),
    }
    Vec::new()
}

fn leader_event(core: &mut LeaderCore, words: &Words<'_>, now: i64, out: &mut Vec<LeaderOutput>) {
    let link = |position| words.at(position).parse().expect("a link");
    match words.at(0) {
        "connect" => core.connected(link(1), now),
        "disconnect" => core.disconnected(link(1), out),
        "progress" => core.progress(link(1), now),
        "propose" => {
            let at = zxid(words.at(1));
            core.propose(at, txn(at).into(), out);
        }
        "logged" => core.logged(zxid(words.at(1)), out),
        "accepted-durable" => core.accepted_epoch_durable(now, out),
        "current-durable" => core.current_epoch_durable(now, out),
        "tick" => core.tick(now, out),
        "sync" => core.sync(link(1), out),
        "elected-by" => {
            let sids = words.at(1).split(',').map(|sid| sid.parse().expect("a sid"));
            core.elected_by(sids.collect());
        }
        "lost" => _ = core.supporter_lost(words.at(1).parse().expect("a sid"), out),
        "found" => core.history_found(link(1), on_disk(words), out),
        _ if words.at(1) == ">" => core.packet(link(0), read_packet(words, 2), now, out),
        other => panic!("{other} is nothing that happens to a leader"),
    }
}

fn on_disk(words: &Words<'_>) -> Option<OnDisk> {
    let (floor, upto) = words.get("disk")?.split_once("..").expect("floor..upto");
    Some(OnDisk { floor: zxid(floor), upto: zxid(upto) })
}

fn plan(words: &Words<'_>) -> String {
    let ring: Vec<i64> =
        words.get("ring").into_iter().flat_map(|r| r.split(',')).map(zxid).collect();
    let zxid_at = |i: usize| ring[i];
    let view = RingView { len: ring.len(), zxid_at: &zxid_at };
    let history = History { ring: &view, last: words.zxid("last"), disk: on_disk(words) };
    let send = |from| match from {
        Source::Disk { after, upto } => {
            format!("send from disk after {} up to {}, then the ring", shown(after), shown(upto))
        }
        Source::Ring(n) => match ring.get(n) {
            Some(zxid) => format!("send from {}", shown(*zxid)),
            None => "send nothing".into(),
        },
    };
    match sync_plan(words.zxid("peer"), history) {
        SyncPlan::Diff { from } => format!("DIFF, {}", send(from)),
        SyncPlan::Trunc { zxid, from } => format!("TRUNC to {}, {}", shown(zxid), send(from)),
        SyncPlan::Snap => "SNAP".into(),
    }
}

/// The script with the outputs that there are.
fn play(text: &str) -> String {
    let mut script = Script { subject: Subject::Nothing, now: 0 };
    let mut played = String::new();
    for line in text.lines().filter(|line| !line.starts_with("  ")) {
        let _ = writeln!(played, "{line}");
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        for output in script.step(line) {
            let _ = writeln!(played, "  {output}");
        }
    }
    played
}

#[test]
fn zab_scripts() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/zab");
    let mut scripts = 0;
    let mut wrong = Vec::new();
    for entry in fs::read_dir(&dir).expect("tests/zab") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|e| e != "txt") {
            continue;
        }
        scripts += 1;
        let text = fs::read_to_string(&path).expect("a script");
        let played = play(&text);
        if std::env::var("ZAB_WRITE").is_ok() {
            fs::write(&path, &played).expect("a writable script");
        } else if played != text {
            wrong.push(format!("{}:\n{played}", path.display()));
        }
    }
    assert!(scripts > 10, "{scripts} scripts in {}", dir.display());
    assert!(wrong.is_empty(), "now plays like this:\n{}", wrong.join("\n"));
}

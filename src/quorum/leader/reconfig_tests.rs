//! A leader and the configurations of its ensemble: the first version, a reconfiguration that a
//! leader finds begun, joint quorums, who is appointed.

use std::collections::BTreeMap;

use super::*;
use crate::wire::Record;
use crate::wire::quorum::{LearnerInfo, PROTOCOL_VERSION};

const ME: i64 = 3;
const TICK: i64 = 100;

fn config(servers: &str, version: i64) -> Arc<QuorumConfig> {
    let line = |word: &str| {
        let role = if word.ends_with('o') { "observer" } else { "participant" };
        let id = word.trim_end_matches(['o', 'm']);
        // "m": moved to another quorum port.
        let port = if word.ends_with('m') { 9 } else { 1 };
        format!("server.{id}=h{id}:{port}:2:{role}\n")
    };
    let text: String = servers.split(' ').map(line).collect();
    Arc::new(QuorumConfig::parse(&format!("{text}version={version:x}"), false).unwrap())
}

/// A leader and what it has put out.
struct Scene {
    core: LeaderCore,
    out: Vec<LeaderOutput>,
}

impl Scene {
    fn new(committed: &Arc<QuorumConfig>, last_seen: &Arc<QuorumConfig>) -> Self {
        let settings = LeaderSettings {
            my_id: ME,
            tick_ms: TICK,
            init_limit: 10,
            sync_limit: 5,
            reconfig_enabled: true,
            sync_limits: SyncLimits::default(),
            last_counter: LAST_COUNTER,
        };
        let configs =
            Configs { committed: Arc::clone(committed), last_seen: Arc::clone(last_seen) };
        let mine = StateSummary { current_epoch: 0, last_zxid: 0 };
        let mut out = Vec::new();
        let core = LeaderCore::new(settings, configs, 0, mine, 0, &mut out);
        Self { core, out }
    }

    /// A leader of a configuration that has its version, with these followers.
    fn leading(committed: &Arc<QuorumConfig>, followers: &[i64]) -> Self {
        let mut scene = Self::new(committed, committed);
        scene.follow(followers);
        assert!(scene.core.is_established());
        scene.out.clear();
        scene
    }

    fn packet(&mut self, sid: i64, packet: QuorumPacket) {
        self.core.packet(sid as LinkId, packet, 0, &mut self.out);
        // Nothing is on disk.
        let wants = |o: &LeaderOutput| match o {
            LeaderOutput::FindHistory { link, .. } => Some(*link),
            _ => None,
        };
        let links: Vec<LinkId> = self.out.iter().filter_map(wants).collect();
        links.into_iter().for_each(|link| self.core.history_found(link, None, &mut self.out));
    }

    fn ack(&mut self, sid: i64, zxid: i64) {
        self.packet(sid, QuorumPacket::bare(packet::ACK, zxid));
    }

    /// Servers connect and go all the way, as far as the leader lets them. Link ids are sids.
    fn follow(&mut self, sids: &[i64]) {
        self.join(sids, packet::FOLLOWERINFO);
    }

    fn observe(&mut self, sid: i64) {
        self.join(&[sid], packet::OBSERVERINFO);
    }

    fn join(&mut self, sids: &[i64], kind: i32) {
        for &sid in sids {
            self.core.connected(sid as LinkId, 0);
            let info = LearnerInfo { sid, protocol_version: PROTOCOL_VERSION, config_version: 0 };
            self.packet(sid, QuorumPacket::new(kind, 0, info.to_bytes()));
        }
        self.core.accepted_epoch_durable(0, &mut self.out);
        for &sid in sids {
            let epoch = 0i32.to_be_bytes().to_vec();
            self.packet(sid, QuorumPacket::new(packet::ACKEPOCH, 0, epoch));
        }
        for &sid in sids {
            self.ack(sid, epoch_start(1));
        }
        self.core.current_epoch_durable(0, &mut self.out);
    }

    fn propose(&mut self, zxid: i64) {
        self.core.propose(zxid, [].into(), &mut self.out);
    }

    /// Who was appointed when the configuration came into force.
    fn activated(&self) -> Option<(i64, i64)> {
        self.out.iter().find_map(|output| match output {
            LeaderOutput::Activate { config, designated_leader } => {
                Some((config.version, *designated_leader))
            }
            _ => None,
        })
    }

    fn committed(&self) -> i64 {
        self.core.last_committed
    }

    fn newleader_text(&self) -> String {
        let newleader = self.out.iter().rev().find_map(|output| match output {
            LeaderOutput::Send { packet, .. } if packet.kind == packet::NEWLEADER => Some(packet),
            _ => None,
        });
        String::from_utf8(newleader.unwrap().payload().to_vec()).unwrap()
    }
}

#[test]
fn who_is_synchronised_counts_by_its_role() {
    let mut scene = Scene::leading(&config("1 2 3 4o", 5), &[1]);
    assert_eq!(scene.core.synced_counts(), (1, 0, 0));
    // 4 and 5 follow without a vote, 6 has not come so far; 7 observes.
    scene.follow(&[2, 4, 5]);
    scene.core.connected(6, 0);
    scene.observe(7);
    assert_eq!(scene.core.synced_counts(), (2, 2, 1));
    scene.core.disconnected(4, &mut scene.out);
    assert_eq!(scene.core.synced_counts(), (2, 1, 1));
}

#[test]
fn the_first_leader_gives_the_configuration_its_version() {
    let unversioned = config("1 2 3", 0);
    let mut scene = Scene::new(&unversioned, &unversioned);
    scene.follow(&[1]);
    let versioned = config("1 2 3", epoch_start(1));
    let last_seen =
        scene.out.iter().position(|o| *o == LeaderOutput::LastSeenConfig(Arc::clone(&versioned)));
    let epoch = scene.out.iter().position(|o| *o == LeaderOutput::SetAcceptedEpoch(1));
    assert!(last_seen.unwrap() < epoch.unwrap(), "kept before anything rests on it");
    assert_eq!(scene.newleader_text(), versioned.to_string());
    assert_eq!(scene.activated(), Some((epoch_start(1), ME)));
    assert_eq!(scene.core.verifier.version(), epoch_start(1));
}

#[test]
fn without_reconfiguration_the_version_stays() {
    let unversioned = config("1 2 3", 0);
    let mut scene = Scene::new(&unversioned, &unversioned);
    scene.core.settings.reconfig_enabled = false;
    scene.follow(&[1]);
    assert!(scene.core.is_established());
    assert_eq!((scene.activated(), scene.newleader_text()), (None, unversioned.to_string()));
}

#[test]
fn a_leader_completes_the_reconfiguration_that_it_finds() {
    // 2 leaves, 4 and 5 come: NEWLEADER needs quorums of both.
    let (old, new) = (config("1 2 3", 5), config("1 3 4 5", 7));
    let mut scene = Scene::new(&old, &new);
    scene.follow(&[2]);
    assert!(!scene.core.is_established());
    assert_eq!(scene.newleader_text(), new.to_string());
    scene.follow(&[1]);
    assert!(!scene.core.is_established(), "1 and 3 are no quorum of four");
    scene.follow(&[4]);
    assert!(scene.core.is_established());
    assert_eq!(scene.activated(), Some((7, ME)));
}

#[test]
fn a_leader_that_is_to_go_appoints_another_at_once() {
    let mut scene = Scene::new(&config("1 2 3", 5), &config("1 2", 7));
    scene.follow(&[1, 2]);
    let (version, appointed) = scene.activated().unwrap();
    assert!(version == 7 && [1, 2].contains(&appointed));
    // It leads on, and commits nothing.
    let first = epoch_start(1) + 1;
    scene.propose(first);
    scene.core.logged(first, &mut scene.out);
    scene.ack(1, first);
    scene.ack(2, first);
    assert_eq!(scene.committed(), epoch_start(1));
    // When too few follow, it leaves.
    scene.core.disconnected(1, &mut scene.out);
    assert!(matches!(scene.out.last(), Some(LeaderOutput::StepDown { .. })), "{:?}", scene.out);
}

#[test]
fn from_the_reconfiguration_on_both_quorums_count() {
    let old = config("1 2 3", 5);
    let mut scene = Scene::leading(&old, &[1, 2]);
    scene.follow(&[4, 5]);
    let z = epoch_start(1);
    scene.propose(z + 1);
    scene.propose(z + 2);
    scene.core.reconfigure(config("3 4 5", z + 2));
    scene.propose(z + 3);
    // What went before needs the old one only.
    scene.core.logged(z + 3, &mut scene.out);
    scene.ack(1, z + 3);
    assert_eq!((scene.committed(), scene.activated()), (z + 1, None));
    // The new one's quorum is there, and takes what came after with it.
    scene.ack(4, z + 2);
    assert_eq!((scene.committed(), scene.activated()), (z + 2, Some((z + 2, ME))));
    scene.ack(2, z + 3);
    assert_eq!(scene.committed(), z + 2, "2 has no vote any more");
    scene.ack(5, z + 3);
    assert_eq!(scene.committed(), z + 3);
}

#[test]
fn learners_are_told_before_later_commits_and_each_in_its_way() {
    let mut scene = Scene::leading(&config("1 2 3 4o", 5), &[1, 2]);
    scene.core.connected(4, 0);
    let info = LearnerInfo { sid: 4, protocol_version: PROTOCOL_VERSION, config_version: 5 };
    scene.packet(4, QuorumPacket::new(packet::OBSERVERINFO, 0, info.to_bytes()));
    scene.packet(4, QuorumPacket::new(packet::ACKEPOCH, 0, 0i32.to_be_bytes().to_vec()));
    scene.ack(4, epoch_start(1));
    scene.out.clear();
    let z = epoch_start(1);
    scene.propose(z + 1);
    scene.core.reconfigure(config("1 2 3", z + 1));
    scene.core.logged(z + 1, &mut scene.out);
    scene.ack(1, z + 1);
    let mut kinds = BTreeMap::new();
    for output in &scene.out {
        match output {
            LeaderOutput::Send { link, packet } if packet.kind != packet::PROPOSAL => {
                kinds.insert(*link, packet.kind);
            }
            _ => {}
        }
    }
    let commit = packet::COMMIT_AND_ACTIVATE;
    let expected = BTreeMap::from([(1, commit), (2, commit), (4, packet::INFORM_AND_ACTIVATE)]);
    assert_eq!(kinds, expected);
}

#[test]
fn who_is_appointed() {
    // New configuration; what 1 and 2 acknowledged beyond the reconfiguration; who is to lead.
    let z = epoch_start(1);
    for (new, acked_by_1, acked_by_2, expected) in [
        ("1 2 3", 0, 0, ME),
        ("1 2 3 4", 0, 0, ME),
        ("1 2", 0, 1, 2),
        ("1 2", 1, 0, 1),
        ("1 2 3o", 1, 0, 1),
        ("1 2 3m", 0, 1, 2),
        ("1 2o 3m", 0, 1, 1),
    ] {
        let mut scene = Scene::leading(&config("1 2 3", 5), &[1, 2]);
        scene.propose(z + 1);
        scene.core.reconfigure(config(new, z + 1));
        scene.propose(z + 2);
        // Whoever is ahead speaks first: the last ack is the one that makes the quorum.
        let mut acks = [(acked_by_1, 1), (acked_by_2, 2)];
        acks.sort_by_key(|(ahead, _)| -ahead);
        for (ahead, sid) in acks {
            scene.ack(sid, z + 1 + ahead);
        }
        scene.core.logged(z + 1, &mut scene.out);
        if new.contains('4') {
            assert_eq!(scene.activated(), Some((z + 1, ME)), "3 of 4 have it");
            continue;
        }
        assert_eq!(scene.activated(), Some((z + 1, expected)), "{new}");
    }
}

#[test]
fn a_quorum_must_follow_before_it_may_be_asked_for() {
    let scene = Scene::leading(&config("1 2 3", 5), &[1]);
    for (new, expected) in [("1 3", true), ("1 2 3", true), ("2 3", false), ("3 4 5", false)] {
        let verifier = QuorumVerifier::new(config(new, 9));
        assert_eq!(scene.core.is_synced_quorum(&verifier), expected, "{new}");
    }
}

#[test]
fn who_has_a_later_configuration_is_sent_away() {
    let mut scene = Scene::leading(&config("1 2 3", 5), &[1]);
    scene.core.connected(2, 0);
    let info = LearnerInfo { sid: 2, protocol_version: PROTOCOL_VERSION, config_version: 6 };
    scene.packet(2, QuorumPacket::new(packet::FOLLOWERINFO, 0, info.to_bytes()));
    assert!(matches!(&scene.out[..], [LeaderOutput::Close { link: 2, .. }]), "{:?}", scene.out);
}

#[test]
fn the_oracle_stands_in_for_the_one_who_is_gone() {
    let mut scene = Scene::leading(&config("2 3", 5), &[2]);
    let z = epoch_start(1);
    scene.propose(z + 1);
    scene.core.logged(z + 1, &mut scene.out);
    scene.core.set_oracle(Some(true), 0, &mut scene.out);
    assert_eq!(scene.committed(), z, "the follower is there: it has to agree");
    scene.core.disconnected(2, &mut scene.out);
    scene.core.set_oracle(Some(false), 0, &mut scene.out);
    assert_eq!(scene.committed(), z);
    scene.core.set_oracle(Some(true), 0, &mut scene.out);
    assert_eq!(scene.committed(), z + 1);
    // Three servers do not ask.
    let mut scene = Scene::leading(&config("1 2 3", 5), &[2]);
    scene.core.disconnected(2, &mut scene.out);
    scene.propose(z + 1);
    scene.core.logged(z + 1, &mut scene.out);
    scene.core.set_oracle(Some(true), 0, &mut scene.out);
    assert_eq!(scene.committed(), z);
}

//! A learner and configurations: what is proposed is kept before it is logged, what is activated
//! is told once it is committed (Q-75 … Q-77).

use super::*;
use crate::wire::txn::{SetDataTxn, TxnHeader};

const TEXT: &str = "server.1=h:1:2:participant\nversion=100000001";
const FIRST: i64 = 0x1_0000_0001;

fn txn(zxid: i64, txn: &Txn) -> Vec<u8> {
    let mut bytes = Vec::new();
    let header = TxnHeader { client_id: 7, cxid: 1, zxid, time: 0, op: txn.op() };
    header.write(&mut bytes);
    txn.write_body(&mut bytes);
    bytes
}

fn reconfig(zxid: i64) -> Vec<u8> {
    let (path, data) = ("/zookeeper/config".to_owned(), Some(TEXT.as_bytes().into()));
    txn(zxid, &Txn::Reconfig(SetDataTxn { path, data, version: -1 }))
}

/// A learner that serves.
struct Scene {
    core: LearnerCore,
    out: Vec<LearnerOutput>,
}

impl Scene {
    fn new(observer: bool, newleader: &str) -> Self {
        let settings = LearnerSettings {
            my_id: 2,
            observer,
            tick_ms: 100,
            init_limit: 10,
            sync_limit: 5,
            config_version: 0,
        };
        let log = LogState { accepted_epoch: 0, current_epoch: 0, last_logged: 0 };
        let mut out = Vec::new();
        let core = LearnerCore::new(settings, log, 0, &mut out);
        let mut scene = Self { core, out };
        let version = PROTOCOL_VERSION.to_be_bytes().to_vec();
        scene.packet(QuorumPacket::new(packet::LEADERINFO, epoch_start(1), version));
        scene.core.accepted_epoch_durable(&mut scene.out);
        scene.packet(QuorumPacket::bare(packet::DIFF, 0));
        let newleader = newleader.as_bytes().to_vec();
        scene.packet(QuorumPacket::new(packet::NEWLEADER, epoch_start(1), newleader));
        scene.core.current_epoch_durable(&mut scene.out);
        scene.packet(QuorumPacket::bare(packet::UPTODATE, -1));
        assert!(scene.core.is_serving(), "{:?}", scene.out);
        scene
    }

    fn packet(&mut self, packet: QuorumPacket) {
        self.core.packet(packet, 0, &mut self.out);
    }

    /// What comes out of these packets, by name; texts and leaders with it.
    fn told(&mut self, packets: Vec<QuorumPacket>) -> Vec<String> {
        self.out.clear();
        packets.into_iter().for_each(|packet| self.packet(packet));
        let name = |output: &LearnerOutput| match output {
            LearnerOutput::LastSeenConfig(text) => format!("seen {}", text == TEXT),
            LearnerOutput::Append { zxid, .. } => format!("append {zxid:x}"),
            LearnerOutput::Commit(record, _) => format!("commit {:x}", record.header.zxid),
            LearnerOutput::Activate { config, designated_leader } => {
                format!("activate {} {designated_leader}", config == TEXT)
            }
            LearnerOutput::StepDown { .. } => "step down".to_owned(),
            other => format!("{other:?}"),
        };
        self.out.iter().map(name).collect()
    }
}

fn activation(zxid: i64) -> QuorumPacket {
    QuorumPacket::new(packet::COMMIT_AND_ACTIVATE, zxid, 5i64.to_be_bytes().to_vec())
}

#[test]
fn a_follower_keeps_what_is_proposed_before_it_logs_it() {
    let mut scene = Scene::new(false, "");
    let proposal = QuorumPacket::new(packet::PROPOSAL, FIRST, reconfig(FIRST));
    assert_eq!(scene.told(vec![proposal]), ["seen true", "append 100000001"]);
    let told = scene.told(vec![activation(FIRST)]);
    assert_eq!(told, ["commit 100000001", "activate true 5"]);
    // Once is enough.
    assert_eq!(scene.told(vec![activation(FIRST)]), [""; 0]);
}

#[test]
fn an_observer_gets_it_all_at_once() {
    let mut scene = Scene::new(true, "");
    let data = crate::wire::quorum::write_inform_and_activate(4, &reconfig(FIRST));
    let packet = QuorumPacket::new(packet::INFORM_AND_ACTIVATE, FIRST, data);
    let expected = ["seen true", "append 100000001", "commit 100000001", "activate true 4"];
    assert_eq!(scene.told(vec![packet]), expected);
}

#[test]
fn only_a_reconfiguration_can_be_activated() {
    let mut scene = Scene::new(false, "");
    let other = QuorumPacket::new(packet::PROPOSAL, FIRST, txn(FIRST, &Txn::Error(-1)));
    let told = scene.told(vec![other, activation(FIRST)]);
    assert_eq!(told, ["append 100000001", "step down"]);
    let short = QuorumPacket::new(packet::COMMIT_AND_ACTIVATE, FIRST, vec![0; 3]);
    assert_eq!(Scene::new(false, "").told(vec![short]), ["step down"]);
}

#[test]
fn newleader_brings_the_last_configuration_before_its_acknowledgement() {
    let scene = Scene::new(false, TEXT);
    let at = |wanted: &LearnerOutput| scene.out.iter().position(|output| output == wanted);
    let seen = at(&LearnerOutput::LastSeenConfig(TEXT.to_owned())).unwrap();
    let epoch = at(&LearnerOutput::SetCurrentEpoch(1)).unwrap();
    let ack = QuorumPacket::bare(packet::ACK, epoch_start(1));
    assert!(seen < epoch && epoch < at(&LearnerOutput::Send(ack)).unwrap());
}

#[test]
fn a_configuration_whose_transaction_is_not_committed_is_not_in_force_by_newleader() {
    // Of the epoch's first transaction: proposed when this server came back.
    let upto = |scene: &Scene| {
        scene.out.iter().find_map(|output| match output {
            LearnerOutput::ActivateUpTo { config, upto } if config == TEXT => Some(*upto),
            _ => None,
        })
    };
    assert_eq!(upto(&Scene::new(false, TEXT)), Some(epoch_start(1)));
    assert_eq!(upto(&Scene::new(false, "")), None);
}

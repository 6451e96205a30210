//! Those who learn from this server – from a leader, or from a follower that is an observer
//! master – and what is alike for both: who they are, how far they have come, what they say, how
//! many of them are brought up to date at a time. Pure.
//! Java: `LearnerMaster`, `LearnerHandler`, `LearnerSyncThrottler`.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::wire::quorum::{
    ForwardedRequest, LearnerInfo, PROTOCOL_VERSION, QuorumPacket, SessionTouch, packet,
    read_touches,
};
use crate::wire::{counter_of, epoch_start};

/// A learner's connection; never used again while the process lives.
pub type LinkId = u64;

/// How far a learner has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Connected; its FOLLOWERINFO or OBSERVERINFO is awaited.
    Connected,
    /// Its info is here; the new epoch is not decided or not durable yet.
    AwaitsEpoch,
    /// LEADERINFO is sent, ACKEPOCH awaited.
    AcksEpoch,
    /// ACKEPOCH is here. A leader awaits a quorum of them, an observer master that it has the
    /// learner's last logged zxid, `peer`, itself.
    AwaitsSync { peer: i64 },
    /// What the logs on disk have for it is being looked for.
    AwaitsHistory { peer: i64 },
    /// The sync packets and NEWLEADER are queued; its ACK is awaited.
    Syncing,
    /// It acknowledged NEWLEADER; a quorum of such is awaited.
    Synced,
    /// UPTODATE is sent.
    Active,
}

#[derive(Debug)]
pub(super) struct Learner {
    pub sid: i64,
    pub observer: bool,
    pub stage: Stage,
    /// Last packet from it, ms.
    pub heard: i64,
    /// Everything up to this zxid is durable there.
    pub acked: i64,
    /// Oldest proposal sent and not acknowledged: zxid and when it was noted, ms.
    pub unacked: Option<(i64, i64)>,
    /// How it is or was synchronised.
    pub sync: Option<SyncKind>,
}

pub(super) type Learners = BTreeMap<LinkId, Learner>;

impl Learner {
    /// Somebody who has connected and said nothing yet.
    pub fn connected(now: i64) -> Self {
        Self {
            sid: i64::MIN,
            observer: false,
            stage: Stage::Connected,
            heard: now,
            acked: 0,
            unacked: None,
            sync: None,
        }
    }

    /// Gets proposals and commits as they happen.
    pub fn forwarding(&self) -> bool {
        matches!(self.stage, Stage::Syncing | Stage::Synced | Stage::Active)
    }
}

/// How a learner is brought up to date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncKind {
    Snapshot,
    Transactions,
}

/// `leader.maxConcurrentSnapSyncs`, `leader.maxConcurrentDiffSyncs`.
#[derive(Debug, Clone, Copy)]
pub struct SyncLimits {
    pub snapshots: usize,
    pub diffs: usize,
}

impl Default for SyncLimits {
    fn default() -> Self {
        Self { snapshots: 10, diffs: 100 }
    }
}

/// What a synchronised learner says.
pub(super) enum Word<'a> {
    Ack,
    /// Sessions that its clients kept alive: id, time-out in ms.
    Touch(Vec<(i64, i32)>),
    Revalidate(SessionTouch),
    Request(ForwardedRequest<'a>),
}

impl<'a> Word<'a> {
    pub fn read(packet: &'a QuorumPacket) -> Result<Self, String> {
        let bad = |e| format!("bad {}: {e}", packet::name(packet.kind));
        match packet.kind {
            packet::ACK => Ok(Self::Ack),
            packet::PING => {
                let touched = read_touches(packet.payload()).map_err(bad)?;
                Ok(Self::Touch(touched.into_iter().map(|t| (t.session_id, t.timeout)).collect()))
            }
            packet::REVALIDATE => packet.decode().map(Self::Revalidate).map_err(bad),
            packet::REQUEST => {
                ForwardedRequest::read(packet.payload()).map(Self::Request).map_err(bad)
            }
            other => Err(format!("unexpected {}", packet::name(other))),
        }
    }
}

/// A learner says who it is. Refused if it is too old, or if its configuration is later than
/// `config_version`. Gives the older links of the same server, which may be half-open: close them.
pub(super) fn introduce(
    learners: &mut Learners,
    link: LinkId,
    info: &QuorumPacket,
    config_version: i64,
) -> Result<Vec<LinkId>, String> {
    let who: LearnerInfo = info.decode().map_err(|e| format!("bad LearnerInfo: {e}"))?;
    if who.protocol_version < PROTOCOL_VERSION {
        return Err(format!("protocol {:#x} is too old (before 3.4)", who.protocol_version));
    }
    if who.config_version > config_version {
        return Err(format!(
            "Follower is ahead of the leader (has a later activated configuration): \
             {:x} against {config_version:x}",
            who.config_version,
        ));
    }
    let same = learners.iter().filter(|(id, l)| **id != link && l.sid == who.sid);
    let older = same.map(|(id, _)| *id).collect();
    let learner = learners.get_mut(&link).ok_or("link is gone")?;
    learner.sid = who.sid;
    learner.observer = info.kind == packet::OBSERVERINFO;
    learner.stage = Stage::AwaitsEpoch;
    Ok(older)
}

/// Whether a learner that is to be synchronised may be so now; an error says why not. It is to be
/// sent away then, and will try again. Followers always may: the quorum may need them.
pub(super) fn begin_sync(
    learners: &mut Learners,
    link: LinkId,
    kind: SyncKind,
    limits: SyncLimits,
) -> Result<(), String> {
    let running = syncing(learners, kind);
    let most = match kind {
        SyncKind::Snapshot => limits.snapshots,
        SyncKind::Transactions => limits.diffs,
    };
    let learner = learners.get_mut(&link).ok_or("link is gone")?;
    if learner.observer && running >= most {
        return Err(format!("{running} learners are being synchronised, allowed are {most}"));
    }
    learner.sync = Some(kind);
    Ok(())
}

/// How many learners are being synchronised so.
pub(super) fn syncing(learners: &Learners, kind: SyncKind) -> usize {
    let is_so = |l: &&Learner| l.stage == Stage::Syncing && l.sync == Some(kind);
    learners.values().filter(is_so).count()
}

/// Whether a packet is the acknowledgement of NEWLEADER, and how its sender was synchronised then.
pub(super) fn ends_sync(
    learners: &Learners,
    link: LinkId,
    packet: &QuorumPacket,
) -> Option<SyncKind> {
    if packet.kind != packet::ACK || counter_of(packet.zxid) != 0 {
        return None;
    }
    learners.get(&link).filter(|l| l.stage == Stage::Syncing)?.sync
}

/// Those from whom nothing was heard for too long, and why they are given up. Times in ms.
pub(super) fn silent(learners: &Learners, now: i64, init: i64, sync: i64) -> Vec<(LinkId, String)> {
    let limit = |l: &Learner| if l.stage == Stage::Active { sync } else { init };
    let silent = learners.iter().filter(|(_, l)| now - l.heard > limit(l));
    let why = |l: &Learner| format!("server {} is silent for {} ms", l.sid, now - l.heard);
    silent.map(|(link, l)| (*link, why(l))).collect()
}

pub(super) fn leader_info(epoch: i64) -> QuorumPacket {
    let version = PROTOCOL_VERSION.to_be_bytes().to_vec();
    QuorumPacket::new(packet::LEADERINFO, epoch_start(epoch), version)
}

/// `config`: the text of a configuration.
pub(super) fn newleader(epoch: i64, config: Arc<[u8]>) -> QuorumPacket {
    QuorumPacket::new(packet::NEWLEADER, epoch_start(epoch), config)
}

pub(super) fn uptodate() -> QuorumPacket {
    QuorumPacket::bare(packet::UPTODATE, -1)
}

//! What a node wants done, as data: the shell (or the simulator) does it, in order, and decides
//! nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::{Address, PeerAddress, QuorumConfig};
use crate::pipeline::outbox::IoOutbox;
use crate::quorum::leader::LinkId;
use crate::storage::LogCommand;
use crate::storage::log_range::Wanted;
use crate::tree::FrozenTree;
use crate::wire::Record;
use crate::wire::election::Notification;
use crate::wire::quorum::QuorumPacket;

/// The outputs of a batch of events.
#[derive(Debug)]
pub struct Outputs {
    /// To the I/O threads. Delivered before the write lock is let go.
    pub io: IoOutbox,
    /// To the log, in this order.
    pub log: Vec<LogOrder>,
    /// To peers, each link's in this order.
    pub links: BTreeMap<LinkId, Vec<LinkCommand>>,
    pub commands: Vec<Command>,
    /// Zxid applied last.
    pub applied: i64,
    /// A fresh random number, given by the shell with every batch.
    pub random: u64,
}

impl Outputs {
    pub fn new(io_threads: usize, applied: i64) -> Self {
        Self {
            io: IoOutbox::new(io_threads),
            log: Vec::new(),
            links: BTreeMap::new(),
            commands: Vec::new(),
            applied,
            random: 0,
        }
    }

    /// Queues a packet for a link, behind what is queued for it already.
    pub fn send(&mut self, link: LinkId, packet: &QuorumPacket) {
        let queue = self.links.entry(link).or_default();
        match queue.last_mut() {
            Some(LinkCommand::Bytes(bytes)) => packet.write(bytes),
            _ => queue.push(LinkCommand::Bytes(packet.to_bytes())),
        }
    }

    pub fn link(&mut self, link: LinkId, command: LinkCommand) {
        self.links.entry(link).or_default().push(command);
    }
}

/// An order to the log thread. Orders are carried out one after the other.
#[derive(Debug)]
pub enum LogOrder {
    /// Reported by [`super::Event::LogDone`] with the command's token.
    Do(LogCommand),
    /// Encoded packets for a link, once all before is durable: nobody need be woken to send an
    /// ACK. That they are sent the node hears of with the next event.
    Send { link: LinkId, bytes: Vec<u8> },
    /// Load the tree from disk: [`super::Event::Reloaded`].
    Reload,
}

/// What to do with a link.
#[derive(Debug)]
pub enum LinkCommand {
    /// Encoded packets.
    Bytes(Vec<u8>),
    /// SNAP, the tree, the signature.
    Snapshot(FrozenTree),
    /// Look whether the logs have what a learner lacks: [`super::LinkEvent::LogSearched`].
    SearchLog(Wanted),
    /// PROPOSAL and COMMIT for every logged transaction with `after` < zxid ≤ `upto`.
    LogRange {
        after: i64,
        upto: i64,
    },
    Close,
}

/// Everything else.
#[derive(Debug)]
pub enum Command {
    /// Let clients in.
    Serve {
        read_only: bool,
    },
    /// Keep clients out; those who are in have been told.
    StopServing,
    /// Accept learners on this port only, or on none.
    ListenForLearners(Option<LearnerPort>),
    /// Connect to the leader, or to an observer master: [`super::Event::LeaderConnected`] or
    /// `LeaderUnreachable`.
    ConnectLeader {
        link: LinkId,
        addresses: Vec<PeerAddress>,
    },
    /// Talk to these servers; those that are only in the second may come to be members.
    SetMembers {
        committed: Arc<QuorumConfig>,
        last_seen: Arc<QuorumConfig>,
    },
    /// Clients are to connect here from now on. Those who are in stay.
    ListenForClients(Address),
    SendVote {
        to: i64,
        notification: Notification,
    },
    TakeSnapshot(FrozenTree),
    /// What the server is now, for whoever asks.
    Report(RoleReport),
}

/// Where learners connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LearnerPort {
    /// To a leader: at its quorum port.
    Quorum,
    /// To an observer master: at this port of the same hosts.
    ObserverMaster(u16),
}

/// What is told about a server's role: `srvr`'s Mode, `mntr`'s peer state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RoleReport {
    /// standalone, leader, follower, observer; empty while there is none.
    pub mode: &'static str,
    /// Java's ZAB state: election, discovery, synchronization, broadcast.
    pub zab_state: &'static str,
    /// Whom this server learns from: the leader, or an observer master. A leader's own id.
    pub leader: Option<i64>,
}

//! The node as observer master, which a follower is besides: carries out what
//! [`ObserverMasterCore`] puts out, with the history that this follower has.
//! Java: the half of `FollowerZooKeeperServer` that serves `ObserverMaster`.

use std::sync::Arc;

use super::leading::close_learner;
use super::{Command, Cx, LearnerPort, LinkCommand, LinkEvent, Node, Outputs, Role};
use crate::pipeline::commit::Work;
use crate::quorum::leader::LinkId;
use crate::quorum::observer_master::{
    ObserverMasterCore, ObserverMasterOutput, ObserverMasterSettings,
};
use crate::wire::quorum::packet;

impl Role {
    /// There while this server is an observer master.
    pub(super) fn observers(&mut self) -> Option<&mut ObserverMasterCore> {
        match self {
            Self::Following(following) => following.observers.as_mut(),
            _ => None,
        }
    }
}

impl Node {
    /// Serves observers from here on, if it is configured.
    pub(super) fn start_observer_master(&mut self, epoch: i64, cx: Cx<'_>, out: &mut Outputs) {
        let Some(port) = self.settings.observers.master_port else { return };
        let settings = ObserverMasterSettings {
            tick_ms: self.settings.tick_ms,
            init_limit: self.settings.init_limit,
            sync_limit: self.settings.sync_limit,
            sync_limits: self.settings.sync_limits,
        };
        let unapplied = self.ready.iter().rev().find_map(Work::txn);
        let committed = unapplied.map_or(cx.db.tree.last_zxid(), |(zxid, _)| zxid);
        let config = Arc::clone(self.membership.committed());
        let core = ObserverMasterCore::new(settings, epoch, config, committed, cx.now.mono);
        if let Role::Following(following) = &mut self.role {
            following.observers = Some(core);
            out.commands.push(Command::ListenForLearners(Some(LearnerPort::ObserverMaster(port))));
        }
    }

    /// Lets the core do something and carries out at once what it puts out: what an observer is
    /// synchronised with must end where passing on begins. `None` if this is no observer master.
    pub(super) fn as_observer_master<R>(
        &mut self,
        cx: Cx<'_>,
        out: &mut Outputs,
        act: impl FnOnce(&mut ObserverMasterCore, &mut Vec<ObserverMasterOutput>) -> R,
    ) -> Option<R> {
        let core = self.role.observers()?;
        let mut outputs = Vec::new();
        let result = act(core, &mut outputs);
        for output in outputs {
            self.on_observer_master_output(output, cx, out);
        }
        Some(result)
    }

    fn on_observer_master_output(
        &mut self,
        output: ObserverMasterOutput,
        cx: Cx<'_>,
        out: &mut Outputs,
    ) {
        let Role::Following(following) = &mut self.role else { return };
        match output {
            ObserverMasterOutput::Send { link, packet } => out.send(link, &packet),
            ObserverMasterOutput::Close { link, reason } => close_learner(link, &reason, out),
            ObserverMasterOutput::FindHistory { link, peer } => {
                self.find_history(link, peer, cx, out);
            }
            ObserverMasterOutput::Synchronize { link, sid, peer, disk } => {
                self.synchronize(link, sid, (peer, disk), cx, out);
            }
            ObserverMasterOutput::Forward(forwarded) => {
                let revalidates = forwarded.kind == packet::REVALIDATE;
                self.metrics.revalidate_count.add(i64::from(revalidates));
                following.send(forwarded);
            }
            ObserverMasterOutput::ForwardSync { link, packet } => {
                following.forward_sync(link, packet);
            }
            ObserverMasterOutput::Touch(sessions) => {
                for (session, timeout_ms) in sessions {
                    following.touch(session, timeout_ms, cx.now.mono);
                }
            }
        }
    }

    pub(super) fn on_observer_event(
        &mut self,
        link: LinkId,
        event: LinkEvent,
        cx: Cx<'_>,
        out: &mut Outputs,
    ) {
        let now = cx.now.mono;
        let serves = match event {
            LinkEvent::Packets(packets) => packets.into_iter().try_for_each(|packet| {
                let ended = self.as_observer_master(cx, out, |core, o| {
                    let ended = core.ends_sync(link, &packet);
                    core.packet(link, packet, now, o);
                    ended
                })?;
                self.count_syncing(ended);
                Some(())
            }),
            LinkEvent::LogSearched(found) => {
                self.as_observer_master(cx, out, |core, o| core.history_found(link, found, o))
            }
            LinkEvent::Progress => {
                self.as_observer_master(cx, out, |core, _| core.progress(link, now))
            }
            LinkEvent::Closed { reason } => {
                log::info!("observer's link {link} is closed: {reason}");
                self.as_observer_master(cx, out, |core, _| core.disconnected(link));
                None
            }
            LinkEvent::Snapshot { .. } => {
                self.as_observer_master(cx, out, |core, _| core.disconnected(link));
                None
            }
        };
        if serves.is_none() {
            out.link(link, LinkCommand::Close);
        }
    }
}

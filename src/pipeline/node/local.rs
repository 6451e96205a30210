//! Local sessions: known to this server only, until an ephemeral node wants a global one (C-109);
//! and the read-only server, all of whose sessions are local (C-112).
//! Java: `UpgradeableSessionTracker`, `QuorumZooKeeperServer.checkUpgradeSession`,
//! `ReadOnlyZooKeeperServer`.

use super::{Command, Cx, LocalSession, Node, Outputs, Role};
use crate::pipeline::commit::{Origin, ReplyTo};
use crate::pipeline::prep::{PrepRequest, creates_ephemeral};
use crate::pipeline::{CloseReason, ToIo, reply};
use crate::session::{LearnerSessionTracker, first_session_id};
use crate::wire::{ErrorCode, Put, code};

/// Shortest time without a leader after which a server serves read-only, ms.
const READ_ONLY_AFTER_MS: i64 = 2_000;

impl Node {
    pub(super) fn is_local_session(&self, session: i64) -> bool {
        match &self.role {
            Role::Leading(l) => l.authority.as_ref().is_some_and(|a| a.sessions.is_local(session)),
            Role::Following(f) => f.sessions.as_ref().is_some_and(|s| s.is_local(session)),
            Role::Looking => self.read_only.as_ref().is_some_and(|s| s.is_local(session)),
            Role::Standalone(_) | Role::Draining { .. } => false,
        }
    }

    fn forget_session(&mut self, session: i64) {
        match &mut self.role {
            Role::Leading(l) => l.session_closed(session),
            Role::Following(f) => {
                f.sessions.iter_mut().for_each(|s| s.remove_session(session));
            }
            Role::Looking => self.read_only.iter_mut().for_each(|s| s.remove_session(session)),
            Role::Standalone(_) | Role::Draining { .. } => {}
        }
    }

    /// A client closes its local session. Its earlier requests are answered first: the reply waits
    /// in the connection's row.
    pub(super) fn close_local(&mut self, session: i64, to: ReplyTo, cx: Cx<'_>, out: &mut Outputs) {
        self.forget_session(session);
        self.local.remove(&session);
        let zxid = cx.db.tree.last_zxid();
        out.io.reply(to.conn, to.slot, zxid, true, |bytes| {
            reply::error(bytes, to.xid, zxid, ErrorCode::Ok.code());
        });
    }

    /// The time of a local session is up.
    pub(super) fn expire_local(&mut self, session: i64, out: &mut Outputs) {
        log::info!("Expiring local session {session:#x}, timeout exceeded");
        self.metrics.stale_sessions_expired.add(1);
        self.forget_session(session);
        if let Some(LocalSession { conn, .. }) = self.local.remove(&session) {
            out.io.push(conn, ToIo::Close { conn, reason: CloseReason::SessionExpired });
        }
    }

    /// Makes the session global first if the request is to create an ephemeral node. Gives the
    /// error that the request is to fail with if that is not allowed.
    pub(super) fn upgrade_if_needed(
        &mut self,
        session: i64,
        op: i32,
        request: &[u8],
        cx: Cx<'_>,
        out: &mut Outputs,
    ) -> Option<ErrorCode> {
        if !self.is_local_session(session) || !creates_ephemeral(op, request) {
            return None;
        }
        if !self.settings.local_sessions_upgrading {
            return Some(ErrorCode::EphemeralOnLocalSession);
        }
        log::info!("Upgrading session {session:#x}");
        match &mut self.role {
            Role::Following(following) => following.upgrade(session),
            Role::Leading(leading) => {
                let sessions = leading.authority.as_mut().map(|a| &mut a.sessions);
                let timeout_ms = sessions?.upgrade_session(session, cx.now.mono)?;
                let mut body = Vec::new();
                body.put_i32(timeout_ms);
                let create = PrepRequest::own(session, code::CREATE_SESSION, &body);
                self.decide(create, Origin::Nobody, cx, out);
            }
            _ => {}
        }
        None
    }

    // ---- read-only ----------------------------------------------------------------------------

    /// When a server without a leader has something to do, monotonic ms.
    pub(super) fn looking_deadline(&self) -> Option<i64> {
        match &self.read_only {
            Some(sessions) => sessions.next_expiry(),
            None => self.settings.read_only_mode.then(|| self.read_only_from()),
        }
    }

    fn read_only_from(&self) -> i64 {
        self.looking_since + self.settings.tick_ms.max(READ_ONLY_AFTER_MS)
    }

    /// Without a leader for long enough, the tree is served as it is to those who are content
    /// with that.
    pub(super) fn tick_looking(&mut self, cx: Cx<'_>, out: &mut Outputs) {
        if !matches!(self.role, Role::Looking) || !self.settings.read_only_mode {
            return;
        }
        if let Some(sessions) = &mut self.read_only {
            let expired = sessions.expire(cx.now.mono);
            return expired.into_iter().for_each(|session| self.expire_local(session, out));
        }
        if cx.now.mono >= self.read_only_from() {
            let known = cx.db.tree.sessions().clone();
            let first_id = first_session_id(cx.now.wall, self.settings.my_id);
            let tick_ms = self.settings.tick_ms;
            self.read_only = Some(LearnerSessionTracker::new(known, tick_ms, first_id, true));
            log::info!("Read-only server started");
            self.report_role("read-only", "election", out);
            out.commands.push(Command::Serve { read_only: true });
        }
    }

    /// There is a leader: read-only clients have to connect again.
    pub(super) fn stop_read_only(&mut self, out: &mut Outputs) {
        if self.read_only.take().is_some() {
            self.let_clients_go(out);
        }
    }

    /// Nobody is served until the next [`Command::Serve`].
    pub(super) fn let_clients_go(&mut self, out: &mut Outputs) {
        self.local.clear();
        out.commands.push(Command::StopServing);
        out.io.push_all(|| ToIo::CloseAll { reason: CloseReason::NotServing });
    }
}

//! What clients want, whatever the role: sessions, and requests that must be ordered.
//! Java: `ZooKeeperServer.processConnectRequest`, `FollowerRequestProcessor`.

use std::net::IpAddr;

use super::{Cx, LocalSession, Node, Outputs, Role};
use crate::pipeline::commit::{Origin, Read, ReplyTo, Work};
use crate::pipeline::prep::{PrepRequest, eager_acl_check};
use crate::pipeline::read::is_read;
use crate::pipeline::{ClientRequest, CloseReason, ConnId, IoEvent, ToIo};
use crate::session::{Owner, check_password};
use crate::wire::proto::ConnectRequest;
use crate::wire::{Put, code};

impl Node {
    pub(super) fn on_io(&mut self, event: IoEvent, cx: Cx<'_>, out: &mut Outputs) {
        match event {
            IoEvent::Connect { conn, request, .. } if request.session_id == 0 => {
                self.create_session(conn, request.timeout, cx, out);
            }
            IoEvent::Connect { conn, addr, request } => {
                self.reopen_session(conn, addr, &request, cx, out);
            }
            IoEvent::Request(request) => self.on_request(request, cx, out),
            IoEvent::Touch(sessions) => {
                for session in sessions {
                    self.touch(session, cx.now.mono);
                }
            }
            IoEvent::Disconnected { conn, session } => {
                if self.is_connected(session, conn) {
                    self.local.remove(&session);
                }
                // A read of it may have set a watch since its own thread removed them.
                self.ready.push_back(Work::Forget(conn));
            }
        }
    }

    fn touch(&mut self, session: i64, now: i64) {
        let Some(LocalSession { timeout_ms, .. }) = self.local.get(&session) else { return };
        match &mut self.role {
            Role::Standalone(a) => a.sessions.touch_session(session, *timeout_ms, now),
            Role::Leading(l) => l.touch(session, *timeout_ms, now),
            Role::Following(f) => f.touch(session, *timeout_ms, now),
            Role::Looking => {
                let sessions = self.read_only.as_mut();
                sessions.is_some_and(|s| s.touch_session(session, *timeout_ms, now))
            }
            Role::Draining { .. } => false,
        };
    }

    fn create_session(&mut self, conn: ConnId, timeout_ms: i32, cx: Cx<'_>, out: &mut Outputs) {
        let session = match &mut self.role {
            Role::Standalone(a) => a.sessions.create_session(timeout_ms, cx.now.mono),
            Role::Leading(l) => match &mut l.authority {
                Some(a) => a.sessions.create_session(timeout_ms, cx.now.mono),
                None => return close(conn, out),
            },
            Role::Following(f) => match f.create_session(timeout_ms, cx.now.mono) {
                Some(session) => session,
                None => return close(conn, out),
            },
            Role::Looking => match &mut self.read_only {
                Some(sessions) => sessions.create_session(timeout_ms, cx.now.mono),
                None => return close(conn, out),
            },
            Role::Draining { .. } => return close(conn, out),
        };
        if self.is_local_session(session) {
            return self.establish(conn, session, timeout_ms, out);
        }
        let mut body = Vec::new();
        body.put_i32(timeout_ms);
        if let Role::Following(following) = &mut self.role {
            return following.forward_create_session(session, conn, timeout_ms, &body);
        }
        let request = PrepRequest {
            owner: Some(Owner::ThisServer),
            ..PrepRequest::own(session, code::CREATE_SESSION, &body)
        };
        self.decide(request, Origin::NewSession { conn, timeout_ms }, cx, out);
    }

    /// C-88: an older connection of the session goes first, whatever the password.
    fn reopen_session(
        &mut self,
        conn: ConnId,
        addr: IpAddr,
        request: &ConnectRequest,
        cx: Cx<'_>,
        out: &mut Outputs,
    ) {
        let session = request.session_id;
        if let Some(old) = self.local.remove(&session) {
            let reason = CloseReason::ClientReconnected;
            out.io.push(old.conn, ToIo::Close { conn: old.conn, reason });
        }
        if !check_password(session, request.passwd.as_deref()) {
            log::warn!("{addr}: incorrect password for session {session:#x}");
            return self.finish_reopen(conn, session, request.timeout, false, out);
        }
        let valid = match &mut self.role {
            Role::Standalone(a) => {
                a.sessions.touch_session(session, request.timeout, cx.now.mono)
                    && a.sessions.set_owner(session, Some(Owner::ThisServer)).is_ok()
            }
            // What sessions there are it knows when it has its epoch.
            Role::Leading(l) if l.authority.is_none() => return close(conn, out),
            Role::Leading(l) => {
                l.take_over(session, request.timeout, Owner::ThisServer, cx.now.mono)
            }
            // Nothing but an ACK may go to the leader yet.
            Role::Following(f) if !f.serves() => return close(conn, out),
            Role::Following(f) if !f.has_local(session) => {
                return f.revalidate(session, conn, request.timeout);
            }
            Role::Following(f) => f.touch(session, request.timeout, cx.now.mono),
            Role::Looking => match &mut self.read_only {
                Some(sessions) if sessions.is_local(session) => {
                    sessions.touch_session(session, request.timeout, cx.now.mono)
                }
                // Whether it lives only a leader knows.
                _ => return close(conn, out),
            },
            Role::Draining { .. } => return close(conn, out),
        };
        self.finish_reopen(conn, session, request.timeout, valid, out);
    }

    pub(super) fn finish_reopen(
        &mut self,
        conn: ConnId,
        session: i64,
        timeout_ms: i32,
        valid: bool,
        out: &mut Outputs,
    ) {
        if valid {
            self.establish(conn, session, timeout_ms, out);
        } else {
            let refused = ToIo::Session { conn, session: 0, timeout_ms: 0, passwd: [0; 16] };
            out.io.push(conn, refused);
        }
    }

    fn on_request(&mut self, request: ClientRequest, cx: Cx<'_>, out: &mut Outputs) {
        let ClientRequest { conn, slot, session, xid, op, body, ids } = request;
        let Some(local) = self.local.get(&session) else {
            // The session is closed or has moved away: the client learns it by reconnecting.
            let reason = CloseReason::SessionExpired;
            return out.io.push(conn, ToIo::Close { conn, reason });
        };
        if local.conn != conn {
            return out.io.push(conn, ToIo::Close { conn, reason: CloseReason::SessionMoved });
        }
        let to = ReplyTo { conn, slot, xid, op };
        if is_read(op) {
            let read = Box::new(Read { to, session, body, ids });
            return self.in_turn(session, Work::Read(read));
        }
        self.touch(session, cx.now.mono);
        if op == code::CLOSE_SESSION && self.is_local_session(session) {
            return self.close_local(session, to, cx, out);
        }
        let (auth, options) = (&self.settings.auth, &self.settings.prep);
        if self.settings.eager_acl_check
            && let Err(err) = eager_acl_check(&cx.db.tree, auth, op, &body, &ids, options)
        {
            return self.in_turn(session, Work::Dismiss { to, err });
        }
        let upgrade_error = self.upgrade_if_needed(session, op, &body, cx, out);
        if let Role::Following(following) = &mut self.role {
            match upgrade_error {
                Some(err) => self.in_turn(session, Work::Refuse { to, err }),
                None => following.forward(session, to, &body, &ids),
            }
            return;
        }
        let owner = Some(Owner::ThisServer);
        let request =
            PrepRequest { session, cxid: xid, op, body: &body, ids: &ids, owner, upgrade_error };
        self.decide(request, Origin::Client(to), cx, out);
    }
}

impl Node {
    /// What needs no transaction, but its place behind the session's unanswered writes.
    fn in_turn(&mut self, session: i64, work: Work) {
        match &mut self.role {
            Role::Following(f) => self.ready.extend(f.behind_writes(session, work)),
            _ => self.in_order(work),
        }
    }
}

fn close(conn: ConnId, out: &mut Outputs) {
    out.io.push(conn, ToIo::Close { conn, reason: CloseReason::NotServing });
}

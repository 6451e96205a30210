//! Requests that change nothing, answered on the I/O thread of their connection. The caller holds
//! the read lock of the database, so a watch that is set here is set before anything can change.
//! Knows neither sockets nor how replies are ordered.
//! Java: the read half of `FinalRequestProcessor`, whose order of checks is kept (C-150 … C-172).

use std::borrow::Cow;

use super::ConnId;
use crate::auth::{Registry, mask_digests};
use crate::metrics::SummarySet;
use crate::tree::{AclId, DataTree, DbState, Node, NodeId, WatchKind, WatcherId, set_watches};
use crate::wire::jute::Result as Decoded;
use crate::wire::op::WatcherType;
use crate::wire::proto::{MultiHeader, SetWatches, SetWatches2, WatcherEvent};
use crate::wire::{DecodeError, ErrorCode, EventType, Id, Put, Reader, Record, code, op, perms};

/// A multiRead whose reply would become longer than this, in bytes, fails (−5): a small request
/// must not make the server build gigabytes.
const MAX_MULTI_REPLY: usize = 128 << 20;

/// Bytes of an encoded stat.
const STAT_BYTES: usize = 68;

/// Whether a request is answered here.
pub fn is_read(op: i32) -> bool {
    use code::*;
    matches!(
        op,
        GET_DATA
            | EXISTS
            | PING
            | GET_CHILDREN
            | GET_CHILDREN2
            | GET_ACL
            | MULTI_READ
            | SET_WATCHES
            | SET_WATCHES2
            | ADD_WATCH
            | REMOVE_WATCHES
            | CHECK_WATCHES
            | GET_EPHEMERALS
            | GET_ALL_CHILDREN_NUMBER
            | WHO_AM_I
    )
}

/// Who reads.
#[derive(Debug, Clone, Copy)]
pub struct Viewer<'a> {
    pub conn: ConnId,
    pub session: i64,
    pub ids: &'a [Id],
}

/// What there is to read, for as long as the lock is held.
#[derive(Clone, Copy)]
pub struct ReadView<'a> {
    pub state: &'a DbState,
    pub auth: &'a Registry,
    pub reads: &'a SummarySet,
}

/// Why a read gave no body.
enum Refusal {
    Code(ErrorCode),
    Undecodable(DecodeError),
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Self {
        Self::Code(code)
    }
}

impl From<DecodeError> for Refusal {
    fn from(error: DecodeError) -> Self {
        Self::Undecodable(error)
    }
}

type Answer = Result<(), Refusal>;

/// Appends the frame of a reply that has no body.
pub fn put_bare_reply(out: &mut Vec<u8>, xid: i32, zxid: i64, err: i32) {
    out.put_i32(16);
    out.put_i32(xid);
    out.put_i64(zxid);
    out.put_i32(err);
}

/// Appends a watch event's frame (C-99).
pub fn put_event(out: &mut Vec<u8>, kind: EventType, path: &str, zxid: i64) {
    let start = out.len();
    put_bare_reply(out, op::xid::NOTIFICATION, zxid, 0);
    let state = op::STATE_SYNC_CONNECTED;
    WatcherEvent { kind: kind as i32, state, path: path.to_owned() }.write(out);
    finish_frame(out, start);
}

/// Sets the length prefix of the frame that starts at `start` and ends with `out`.
fn finish_frame(out: &mut [u8], start: usize) {
    let len = (out.len() - start - 4) as i32;
    out[start..start + 4].copy_from_slice(&len.to_be_bytes());
}

impl<'a> ReadView<'a> {
    fn tree(&self) -> &'a DataTree {
        &self.state.tree
    }

    /// Appends the reply to `out` as a whole frame, before it those events that setWatches finds to
    /// be due. An error says that the body could not be decoded; −5 is in the reply.
    pub fn answer(
        &self,
        viewer: &Viewer<'_>,
        xid: i32,
        op: i32,
        body: &[u8],
        out: &mut Vec<u8>,
    ) -> Decoded<()> {
        let mut r = Reader::new(body);
        let caught_up = match op {
            code::SET_WATCHES | code::SET_WATCHES2 => self.set_watches(viewer, op, &mut r, out),
            _ => Ok(()),
        };
        let start = out.len();
        put_bare_reply(out, xid, self.tree().last_zxid(), 0);
        let answer = caught_up.and_then(|()| self.put_body(viewer, op, &mut r, out));
        let (code, undecodable) = match answer {
            Ok(()) => (ErrorCode::Ok, None),
            Err(Refusal::Code(code)) => (code, None),
            Err(Refusal::Undecodable(e)) => (ErrorCode::MarshallingError, Some(e)),
        };
        if code != ErrorCode::Ok {
            out.truncate(start + 16);
            out.put_i32(code.code());
        }
        finish_frame(out, start);
        undecodable.map_or(Ok(()), Err)
    }

    fn put_body(&self, v: &Viewer<'_>, op: i32, r: &mut Reader<'_>, out: &mut Vec<u8>) -> Answer {
        match op {
            code::GET_DATA => {
                let (path, watch) = (path(r)?, r.bool()?);
                let node = self.readable(v, &path)?;
                self.watch(v, &path, watch, WatchKind::Data);
                put_data(out, node);
                self.count(&path, node.data_len());
                Ok(())
            }
            code::EXISTS => self.exists(v, r, out),
            code::GET_CHILDREN | code::GET_CHILDREN2 => {
                let (path, watch) = (path(r)?, r.bool()?);
                let id = self.lookup_readable(v, &path)?;
                self.watch(v, &path, watch, WatchKind::Child);
                self.put_children(out, &path, id);
                if op == code::GET_CHILDREN2 {
                    self.tree().node(id).stat().write(out);
                }
                Ok(())
            }
            code::GET_ACL => self.get_acl(v, r, out),
            code::MULTI_READ => self.multi_read(v, r, out),
            code::ADD_WATCH => self.add_watch(v, r, out),
            code::REMOVE_WATCHES | code::CHECK_WATCHES => self.existing_watch(v, op, r),
            code::GET_EPHEMERALS => self.get_ephemerals(v, r, out),
            code::GET_ALL_CHILDREN_NUMBER => {
                let id = self.lookup_readable(v, &path(r)?)?;
                out.put_i32(self.tree().descendant_count(id) as i32);
                Ok(())
            }
            code::WHO_AM_I => {
                out.put_count(v.ids.len());
                for id in v.ids {
                    out.put_str(&id.scheme);
                    out.put_str(self.auth.user_name(id));
                }
                Ok(())
            }
            // Ping and setWatches have no body.
            _ => Ok(()),
        }
    }

    fn may(&self, viewer: &Viewer<'_>, node: &Node, perm: i32) -> bool {
        node.acl_id() == AclId::OPEN
            || self.auth.check_acl(self.tree().acl(node.acl_id()), perm, viewer.ids)
    }

    /// A node that exists and that the viewer may read.
    fn lookup_readable(&self, viewer: &Viewer<'_>, path: &str) -> Result<NodeId, ErrorCode> {
        let id = self.tree().lookup(path).ok_or(ErrorCode::NoNode)?;
        if !self.may(viewer, self.tree().node(id), perms::READ) {
            return Err(ErrorCode::NoAuth);
        }
        Ok(id)
    }

    fn readable(&self, viewer: &Viewer<'_>, path: &str) -> Result<&'a Node, ErrorCode> {
        Ok(self.tree().node(self.lookup_readable(viewer, path)?))
    }

    fn watch(&self, viewer: &Viewer<'_>, path: &str, wanted: bool, kind: WatchKind) {
        if wanted {
            self.state.watches().add(path, WatcherId(viewer.conn.0), kind);
        }
    }

    fn exists(&self, v: &Viewer<'_>, r: &mut Reader<'_>, out: &mut Vec<u8>) -> Answer {
        let (path, watch) = (path(r)?, r.bool()?);
        if path.as_bytes().contains(&0) {
            return Err(ErrorCode::BadArguments.into());
        }
        let node = self.tree().lookup(&path).map(|id| self.tree().node(id));
        if node.is_some_and(|node| !self.may(v, node, perms::READ)) {
            return Err(ErrorCode::NoAuth.into());
        }
        // A node that is missing can be waited for.
        self.watch(v, &path, watch, WatchKind::Data);
        node.ok_or(ErrorCode::NoNode)?.stat().write(out);
        self.count(&path, 0);
        Ok(())
    }

    fn put_children(&self, out: &mut Vec<u8>, path: &str, id: NodeId) {
        let mut bytes = 0;
        out.put_count(self.tree().node(id).num_children());
        for name in self.tree().children(id) {
            out.put_str(name);
            bytes += name.len();
        }
        self.count(path, bytes);
    }

    /// Java counts a stat with every read, sent or not.
    fn count(&self, path: &str, bytes: usize) {
        self.reads.add_to_namespace(path, path.len() + STAT_BYTES + bytes);
    }

    fn get_acl(&self, v: &Viewer<'_>, r: &mut Reader<'_>, out: &mut Vec<u8>) -> Answer {
        let path = path(r)?;
        let id = self.tree().lookup(&path).ok_or(ErrorCode::NoNode)?;
        let node = self.tree().node(id);
        if !self.may(v, node, perms::READ | perms::ADMIN) {
            return Err(ErrorCode::NoAuth.into());
        }
        let acl: &[_] = self.tree().acl(node.acl_id());
        let shown = if self.may(v, node, perms::ADMIN) { acl.into() } else { mask_digests(acl) };
        out.put_count(shown.len());
        shown.iter().for_each(|entry| entry.write(out));
        node.stat().write(out);
        Ok(())
    }

    /// Every part has a result of its own (C-143); watches are not set.
    fn multi_read(&self, v: &Viewer<'_>, r: &mut Reader<'_>, out: &mut Vec<u8>) -> Answer {
        let start = out.len();
        loop {
            let header: MultiHeader = r.record()?;
            if header.done {
                break;
            }
            if !matches!(header.op, code::GET_DATA | code::GET_CHILDREN) {
                return Err(bad_value("part of a multiRead", header.op).into());
            }
            let (path, _watch) = (path(r)?, r.bool()?);
            match self.lookup_readable(v, &path) {
                Ok(id) => {
                    MultiHeader { op: header.op, done: false, err: 0 }.write(out);
                    if header.op == code::GET_DATA {
                        let node = self.tree().node(id);
                        put_data(out, node);
                        self.count(&path, node.data_len());
                    } else {
                        self.put_children(out, &path, id);
                    }
                }
                Err(e) => {
                    MultiHeader { op: code::ERROR, done: false, err: e.code() }.write(out);
                    out.put_i32(e.code());
                }
            }
            if out.len() - start > MAX_MULTI_REPLY {
                return Err(ErrorCode::MarshallingError.into());
            }
        }
        MultiHeader { op: -1, done: true, err: -1 }.write(out);
        Ok(())
    }

    fn add_watch(&self, v: &Viewer<'_>, r: &mut Reader<'_>, out: &mut Vec<u8>) -> Answer {
        let (path, mode) = (path(r)?, r.i32()?);
        let kind = match mode {
            0 => WatchKind::Persistent,
            1 => WatchKind::PersistentRecursive,
            _ => return Err(bad_value("addWatch mode", mode).into()),
        };
        self.watch(v, &path, true, kind);
        out.put_i32(0);
        Ok(())
    }

    /// checkWatches and removeWatches.
    fn existing_watch(&self, v: &Viewer<'_>, op: i32, r: &mut Reader<'_>) -> Answer {
        let (path, kind) = (path(r)?, r.i32()?);
        let kind = WatcherType::from_int(kind).ok_or_else(|| bad_value("watcher type", kind))?;
        let mut watches = self.state.watches();
        let watcher = WatcherId(v.conn.0);
        let there = match op {
            code::REMOVE_WATCHES => watches.remove(&path, watcher, kind),
            _ => watches.contains(&path, watcher, kind),
        };
        if there { Ok(()) } else { Err(ErrorCode::NoWatcher.into()) }
    }

    fn get_ephemerals(&self, v: &Viewer<'_>, r: &mut Reader<'_>, out: &mut Vec<u8>) -> Answer {
        let prefix = r.opt_str()?.unwrap_or_default();
        let trimmed = prefix.trim_matches(|c| c <= ' ');
        let all = trimmed.is_empty() || trimmed == "/";
        let paths = self.tree().ephemerals(v.session).map(|id| self.tree().path_of(id));
        let found: Vec<String> = paths.filter(|p| all || p.starts_with(&*prefix)).collect();
        found.write(out);
        Ok(())
    }

    fn set_watches(
        &self,
        viewer: &Viewer<'_>,
        op: i32,
        r: &mut Reader<'_>,
        out: &mut Vec<u8>,
    ) -> Answer {
        let request = match op {
            code::SET_WATCHES2 => r.record()?,
            _ => {
                let SetWatches { relative_zxid, data, exist, child } = r.record()?;
                let none = SetWatches2::default();
                SetWatches2 { relative_zxid, data, exist, child, ..none }
            }
        };
        let mut watches = self.state.watches();
        let watcher = WatcherId(viewer.conn.0);
        for (kind, path) in set_watches(self.tree(), &mut watches, watcher, &request) {
            put_event(out, kind, &path, -1);
        }
        Ok(())
    }
}

/// A path; null, which no client sends, is not one.
fn path<'a>(r: &mut Reader<'a>) -> Decoded<Cow<'a, str>> {
    r.opt_str()?.ok_or_else(|| bad_value("path", -1))
}

fn bad_value(what: &'static str, value: i32) -> DecodeError {
    DecodeError::BadValue { what, value: i64::from(value) }
}

fn put_data(out: &mut Vec<u8>, node: &Node) {
    out.put_buffer(node.data());
    node.stat().write(out);
}

#[cfg(test)]
mod tests;

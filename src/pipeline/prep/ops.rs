//! The ops on nodes: what each checks, in which order, and the transaction it becomes
//! (C-120 … C-129).

use std::borrow::Cow;
use std::sync::Arc;

use super::changes::NodeState;
use super::{Failure, Step};
use crate::tree::{CONFIG_NODE, CONTAINER_OWNER, EphemeralKind, QUOTA_ROOT, ttl_owner};
use crate::wire::txn::{CreateContainerTxn, CreateTtlTxn, CreateTxn, SetAclTxn, SetDataTxn};
use crate::wire::{
    Acl, CreateMode, DecodeError, ErrorCode, Reader, Record, StatPersisted, Txn, code,
    path as paths, perms,
};

/// An op that may stand alone or in a multi. A null path is not an empty one: Java stumbles over it
/// in create and delete (−5), and finds it invalid in the others (−8).
#[derive(Debug)]
pub(super) enum Op<'a> {
    Create(CreateOp<'a>),
    Delete { path: Option<Cow<'a, str>>, version: i32 },
    SetData { path: Option<Cow<'a, str>>, data: Option<&'a [u8]>, version: i32 },
    Check { path: Option<Cow<'a, str>>, version: i32 },
}

/// The four ways to create a node.
#[derive(Debug)]
pub(super) struct CreateOp<'a> {
    /// Op code that decides about the kind of transaction.
    pub(super) kind: i32,
    pub(super) path: Option<Cow<'a, str>>,
    pub(super) data: Option<&'a [u8]>,
    pub(super) acl: SentAcl<'a>,
    pub(super) flags: i32,
    /// Milliseconds; −1 in requests that have none.
    pub(super) ttl: i64,
}

/// A list of permissions as its bytes: nearly always those of the one before.
#[derive(Debug, Clone, Copy)]
pub(super) struct SentAcl<'a>(&'a [u8]);

impl<'a> SentAcl<'a> {
    pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let from = r.rest();
        for _ in 0..r.count()?.unwrap_or(0) {
            r.i32()?;
            r.buffer()?;
            r.buffer()?;
        }
        Ok(Self(&from[..from.len() - r.rest().len()]))
    }

    pub(super) fn list(self) -> Vec<Acl> {
        // Reading it has shown that its fields are all there.
        Vec::from_bytes(self.0).unwrap_or_default()
    }
}

/// The list that came last, and what is kept of it, whoever sends it.
#[derive(Debug, Default)]
pub(super) struct LastAcl {
    sent: Vec<u8>,
    kept: Arc<[Acl]>,
}

impl<'a> Op<'a> {
    /// Reads the request of an op code.
    pub(super) fn read(op: i32, r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(match op {
            code::CREATE | code::CREATE2 | code::CREATE_CONTAINER | code::CREATE_TTL => {
                Self::Create(CreateOp {
                    kind: op,
                    path: r.opt_str()?,
                    data: r.buffer()?,
                    acl: SentAcl::read(r)?,
                    flags: r.i32()?,
                    ttl: if op == code::CREATE_TTL { r.i64()? } else { -1 },
                })
            }
            code::DELETE => Self::Delete { path: r.opt_str()?, version: r.i32()? },
            code::SET_DATA => {
                Self::SetData { path: r.opt_str()?, data: r.buffer()?, version: r.i32()? }
            }
            code::CHECK => Self::Check { path: r.opt_str()?, version: r.i32()? },
            _ => return Err(DecodeError::BadValue { what: "op", value: op.into() }),
        })
    }

    pub(super) fn path(&self) -> Option<&str> {
        match self {
            Self::Create(create) => create.path.as_deref(),
            Self::Delete { path, .. } | Self::SetData { path, .. } | Self::Check { path, .. } => {
                path.as_deref()
            }
        }
    }
}

impl Step<'_> {
    pub(super) fn single_op(&mut self, op: &Op<'_>) -> Result<Txn, ErrorCode> {
        match op {
            Op::Create(create) => self.create(create),
            Op::Delete { path, version } => self.delete(path.as_deref(), *version),
            Op::SetData { path, data, version } => self.set_data(path.as_deref(), *data, *version),
            Op::Check { path, version } => self.check(path.as_deref(), *version),
        }
    }

    fn create(&mut self, op: &CreateOp<'_>) -> Result<Txn, ErrorCode> {
        let mode = CreateMode::from_flags(op.flags).ok_or(ErrorCode::BadArguments)?;
        self.check_mode(op, mode)?;
        let path = op.path.as_deref().ok_or(ErrorCode::MarshallingError)?;
        let (parent_path, _) = split(path)?;
        let acl = self.acl_to_keep(op.acl)?;
        let mut parent = self.node(parent_path)?;
        self.check_acl(&parent.acl, perms::CREATE)?;
        let mut path = path.to_string();
        if mode.is_sequential() {
            path.push_str(&format!("{:010}", parent.stat.cversion));
        }
        validate(Some(&path))?;
        if self.changes.exists(self.tree, &path) {
            return Err(ErrorCode::NodeExists);
        }
        if self.tree.kind_of_owner(parent.stat.ephemeral_owner) == EphemeralKind::Normal {
            return Err(ErrorCode::NoChildrenForEphemerals);
        }
        self.check_quota(&path, op.data.map_or(0, |d| d.len() as i64), 1)?;

        let parent_cversion = parent.stat.cversion.wrapping_add(1);
        // As applying does it (C-121): past the end of the numbers it stays.
        if parent_cversion > parent.stat.cversion {
            parent.stat.cversion = parent_cversion;
            parent.stat.pzxid = self.zxid;
        }
        parent.children += 1;
        self.changes.put(self.tree, self.zxid, parent_path, parent);
        self.put_new_node(op, mode, &path, Arc::clone(&acl));
        Ok(create_txn(op, mode, path, acl, parent_cversion))
    }

    fn check_mode(&mut self, op: &CreateOp<'_>, mode: CreateMode) -> Result<(), ErrorCode> {
        if mode.is_ttl() && !self.tree.options().owner_rules.extended_types {
            return Err(ErrorCode::Unimplemented);
        }
        // A createTTL whose mode has no ttl is legal in Java when its ttl is negative, and then
        // cannot be applied; here it fails at once (C-123).
        let needs_ttl = mode.is_ttl() || op.kind == code::CREATE_TTL;
        if if needs_ttl { ttl_owner(op.ttl).is_none() || !mode.is_ttl() } else { op.ttl >= 0 } {
            return Err(ErrorCode::BadArguments);
        }
        if !mode.is_ephemeral() {
            return self.check_session();
        }
        match self.request.upgrade_error {
            Some(err) => Err(err),
            None => self.sessions.check_global_session(self.request.session, self.owner()),
        }
    }

    /// The node as applying its transaction will make it: its kind comes from the kind of
    /// transaction, not from the flags (C-123).
    fn put_new_node(&mut self, op: &CreateOp<'_>, mode: CreateMode, path: &str, acl: Arc<[Acl]>) {
        let session = self.request.session;
        let owner = match op.kind {
            code::CREATE_CONTAINER => CONTAINER_OWNER,
            code::CREATE_TTL => ttl_owner(op.ttl).unwrap_or_default(), // checked by check_mode
            _ if mode.is_ephemeral() => session,
            _ => 0,
        };
        let stat = StatPersisted {
            czxid: self.zxid,
            mzxid: self.zxid,
            ctime: self.time,
            mtime: self.time,
            ephemeral_owner: owner,
            pzxid: self.zxid,
            ..StatPersisted::default()
        };
        let state = NodeState::new(path, op.data, acl, stat);
        if owner == session {
            self.changes.put_ephemeral(self.tree, self.zxid, path, state, session);
        } else {
            self.changes.put(self.tree, self.zxid, path, state);
        }
    }

    fn delete(&mut self, path: Option<&str>, version: i32) -> Result<Txn, ErrorCode> {
        self.check_session()?;
        let path = path.ok_or(ErrorCode::MarshallingError)?;
        let (parent_path, _) = split_unless_special(path)?;
        let parent = self.node(parent_path)?;
        self.check_acl(&parent.acl, perms::DELETE)?;
        let node = self.node(path)?;
        next_version(node.stat.version, version)?;
        if node.children > 0 {
            return Err(ErrorCode::NotEmpty);
        }
        self.remove(parent_path, parent, path, &node);
        Ok(Txn::Delete(path.into()))
    }

    /// The container manager's, with session 0. Java lets clients do it, too, and asks them for no
    /// permission; here they need that of a delete.
    pub(super) fn delete_container(&mut self, body: &mut Reader<'_>) -> Result<Txn, Failure> {
        let path = body.opt_str()?.ok_or(ErrorCode::MarshallingError)?;
        let is_client = self.request.session != 0;
        if is_client {
            self.check_session()?;
        }
        let (parent_path, _) = split_unless_special(&path)?;
        let parent = self.node(parent_path)?;
        if is_client {
            self.check_acl(&parent.acl, perms::DELETE)?;
        }
        let node = self.node(&path)?;
        if node.children > 0 {
            return Err(ErrorCode::NotEmpty.into());
        }
        if self.tree.kind_of_owner(node.stat.ephemeral_owner) == EphemeralKind::Normal {
            return Err(ErrorCode::BadVersion.into());
        }
        self.remove(parent_path, parent, &path, &node);
        Ok(Txn::DeleteContainer(path.into_owned()))
    }

    pub(super) fn remove(
        &mut self,
        parent_path: &str,
        mut parent: NodeState,
        path: &str,
        node: &NodeState,
    ) {
        parent.children = parent.children.saturating_sub(1);
        parent.stat.pzxid = self.zxid;
        self.changes.put(self.tree, self.zxid, parent_path, parent);
        self.changes.remove(self.tree, self.zxid, path, node);
    }

    fn set_data(
        &mut self,
        path: Option<&str>,
        data: Option<&[u8]>,
        version: i32,
    ) -> Result<Txn, ErrorCode> {
        self.check_session()?;
        let path = validate(path)?;
        let mut node = self.node(path)?;
        self.check_acl(&node.acl, perms::WRITE)?;
        let bytes = data.map_or(0, <[u8]>::len) as i64;
        self.check_quota(path, bytes - node.data_len as i64, 0)?;
        let version = next_version(node.stat.version, version)?;
        node.stat.version = version;
        node.stat.mtime = self.time;
        node.stat.mzxid = self.zxid;
        node.set_data(path, data);
        self.changes.put(self.tree, self.zxid, path, node);
        Ok(Txn::SetData(SetDataTxn { path: path.into(), data: data.map(Box::from), version }))
    }

    pub(super) fn set_acl(&mut self, body: &mut Reader<'_>) -> Result<Txn, Failure> {
        let path = body.opt_str()?;
        let acl = SentAcl::read(body)?;
        let version = body.i32()?;
        self.check_session()?;
        let path = validate(path.as_deref())?;
        let acl = self.acl_to_keep(acl)?;
        let mut node = self.node(path)?;
        self.check_acl(&node.acl, perms::ADMIN)?;
        let version = next_version(node.stat.aversion, version)?;
        node.stat.aversion = version;
        node.acl = Arc::clone(&acl);
        self.changes.put(self.tree, self.zxid, path, node);
        Ok(Txn::SetAcl(SetAclTxn { path: path.into(), acl, version }))
    }

    fn check(&mut self, path: Option<&str>, version: i32) -> Result<Txn, ErrorCode> {
        self.check_session()?;
        let path = validate(path)?;
        let node = self.node(path)?;
        self.check_acl(&node.acl, perms::READ)?;
        Ok(Txn::Check(path.into(), next_version(node.stat.version, version)?))
    }

    /// The list to store for one that a client sent.
    fn acl_to_keep(&mut self, acl: SentAcl<'_>) -> Result<Arc<[Acl]>, ErrorCode> {
        if self.last_acl.sent == acl.0 {
            return Ok(Arc::clone(&self.last_acl.kept));
        }
        let list = acl.list();
        let kept: Arc<[Acl]> =
            self.auth.fixup_acl(self.request.ids, &list, &mut self.auth_room)?.into();
        // What `auth` stands for depends on who sends it.
        if *kept == *list {
            *self.last_acl = LastAcl { sent: acl.0.into(), kept: Arc::clone(&kept) };
        }
        Ok(kept)
    }

    pub(super) fn node(&self, path: &str) -> Result<NodeState, ErrorCode> {
        self.changes.get(self.tree, path).ok_or(ErrorCode::NoNode)
    }

    pub(super) fn check_acl(&self, acl: &[Acl], perm: i32) -> Result<(), ErrorCode> {
        let allowed = self.auth.check_acl(acl, perm, self.request.ids);
        if allowed { Ok(()) } else { Err(ErrorCode::NoAuth) }
    }

    /// Refuses what goes over a hard limit; a soft one is worth a warning a minute (C-185).
    fn check_quota(&mut self, path: &str, bytes: i64, count: i64) -> Result<(), ErrorCode> {
        if !self.options.enforce_quota {
            return Ok(());
        }
        let breaches = self.tree.check_quota(path, bytes, count);
        let due = self.quota_warned_at.is_none_or(|at| self.now - at >= 60_000);
        if due && !breaches.is_empty() {
            *self.quota_warned_at = Some(self.now);
            breaches.iter().for_each(|breach| log::warn!("{breach}"));
        }
        if breaches.iter().all(|breach| !breach.hard) {
            return Ok(());
        }
        self.metrics.quota_exceeded_error_per_namespace.add_to_namespace(path, 1);
        Err(ErrorCode::QuotaExceeded)
    }
}

fn create_txn(
    op: &CreateOp<'_>,
    mode: CreateMode,
    path: String,
    acl: Arc<[Acl]>,
    parent_cversion: i32,
) -> Txn {
    let data = op.data.map(Box::from);
    match op.kind {
        code::CREATE_CONTAINER => {
            Txn::CreateContainer(CreateContainerTxn { path, data, acl, parent_cversion })
        }
        code::CREATE_TTL => {
            Txn::CreateTtl(CreateTtlTxn { path, data, acl, parent_cversion, ttl: op.ttl })
        }
        kind => {
            let ephemeral = mode.is_ephemeral();
            let txn = CreateTxn { path, data, acl, ephemeral, parent_cversion };
            if kind == code::CREATE { Txn::Create(txn) } else { Txn::Create2(txn) }
        }
    }
}

/// Parent ("" for the root) and name.
fn split(path: &str) -> Result<(&str, &str), ErrorCode> {
    match paths::split(path) {
        Some(parts) if !path.contains('\0') => Ok(parts),
        _ => Err(ErrorCode::BadArguments),
    }
}

/// As [`split`], for deletes: the nodes a server cannot do without stay.
pub(super) fn split_unless_special(path: &str) -> Result<(&str, &str), ErrorCode> {
    match path {
        "" | "/" | "/zookeeper" | QUOTA_ROOT | CONFIG_NODE => Err(ErrorCode::BadArguments),
        _ => split(path),
    }
}

fn validate(path: Option<&str>) -> Result<&str, ErrorCode> {
    let path = path.ok_or(ErrorCode::BadArguments)?;
    match paths::validate(path) {
        Ok(()) => Ok(path),
        Err(why) => {
            log::info!("Invalid path: {why}");
            Err(ErrorCode::BadArguments)
        }
    }
}

/// The version after a change, if the expected one is the current one or −1 (C-129).
fn next_version(current: i32, expected: i32) -> Result<i32, ErrorCode> {
    match expected {
        -1 => Ok(current.wrapping_add(1)),
        _ if expected == current => Ok(current.wrapping_add(1)),
        _ => Err(ErrorCode::BadVersion),
    }
}

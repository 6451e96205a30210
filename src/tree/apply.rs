//! What a transaction does to the tree: the one way in which state changes, at boot, when syncing
//! and when committing. Java: `DataTree.processTxn`.
//!
//! Applying again what a fuzzy snapshot of Java's already contains gives the same tree (D-7, D-37):
//! errors are results here, not failures.

use std::sync::Arc;

use crate::wire::txn::{SetAclTxn, SetDataTxn};
use crate::wire::{
    Acl, ErrorCode, EventType, Stat, StatPersisted, Txn, TxnDigest, TxnHeader, TxnRecord, code,
    path as paths,
};

use super::data_tree::{CONFIG_NODE, DataTree, split_path};
use super::digest::ZxidDigest;
use super::node::{CONTAINER_OWNER, NodeId, ttl_owner};
use super::quota;

/// What applying one (sub-)transaction gave; replies are built of it. Java: `ProcessTxnResult`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied<'a> {
    /// An [`ErrorCode`], 0 for success. Of a multi, the first of its parts' that is not 0.
    pub err: i32,
    /// Op code. The parts of a multi that fails are errors (−1), whatever they were.
    pub op: i32,
    pub path: Option<&'a str>,
    /// Of the node created or changed, as it is afterwards.
    pub stat: Option<Stat>,
    /// The parts of a multi.
    pub sub: Vec<Self>,
}

/// A change to a node that watches may wait for; [`super::Watches::fire`] makes the events of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trigger<'a> {
    /// `NodeCreated`, `NodeDeleted` or `NodeDataChanged`; the first two change the parent, too.
    pub kind: EventType,
    pub path: &'a str,
    pub zxid: i64,
    /// Who may not read the node by this list is not told (C-168): the node's list, for a deleted
    /// node its last one.
    pub acl: &'a Arc<[Acl]>,
    /// The same for the children event of the parent; `None` for `NodeDataChanged`.
    pub parent_acl: Option<&'a Arc<[Acl]>>,
}

impl Trigger<'_> {
    /// The path of the parent, "/" for the root.
    pub fn parent_path(&self) -> &str {
        match paths::split(self.path) {
            Some((parent, _)) if !parent.is_empty() => parent,
            _ => "/",
        }
    }
}

/// Whoever is told of changes as they are made.
pub type OnTrigger<'f> = &'f mut dyn FnMut(&Trigger<'_>);

type Outcome = Result<Option<Stat>, ErrorCode>;

/// A node to be created.
struct NewNode<'a> {
    path: &'a str,
    data: Option<&'a [u8]>,
    acl: &'a [Acl],
    owner: i64,
    parent_cversion: i32,
}

impl DataTree {
    /// Applies a transaction. `triggers` is told of changes that watches may wait for, in the order
    /// in which Java fires them.
    pub fn apply<'a>(
        &mut self,
        header: &TxnHeader,
        txn: &'a Txn,
        triggers: OnTrigger<'_>,
    ) -> Applied<'a> {
        let applied = match txn {
            Txn::Multi(parts) => self.apply_multi(header, parts, triggers),
            single => self.apply_one(header, single, triggers),
        };
        // Only now, not with the first part of a multi (ZOOKEEPER-3127): a snapshot must never
        // claim a transaction of which it has only half.
        self.last_zxid = self.last_zxid.max(header.zxid);
        let now = ZxidDigest { zxid: header.zxid, ..self.zxid_digest() };
        self.history.applied(now);
        applied
    }

    /// [`DataTree::apply`], then compares digests if the record has one.
    pub fn apply_record<'a>(
        &mut self,
        record: &'a TxnRecord,
        triggers: OnTrigger<'_>,
    ) -> Applied<'a> {
        let applied = self.apply(&record.header, &record.txn, triggers);
        if let Some(digest) = &record.digest {
            self.compare_digest(record.header.zxid, digest);
        }
        applied
    }

    /// Compares the digest that came with the transaction just applied with the tree's own. A
    /// mismatch is counted and `false`, and the shell's to report (D-47).
    pub fn compare_digest(&mut self, zxid: i64, digest: &TxnDigest) -> bool {
        let theirs = ZxidDigest { zxid, version: digest.version, digest: digest.digest };
        let ours = self.zxid_digest();
        !self.options.digest_enabled || self.history.compare(theirs, ours)
    }

    fn apply_multi<'a>(
        &mut self,
        header: &TxnHeader,
        parts: &'a [Txn],
        triggers: OnTrigger<'_>,
    ) -> Applied<'a> {
        let failed = parts.iter().any(|txn| matches!(txn, Txn::Error(_)));
        let mut whole = Applied { op: code::MULTI, ..Applied::default() };
        let mut error_seen = false;
        for txn in parts {
            error_seen |= matches!(txn, Txn::Error(_));
            let part = match txn {
                Txn::Error(err) => error(*err),
                // One error undoes all (C-141): what comes before it is harmless, what comes
                // after was never tried.
                _ if failed && error_seen => error(ErrorCode::RuntimeInconsistency.code()),
                _ if failed => error(ErrorCode::Ok.code()),
                Txn::CreateSession(_)
                | Txn::CloseSession(_)
                | Txn::SetAcl(_)
                | Txn::Reconfig(_)
                | Txn::Multi(_) => break, // no leader makes these; Java stops here, too
                _ => self.apply_one(header, txn, triggers),
            };
            if whole.err == 0 {
                whole.err = part.err;
            }
            whole.sub.push(part);
        }
        whole
    }

    fn apply_one<'a>(
        &mut self,
        header: &TxnHeader,
        txn: &'a Txn,
        triggers: OnTrigger<'_>,
    ) -> Applied<'a> {
        let (path, outcome) = match txn {
            Txn::Create(t) | Txn::Create2(t) => {
                let owner = if t.ephemeral { header.client_id } else { 0 };
                let node = NewNode {
                    path: &t.path,
                    data: t.data.as_deref(),
                    acl: &t.acl,
                    owner,
                    parent_cversion: t.parent_cversion,
                };
                (Some(&t.path), self.create(header, &node, triggers))
            }
            Txn::CreateContainer(t) => {
                let node = NewNode {
                    path: &t.path,
                    data: t.data.as_deref(),
                    acl: &t.acl,
                    owner: CONTAINER_OWNER,
                    parent_cversion: t.parent_cversion,
                };
                (Some(&t.path), self.create(header, &node, triggers))
            }
            Txn::CreateTtl(t) => {
                let create = |owner| NewNode {
                    path: &t.path,
                    data: t.data.as_deref(),
                    acl: &t.acl,
                    owner,
                    parent_cversion: t.parent_cversion,
                };
                let node = ttl_owner(t.ttl).map(create).ok_or(ErrorCode::BadArguments);
                (Some(&t.path), node.and_then(|node| self.create(header, &node, triggers)))
            }
            Txn::Delete(path) | Txn::DeleteContainer(path) => {
                (Some(path), self.delete(path, header.zxid, triggers).map(|()| None))
            }
            Txn::SetData(t) | Txn::Reconfig(t) => {
                (Some(&t.path), self.set_data(t, header.zxid, header.time, triggers))
            }
            Txn::SetAcl(t) => (Some(&t.path), self.set_acl(t)),
            Txn::Check(path, _) => (Some(path), Ok(None)),
            Txn::CreateSession(t) => {
                self.sessions.insert(header.client_id, t.timeout);
                (None, Ok(None))
            }
            Txn::CloseSession(t) => {
                let paths = t.as_ref().and_then(|t| t.paths.as_deref());
                self.close_session(header.client_id, header.zxid, paths, triggers);
                (None, Ok(None))
            }
            Txn::Error(err) => return error(*err),
            Txn::Multi(_) => (None, Err(ErrorCode::MarshallingError)), // nested: cannot be read
        };
        let (err, stat) = match outcome {
            Ok(stat) => (0, stat),
            Err(err) => (err.code(), None),
        };
        Applied { err, op: txn.op(), path: path.map(String::as_str), stat, sub: Vec::new() }
    }

    fn create(
        &mut self,
        header: &TxnHeader,
        new: &NewNode<'_>,
        triggers: OnTrigger<'_>,
    ) -> Outcome {
        let (parent_path, name) = split_path(new.path).ok_or(ErrorCode::BadArguments)?;
        let parent = self.lookup(parent_path).ok_or(ErrorCode::NoNode)?;
        self.raise_cversion(parent, parent_path, new.parent_cversion, header.zxid);
        let acl = self.acls.acquire(new.acl);
        let stat = StatPersisted {
            czxid: header.zxid,
            mzxid: header.zxid,
            pzxid: header.zxid,
            ctime: header.time,
            mtime: header.time,
            ephemeral_owner: new.owner,
            ..StatPersisted::default()
        };
        let Some(id) = self.add_node(parent, new.path, name, new.data, acl, &stat) else {
            self.acls.release(acl);
            self.find_created(new);
            return Err(ErrorCode::NodeExists);
        };
        if let Some(target) = quota::quota_target(parent_path, name, quota::LIMITS) {
            self.quota_paths.insert(target);
        }
        if let Some(target) = quota::quota_target(parent_path, name, quota::STATS) {
            self.recount_quota(target);
        }
        self.count_for_quota(new.path, new.data.map_or(0, |d| d.len() as i64), 1);
        let node = self.slab.get(id);
        triggers(&Trigger {
            kind: EventType::NodeCreated,
            path: new.path,
            zxid: header.zxid,
            acl: self.acl(node.acl),
            parent_acl: Some(self.acl(self.slab.get(parent).acl)),
        });
        Ok(Some(node.stat()))
    }

    /// Replay over a fuzzy snapshot that has the node already, perhaps with an ACL that the
    /// snapshot lacks, perhaps as another session's (D-7).
    fn find_created(&mut self, new: &NewNode<'_>) {
        if let Some(id) = self.lookup(new.path) {
            let aversion = self.slab.get(id).aversion;
            self.set_acl_of(id, new.path, new.acl, aversion);
        }
    }

    /// A child was created: sets cversion (−1: one more than now) and pzxid, never back (C-121).
    fn raise_cversion(&mut self, parent: NodeId, path: &str, cversion: i32, zxid: i64) {
        let now = self.slab.get(parent).cversion;
        let cversion = if cversion == -1 { now.wrapping_add(1) } else { cversion };
        if cversion > now {
            self.update(parent, path, |node| {
                node.cversion = cversion;
                node.pzxid = zxid;
            });
        }
    }

    fn delete(&mut self, path: &str, zxid: i64, triggers: OnTrigger<'_>) -> Result<(), ErrorCode> {
        let (parent_path, _) = split_path(path).ok_or(ErrorCode::BadArguments)?;
        let parent = self.lookup(parent_path).ok_or(ErrorCode::NoNode)?;
        // Even when the child is gone already, which it may be in a fuzzy snapshot.
        if zxid > self.slab.get(parent).pzxid {
            self.update(parent, parent_path, |node| node.pzxid = zxid);
        }
        let id = self.lookup(path).ok_or(ErrorCode::NoNode)?;
        // Told now, while the node's ACL is at hand; nobody can look before this is over.
        triggers(&Trigger {
            kind: EventType::NodeDeleted,
            path,
            zxid,
            acl: self.acl(self.slab.get(id).acl),
            parent_acl: Some(self.acl(self.slab.get(parent).acl)),
        });
        // There are children only when a fuzzy snapshot has some that were created after this.
        let mut doomed: Vec<NodeId> = self.slab.subtree(id).collect();
        while let Some(id) = doomed.pop() {
            let path = self.slab.path_of(id);
            let bytes = self.slab.get(id).data_len() as i64;
            self.remove_node(id, &path);
            if let Some((parent, name)) = split_path(&path)
                && let Some(target) = quota::quota_target(parent, name, quota::LIMITS)
            {
                self.quota_paths.remove(target);
            }
            self.count_for_quota(&path, -bytes, -1);
        }
        Ok(())
    }

    fn set_data(
        &mut self,
        txn: &SetDataTxn,
        zxid: i64,
        time: i64,
        triggers: OnTrigger<'_>,
    ) -> Outcome {
        let id = self.lookup(&txn.path).ok_or(ErrorCode::NoNode)?;
        let old_len = self.slab.get(id).data_len() as i64;
        self.replace_data(id, &txn.path, txn.data.as_deref(), |node| {
            node.mtime = time;
            node.mzxid = zxid;
            node.version = txn.version;
        });
        let node = self.slab.get(id);
        let (stat, acl) = (node.stat(), node.acl);
        self.count_for_quota(&txn.path, i64::from(stat.data_length) - old_len, 0);
        triggers(&Trigger {
            kind: EventType::NodeDataChanged,
            path: &txn.path,
            zxid,
            acl: self.acl(acl),
            parent_acl: None,
        });
        Ok(Some(stat))
    }

    fn set_acl(&mut self, txn: &SetAclTxn) -> Outcome {
        let id = self.lookup(&txn.path).ok_or(ErrorCode::NoNode)?;
        self.set_acl_of(id, &txn.path, &txn.acl, txn.version);
        Ok(Some(self.slab.get(id).stat()))
    }

    /// Ends a session: deletes the paths of the transaction, then whatever else it owns; without
    /// paths (C-133) the latter alone. Also what boot does, outside transactions, to owners of
    /// ephemerals that are no sessions any more.
    pub fn close_session(
        &mut self,
        session: i64,
        zxid: i64,
        paths: Option<&[String]>,
        triggers: OnTrigger<'_>,
    ) {
        self.sessions.remove(&session);
        for path in paths.unwrap_or_default() {
            // Gone already: fine, when replaying.
            let _ = self.delete(path, zxid, triggers);
        }
        let left: Vec<String> = self.ephemerals(session).map(|id| self.path_of(id)).collect();
        for path in left {
            let _ = self.delete(&path, zxid, triggers);
        }
    }

    /// Writes the membership into its node at start, outside transactions: `version` is the
    /// configuration's, `now` wall clock in ms. Java: `initConfigInZKDatabase`.
    pub fn init_config(&mut self, config: &str, version: i64, now: i64, triggers: OnTrigger<'_>) {
        self.ensure_config_node();
        let data = Some(config.as_bytes().into());
        let txn = SetDataTxn { path: CONFIG_NODE.into(), data, version: -1 };
        // It is there.
        let _ = self.set_data(&txn, version, now, triggers);
    }
}

fn error(err: i32) -> Applied<'static> {
    Applied { err, op: code::ERROR, ..Applied::default() }
}

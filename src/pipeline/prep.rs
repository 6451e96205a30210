//! Turns requests into transactions: checks each against the state that all earlier ones will have
//! made, and writes its transaction down, once. Decides; changes nothing in the tree.
//! May not know how transactions are logged, proposed or answered.
//! Java: `PrepRequestProcessor`.
//!
//! The order of checks is Java's, op by op, because clients see which error comes first.

mod changes;
mod eager;
mod multi;
mod ops;
mod reconfig;
mod sessions;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use eager::eager_acl_check;
pub use multi::creates_ephemeral;
pub use reconfig::Ensemble;

use super::log_undecodable;
use crate::auth::{Registry, ip};
use crate::config::QuorumConfig;
use crate::metrics::ServerMetrics;
use crate::session::{Owner, SessionTracker};
use crate::tree::{DIGEST_VERSION, DataTree};
use crate::wire::{
    DecodeError, ErrorCode, Id, Reader, Record, Txn, TxnDigest, TxnHeader, code, op,
};
use changes::{Changes, Mark};
use ops::LastAcl;

/// What the configuration says that matters here.
#[derive(Debug, Clone)]
pub struct PrepOptions {
    /// `enforceQuota`.
    pub enforce_quota: bool,
    /// `closeSessionTxn.enabled`: closeSession names the nodes to delete (C-133).
    pub close_session_txn: bool,
    /// `reconfigEnabled`.
    pub reconfig: bool,
    /// `standaloneEnabled`: an ensemble must keep two voters.
    pub standalone: bool,
    /// `multiAddress.enabled`, for new members.
    pub multi_address: bool,
    /// Bytes of the largest transaction that servers take from one another, and Java's from their
    /// logs: `jute.maxbuffer` and its extra size.
    pub max_txn: usize,
}

/// Bytes of a transaction's header and digest.
const AROUND_TXN: usize = 32 + 12;

impl PrepOptions {
    /// Whether a request must be measured once it is a transaction. Text that is mended, or written
    /// as Java does, takes three times the bytes at most; a sequence number adds ten to an op.
    fn may_be_too_large(&self, request: &PrepRequest<'_>) -> bool {
        request.op == code::MULTI || request.body.len() > self.max_txn / 8
    }

    /// Bytes of what `auth` may stand for in all lists of a request.
    fn max_auth_bytes(&self, op: i32) -> usize {
        if op == code::MULTI { self.max_txn } else { self.max_txn / 4 }
    }
}

/// A request that has to be ordered, from a client of this server, from a learner, or from this
/// server itself.
#[derive(Debug, Clone, Copy)]
pub struct PrepRequest<'a> {
    /// 0 for requests of the container manager.
    pub session: i64,
    pub cxid: i32,
    pub op: i32,
    /// Jute bytes after the request header.
    pub body: &'a [u8],
    pub ids: &'a [Id],
    /// Where it came from. `None`: from this server itself; such a createSession leaves the
    /// session to whoever comes next (C-109).
    pub owner: Option<Owner>,
    /// The session could not be made global for an ephemeral node, and why (C-109).
    pub upgrade_error: Option<ErrorCode>,
}

impl<'a> PrepRequest<'a> {
    /// A request of this server itself.
    pub fn own(session: i64, op: i32, body: &'a [u8]) -> Self {
        Self { session, cxid: 0, op, body, ids: &[], owner: None, upgrade_error: None }
    }
}

impl PrepRequest<'_> {
    fn log_undecodable(&self, why: &DecodeError) {
        log_undecodable(ip::address_in(self.ids), self.session, (self.op, self.body), why);
    }
}

/// What prep looks at.
pub struct Context<'a> {
    pub tree: &'a DataTree,
    pub sessions: &'a mut SessionTracker,
    pub auth: &'a Registry,
    /// `None` on a standalone server.
    pub ensemble: Option<&'a dyn Ensemble>,
    /// Wall clock, ms since 1970: the time in transactions.
    pub time: i64,
    /// Monotonic clock, ms: when sessions begin.
    pub now: i64,
    pub metrics: &'a ServerMetrics,
}

/// A transaction, ready to be logged and proposed. A request that failed is one, too (C-130).
#[derive(Debug, Clone)]
pub struct Prepared {
    pub header: TxnHeader,
    pub txn: Txn,
    /// Digest of the tree once this is applied; none in a failed single op or with digests off.
    pub digest: Option<TxnDigest>,
    /// Header, body and digest as log and proposals carry them (D-16).
    pub bytes: Arc<[u8]>,
    /// 0, or the [`ErrorCode`] of the request: of a multi, that of its first op to fail.
    pub err: i32,
    /// The membership that a reconfig proposes.
    pub reconfig: Option<Box<QuorumConfig>>,
}

/// What becomes of a request.
#[derive(Debug, Clone)]
pub enum Outcome {
    Txn(Prepared),
    /// A `sync` takes its place in the order without a transaction; or the error to answer then,
    /// with the last zxid applied.
    NoTxn(Result<(), ErrorCode>),
}

/// The station; it belongs to the thread that applies transactions.
#[derive(Debug)]
pub struct Prep {
    options: PrepOptions,
    last_zxid: i64,
    changes: Changes,
    quota_warned_at: Option<i64>,
    last_acl: LastAcl,
    scratch: Vec<u8>,
}

/// One request (or one op of a multi) and all it is checked against.
struct Step<'a> {
    options: &'a PrepOptions,
    changes: &'a mut Changes,
    quota_warned_at: &'a mut Option<i64>,
    last_acl: &'a mut LastAcl,
    tree: &'a DataTree,
    sessions: &'a mut SessionTracker,
    auth: &'a Registry,
    ensemble: Option<&'a dyn Ensemble>,
    request: &'a PrepRequest<'a>,
    zxid: i64,
    time: i64,
    now: i64,
    metrics: &'a ServerMetrics,
    /// Bytes of ACLs that `auth` may still become.
    auth_room: usize,
    new_config: Option<Box<QuorumConfig>>,
}

/// Why a request failed.
enum Failure {
    /// Its bytes make no sense: −5 (C-71).
    Undecodable(DecodeError),
    Code(ErrorCode),
}

impl From<DecodeError> for Failure {
    fn from(err: DecodeError) -> Self {
        Self::Undecodable(err)
    }
}

impl From<ErrorCode> for Failure {
    fn from(err: ErrorCode) -> Self {
        Self::Code(err)
    }
}

/// What a decided request gave: the transaction, and the first error in it.
type Decision = Result<(Txn, i32), Failure>;

impl Prep {
    /// `last_zxid`: the last one of the history; the next transaction gets the one after it.
    pub fn new(options: PrepOptions, last_zxid: i64, tree: &DataTree) -> Self {
        let changes = Changes::new(tree.options().seed);
        let (last_acl, scratch) = (LastAcl::default(), Vec::new());
        Self { options, last_zxid, changes, quota_warned_at: None, last_acl, scratch }
    }

    /// The zxid given out last.
    pub fn last_zxid(&self) -> i64 {
        self.last_zxid
    }

    /// How many changes of nodes are decided and not yet applied.
    pub fn outstanding_changes(&self) -> usize {
        self.changes.len()
    }

    /// The transaction was applied to the tree: what it changes is found there from now on.
    pub fn applied(&mut self, zxid: i64) {
        self.changes.applied(zxid);
    }

    /// Checks a request. Every write takes the next zxid, also one that fails; but not one that
    /// cannot be decoded, for which Java logs the last zxid once more. A learner needs something to
    /// be committed before it can answer, so its undecodable request is a failed write.
    pub fn prepare(&mut self, request: &PrepRequest<'_>, context: &mut Context<'_>) -> Outcome {
        if !op::is_write(request.op) {
            let owner = request.owner.unwrap_or(Owner::ThisServer);
            return Outcome::NoTxn(match request.op {
                code::SYNC => context.sessions.check_session(request.session, owner),
                _ => Err(ErrorCode::Unimplemented),
            });
        }
        let mark = self.options.may_be_too_large(request).then(|| self.changes.begin(context.tree));
        let mut step = Step {
            options: &self.options,
            changes: &mut self.changes,
            quota_warned_at: &mut self.quota_warned_at,
            last_acl: &mut self.last_acl,
            tree: context.tree,
            sessions: context.sessions,
            auth: context.auth,
            ensemble: context.ensemble,
            request,
            zxid: self.last_zxid + 1,
            time: context.time,
            now: context.now,
            metrics: context.metrics,
            auth_room: self.options.max_auth_bytes(request.op),
            new_config: None,
        };
        let decision = step.decide();
        let new_config = step.new_config.take();
        let decision = match self.settle(request, decision, mark) {
            Ok(decided) => Ok(decided),
            Err(Failure::Code(err)) => Err(err),
            Err(Failure::Undecodable(why)) => {
                request.log_undecodable(&why);
                if !matches!(request.owner, Some(Owner::Learner(_))) {
                    return Outcome::NoTxn(Err(ErrorCode::MarshallingError));
                }
                Err(ErrorCode::MarshallingError)
            }
        };
        Outcome::Txn(self.write_down(request, context, decision, new_config))
    }

    /// What was tried since the mark stays if all of it succeeded, and if it is no larger than a
    /// transaction may be: none of the ensemble could log a larger one, nor start over it again
    /// (ZOOKEEPER-4306).
    fn settle(
        &mut self,
        request: &PrepRequest<'_>,
        mut decision: Decision,
        mark: Option<Mark>,
    ) -> Decision {
        let Some(mark) = mark else { return decision };
        if let Ok((txn, _)) = &decision {
            self.scratch.clear();
            txn.write_body(&mut self.scratch);
            let (bytes, limit) = (self.scratch.len() + AROUND_TXN, self.options.max_txn);
            if bytes > limit {
                log::warn!(
                    "Request {} of session 0x{:x} refused: its transaction would have {bytes} \
                     bytes, and jute.maxbuffer and its extra size allow {limit}",
                    request.op,
                    request.session
                );
                decision = Err(ErrorCode::MarshallingError.into());
            }
        }
        match &decision {
            Ok((_, 0)) => self.changes.keep(),
            _ => self.changes.roll_back(&mark),
        }
        decision
    }

    fn write_down(
        &mut self,
        request: &PrepRequest<'_>,
        context: &Context<'_>,
        decision: Result<(Txn, i32), ErrorCode>,
        reconfig: Option<Box<QuorumConfig>>,
    ) -> Prepared {
        // A failed single op has no digest, a failed multi has (C-130, C-141).
        let (txn, err, digest) = match decision {
            Ok((txn, err)) => (txn, err, self.digest(context.tree)),
            Err(err) => (Txn::Error(err.code()), err.code(), None),
        };
        if err > ErrorCode::ApiError.code() && err != 0 {
            log::info!(
                "Request {} of session 0x{:x} (cxid {}) fails with {err}",
                request.op,
                request.session,
                request.cxid
            );
        }
        self.last_zxid += 1;
        let header = TxnHeader {
            client_id: request.session,
            cxid: request.cxid,
            zxid: self.last_zxid,
            time: context.time,
            op: txn.op(),
        };
        self.scratch.clear();
        header.write(&mut self.scratch);
        txn.write_body(&mut self.scratch);
        if let Some(digest) = &digest {
            digest.write(&mut self.scratch);
        }
        let bytes = self.scratch.as_slice().into();
        Prepared { header, txn, digest, bytes, err, reconfig }
    }

    fn digest(&self, tree: &DataTree) -> Option<TxnDigest> {
        let enabled = tree.options().digest_enabled;
        enabled.then(|| TxnDigest { version: DIGEST_VERSION, digest: self.changes.digest(tree) })
    }
}

impl Step<'_> {
    fn decide(&mut self) -> Decision {
        let mut body = Reader::new(self.request.body);
        if self.request.op == code::MULTI {
            return self.multi(&mut body);
        }
        let txn = match self.request.op {
            code::CREATE_SESSION => self.create_session(&mut body),
            code::CLOSE_SESSION => self.close_session().map_err(Failure::from),
            code::RECONFIG => self.reconfig(&mut body),
            code::SET_ACL => self.set_acl(&mut body),
            code::DELETE_CONTAINER => self.delete_container(&mut body),
            _ => {
                let op = ops::Op::read(self.request.op, &mut body)?;
                self.single_op(&op).map_err(Failure::from)
            }
        }?;
        Ok((txn, 0))
    }

    fn owner(&self) -> Owner {
        self.request.owner.unwrap_or(Owner::ThisServer)
    }

    fn check_session(&mut self) -> Result<(), ErrorCode> {
        self.sessions.check_session(self.request.session, self.owner())
    }
}

//! createSession and closeSession (C-133, C-134).

use super::ops::split_unless_special;
use super::{AROUND_TXN, Failure, Step};
use crate::wire::txn::{CloseSessionTxn, CreateSessionTxn};
use crate::wire::{ErrorCode, Reader, Record, Txn};

impl Step<'_> {
    pub(super) fn create_session(&mut self, body: &mut Reader<'_>) -> Result<Txn, Failure> {
        let txn: CreateSessionTxn = body.record()?;
        self.sessions.track_session(self.request.session, txn.timeout, self.now);
        self.sessions.set_owner(self.request.session, self.request.owner)?;
        Ok(Txn::CreateSession(txn))
    }

    /// Asks nobody for the session: expiry closes it without owning it.
    pub(super) fn close_session(&mut self) -> Result<Txn, ErrorCode> {
        let paths = self.changes.ephemerals_of(self.tree, self.request.session);
        for path in &paths {
            let (parent_path, _) = split_unless_special(path)?;
            // Java leaves the parent's count of children as it was until this is applied, so that
            // a delete right behind finds the parent not empty.
            let (parent, node) = (self.node(parent_path)?, self.node(path)?);
            self.remove(parent_path, parent, path, &node);
        }
        self.sessions.set_closing(self.request.session);
        let mut txn = CloseSessionTxn { paths: Some(paths) };
        if txn.to_bytes().len() + AROUND_TXN > self.options.max_txn {
            // Every server deletes what the session owns then, which are the same nodes.
            txn.paths = None;
        }
        Ok(Txn::CloseSession(self.options.close_session_txn.then_some(txn)))
    }
}

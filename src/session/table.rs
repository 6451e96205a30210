//! Sessions that this server expires itself: with owner, deadline and closing mark.
//! Java: `server.SessionTrackerImpl`.

use crate::hash::IdMap;

use super::{ExpiryDump, ExpiryQueue, Owner};
use crate::wire::ErrorCode;

#[derive(Debug)]
struct Session {
    timeout: i32,
    /// A closeSession is on its way; nothing else is taken from the session any more.
    closing: bool,
    /// `None`: the next request's server becomes the owner.
    owner: Option<Owner>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct SessionTable {
    sessions: IdMap<i64, Session>,
    expiry: ExpiryQueue<i64>,
}

impl SessionTable {
    pub(super) fn new(tick_time: i64) -> Self {
        Self { sessions: IdMap::default(), expiry: ExpiryQueue::new(tick_time) }
    }

    /// Starts tracking (true), or only touches a session that is tracked (false).
    pub(super) fn track(&mut self, id: i64, timeout: i32, now: i64) -> bool {
        let before = self.sessions.len();
        let session = Session { timeout, closing: false, owner: None };
        self.sessions.entry(id).or_insert(session);
        self.expiry.update(id, timeout.into(), now);
        self.sessions.len() > before
    }

    /// False when the session is not tracked or is closing.
    pub(super) fn touch(&mut self, id: i64, timeout: i32, now: i64) -> bool {
        let alive = self.sessions.get(&id).is_some_and(|s| !s.closing);
        if alive {
            self.expiry.update(id, timeout.into(), now);
        }
        alive
    }

    /// Checks that a request may come through `owner`, which becomes the owner if there is none.
    pub(super) fn check(&mut self, id: i64, owner: Owner) -> Result<(), ErrorCode> {
        let session = self.sessions.get_mut(&id).ok_or(ErrorCode::UnknownSession)?;
        if session.closing {
            return Err(ErrorCode::SessionExpired);
        }
        match session.owner.get_or_insert(owner) {
            current if *current == owner => Ok(()),
            _ => Err(ErrorCode::SessionMoved),
        }
    }

    pub(super) fn set_owner(&mut self, id: i64, owner: Option<Owner>) -> Result<(), ErrorCode> {
        match self.sessions.get_mut(&id) {
            Some(session) if !session.closing => {
                session.owner = owner;
                Ok(())
            }
            _ => Err(ErrorCode::SessionExpired),
        }
    }

    pub(super) fn set_closing(&mut self, id: i64) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.closing = true;
        }
    }

    pub(super) fn remove(&mut self, id: i64) -> Option<i32> {
        self.expiry.remove(id);
        self.sessions.remove(&id).map(|session| session.timeout)
    }

    /// Marks the sessions whose time is up as closing and names them.
    pub(super) fn expire(&mut self, now: i64) -> Vec<i64> {
        let expired = self.expiry.expire(now);
        expired.iter().for_each(|id| self.set_closing(*id));
        expired
    }

    pub(super) fn next_deadline(&self) -> Option<i64> {
        self.expiry.next_deadline()
    }

    pub(super) fn contains(&self, id: i64) -> bool {
        self.sessions.contains_key(&id)
    }

    pub(super) fn len(&self) -> usize {
        self.sessions.len()
    }

    pub(super) fn dump(&self) -> ExpiryDump {
        let sets = self.expiry.buckets().map(|(at, ids)| (at, ids.iter().copied().collect()));
        ExpiryDump { sets: sets.collect(), tracked: self.expiry.len() }
    }
}

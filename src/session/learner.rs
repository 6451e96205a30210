//! The session tracker of a follower or observer: it reports to the leader who was heard of, and
//! leaves expiry of global sessions to it. Java: `quorum.LearnerSessionTracker`.

use std::collections::{BTreeMap, BTreeSet};

use super::table::SessionTable;
use super::{GlobalDump, Owner, SessionDump};
use crate::wire::ErrorCode;

/// See the module.
#[derive(Debug)]
pub struct LearnerSessionTracker {
    next_id: i64,
    /// Global sessions by createSession and closeSession transactions, with time-outs (ms).
    committed: BTreeMap<i64, i32>,
    /// Heard of since the last report, with time-outs.
    touched: BTreeMap<i64, i32>,
    local: Option<SessionTable>,
    /// No longer local, createSession not yet applied.
    upgrading: BTreeSet<i64>,
}

impl LearnerSessionTracker {
    /// `first_id` is what [`super::first_session_id`] gives.
    pub fn new(
        committed: BTreeMap<i64, i32>,
        tick_time: i64,
        first_id: i64,
        local_sessions: bool,
    ) -> Self {
        Self {
            next_id: first_id,
            committed,
            touched: BTreeMap::new(),
            local: local_sessions.then(|| SessionTable::new(tick_time)),
            upgrading: BTreeSet::new(),
        }
    }

    /// A new session of a client of this server: a local one where they are enabled, else an id
    /// for a createSession request to the leader.
    pub fn create_session(&mut self, timeout: i32, now: i64) -> i64 {
        let id = self.next_id;
        self.next_id = id.wrapping_add(1);
        if let Some(local) = &mut self.local {
            local.track(id, timeout, now);
        }
        id
    }

    /// A createSession transaction was applied. False if the session was known already.
    pub fn commit_session(&mut self, id: i64, timeout: i32) -> bool {
        if let Some(local) = &mut self.local {
            local.remove(id);
        }
        self.upgrading.remove(&id);
        self.touched.insert(id, timeout);
        self.committed.insert(id, timeout).is_none()
    }

    /// A closeSession was applied, or a local session closed.
    pub fn remove_session(&mut self, id: i64) {
        if let Some(local) = &mut self.local {
            local.remove(id);
        }
        self.upgrading.remove(&id);
        self.committed.remove(&id);
        self.touched.remove(&id);
    }

    /// The session was heard of. Without local sessions everything is reported, and the leader
    /// judges.
    pub fn touch_session(&mut self, id: i64, timeout: i32, now: i64) -> bool {
        if let Some(local) = &mut self.local {
            if local.touch(id, timeout, now) {
                return true;
            }
            if !self.committed.contains_key(&id) && !self.upgrading.contains(&id) {
                return false;
            }
        }
        self.touched.insert(id, timeout);
        true
    }

    /// What to tell the leader with the next PING: sessions heard of, with time-outs.
    pub fn take_touched(&mut self) -> BTreeMap<i64, i32> {
        std::mem::take(&mut self.touched)
    }

    /// Whether a request of the session may come through `owner`. Global sessions are the
    /// leader's to check.
    pub fn check_session(&mut self, id: i64, owner: Owner) -> Result<(), ErrorCode> {
        match &mut self.local {
            None => Ok(()),
            Some(local) => match local.check(id, owner) {
                Err(ErrorCode::UnknownSession) if self.is_global(id) => Ok(()),
                Err(ErrorCode::UnknownSession) => Err(ErrorCode::SessionExpired),
                result => result,
            },
        }
    }

    /// Nothing but the closeSession on its way is taken from a local session any more.
    pub fn set_closing(&mut self, id: i64) {
        if let Some(local) = &mut self.local {
            local.set_closing(id);
        }
    }

    /// The local sessions whose time is up; the caller closes them.
    pub fn expire(&mut self, now: i64) -> Vec<i64> {
        self.local.as_mut().map_or_else(Vec::new, |local| local.expire(now))
    }

    /// When [`Self::expire`] will next have something to give (monotonic ms).
    pub fn next_expiry(&self) -> Option<i64> {
        self.local.as_ref().and_then(SessionTable::next_deadline)
    }

    /// Makes a local session one for which the leader has to be asked a createSession (C-109);
    /// gives the time-out for it.
    pub fn upgrade_session(&mut self, id: i64) -> Option<i32> {
        let timeout = self.local.as_mut()?.remove(id)?;
        self.upgrading.insert(id);
        Some(timeout)
    }

    pub fn is_local(&self, id: i64) -> bool {
        self.local.as_ref().is_some_and(|local| local.contains(id))
    }

    pub fn is_global(&self, id: i64) -> bool {
        self.committed.contains_key(&id)
    }

    pub fn local_count(&self) -> usize {
        self.local.as_ref().map_or(0, SessionTable::len)
    }

    pub fn dump(&self) -> SessionDump {
        SessionDump {
            local: self.local.as_ref().map(SessionTable::dump),
            global: GlobalDump::Known(self.committed.iter().map(|(k, v)| (*k, *v)).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: Owner = Owner::ThisServer;

    fn tracker(local: bool) -> LearnerSessionTracker {
        LearnerSessionTracker::new(BTreeMap::from([(50, 4000)]), 2000, 2 << 56, local)
    }

    #[test]
    fn touches_are_reported_once() {
        let mut t = tracker(false);
        assert!(t.touch_session(50, 4000, 1));
        assert!(t.touch_session(51, 6000, 1), "the leader judges");
        assert!(t.commit_session(52, 8000));
        assert_eq!(t.take_touched(), BTreeMap::from([(50, 4000), (51, 6000), (52, 8000)]));
        assert!(t.take_touched().is_empty());
        t.touch_session(50, 4000, 2);
        t.remove_session(50);
        assert!(t.take_touched().is_empty());
    }

    #[test]
    fn local_sessions_stay_here() {
        let mut t = tracker(true);
        let id = t.create_session(4000, 0);
        assert!(t.is_local(id));
        assert!(t.touch_session(id, 4000, 2000));
        assert!(!t.touch_session(99, 4000, 0));
        assert!(t.take_touched().is_empty());
        assert_eq!(t.check_session(id, ME), Ok(()));
        assert_eq!(t.check_session(50, ME), Ok(()));
        assert_eq!(t.check_session(99, ME), Err(ErrorCode::SessionExpired));
        assert_eq!(t.expire(8000), [id]);
        assert_eq!(t.check_session(id, ME), Err(ErrorCode::SessionExpired));
    }

    #[test]
    fn an_upgrade_ends_when_its_transaction_is_applied() {
        let mut t = tracker(true);
        let id = t.create_session(4000, 0);
        assert_eq!(t.upgrade_session(id), Some(4000));
        assert_eq!(t.check_session(id, ME), Err(ErrorCode::SessionExpired));
        assert!(t.touch_session(id, 4000, 1), "kept alive while upgrading");
        assert!(t.commit_session(id, 4000));
        assert!(t.is_global(id) && !t.is_local(id));
        assert_eq!(t.check_session(id, ME), Ok(()));
        let known = GlobalDump::Known(vec![(50, 4000), (id, 4000)]);
        assert_eq!(t.dump().global, known);
    }
}

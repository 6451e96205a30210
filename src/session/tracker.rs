//! The session tracker of a standalone server and of a leader: it decides who expires.
//! Java: `server.SessionTrackerImpl`, `quorum.LeaderSessionTracker`.

use std::collections::BTreeMap;

use super::table::SessionTable;
use super::{GlobalDump, Owner, SessionDump, server_of};
use crate::wire::ErrorCode;

/// Which of Java's two trackers this one answers like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Standalone,
    /// `local_sessions`: `localSessionsEnabled` (C-109).
    Leader {
        local_sessions: bool,
    },
}

/// See the module. A global session is tracked from the moment prep has seen its createSession; the
/// tree knows it (and snapshots keep it) from the moment that was applied.
#[derive(Debug)]
pub struct SessionTracker {
    kind: Kind,
    server_id: i64,
    next_id: i64,
    global: SessionTable,
    local: Option<SessionTable>,
}

impl SessionTracker {
    /// `sessions`: those of the tree with their time-outs (ms); they start to live anew.
    /// `first_id` is what [`super::first_session_id`] gives.
    pub fn new(
        kind: Kind,
        sessions: &BTreeMap<i64, i32>,
        tick_time: i64,
        first_id: i64,
        now: i64,
    ) -> Self {
        let mut global = SessionTable::new(tick_time);
        for (&id, &timeout) in sessions {
            global.track(id, timeout, now);
        }
        let local = match kind {
            Kind::Leader { local_sessions: true } => Some(SessionTable::new(tick_time)),
            _ => None,
        };
        Self { kind, server_id: server_of(first_id), next_id: first_id, global, local }
    }

    /// A new session of a client of this server: a local one where they are enabled
    /// ([`Self::is_local`]), else one that needs a createSession transaction.
    pub fn create_session(&mut self, timeout: i32, now: i64) -> i64 {
        let id = self.next_id;
        self.next_id = id.wrapping_add(1);
        self.local.as_mut().unwrap_or(&mut self.global).track(id, timeout, now);
        id
    }

    /// A createSession request has come to prep. False if the session was tracked already.
    pub fn track_session(&mut self, id: i64, timeout: i32, now: i64) -> bool {
        self.global.track(id, timeout, now)
    }

    /// A createSession transaction was applied: the session is global now.
    pub fn commit_session(&mut self, id: i64) {
        if let Some(local) = &mut self.local {
            local.remove(id);
        }
    }

    /// A closeSession was applied.
    pub fn remove_session(&mut self, id: i64) {
        if let Some(local) = &mut self.local {
            local.remove(id);
        }
        self.global.remove(id);
    }

    /// The session was heard of; it lives `timeout` ms longer. False if it is unknown or closing.
    pub fn touch_session(&mut self, id: i64, timeout: i32, now: i64) -> bool {
        self.local.as_mut().is_some_and(|local| local.touch(id, timeout, now))
            || self.global.touch(id, timeout, now)
    }

    /// Whether a request of the session may come through `owner` (C-94, C-95).
    pub fn check_session(&mut self, id: i64, owner: Owner) -> Result<(), ErrorCode> {
        if let Some(local) = &mut self.local {
            match local.check(id, owner) {
                Err(ErrorCode::UnknownSession) => {}
                Ok(()) if self.global.contains(id) => {}
                result => return result,
            }
        }
        match self.global.check(id, owner) {
            Err(ErrorCode::UnknownSession) => self.unknown_session(id),
            result => result,
        }
    }

    /// What to think of a session we do not know. With local sessions it may be another server's
    /// local one, whose owner has checked it.
    fn unknown_session(&self, id: i64) -> Result<(), ErrorCode> {
        match self.kind {
            Kind::Standalone => Err(ErrorCode::UnknownSession),
            Kind::Leader { local_sessions: true } if server_of(id) != self.server_id => Ok(()),
            Kind::Leader { .. } => Err(ErrorCode::SessionExpired),
        }
    }

    /// As [`Self::check_session`], for what only global sessions may do: own ephemerals.
    pub fn check_global_session(&mut self, id: i64, owner: Owner) -> Result<(), ErrorCode> {
        match self.global.check(id, owner) {
            Err(ErrorCode::UnknownSession) => Err(ErrorCode::SessionExpired),
            result => result,
        }
    }

    /// The session now belongs to `owner` (`None`: to whoever comes next).
    pub fn set_owner(&mut self, id: i64, owner: Option<Owner>) -> Result<(), ErrorCode> {
        if self.local.as_mut().is_some_and(|local| local.set_owner(id, owner).is_ok()) {
            return Ok(());
        }
        self.global.set_owner(id, owner)
    }

    /// Nothing but the closeSession on its way is taken from the session any more.
    pub fn set_closing(&mut self, id: i64) {
        if let Some(local) = &mut self.local {
            local.set_closing(id);
        }
        self.global.set_closing(id);
    }

    /// The sessions whose time is up: they are closing now, and the caller has to submit their
    /// closeSession.
    pub fn expire(&mut self, now: i64) -> Vec<i64> {
        let mut expired = self.global.expire(now);
        expired.extend(self.local.iter_mut().flat_map(|local| local.expire(now)));
        expired
    }

    /// When [`Self::expire`] will next have something to give (monotonic ms).
    pub fn next_expiry(&self) -> Option<i64> {
        let local = self.local.as_ref().and_then(SessionTable::next_deadline);
        self.global.next_deadline().into_iter().chain(local).min()
    }

    /// Turns a local session into a global one that lacks only its transaction (C-109); gives the
    /// time-out for it.
    pub fn upgrade_session(&mut self, id: i64, now: i64) -> Option<i32> {
        let timeout = self.local.as_mut()?.remove(id)?;
        self.global.track(id, timeout, now);
        Some(timeout)
    }

    pub fn is_local(&self, id: i64) -> bool {
        self.local.as_ref().is_some_and(|local| local.contains(id))
    }

    pub fn is_global(&self, id: i64) -> bool {
        self.global.contains(id)
    }

    pub fn local_count(&self) -> usize {
        self.local.as_ref().map_or(0, SessionTable::len)
    }

    pub fn dump(&self) -> SessionDump {
        SessionDump {
            local: self.local.as_ref().map(SessionTable::dump),
            global: GlobalDump::Expiring(self.global.dump()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: Owner = Owner::ThisServer;
    const FOLLOWER: Owner = Owner::Learner(7);

    fn tracker(kind: Kind) -> SessionTracker {
        SessionTracker::new(kind, &BTreeMap::from([(50, 4000)]), 2000, 1 << 56, 0)
    }

    #[test]
    fn unknown_sessions_by_kind_of_server() {
        let global = Kind::Leader { local_sessions: false };
        let local = Kind::Leader { local_sessions: true };
        let (ours, theirs) = (1 << 56 | 5, 2 << 56 | 5);
        let table = [
            (Kind::Standalone, ours, Err(ErrorCode::UnknownSession)),
            (Kind::Standalone, theirs, Err(ErrorCode::UnknownSession)),
            (global, ours, Err(ErrorCode::SessionExpired)),
            (global, theirs, Err(ErrorCode::SessionExpired)),
            (local, ours, Err(ErrorCode::SessionExpired)),
            (local, theirs, Ok(())),
        ];
        for (kind, id, want) in table {
            let mut t = tracker(kind);
            assert_eq!(t.check_session(id, ME), want, "{kind:?} {id:#x}");
            assert_eq!(t.check_global_session(id, ME), Err(ErrorCode::SessionExpired));
        }
    }

    #[test]
    fn the_first_request_owns_and_others_have_moved() {
        let mut t = tracker(Kind::Leader { local_sessions: false });
        assert_eq!(t.check_session(50, FOLLOWER), Ok(()));
        assert_eq!(t.check_session(50, ME), Err(ErrorCode::SessionMoved));
        assert_eq!(t.check_global_session(50, ME), Err(ErrorCode::SessionMoved));
        assert_eq!(t.set_owner(50, Some(ME)), Ok(()));
        assert_eq!(t.check_session(50, FOLLOWER), Err(ErrorCode::SessionMoved));
        assert_eq!(t.set_owner(50, None), Ok(()));
        assert_eq!(t.check_session(50, FOLLOWER), Ok(()));
        assert_eq!(t.set_owner(51, None), Err(ErrorCode::SessionExpired));
    }

    #[test]
    fn a_closing_session_takes_nothing_more() {
        let mut t = tracker(Kind::Standalone);
        t.set_closing(50);
        assert!(!t.touch_session(50, 4000, 1));
        assert_eq!(t.check_session(50, ME), Err(ErrorCode::SessionExpired));
        assert_eq!(t.set_owner(50, Some(ME)), Err(ErrorCode::SessionExpired));
        t.remove_session(50);
        assert_eq!(t.check_session(50, ME), Err(ErrorCode::UnknownSession));
    }

    #[test]
    fn sessions_expire_when_nobody_touches_them() {
        let mut t = tracker(Kind::Standalone);
        let id = t.create_session(10_000, 0);
        assert!(t.touch_session(50, 4000, 3000));
        assert_eq!(t.next_expiry(), Some(8000));
        assert_eq!(t.expire(7999), []);
        assert_eq!(t.expire(8000), [50]);
        assert!(!t.touch_session(50, 4000, 8000));
        assert_eq!(t.expire(12_000), [id]);
        assert_eq!(t.next_expiry(), None);
        assert!(t.is_global(50), "until its closeSession is applied");
    }

    #[test]
    fn local_sessions_become_global_by_an_upgrade() {
        let mut t = tracker(Kind::Leader { local_sessions: true });
        let id = t.create_session(4000, 0);
        assert!(t.is_local(id) && !t.is_global(id));
        assert_eq!(t.check_session(id, ME), Ok(()));
        assert_eq!(t.check_global_session(id, ME), Err(ErrorCode::SessionExpired));
        assert_eq!(t.upgrade_session(id, 0), Some(4000));
        assert_eq!(t.upgrade_session(id, 0), None);
        assert!(!t.is_local(id) && t.is_global(id));
        assert_eq!(t.check_global_session(id, ME), Ok(()));
        t.commit_session(id);
        assert_eq!(t.local_count(), 0);
    }

    #[test]
    fn dump_tells_who_expires_when() {
        let mut t = tracker(Kind::Leader { local_sessions: true });
        let id = t.create_session(10_000, 0);
        let dump = t.dump();
        assert_eq!(dump.local.unwrap().sets, [(12_000, vec![id])]);
        let GlobalDump::Expiring(global) = dump.global else { panic!("a leader expires") };
        assert_eq!((global.sets, global.tracked), (vec![(6000, vec![50])], 1));
    }
}

//! Sessions: who lives, until when, and whom they belong to. Pure: times are milliseconds of a
//! monotonic clock, given by the caller; connections appear only as an [`Owner`].
//! Java: `server.SessionTrackerImpl`, `LeaderSessionTracker`, `LearnerSessionTracker`,
//! `ExpiryQueue`.

mod expiry;
mod learner;
mod password;
mod table;
mod tracker;

pub use expiry::ExpiryQueue;
pub use learner::LearnerSessionTracker;
pub use password::{check_password, generate_password};
pub use tracker::{Kind, SessionTracker};

/// Through which server a session's requests come. A request through another is answered
/// SessionMoved (C-94).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Owner {
    /// A client connection of this server (Java: `ServerCnxn.me`).
    ThisServer,
    /// A learner's link, by a number that is never used again (Java: its `LearnerHandler`).
    Learner(u64),
}

/// First id that a server hands out (C-91): wall-clock time (ms) in the middle so that restarts do
/// not meet old ids, the server's id in the top byte so that servers do not meet each other's.
pub fn first_session_id(now: i64, server_id: i64) -> i64 {
    let id = ((now << 24) as u64 >> 8) as i64 | server_id << 56;
    // This value marks containers where an ephemeral's owner stands.
    if id == i64::MIN { id + 1 } else { id }
}

/// The id of the server that created a session.
pub fn server_of(session: i64) -> i64 {
    (session as u64 >> 56) as i64
}

/// Sessions by the moment they expire at, for the four-letter word `dump`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExpiryDump {
    /// Moment (monotonic ms) and the sessions that expire then.
    pub sets: Vec<(i64, Vec<i64>)>,
    pub tracked: usize,
}

/// What a tracker knows, for `dump`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionDump {
    /// Present when local sessions are enabled.
    pub local: Option<ExpiryDump>,
    pub global: GlobalDump,
}

/// Global sessions: only a leader or standalone server knows when they expire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GlobalDump {
    Expiring(ExpiryDump),
    /// Session and time-out (ms), sorted by session id.
    Known(Vec<(i64, i32)>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_seeded_like_java() {
        // jshell: ((now << 24) >>> 8) | (id << 56)
        let table = [
            (0, 1, 0x0100_0000_0000_0000),
            (1, 1, 0x0100_0000_0001_0000),
            (0x0123_4567_89ab, 2, 0x0223_4567_89ab_0000),
            (0, 0x80, i64::MIN + 1),
            (5, 0xfe, 0xfe00_0000_0005_0000_u64 as i64),
        ];
        for (now, server, want) in table {
            assert_eq!(first_session_id(now, server), want, "{now} {server}");
            assert_eq!(server_of(want), server);
        }
    }
}

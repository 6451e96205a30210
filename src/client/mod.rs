//! The client's side of the protocol, blocking: for the shell, the load generator and tests.
//! Java: `ZooKeeper`, `admin.ZooKeeperAdmin`.

pub mod conn;
pub mod error;
pub mod multi;
mod ops;
pub mod paths;
mod session;
#[cfg(test)]
mod tests;
pub mod watches;

use std::fmt;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

pub use error::{Error, Result};
pub use ops::{AddWatchMode, Create};
pub use session::{Reply, State, Ticket};

use crate::wire::{EventType, code};
use conn::Hello;
use paths::ConnectString;
use session::Session;

/// How long `close` waits for the server's answer.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

/// Java: `Watcher.Event.KeeperState`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeeperState {
    Disconnected,
    SyncConnected,
    AuthFailed,
    ConnectedReadOnly,
    Closed,
    Expired,
}

/// A change of a watched node, or of the session itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchedEvent {
    /// −1 for a change of the session's state, else an [`EventType`].
    pub kind: i32,
    pub state: KeeperState,
    pub path: Option<String>,
    /// Of the change, −1 when unknown.
    pub zxid: i64,
}

impl WatchedEvent {
    /// A change of the session's state.
    pub fn of(state: KeeperState) -> Self {
        Self { kind: -1, state, path: None, zxid: -1 }
    }

    fn kind_name(&self) -> &'static str {
        const NAMES: [(EventType, &str); 7] = [
            (EventType::NodeCreated, "NodeCreated"),
            (EventType::NodeDeleted, "NodeDeleted"),
            (EventType::NodeDataChanged, "NodeDataChanged"),
            (EventType::NodeChildrenChanged, "NodeChildrenChanged"),
            (EventType::DataWatchRemoved, "DataWatchRemoved"),
            (EventType::ChildWatchRemoved, "ChildWatchRemoved"),
            (EventType::PersistentWatchRemoved, "PersistentWatchRemoved"),
        ];
        NAMES.iter().find(|(kind, _)| *kind as i32 == self.kind).map_or("None", |(_, name)| name)
    }
}

impl fmt::Display for WatchedEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (state, kind) = (self.state, self.kind_name());
        let path = self.path.as_deref().unwrap_or("null");
        write!(f, "WatchedEvent state:{state:?} type:{kind} path:{path} zxid: {}", self.zxid)
    }
}

/// A session with an ensemble. Operations block; [`Client::submit`] does not.
pub struct Client {
    session: Arc<Session>,
    on_event: Arc<dyn Fn(WatchedEvent) + Send + Sync>,
    thread: Option<JoinHandle<()>>,
}

impl Client {
    /// Starts connecting to `host:port,…/chroot`; requests wait until that has succeeded, or fail
    /// when a server refuses. `on_event` gets every event of watches and session, before any reply
    /// that the server sent after it; it runs on the session's thread and must not block.
    pub fn connect(
        servers: &str,
        timeout_ms: i32,
        read_only: bool,
        on_event: impl Fn(WatchedEvent) + Send + Sync + 'static,
    ) -> Result<Self> {
        let servers = ConnectString::parse(servers)?;
        let hello = Hello { read_only, ..Hello::new(timeout_ms) };
        let session = Arc::new(Session::new(servers, hello));
        let on_event: Arc<dyn Fn(WatchedEvent) + Send + Sync> = Arc::new(on_event);
        let (runner, callback) = (session.clone(), on_event.clone());
        let thread = thread::Builder::new()
            .name("zk-client".into())
            .spawn(move || runner.run(&*callback))
            .map_err(|e| Error::Argument(format!("cannot start a thread: {e}")))?;
        Ok(Self { session, on_event, thread: Some(thread) })
    }

    pub fn state(&self) -> State {
        self.session.state()
    }

    /// 0 before the first connection.
    pub fn session_id(&self) -> i64 {
        self.session.session_id()
    }

    /// Milliseconds.
    pub fn timeout_ms(&self) -> i32 {
        self.session.timeout_ms()
    }

    /// Sends any request without waiting for its reply, so that many can be under way.
    /// Paths in it are the server's: no chroot is added.
    pub fn submit(&self, op: i32, body: impl FnOnce(&mut Vec<u8>)) -> Ticket {
        self.session.submit(op, None, body)
    }

    /// Closes the session on the server and ends the connection.
    pub fn close(mut self) {
        self.session.begin_close();
        if matches!(self.state(), State::Connected | State::ConnectedReadOnly) {
            self.submit(code::CLOSE_SESSION, |_| {}).wait_for(CLOSE_PATIENCE);
        }
        self.end();
        (self.on_event)(WatchedEvent::of(KeeperState::Closed));
    }

    fn end(&mut self) {
        self.session.stop();
        if let Some(thread) = self.thread.take() {
            // A panic of the session's thread has been printed where it happened.
            let _ = thread.join();
        }
    }
}

/// Ends the connection; the session lives on at the server until it expires.
impl Drop for Client {
    fn drop(&mut self) {
        self.end();
    }
}

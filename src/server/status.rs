//! What the server lets others know about itself: its role, told by the commit thread whenever it
//! changes, and anything else about the node by asking that thread.

use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::bounded;

use crate::mailbox::Sender;
use crate::pipeline::node::{Event, Inspection, Node, RoleReport};

/// How long whoever asks waits for the commit thread.
const PATIENCE: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Debug)]
pub struct Status {
    started: Instant,
    role: Mutex<(RoleReport, Instant)>,
    events: Sender<Event>,
}

impl Status {
    /// `events` leads to the commit thread; `started` is when its clock was 0.
    pub fn new(events: Sender<Event>, started: Instant) -> Self {
        Self { started, role: Mutex::new((RoleReport::default(), started)), events }
    }

    pub fn set_role(&self, role: RoleReport) {
        let mut known = self.lock();
        if known.0.mode != role.mode {
            known.1 = Instant::now();
        }
        known.0 = role;
    }

    pub fn role(&self) -> RoleReport {
        self.lock().0.clone()
    }

    /// Milliseconds for which the server has had its role.
    pub fn uptime_ms(&self) -> i64 {
        self.lock().1.elapsed().as_millis() as i64
    }

    /// What the node's clock shows.
    pub fn now(&self) -> i64 {
        self.started.elapsed().as_millis() as i64
    }

    /// What to add to a moment of the node's clock to get ms since 1970.
    pub fn epoch(&self) -> i64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        now.as_millis() as i64 - self.now()
    }

    /// Asks the node, on the commit thread. `None` when that does not answer in time.
    pub fn inspect<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Node) -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, answered) = bounded(1);
        let asked = Instant::now();
        let question = Inspection(Box::new(move |node| {
            // Whoever asked may have lost patience.
            let _ = answer.send(question(node));
        }));
        self.events.send_timeout(Event::Inspect(question), PATIENCE).ok()?;
        answered.recv_timeout(PATIENCE.saturating_sub(asked.elapsed())).ok()
    }

    fn lock(&self) -> MutexGuard<'_, (RoleReport, Instant)> {
        self.role.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::{Receiver, UNBOUNDED, mailbox};
    use mio::{Poll, Token, Waker};

    fn events() -> (Sender<Event>, Receiver<Event>) {
        let poll = Poll::new().unwrap();
        mailbox(UNBOUNDED, Waker::new(poll.registry(), Token(0)).unwrap())
    }

    #[test]
    fn nobody_waits_for_a_commit_thread_that_is_gone() {
        let (events, mut received) = events();
        let status = Status::new(events, Instant::now());
        let asked = Instant::now();
        std::thread::scope(|scope| {
            // Takes the question and ends without an answer.
            scope.spawn(|| {
                while received.try_recv().is_none() {
                    std::thread::yield_now();
                }
            });
            assert_eq!(status.inspect(|_| 1), None);
        });
        drop(received);
        assert_eq!(status.inspect(|_| 1), None);
        assert!(asked.elapsed() < PATIENCE, "{:?}", asked.elapsed());
    }

    #[test]
    fn a_role_s_time_begins_with_its_mode() {
        let started = Instant::now() - Duration::from_secs(1_000);
        let status = Status::new(events().0, started);
        let role = |mode, zab_state| RoleReport { mode, zab_state, leader: None };
        status.set_role(role("", "discovery"));
        assert!(status.uptime_ms() >= 1_000_000, "{}", status.uptime_ms());
        status.set_role(role("leader", "broadcast"));
        assert!(status.uptime_ms() < 1_000_000, "{}", status.uptime_ms());
        assert_eq!(status.role(), role("leader", "broadcast"));
        assert!(status.now() >= 1_000_000);
    }
}

//! Ends the process when a critical thread does its work no more: no other server would know, since
//! its links stay up, and nobody would start it again. Once a second a real no-op goes to the
//! commit thread, by way of it through the log and back, and to each I/O thread, each time through
//! the queue that all their work comes by.
//!
//! It counts its own seconds, so that time in which the process or the machine stands still is
//! none. Limits are such that only who is lost reaches them: a batch of commits, or a tree that is
//! replaced, takes a second or two; a disk may hang and come back, which the ensemble gets over
//! without this server. How long the log takes to load a tree or to keep a leader's snapshot
//! depends on their size alone: while it is at that, it is not judged.

use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded};

use super::exit;
use crate::mailbox;
use crate::net::Clients;
use crate::pipeline::node::{Event, Inspection};

const BEAT: Duration = Duration::from_secs(1);
/// Beats that the commit thread and I/O threads have for a no-op.
const BEATS: u32 = 60;
/// Beats that the log has.
const LOG_BEATS: u32 = 300;

/// The thread ends when this is dropped.
pub struct Watchdog {
    _alive: Sender<()>,
}

impl Watchdog {
    pub fn start(events: mailbox::Sender<Event>, clients: Clients) -> std::io::Result<Self> {
        let (alive, ended) = bounded(0);
        let mut watched = vec![
            Watched::new("commit", BEATS, ask_commit(events.clone())),
            Watched::new("log", LOG_BEATS, ask_log(events)),
        ];
        for index in 0..clients.io_threads() {
            let clients = clients.clone();
            let ask = move |answer| clients.probe(index, answer);
            watched.push(Watched::new(&format!("io-{index}"), BEATS, ask));
        }
        thread::Builder::new().name("watchdog".into()).spawn(move || {
            while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(BEAT) {
                for thread in &mut watched {
                    if thread.is_stuck() {
                        exit::on_stuck(&thread.name, thread.limit);
                    }
                }
            }
        })?;
        Ok(Self { _alive: alive })
    }
}

fn ask_commit(events: mailbox::Sender<Event>) -> impl Fn(Sender<()>) {
    move |answer| post(&events, Event::Inspect(no_op(answer)))
}

fn ask_log(events: mailbox::Sender<Event>) -> impl Fn(Sender<()>) {
    move |answer| post(&events, Event::ProbeLog(no_op(answer)))
}

fn no_op(answer: Sender<()>) -> Inspection {
    Inspection(Box::new(move |_| {
        let _ = answer.send(());
    }))
}

/// A full queue is waited for, as by everybody, but for a beat only: who could not be asked has
/// not answered. Without a commit thread the server is ending.
fn post(events: &mailbox::Sender<Event>, event: Event) {
    let _ = events.send_timeout(event, BEAT);
}

/// A thread, and the no-op that it has been given.
struct Watched {
    name: String,
    limit: u32,
    ask: Box<dyn Fn(Sender<()>) + Send>,
    asked: Option<Receiver<()>>,
    /// Beats since it was asked first.
    missed: u32,
}

impl Watched {
    fn new(name: &str, limit: u32, ask: impl Fn(Sender<()>) + Send + 'static) -> Self {
        Self { name: name.into(), limit, ask: Box::new(ask), asked: None, missed: 0 }
    }

    /// One beat. True when it has missed too many.
    fn is_stuck(&mut self) -> bool {
        match self.asked.as_ref().map(Receiver::try_recv) {
            Some(Err(TryRecvError::Empty)) => self.missed += 1,
            // It could not be asked.
            Some(Err(TryRecvError::Disconnected)) => {
                self.missed += 1;
                self.asked = None;
            }
            Some(Ok(())) | None => (self.missed, self.asked) = (0, None),
        }
        if self.asked.is_none() {
            let (answer, asked) = bounded(1);
            (self.ask)(answer);
            self.asked = Some(asked);
        }
        self.missed >= self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    type Asked = Arc<Mutex<Vec<Sender<()>>>>;

    /// A thread that keeps what it is asked, and has three beats.
    fn watched() -> (Watched, Asked) {
        let asked = Asked::default();
        let kept = Arc::clone(&asked);
        (Watched::new("t", 3, move |answer| kept.lock().unwrap().push(answer)), asked)
    }

    fn beats(watched: &mut Watched) -> usize {
        (1..100).find(|_| watched.is_stuck()).expect("it is never found out")
    }

    #[test]
    fn who_does_not_answer_is_stuck_after_its_beats() {
        let (mut thread, asked) = watched();
        assert_eq!(beats(&mut thread), 4, "it is asked in the first");
        assert_eq!(asked.lock().unwrap().len(), 1, "and only once");
    }

    #[test]
    fn who_answers_late_is_not() {
        let (mut thread, asked) = watched();
        for _ in 0..20 {
            assert!(!thread.is_stuck() && !thread.is_stuck() && !thread.is_stuck());
            asked.lock().unwrap().drain(..).for_each(|answer| answer.send(()).unwrap());
        }
        assert!(!thread.is_stuck());
        assert_eq!(beats(&mut thread), 3, "but it is when it no longer does");
    }

    #[test]
    fn who_cannot_be_asked_is_stuck() {
        let mut thread = Watched::new("t", 3, drop);
        assert_eq!(beats(&mut thread), 4);
    }
}

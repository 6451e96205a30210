//! The letterbox of an I/O thread. Posting never blocks; the thread is woken only when it sleeps.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard};

use crossbeam_channel::Sender;
use mio::Waker;
use mio::net::TcpStream;

use super::stats::ConnInfo;
use crate::pipeline::{ConnId, ToIo};

/// What an I/O thread may find in its letterbox.
#[derive(Debug)]
pub enum Mail {
    /// From the commit thread.
    Commit(ToIo),
    /// From the acceptor.
    Accepted(TcpStream, SocketAddr),
    /// The answer to a four-letter word: write it, then close.
    Text(ConnId, Vec<u8>),
    /// Send what `cons` prints.
    Inspect(Sender<Vec<ConnInfo>>),
    /// Say that you are alive.
    Probe(Sender<()>),
    /// Reset every connection's statistics (`crst`).
    ResetConnections,
    /// Close every connection and end.
    Shutdown,
}

#[derive(Debug, Default)]
struct Letters {
    mail: Vec<Mail>,
    asleep: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Inbox {
    letters: Mutex<Letters>,
    waker: Waker,
}

impl Inbox {
    pub fn new(waker: Waker) -> Self {
        Self { letters: Mutex::default(), waker }
    }

    pub fn post(&self, mail: Mail) {
        self.leave(mail);
        self.wake();
    }

    /// Posts without waking: [`Inbox::wake`] is to follow.
    pub fn leave(&self, mail: Mail) {
        self.lock().mail.push(mail);
    }

    /// Wakes the thread if it sleeps and has mail.
    pub fn wake(&self) {
        let mut letters = self.lock();
        let wake = letters.asleep && !letters.mail.is_empty();
        letters.asleep &= !wake;
        drop(letters);
        if wake && let Err(e) = self.waker.wake() {
            // Only a lack of kernel memory; the next post tries again.
            log::error!("cannot wake an I/O thread: {e}");
            self.lock().asleep = true;
        }
    }

    /// Everything posted so far, in order. `into` must be empty; its memory is used again.
    pub fn take(&self, into: &mut Vec<Mail>) {
        debug_assert!(into.is_empty());
        let mut letters = self.lock();
        letters.asleep = false;
        std::mem::swap(&mut letters.mail, into);
    }

    /// To be called before sleeping; false when there is mail already.
    pub fn may_sleep(&self) -> bool {
        let mut letters = self.lock();
        letters.asleep = letters.mail.is_empty();
        letters.asleep
    }

    fn lock(&self) -> MutexGuard<'_, Letters> {
        self.letters.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Events, Poll, Token};
    use std::time::Duration;

    #[test]
    fn a_sleeper_is_woken_once_and_finds_everything() {
        let mut poll = Poll::new().unwrap();
        let inbox = Inbox::new(Waker::new(poll.registry(), Token(7)).unwrap());
        let mut events = Events::with_capacity(8);
        let mut woken = |ms| {
            poll.poll(&mut events, Some(Duration::from_millis(ms))).unwrap();
            events.iter().count()
        };
        inbox.post(Mail::Shutdown);
        assert_eq!(woken(0), 0, "nobody sleeps, nobody is woken");
        assert!(!inbox.may_sleep());
        let mut mail = Vec::new();
        inbox.take(&mut mail);
        assert_eq!(mail.len(), 1);
        assert!(inbox.may_sleep());
        inbox.post(Mail::ResetConnections);
        inbox.post(Mail::Shutdown);
        assert_eq!(woken(5000), 1);
        mail.clear();
        inbox.take(&mut mail);
        assert!(matches!(mail[..], [Mail::ResetConnections, Mail::Shutdown]));
    }
}

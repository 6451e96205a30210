//! What the commit thread waits for: letters of other threads, and packets on steady links.

use std::io;
use std::time::Duration;

use mio::{Events, Poll, Registry, Token, Waker};

use super::peers::Peers;
use crate::mailbox::{Receiver, Sender, mailbox};
use crate::pipeline::node::Event;
use crate::quorum::leader::LinkId;

/// Batches of events that may wait for the commit thread; who sends more waits.
const EVENTS_MAX: usize = 4_096;

const WAKE: Token = Token(usize::MAX);

/// See the module.
pub struct Arrivals {
    letters: Receiver<Event>,
    poll: Poll,
    ready: Events,
    /// Links of which not all has been read, and whether they are at their end.
    unread: Vec<(LinkId, bool)>,
}

impl Arrivals {
    pub fn new() -> io::Result<(Sender<Event>, Self)> {
        let poll = Poll::new()?;
        let (sender, letters) = mailbox(EVENTS_MAX, Waker::new(poll.registry(), WAKE)?);
        let ready = Events::with_capacity(256);
        Ok((sender, Self { letters, poll, ready, unread: Vec::new() }))
    }

    /// Where steady links enrol.
    pub fn registry(&self) -> io::Result<Registry> {
        self.poll.registry().try_clone()
    }

    /// Sleeps until there is something, for so long at most, and takes what links have brought.
    pub fn wait(&mut self, patience: Duration, peers: Option<&Peers>) -> io::Result<()> {
        let busy = !self.unread.is_empty() || !self.letters.may_sleep();
        let Some(peers) = peers else {
            return if busy { Ok(()) } else { self.sleep(patience) };
        };
        self.sleep(if busy { Duration::ZERO } else { patience })?;
        for event in &self.ready {
            let link = event.token().0 as LinkId;
            let closing = event.is_read_closed() || event.is_error();
            match self.unread.iter_mut().find(|(unread, _)| *unread == link) {
                Some((_, ends)) => *ends |= closing,
                None if event.token() == WAKE => {}
                None => self.unread.push((link, closing)),
            }
        }
        let letters = &mut self.letters;
        self.unread.retain(|&(link, closing)| {
            letters.is_full() || !peers.read(link, closing, |event| letters.put(event))
        });
        Ok(())
    }

    /// The next event that is here, in the order of their arrival.
    pub fn next(&mut self) -> Option<Event> {
        self.letters.try_recv()
    }

    fn sleep(&mut self, patience: Duration) -> io::Result<()> {
        match self.poll.poll(&mut self.ready, Some(patience)) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {
                self.ready.clear();
                Ok(())
            }
            done => done,
        }
    }
}

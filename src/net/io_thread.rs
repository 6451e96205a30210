//! An I/O thread: sleeps until its sockets or its mailbox have something, works at its desk while
//! there is. Java: `NIOServerCnxnFactory.SelectorThread`.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use mio::{Events, Poll, Token};

use super::desk::Desk;

/// The token of the mailbox's waker.
pub const WAKE: Token = Token(usize::MAX);

/// The desk of an I/O thread, as long as there is the thread. While that sleeps, the commit thread
/// may use it: to write a lone reply takes less than to wake somebody who does.
pub type SharedDesk = Arc<Mutex<Option<Desk>>>;

pub fn run(mut poll: Poll, desk: &SharedDesk) {
    let mut events = Events::with_capacity(1024);
    loop {
        let patience = {
            let mut place = desk.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(desk) = &mut *place else { return };
            if !desk.serve(&events) {
                *place = None;
                return;
            }
            desk.patience()
        };
        match poll.poll(&mut events, patience) {
            Err(e) if e.kind() != io::ErrorKind::Interrupted => panic!("epoll fails: {e}"),
            _ => {}
        }
    }
}

//! A queue of many senders and one receiver, who sleeps at once when there is nothing for it: on
//! a condition variable, or in a poll of its own together with its sockets. Errors are those of
//! crossbeam's channels.
//!
//! A channel's receiver first spins and yields, in the hope of being spared the sleep. A request
//! goes through several threads, one after the other, and each that has done its part has nothing
//! to do for longer than that: on few cores it takes the time of the thread that has the work. One
//! write in three servers on two cores cost 45 calls of sched_yield.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvError, SendError, SendTimeoutError};
use mio::Waker;

/// No bound.
pub const UNBOUNDED: usize = usize::MAX;

/// Wakes the receiver.
pub trait Bell {
    fn ring(&self);
}

impl Bell for Condvar {
    fn ring(&self) {
        self.notify_one();
    }
}

impl Bell for Waker {
    fn ring(&self) {
        // It needs no memory: only a descriptor that is not open could make it fail.
        if let Err(e) = self.wake() {
            log::error!("cannot wake a thread: {e}");
        }
    }
}

#[derive(Debug)]
struct Letters<T> {
    waiting: VecDeque<T>,
    senders: usize,
    /// Senders that sleep because it is full.
    blocked: usize,
    receiver_asleep: bool,
    receiver_gone: bool,
}

#[derive(Debug)]
struct Shared<T, B> {
    letters: Mutex<Letters<T>>,
    bell: B,
    taken: Condvar,
    max: usize,
}

impl<T, B> Shared<T, B> {
    fn lock(&self) -> MutexGuard<'_, Letters<T>> {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives everything to a receiver that has nothing.
    fn hand_over(&self, letters: &mut Letters<T>, taken: &mut VecDeque<T>) {
        letters.receiver_asleep = false;
        std::mem::swap(taken, &mut letters.waiting);
        if letters.blocked > 0 {
            self.taken.notify_all();
        }
    }
}

/// Who may post.
#[derive(Debug)]
pub struct Sender<T, B: Bell = Waker>(Arc<Shared<T, B>>);

/// Who takes.
#[derive(Debug)]
pub struct Receiver<T, B: Bell = Waker> {
    shared: Arc<Shared<T, B>>,
    /// Taken all at once, given out one by one.
    taken: VecDeque<T>,
}

/// A mailbox in which at most `max` letters wait; who posts more waits, too.
pub fn mailbox<T, B: Bell>(max: usize, bell: B) -> (Sender<T, B>, Receiver<T, B>) {
    let letters = Letters {
        waiting: VecDeque::new(),
        senders: 1,
        blocked: 0,
        receiver_asleep: false,
        receiver_gone: false,
    };
    let shared = Shared { letters: Mutex::new(letters), bell, taken: Condvar::new(), max };
    let shared = Arc::new(shared);
    (Sender(Arc::clone(&shared)), Receiver { shared, taken: VecDeque::new() })
}

impl<T, B: Bell> Sender<T, B> {
    /// Fails when the receiver is gone.
    pub fn send(&self, letter: T) -> Result<(), SendError<T>> {
        self.post(letter, None).map_err(|e| SendError(e.into_inner()))
    }

    /// Waits no longer than this for room.
    pub fn send_timeout(&self, letter: T, patience: Duration) -> Result<(), SendTimeoutError<T>> {
        self.post(letter, Some(Instant::now() + patience))
    }

    /// Wakes nobody: the receiver finds the letter when something else wakes it.
    pub fn leave(&self, letter: T) {
        self.0.lock().waiting.push_back(letter);
    }

    /// Wakes the receiver if it sleeps though there are letters: those that were left.
    pub fn wake(&self) {
        let mut letters = self.0.lock();
        let wake = letters.receiver_asleep && !letters.waiting.is_empty();
        letters.receiver_asleep &= !wake;
        drop(letters);
        if wake {
            self.0.bell.ring();
        }
    }

    /// Wakes the receiver, whatever there is for it.
    pub fn ring(&self) {
        self.0.bell.ring();
    }

    /// Whether the receiver sleeps and there is a single letter for it, which is such a one.
    pub fn sleeps_on(&self, is_such: impl FnOnce(&T) -> bool) -> bool {
        let letters = self.0.lock();
        letters.receiver_asleep
            && letters.waiting.len() == 1
            && letters.waiting.front().is_some_and(is_such)
    }

    fn post(&self, letter: T, deadline: Option<Instant>) -> Result<(), SendTimeoutError<T>> {
        let mut letters = self.0.lock();
        while letters.waiting.len() >= self.0.max && !letters.receiver_gone {
            letters.blocked += 1;
            let (guard, late) = wait(&self.0.taken, letters, deadline);
            letters = guard;
            letters.blocked -= 1;
            if late && letters.waiting.len() >= self.0.max {
                return Err(SendTimeoutError::Timeout(letter));
            }
        }
        if letters.receiver_gone {
            return Err(SendTimeoutError::Disconnected(letter));
        }
        letters.waiting.push_back(letter);
        let wake = std::mem::take(&mut letters.receiver_asleep);
        drop(letters);
        if wake {
            self.0.bell.ring();
        }
        Ok(())
    }
}

impl<T, B: Bell> Clone for Sender<T, B> {
    fn clone(&self) -> Self {
        self.0.lock().senders += 1;
        Self(Arc::clone(&self.0))
    }
}

impl<T, B: Bell> Drop for Sender<T, B> {
    fn drop(&mut self) {
        let mut letters = self.0.lock();
        letters.senders -= 1;
        let last = letters.senders == 0;
        drop(letters);
        if last {
            self.0.bell.ring();
        }
    }
}

impl<T, B: Bell> Receiver<T, B> {
    /// What waits already.
    pub fn try_recv(&mut self) -> Option<T> {
        if self.taken.is_empty() {
            self.shared.hand_over(&mut self.shared.lock(), &mut self.taken);
        }
        self.taken.pop_front()
    }
}

impl<T> Receiver<T, Condvar> {
    /// Fails when no sender is left and everything has been taken.
    pub fn recv(&mut self) -> Result<T, RecvError> {
        let Self { shared, taken } = self;
        let mut letters = shared.lock();
        loop {
            if taken.is_empty() {
                shared.hand_over(&mut letters, taken);
            }
            if let Some(letter) = taken.pop_front() {
                return Ok(letter);
            }
            if letters.senders == 0 {
                return Err(RecvError);
            }
            letters.receiver_asleep = true;
            letters = shared.bell.wait(letters).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<T> Receiver<T, Waker> {
    /// To be called before sleeping in the poll that the waker belongs to; false when there is a
    /// letter already.
    pub fn may_sleep(&self) -> bool {
        let mut letters = self.shared.lock();
        letters.receiver_asleep = self.taken.is_empty() && letters.waiting.is_empty();
        letters.receiver_asleep
    }

    /// As for a sender; what was taken and not given out yet does not count.
    pub fn is_full(&self) -> bool {
        self.shared.lock().waiting.len() >= self.shared.max
    }

    /// Puts a letter that came another way behind those that have been posted.
    pub fn put(&mut self, letter: T) {
        let mut letters = self.shared.lock();
        letters.receiver_asleep = false;
        letters.waiting.push_back(letter);
    }
}

impl<T, B: Bell> Drop for Receiver<T, B> {
    /// What nobody will take is dropped with it: someone may wait for an answer.
    fn drop(&mut self) {
        let mut letters = self.shared.lock();
        letters.receiver_gone = true;
        let unread = std::mem::take(&mut letters.waiting);
        drop(letters);
        drop(unread);
        self.shared.taken.notify_all();
    }
}

/// Sleeps; true if the deadline has passed.
fn wait<'a, T>(
    sign: &Condvar,
    guard: MutexGuard<'a, T>,
    deadline: Option<Instant>,
) -> (MutexGuard<'a, T>, bool) {
    let Some(deadline) = deadline else {
        return (sign.wait(guard).unwrap_or_else(PoisonError::into_inner), false);
    };
    let left = deadline.saturating_duration_since(Instant::now());
    let (guard, timed_out) = sign.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner);
    (guard, timed_out.timed_out())
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Events, Poll, Token};
    use std::thread;

    #[test]
    fn each_sender_s_letters_come_in_its_order_however_full_it_is() {
        let (sender, mut receiver) = mailbox(3, Condvar::new());
        thread::scope(|scope| {
            for who in 0..4 {
                let sender = sender.clone();
                scope.spawn(move || {
                    (0..10_000).for_each(|n| sender.send((who, n)).expect("the receiver is there"));
                });
            }
            drop(sender);
            let mut next = [0; 4];
            while let Ok((who, n)) = receiver.recv() {
                assert_eq!(n, next[who]);
                next[who] += 1;
            }
            assert_eq!(next, [10_000; 4]);
        });
    }

    #[test]
    fn a_sleeping_receiver_is_woken_by_a_letter_and_by_the_last_sender_s_end() {
        let (sender, mut receiver) = mailbox(UNBOUNDED, Condvar::new());
        thread::scope(|scope| {
            let receives = scope.spawn(move || (receiver.recv(), receiver.recv()));
            while !sender.0.lock().receiver_asleep {
                thread::yield_now();
            }
            sender.send(1).expect("the receiver is there");
            drop(sender);
            assert_eq!(receives.join().expect("no panic"), (Ok(1), Err(RecvError)));
        });
    }

    #[test]
    fn who_sleeps_in_a_poll_is_woken_once_and_finds_everything_in_order() {
        let mut poll = Poll::new().unwrap();
        let waker = Waker::new(poll.registry(), Token(7)).unwrap();
        let (sender, mut receiver) = mailbox(UNBOUNDED, waker);
        let mut events = Events::with_capacity(8);
        let mut woken = |ms| {
            poll.poll(&mut events, Some(Duration::from_millis(ms))).unwrap();
            events.iter().count()
        };
        sender.send(1).unwrap();
        assert_eq!(woken(0), 0, "nobody sleeps, nobody is woken");
        assert!(!receiver.may_sleep());
        assert_eq!((receiver.try_recv(), receiver.try_recv()), (Some(1), None));
        assert!(receiver.may_sleep());
        sender.wake();
        assert_eq!(woken(0), 0, "there is nothing for it");
        sender.leave(2);
        assert!(sender.sleeps_on(|letter| *letter == 2) && !sender.sleeps_on(|_| false));
        assert_eq!(woken(0), 0, "what is left wakes nobody");
        sender.send(3).unwrap();
        sender.wake();
        assert!(!sender.sleeps_on(|_| true));
        assert_eq!(woken(5_000), 1);
        receiver.put(4);
        assert_eq!(std::iter::from_fn(|| receiver.try_recv()).collect::<Vec<_>>(), [2, 3, 4]);
    }

    #[test]
    fn nobody_waits_for_room_longer_than_told() {
        let (sender, mut receiver) = mailbox(1, Condvar::new());
        sender.send(1).expect("there is room");
        let short = Duration::from_millis(1);
        assert_eq!(sender.send_timeout(2, short), Err(SendTimeoutError::Timeout(2)));
        assert_eq!((receiver.try_recv(), receiver.try_recv()), (Some(1), None));
    }

    #[test]
    fn a_receiver_that_goes_frees_who_waits_and_drops_what_waits() {
        let (sender, receiver) = mailbox(1, Condvar::new());
        let letter = Arc::new(());
        sender.send(Arc::clone(&letter)).expect("there is room");
        thread::scope(|scope| {
            let blocked = scope.spawn(|| sender.send(Arc::clone(&letter)).is_err());
            while sender.0.lock().blocked == 0 {
                thread::yield_now();
            }
            drop(receiver);
            assert!(blocked.join().expect("no panic"));
        });
        assert_eq!(Arc::strong_count(&letter), 1);
        assert!(sender.send(letter).is_err());
    }
}

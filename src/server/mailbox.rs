//! A queue of many senders and one receiver, who sleeps at once when there is nothing for it.
//! Otherwise it behaves, and reports errors, like a channel of crossbeam's.
//!
//! A channel's receiver first spins and yields, in the hope of being spared the sleep. A request
//! goes through several threads, one after the other, and each that has done its part has nothing
//! to do for longer than that: on few cores it takes the time of the thread that has the work. One
//! write in three servers on two cores cost 45 calls of sched_yield.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvError, RecvTimeoutError, SendError, SendTimeoutError};

/// No bound.
pub const UNBOUNDED: usize = usize::MAX;

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
struct Shared<T> {
    letters: Mutex<Letters<T>>,
    posted: Condvar,
    taken: Condvar,
    max: usize,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, Letters<T>> {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives everything to a receiver that has nothing.
    fn hand_over(&self, letters: &mut Letters<T>, taken: &mut VecDeque<T>) {
        std::mem::swap(taken, &mut letters.waiting);
        if letters.blocked > 0 {
            self.taken.notify_all();
        }
    }
}

/// Who may post.
#[derive(Debug)]
pub struct Sender<T>(Arc<Shared<T>>);

/// Who takes.
#[derive(Debug)]
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    /// Taken all at once, given out one by one.
    taken: VecDeque<T>,
}

/// A mailbox in which at most `max` letters wait; who posts more waits, too.
pub fn mailbox<T>(max: usize) -> (Sender<T>, Receiver<T>) {
    let letters = Letters {
        waiting: VecDeque::new(),
        senders: 1,
        blocked: 0,
        receiver_asleep: false,
        receiver_gone: false,
    };
    let shared = Arc::new(Shared {
        letters: Mutex::new(letters),
        posted: Condvar::new(),
        taken: Condvar::new(),
        max,
    });
    (Sender(Arc::clone(&shared)), Receiver { shared, taken: VecDeque::new() })
}

impl<T> Sender<T> {
    /// Fails when the receiver is gone.
    pub fn send(&self, letter: T) -> Result<(), SendError<T>> {
        self.post(letter, None).map_err(|e| SendError(e.into_inner()))
    }

    /// Waits no longer than this for room.
    pub fn send_timeout(&self, letter: T, patience: Duration) -> Result<(), SendTimeoutError<T>> {
        self.post(letter, Some(Instant::now() + patience))
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
            self.0.posted.notify_one();
        }
        Ok(())
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.lock().senders += 1;
        Self(Arc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut letters = self.0.lock();
        letters.senders -= 1;
        if letters.senders == 0 {
            drop(letters);
            self.0.posted.notify_one();
        }
    }
}

impl<T> Receiver<T> {
    /// Fails when no sender is left and everything has been taken.
    pub fn recv(&mut self) -> Result<T, RecvError> {
        self.take(None).map_err(|_| RecvError)
    }

    pub fn recv_timeout(&mut self, patience: Duration) -> Result<T, RecvTimeoutError> {
        match self.try_recv() {
            Some(letter) => Ok(letter),
            None => self.take(Some(Instant::now() + patience)),
        }
    }

    /// What waits already.
    pub fn try_recv(&mut self) -> Option<T> {
        if self.taken.is_empty() {
            self.shared.hand_over(&mut self.shared.lock(), &mut self.taken);
        }
        self.taken.pop_front()
    }

    fn take(&mut self, deadline: Option<Instant>) -> Result<T, RecvTimeoutError> {
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
                return Err(RecvTimeoutError::Disconnected);
            }
            letters.receiver_asleep = true;
            let (guard, late) = wait(&shared.posted, letters, deadline);
            letters = guard;
            letters.receiver_asleep = false;
            if late && letters.waiting.is_empty() {
                return Err(RecvTimeoutError::Timeout);
            }
        }
    }
}

impl<T> Drop for Receiver<T> {
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
    use std::thread;

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn each_sender_s_letters_come_in_its_order_however_full_it_is() {
        let (sender, mut receiver) = mailbox(3);
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
        let (sender, mut receiver) = mailbox(UNBOUNDED);
        thread::scope(|scope| {
            let receives = scope.spawn(move || {
                (receiver.recv_timeout(LONG), receiver.recv_timeout(LONG), receiver.recv())
            });
            sender.send(1).expect("the receiver is there");
            drop(sender);
            let end = Err(RecvTimeoutError::Disconnected);
            assert_eq!(receives.join().expect("no panic"), (Ok(1), end, Err(RecvError)));
        });
    }

    #[test]
    fn nobody_waits_longer_than_told() {
        let (sender, mut receiver) = mailbox(1);
        let short = Duration::from_millis(1);
        assert_eq!(receiver.recv_timeout(short), Err(RecvTimeoutError::Timeout));
        sender.send(1).expect("there is room");
        assert_eq!(sender.send_timeout(2, short), Err(SendTimeoutError::Timeout(2)));
        assert_eq!(receiver.recv_timeout(short), Ok(1));
        assert_eq!(receiver.try_recv(), None);
    }

    #[test]
    fn a_receiver_that_goes_frees_who_waits_and_drops_what_waits() {
        let (sender, receiver) = mailbox(1);
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

//! Long jobs that give way to everything else: what a learner needs to be given all there is.

use std::io;
use std::thread;

use crate::sys;

/// Does a job when the machine has nothing better to do, so that clients hardly notice it; returns
/// when it is done. On a thread of its own: a priority once lowered stays low.
pub fn run<T: Send>(name: &str, job: impl FnOnce() -> T + Send) -> io::Result<T> {
    let job = || {
        // Without, it is only quicker than it should be.
        let _ = sys::lower_thread_priority();
        job()
    };
    thread::scope(|scope| {
        let thread = thread::Builder::new().name(name.into());
        let done = thread.spawn_scoped(scope, job)?.join();
        Ok(done.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

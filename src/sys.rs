//! The one place for `unsafe`: thin safe wrappers over libc calls that `std` lacks.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

fn set_option<T>(
    fd: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    value: &T,
) -> io::Result<()> {
    // SAFETY: `value` is a live, initialised T whose size is given with it.
    let result = unsafe {
        let len = size_of::<T>() as libc::socklen_t;
        libc::setsockopt(fd.as_raw_fd(), level, name, std::ptr::from_ref(value).cast(), len)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// `SO_KEEPALIVE`: the kernel probes a connection that has been silent for long.
pub fn set_keepalive(fd: BorrowedFd<'_>) -> io::Result<()> {
    set_option::<libc::c_int>(fd, libc::SOL_SOCKET, libc::SO_KEEPALIVE, &1)
}

/// `SO_LINGER` with 0 seconds: closing the socket resets the connection and leaves nothing behind.
pub fn reset_on_close(fd: BorrowedFd<'_>) -> io::Result<()> {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    set_option(fd, libc::SOL_SOCKET, libc::SO_LINGER, &linger)
}

/// Changes how many connections may wait to be accepted on a listening socket.
pub fn set_backlog(fd: BorrowedFd<'_>, backlog: i32) -> io::Result<()> {
    // SAFETY: no memory is passed.
    let result = unsafe { libc::listen(fd.as_raw_fd(), backlog) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

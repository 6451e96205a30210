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

/// `TCP_USER_TIMEOUT`: what was sent and is not confirmed for that long breaks the connection.
#[cfg(target_os = "linux")]
pub fn set_user_timeout(fd: BorrowedFd<'_>, timeout: std::time::Duration) -> io::Result<()> {
    let ms = libc::c_uint::try_from(timeout.as_millis()).unwrap_or(libc::c_uint::MAX);
    set_option(fd, libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, &ms)
}

/// Other systems have their own limits.
#[cfg(not(target_os = "linux"))]
pub fn set_user_timeout(_: BorrowedFd<'_>, _: std::time::Duration) -> io::Result<()> {
    Ok(())
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

/// A moment on the clock of the machine's time zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalTime {
    pub year: i32,
    /// 0 … 11.
    pub month: usize,
    /// 1 … 31.
    pub day: i32,
    /// 0 (Sunday) … 6.
    pub weekday: usize,
    pub hour: i32,
    pub minute: i32,
    pub second: i32,
    /// Abbreviated: UTC, CEST.
    pub zone: String,
}

/// The local time of so many seconds since 1970; `None` when it is too far away for a calendar.
pub fn local_time(unix_seconds: i64) -> Option<LocalTime> {
    let mut tm = std::mem::MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: both pointers are live for the call, which fills `tm` unless it returns null; an
    // all-zero `tm` is a valid value. The zone's name it points to lives as long as the process.
    let (tm, zone) = unsafe {
        if libc::localtime_r(&unix_seconds, tm.as_mut_ptr()).is_null() {
            return None;
        }
        let tm = tm.assume_init();
        let zone = match tm.tm_zone.is_null() {
            true => String::new(),
            false => std::ffi::CStr::from_ptr(tm.tm_zone).to_string_lossy().into_owned(),
        };
        (tm, zone)
    };
    Some(LocalTime {
        year: tm.tm_year + 1900,
        month: tm.tm_mon as usize,
        day: tm.tm_mday,
        weekday: tm.tm_wday as usize,
        hour: tm.tm_hour,
        minute: tm.tm_min,
        second: tm.tm_sec,
        zone,
    })
}

/// Shuts a socket down in both directions, also a listening one: who waits in accept() returns.
pub fn shutdown_socket(socket: &impl AsRawFd) -> io::Result<()> {
    // SAFETY: no memory is passed; the descriptor is open as long as `socket` is borrowed.
    let result = unsafe { libc::shutdown(socket.as_raw_fd(), libc::SHUT_RDWR) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sends what the socket takes without waiting, whatever its mode; the number of bytes taken.
pub fn send_now(socket: &impl AsRawFd, bytes: &[u8]) -> io::Result<usize> {
    const FLAGS: libc::c_int = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: `bytes` is readable for its length, the descriptor open as `socket` is borrowed.
    let sent = unsafe { libc::send(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), FLAGS) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Receives what is there without waiting, whatever the socket's mode; 0 is the stream's end.
pub fn recv_now(socket: &impl AsRawFd, into: &mut [u8]) -> io::Result<usize> {
    let (fd, start, len) = (socket.as_raw_fd(), into.as_mut_ptr().cast(), into.len());
    // SAFETY: `into` is writable for its length, the descriptor open as `socket` is borrowed.
    let received = unsafe { libc::recv(fd, start, len, libc::MSG_DONTWAIT) };
    usize::try_from(received).map_err(|_| io::Error::last_os_error())
}

/// Blocks SIGTERM and SIGINT in this thread and all that it starts, for [`wait_for_signal`].
pub fn block_termination_signals() -> io::Result<()> {
    // SAFETY: the set is initialised by sigemptyset before it is used.
    let result = unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGTERM);
        libc::sigaddset(&mut set, libc::SIGINT);
        libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut())
    };
    if result == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(result)) }
}

/// Waits until SIGTERM or SIGINT comes; both must be blocked. Returns its number.
pub fn wait_for_termination_signal() -> io::Result<i32> {
    let mut signal = 0;
    // SAFETY: as above; `signal` outlives the call.
    let result = unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGTERM);
        libc::sigaddset(&mut set, libc::SIGINT);
        libc::sigwait(&set, &mut signal)
    };
    if result == 0 { Ok(signal) } else { Err(io::Error::from_raw_os_error(result)) }
}

/// Lets SIGHUP pass without effect: a server outlives the terminal it was started from.
pub fn ignore_hangup() {
    // SAFETY: SIG_IGN is a valid disposition; nothing else is touched.
    unsafe {
        libc::signal(libc::SIGHUP, libc::SIG_IGN);
    }
}

/// Lets every other thread of the process go first; for this thread alone, on Linux.
pub fn lower_thread_priority() -> io::Result<()> {
    // SAFETY: no memory is passed; 0 is the calling thread.
    let result = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 10) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Where a file's first byte at or after `offset` is that is not in a hole, which reads as zeros.
/// File systems that know of no holes say `offset`. `None`: only a hole follows.
pub fn data_from(file: &impl AsRawFd, offset: u64) -> io::Result<Option<u64>> {
    // SAFETY: no memory is passed; the descriptor is open as long as `file` is borrowed.
    let found = unsafe { libc::lseek(file.as_raw_fd(), offset as libc::off_t, libc::SEEK_DATA) };
    if found >= 0 {
        return Ok(Some(found as u64));
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::ENXIO) => Ok(None),
        Some(libc::EINVAL) => Ok(Some(offset)),
        _ => Err(error),
    }
}

/// Opens a file for writes past the system's cache: of whole blocks, from memory that begins where
/// a block of memory does.
#[cfg(target_os = "linux")]
pub fn open_direct(path: &std::path::Path) -> io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new().write(true).custom_flags(libc::O_DIRECT).open(path)
}

/// Other systems have other ways, or none.
#[cfg(not(target_os = "linux"))]
pub fn open_direct(_: &std::path::Path) -> io::Result<std::fs::File> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Writes a part of a file from the system's memory to the medium, and waits for that. Unlike
/// fdatasync it touches neither the file system's journal nor the medium's cache, for which others
/// would have to wait, and so makes nothing durable.
#[cfg(target_os = "linux")]
pub fn write_back(file: &impl AsRawFd, offset: u64, len: u64) -> io::Result<()> {
    const FLAGS: libc::c_uint = libc::SYNC_FILE_RANGE_WAIT_BEFORE
        | libc::SYNC_FILE_RANGE_WRITE
        | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    let (offset, len) = (offset as libc::off64_t, len as libc::off64_t);
    // SAFETY: no memory is passed; the descriptor is open as long as `file` is borrowed.
    let result = unsafe { libc::sync_file_range(file.as_raw_fd(), offset, len, FLAGS) };
    match io::Error::last_os_error() {
        // Not every file system and sandbox knows it, and nobody relies on it.
        e if result != 0 && e.kind() != io::ErrorKind::Unsupported => Err(e),
        _ => Ok(()),
    }
}

/// Other systems write back as they see fit.
#[cfg(not(target_os = "linux"))]
pub fn write_back(_: &impl AsRawFd, _: u64, _: u64) -> io::Result<()> {
    Ok(())
}

/// Raises the number of files this process may open to what the system allows.
pub fn raise_file_limit() -> io::Result<u64> {
    // SAFETY: `limit` is a live rlimit for both calls.
    unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) != 0 {
            return Err(io::Error::last_os_error());
        }
        limit.rlim_cur = limit.rlim_max;
        if libc::setrlimit(libc::RLIMIT_NOFILE, &limit) != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(limit.rlim_cur)
    }
}

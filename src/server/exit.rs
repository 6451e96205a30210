//! How the process ends, and with which code. Java: `ExitCode`.

use crate::storage::StorageError;

pub const UNEXPECTED_ERROR: u8 = 1;
pub const INVALID_INVOCATION: u8 = 2;
pub const UNABLE_TO_ACCESS_DATADIR: u8 = 3;
pub const TXNLOG_ERROR: u8 = 10;
pub const UNABLE_TO_BIND_QUORUM_PORT: u8 = 14;

/// The disk failed: says what, and ends the process on the spot.
pub fn on_disk_error(error: &StorageError) -> ! {
    log::error!("Severe unrecoverable error, exiting: {error}");
    std::process::exit(i32::from(TXNLOG_ERROR));
}

/// Something that only a bug can explain.
pub fn on_bug(what: &str) -> ! {
    log::error!("Severe unrecoverable error, exiting: {what}");
    std::process::exit(i32::from(UNEXPECTED_ERROR));
}

/// A thread without which the server is none does nothing any more. Who reads our log may be why:
/// the line must not hold us up.
pub fn on_stuck(name: &str, seconds: u32) -> ! {
    let what = format!("thread {name} has not answered for {seconds} s");
    std::thread::spawn(move || log::error!("Severe unrecoverable error, exiting: {what}"));
    std::thread::sleep(std::time::Duration::from_secs(1));
    std::process::exit(i32::from(UNEXPECTED_ERROR));
}

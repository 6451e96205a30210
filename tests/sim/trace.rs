//! What happened, for people: kept only while a failed history is run once more. The servers' own
//! log lines go in as well.

use std::cell::RefCell;
use std::fmt::Arguments;

thread_local! {
    static LINES: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
    static NOW: RefCell<(u64, usize)> = const { RefCell::new((0, 0)) };
}

/// Starts to keep what is traced on this thread.
pub fn start() {
    LINES.with(|lines| *lines.borrow_mut() = Some(Vec::new()));
}

/// Ends it, and gives what was kept.
pub fn take() -> Vec<String> {
    LINES.with(|lines| lines.borrow_mut().take().unwrap_or_default())
}

pub fn is_on() -> bool {
    LINES.with(|lines| lines.borrow().is_some())
}

/// Whose turn it is: for log lines.
pub fn turn(now: u64, server: usize) {
    NOW.with(|turn| *turn.borrow_mut() = (now, server));
}

pub fn line(now: u64, text: Arguments<'_>) {
    LINES.with(|lines| {
        if let Some(lines) = &mut *lines.borrow_mut() {
            lines.push(format!("{:>10.3} {text}", now as f64 / 1_000.0));
        }
    });
}

macro_rules! trace {
    ($now:expr, $($arg:tt)*) => {
        if $crate::trace::is_on() {
            $crate::trace::line($now, format_args!($($arg)*));
        }
    };
}
pub(crate) use trace;

struct ToTrace;

impl log::Log for ToTrace {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        is_on()
    }

    fn log(&self, record: &log::Record<'_>) {
        if is_on() {
            let (now, server) = NOW.with(|turn| *turn.borrow());
            line(now, format_args!("  [{server}] {}: {}", record.level(), record.args()));
        }
    }

    fn flush(&self) {}
}

/// Sends the servers' log lines here.
pub fn capture_logs() {
    if log::set_logger(&ToTrace).is_ok() {
        log::set_max_level(log::LevelFilter::Debug);
    }
}

//! The log of the process: its format, its level, and where it goes. One line an event:
//!
//! `2026-11-23 00:41:03,123 [myid:1] - INFO  [main:load@17] - text`
//!
//! That is the shape of Java's logback.xml, for the tools that read it; the time is UTC.
//! Knows the environment (RUST_LOG, ZOO_LOG4J_PROP) and nothing of what is logged.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use std::{env, thread};

use env_logger::{Builder, Target};
use log::Record;

use crate::config::Config;

/// What is logged and where.
#[derive(Debug, PartialEq, Eq)]
struct Choice {
    /// In env_logger's language: a level, or levels by module.
    filter: String,
    /// A file, if not standard error.
    file: Option<PathBuf>,
}

/// Starts logging, once a process. Without a configuration (it is wrong, and that is what is
/// to be logged) lines go to standard error.
///
/// RUST_LOG has the first word on levels, then `-Dzookeeper.root.logger`, then ZOO_LOG4J_PROP;
/// the last two are a level and where to: `INFO,CONSOLE` or `INFO,ROLLINGFILE`, which is the
/// file ZOO_LOG_FILE in ZOO_LOG_DIR (the scripts hand these over as properties).
pub fn init(config: Option<&Config>) {
    let variable = |name: &str| env::var(name).ok();
    let choice = choose(variable("RUST_LOG"), variable("ZOO_LOG4J_PROP"), config);
    let my_id =
        config.and_then(|config| config.server_id).map_or(String::new(), |id| id.to_string());
    let mut builder = Builder::new();
    builder.parse_filters(&choice.filter);
    builder.format(move |out, record| line(out, SystemTime::now(), &my_id, record));
    let mut failed = None;
    match choice.file.as_deref().map(open) {
        Some(Ok(file)) => {
            builder.target(Target::Pipe(Box::new(file)));
        }
        Some(Err(error)) => failed = Some(error),
        None => {}
    }
    // A second call would be a slip of ours that costs nothing: the first logger stays.
    let _ = builder.try_init();
    if let (Some(error), Some(file)) = (failed, choice.file) {
        log::warn!("{} cannot be written, logging to standard error: {error}", file.display());
    }
}

fn choose(rust_log: Option<String>, log4j: Option<String>, config: Option<&Config>) -> Choice {
    let property = config.and_then(|config| config.root_logger.clone());
    let root = property.or(log4j).unwrap_or_default();
    let mut words = root.split(',').map(str::trim);
    let level = level_of(words.next().unwrap_or_default());
    let filter = rust_log.filter(|text| !text.is_empty()).unwrap_or_else(|| level.to_owned());
    let to_file = words.any(|word| word.ends_with("FILE"));
    let file = config.filter(|_| to_file).and_then(|config| {
        Some(Path::new(config.log_dir.as_ref()?).join(config.log_file.as_ref()?))
    });
    Choice { filter, file }
}

/// The level that a word of log4j means.
fn level_of(word: &str) -> &'static str {
    match word.to_ascii_uppercase().as_str() {
        "OFF" => "off",
        "FATAL" | "ERROR" => "error",
        "WARN" => "warn",
        "DEBUG" => "debug",
        "TRACE" | "ALL" => "trace",
        _ => "info",
    }
}

fn open(path: &Path) -> io::Result<fs::File> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    OpenOptions::new().create(true).append(true).open(path)
}

fn line(out: &mut dyn Write, now: SystemTime, my_id: &str, record: &Record) -> io::Result<()> {
    let thread = thread::current();
    let module = record.target().rsplit("::").next().unwrap_or_default();
    writeln!(
        out,
        "{} [myid:{my_id}] - {:<5} [{}:{module}@{}] - {}",
        timestamp(now),
        record.level(),
        thread.name().unwrap_or("-"),
        record.line().unwrap_or(0),
        one_line(record.args().to_string()),
    )
}

/// A text without what would begin a line, or a colour: clients have their words in the log, too.
fn one_line(text: String) -> String {
    if !text.contains(char::is_control) {
        return text;
    }
    let escape = |c: char| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    text.chars().map(escape).collect()
}

/// A point in time as `2026-11-23 00:41:03,123`, in UTC.
pub fn timestamp(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs();
    let (year, month, day) = civil_date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    let millis = since.subsec_millis();
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02},{millis:03}")
}

/// Year, month and day of a number of days since 1970-01-01 in the Gregorian calendar, counted
/// in years that begin in March, so that the leap day is the last of a year.
fn civil_date(days: u64) -> (u64, u64, u64) {
    const DAYS_OF_400_YEARS: u64 = 146_097;
    let days = days + 719_468; // since 0000-03-01
    let era = days / DAYS_OF_400_YEARS;
    let day_of_era = days % DAYS_OF_400_YEARS;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{Draft, Surroundings};

    #[test]
    fn times_are_printed_as_java_prints_them() {
        for (seconds, expected) in [
            (0, "1970-01-01 00:00:00,007"),
            (951_782_399, "2000-02-28 23:59:59,007"),
            (951_782_400, "2000-02-29 00:00:00,007"),
            (951_868_800, "2000-03-01 00:00:00,007"),
            (1_709_210_096, "2024-02-29 12:34:56,007"),
            (4_107_542_400, "2100-03-01 00:00:00,007"),
            (1_798_761_599, "2026-12-31 23:59:59,007"),
        ] {
            let time = UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_millis(7);
            assert_eq!(timestamp(time), expected);
        }
    }

    #[test]
    fn a_line_says_when_who_where_and_what() {
        let mut out = Vec::new();
        let record = Record::builder()
            .level(log::Level::Info)
            .target("ironkeeper::storage::log")
            .line(Some(12))
            .args(format_args!("text"))
            .build();
        line(&mut out, UNIX_EPOCH, "3", &record).unwrap();
        let thread = thread::current().name().unwrap().to_owned();
        let expected =
            format!("1970-01-01 00:00:00,000 [myid:3] - INFO  [{thread}:log@12] - text\n");
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn nobody_writes_a_line_of_his_own() {
        let text = "scheme: \"x\"\n2026-11-23 - ERROR\x1b[31m\0 é".to_owned();
        assert_eq!(one_line(text), "scheme: \"x\"\\n2026-11-23 - ERROR\\u{1b}[31m\\u{0} é");
    }

    #[test]
    fn levels_come_from_the_loudest_voice() {
        let config = |root: &str| {
            let text = format!("dataDir=/d\nlog.dir=/l\nlog.file=f.log\n{root}");
            let draft = Draft::from_file("zoo.cfg", text.as_bytes(), &[]).unwrap();
            draft.finish(&Surroundings::default()).unwrap()
        };
        let plain = config("");
        let rooted = config("root.logger=ERROR,ROLLINGFILE");
        let word = |text: &str| Some(text.to_owned());
        let file = Some(PathBuf::from("/l/f.log"));
        for (rust_log, log4j, config, filter, file) in [
            (None, None, None, "info", None),
            (None, word("WARN,CONSOLE"), Some(&plain), "warn", None),
            (None, word("DEBUG,ROLLINGFILE"), Some(&plain), "debug", file.clone()),
            (None, word("DEBUG"), Some(&rooted), "error", file),
            (word("net=trace"), word("WARN"), Some(&plain), "net=trace", None),
            (word(""), word("all"), None, "trace", None),
        ] {
            let expected = Choice { filter: filter.to_owned(), file };
            assert_eq!(choose(rust_log, log4j, config), expected);
        }
    }
}

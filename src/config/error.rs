//! What is wrong with a configuration, and what is merely worth saying about it.

use std::fmt;

/// Java's exit code for a wrong command line or configuration.
const INVALID_INVOCATION: u8 = 2;

/// Where a setting was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// A line of a file.
    Line { file: String, line: usize },
    /// A `-D` word of the command line, SERVER_JVMFLAGS or JVMFLAGS.
    Define,
    /// The configuration as a whole.
    Whole { file: String },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Line { file, line } => write!(f, "{file}:{line}"),
            Origin::Define => f.write_str("command line"),
            Origin::Whole { file } => f.write_str(file),
        }
    }
}

/// A configuration with which no server can start. Its text names the file, the line, the key,
/// the value and what is allowed – as far as there are such.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    text: String,
}

impl ConfigError {
    pub(super) fn at(origin: &Origin, reason: impl fmt::Display) -> ConfigError {
        ConfigError { text: format!("{origin}: {reason}") }
    }

    pub(super) fn value(
        origin: &Origin,
        key: &str,
        value: &str,
        reason: impl fmt::Display,
    ) -> ConfigError {
        let shown = if is_secret(key) { "(hidden)" } else { value };
        ConfigError { text: format!("{origin}: {key}={shown}: {reason}") }
    }

    /// An error about something else than the content of a file.
    pub fn other(reason: impl fmt::Display) -> ConfigError {
        ConfigError { text: reason.to_string() }
    }

    /// The exit code of the process, as Java's.
    pub fn exit_code(&self) -> u8 {
        INVALID_INVOCATION
    }
}

/// Whether the value of a key must not be shown.
pub(super) fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    (key.contains("pass") && !key.ends_with("passwordpath")) || key.ends_with("superdigest")
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for ConfigError {}

/// How loud a note is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    Info,
    Warning,
    Error,
}

/// A line for the log that comes from reading the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    pub severity: Severity,
    pub text: String,
}

impl Note {
    pub(super) fn info(text: impl Into<String>) -> Note {
        Note { severity: Severity::Info, text: text.into() }
    }

    pub(super) fn warning(text: impl Into<String>) -> Note {
        Note { severity: Severity::Warning, text: text.into() }
    }

    pub(super) fn error(text: impl Into<String>) -> Note {
        Note { severity: Severity::Error, text: text.into() }
    }
}

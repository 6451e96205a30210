//! Java's properties format (`java.util.Properties.load`), in which zoo.cfg, the dynamic
//! configuration files and the text of `/zookeeper/config` are written.
//!
//! Pure: text in, entries with their line numbers out. Knows nothing of what a key means.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

/// One `key=value` of a properties text, escapes resolved, value and key not trimmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub key: String,
    pub value: String,
    /// The line (from 1) on which the entry begins.
    pub line: usize,
    /// Its natural lines in the text, the last line end included.
    pub span: Range<usize>,
}

/// Why a text is not in properties format; the format itself knows only this one error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    pub line: usize,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: \\u must be followed by four hexadecimal digits", self.line)
    }
}

/// Java reads a properties file as Latin-1: every byte is one character.
pub fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

/// The reverse of [`latin1`]; what has no place in Latin-1 is escaped.
pub fn to_latin1(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut units = [0; 2];
    for c in text.chars() {
        match u8::try_from(c) {
            Ok(byte) => bytes.push(byte),
            Err(_) => {
                for unit in c.encode_utf16(&mut units) {
                    bytes.extend(format!("\\u{unit:04x}").into_bytes());
                }
            }
        }
    }
    bytes
}

/// Splits `text` into entries, in the order of the text. A key may occur more than once;
/// the last one counts ([`last_of_each`]).
pub fn parse(text: &str) -> Result<Vec<Entry>, Malformed> {
    let mut entries = Vec::new();
    let mut lines = NaturalLines { text, at: 0, number: 0 };
    while let Some(logical) = lines.next_logical() {
        let (key, value) = split_key(&logical.text);
        let unescaped = |part: &str| unescape(part).ok_or(Malformed { line: logical.line });
        entries.push(Entry {
            key: unescaped(key)?,
            value: unescaped(value)?,
            line: logical.line,
            span: logical.span.clone(),
        });
    }
    Ok(entries)
}

/// The entries as Java's hash table holds them: one of each key, the last in the text.
pub fn last_of_each(entries: &[Entry]) -> BTreeMap<&str, &Entry> {
    entries.iter().map(|entry| (entry.key.as_str(), entry)).collect()
}

struct Logical {
    text: String,
    line: usize,
    span: Range<usize>,
}

struct NaturalLines<'a> {
    text: &'a str,
    at: usize,
    number: usize,
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\x0c')
}

impl<'a> NaturalLines<'a> {
    /// The next line without its end (`\n`, `\r` or `\r\n`).
    fn next_natural(&mut self) -> Option<&'a str> {
        let rest = &self.text[self.at..];
        if rest.is_empty() {
            return None;
        }
        self.number += 1;
        let Some(end) = rest.find(['\n', '\r']) else {
            self.at = self.text.len();
            return Some(rest);
        };
        self.at += end + if rest[end..].starts_with("\r\n") { 2 } else { 1 };
        Some(&rest[..end])
    }

    /// The next line that is neither blank nor a comment, its continuations joined to it.
    fn next_logical(&mut self) -> Option<Logical> {
        let mut start = self.at;
        let mut line = self.next_natural()?;
        let mut first = self.number;
        let mut text = String::new();
        loop {
            let content = line.trim_start_matches(is_blank);
            let comment = text.is_empty() && content.starts_with(['#', '!']);
            let continued = !comment && ends_in_odd_backslashes(content);
            if !comment {
                text.push_str(&content[..content.len() - usize::from(continued)]);
            }
            if !continued && !text.is_empty() {
                break;
            }
            if text.is_empty() {
                start = self.at;
                first = self.number + 1;
            }
            match self.next_natural() {
                Some(next) => line = next,
                // Java takes a lone backslash at the end of the text for an empty key.
                None if text.is_empty() && !continued => return None,
                None => break,
            }
        }
        Some(Logical { text, line: first, span: start..self.at })
    }
}

fn ends_in_odd_backslashes(line: &str) -> bool {
    let backslashes = line.len() - line.trim_end_matches('\\').len();
    backslashes % 2 == 1
}

/// Cuts a logical line at the first separator that no backslash protects.
fn split_key(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = line
        .find(|c| {
            let separates = !escaped && (matches!(c, '=' | ':') || is_blank(c));
            escaped = c == '\\' && !escaped;
            separates
        })
        .unwrap_or(line.len());
    let rest = line[end..].trim_start_matches(is_blank);
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (&line[..end], value.trim_start_matches(is_blank))
}

/// Resolves the escapes of one key or value; `None` for a malformed `\uXXXX`. Java strings are
/// UTF-16, so that two escapes may be one character; half a pair becomes U+FFFD.
fn unescape(part: &str) -> Option<String> {
    if !part.contains('\\') {
        return Some(part.to_owned());
    }
    let mut units: Vec<u16> = Vec::with_capacity(part.len());
    let mut chars = part.chars();
    let mut buffer = [0; 2];
    while let Some(c) = chars.next() {
        if c != '\\' {
            units.extend_from_slice(c.encode_utf16(&mut buffer));
            continue;
        }
        match chars.next() {
            Some('u') => {
                let digits = chars.as_str().get(..4)?;
                if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
                    return None;
                }
                units.push(u16::from_str_radix(digits, 16).ok()?);
                chars = chars.as_str()[4..].chars();
            }
            Some('t') => units.push(9),
            Some('n') => units.push(10),
            Some('f') => units.push(12),
            Some('r') => units.push(13),
            Some(other) => units.extend_from_slice(other.encode_utf16(&mut buffer)),
            None => {}
        }
    }
    Some(String::from_utf16_lossy(&units))
}

//! How the text of a setting becomes a value: what is allowed, and how Java reads it.
//!
//! Pure. A row of the table names one rule; rules know nothing of keys.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use super::membership::Role;

/// Where a setting may be written, and under which name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A key of zoo.cfg only.
    File,
    /// A key of zoo.cfg, which overrides `-Dzookeeper.<name>`.
    FileOrProperty,
    /// `<name>` in zoo.cfg or `-Dzookeeper.<name>`.
    Property,
    /// As `Property`, and `-D<name>`, which counts when the other is not set.
    PropertyOrBare,
    /// `-D<name>` only: a line in zoo.cfg would set `zookeeper.<name>`, which nothing reads.
    Bare,
}

impl Place {
    /// Whether Java reads the value as one of zoo.cfg's own keys: strictly and in decimal.
    pub fn is_strict(self) -> bool {
        matches!(self, Place::File | Place::FileOrProperty)
    }
}

/// A way to read one type of value.
pub trait Rule {
    type Value;
    /// `None` when the text is not allowed.
    fn read(&self, text: &str, place: Place) -> Option<Self::Value>;
    /// What is allowed, for error messages and the reference.
    fn allowed(&self) -> String;
    /// The value as one would write it; "none" when there is none.
    fn show(&self, value: &Self::Value) -> String;
    /// Whether the text is one of those the documentation names. Java takes any other word too,
    /// for the opposite of the one it looks for; such a word earns a warning.
    fn is_documented(&self, _text: &str) -> bool {
        true
    }
}

/// A boolean of which Java only looks for one word, and takes all others for the opposite.
pub struct Word {
    word: &'static str,
    means: bool,
    opposite: &'static str,
    any_case: bool,
}

/// `true` in any case, else off (`Boolean.parseBoolean`); in a zoo.cfg key `false` or an error.
pub const FLAG: Word = Word { word: "true", means: true, opposite: "false", any_case: true };
/// Off only when the word is exactly `false`.
pub const NOT_FALSE: Word = Word { word: "false", means: false, opposite: "true", any_case: false };
/// On only when the word is exactly `yes`.
pub const YES: Word = Word { word: "yes", means: true, opposite: "no", any_case: false };
/// Off only when the word is exactly `no`.
pub const NOT_NO: Word = Word { word: "no", means: false, opposite: "yes", any_case: false };

impl Word {
    fn matches(&self, text: &str, word: &str) -> bool {
        if self.any_case { text.eq_ignore_ascii_case(word) } else { text == word }
    }
}

impl Rule for Word {
    type Value = bool;

    fn read(&self, text: &str, place: Place) -> Option<bool> {
        if place.is_strict() && !self.is_documented(text) {
            return None;
        }
        Some(self.matches(text, self.word) == self.means)
    }

    fn allowed(&self) -> String {
        format!("'{}' or '{}'", self.show(&true), self.show(&false))
    }

    fn show(&self, value: &bool) -> String {
        (if *value == self.means { self.word } else { self.opposite }).to_owned()
    }

    fn is_documented(&self, text: &str) -> bool {
        self.matches(text, self.word) || self.matches(text, self.opposite)
    }
}

/// A whole number in a range.
pub struct Whole<T>(pub RangeInclusive<T>);

impl<T: TryFrom<i64> + Copy + PartialOrd + Display> Rule for Whole<T> {
    type Value = T;

    fn read(&self, text: &str, place: Place) -> Option<T> {
        let number = if place.is_strict() { text.parse().ok() } else { decode(text) };
        number.and_then(|n| T::try_from(n).ok()).filter(|n| self.0.contains(n))
    }

    fn allowed(&self) -> String {
        format!("a whole number from {} to {}", self.0.start(), self.0.end())
    }

    fn show(&self, value: &T) -> String {
        value.to_string()
    }
}

/// A number as `Integer.decode` reads the value of a system property: decimal, hexadecimal
/// after `0x` or `#`, octal after `0`.
fn decode(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let hexadecimal = ["0x", "0X", "#"].iter().find_map(|prefix| digits.strip_prefix(prefix));
    let number = match (hexadecimal, digits.strip_prefix('0')) {
        (Some(hex), _) => i64::from_str_radix(hex, 16).ok()?,
        (None, Some(octal)) if !octal.is_empty() => i64::from_str_radix(octal, 8).ok()?,
        _ => digits.parse().ok()?,
    };
    Some(if negative { -number } else { number })
}

/// A number with a fraction, in a range.
pub struct Real(pub RangeInclusive<f64>);

impl Rule for Real {
    type Value = f64;

    fn read(&self, text: &str, _: Place) -> Option<f64> {
        text.parse().ok().filter(|number| self.0.contains(number))
    }

    fn allowed(&self) -> String {
        format!("a number from {} to {}", self.0.start(), self.0.end())
    }

    fn show(&self, value: &f64) -> String {
        value.to_string()
    }
}

/// What another rule allows, or nothing.
pub struct Optional<R>(pub R);

impl<R: Rule> Rule for Optional<R> {
    type Value = Option<R::Value>;

    fn read(&self, text: &str, place: Place) -> Option<Option<R::Value>> {
        self.0.read(text, place).map(Some)
    }

    fn allowed(&self) -> String {
        self.0.allowed()
    }

    fn show(&self, value: &Option<R::Value>) -> String {
        value.as_ref().map_or("none".to_owned(), |value| self.0.show(value))
    }
}

/// A TCP port, or none.
pub const PORT: Optional<Whole<u16>> = Optional(Whole(0..=u16::MAX));

/// Any text.
pub struct Text;

impl Rule for Text {
    type Value = String;

    fn read(&self, text: &str, _: Place) -> Option<String> {
        Some(text.to_owned())
    }

    fn allowed(&self) -> String {
        "any text".to_owned()
    }

    fn show(&self, value: &String) -> String {
        if value.is_empty() { "none".to_owned() } else { value.clone() }
    }
}

/// Any text, or none.
pub struct Maybe;

impl Rule for Maybe {
    type Value = Option<String>;

    fn read(&self, text: &str, _: Place) -> Option<Option<String>> {
        Some(Some(text.to_owned()))
    }

    fn allowed(&self) -> String {
        Text.allowed()
    }

    fn show(&self, value: &Option<String>) -> String {
        value.clone().unwrap_or_else(|| "none".to_owned())
    }
}

/// `participant` or `observer`, in any case.
pub struct RoleName;

impl Rule for RoleName {
    type Value = Role;

    fn read(&self, text: &str, _: Place) -> Option<Role> {
        Role::parse(text).ok()
    }

    fn allowed(&self) -> String {
        "'participant' or 'observer'".to_owned()
    }

    fn show(&self, value: &Role) -> String {
        value.to_string()
    }
}

/// A file or directory.
pub struct FilePath;

impl Rule for FilePath {
    type Value = PathBuf;

    fn read(&self, text: &str, _: Place) -> Option<PathBuf> {
        (!text.is_empty()).then(|| PathBuf::from(text))
    }

    fn allowed(&self) -> String {
        "a path".to_owned()
    }

    fn show(&self, value: &PathBuf) -> String {
        Text.show(&value.display().to_string())
    }
}

/// One of a few words, in any case if Java does not care for it.
pub struct OneOf(pub &'static [&'static str]);

impl Rule for OneOf {
    type Value = String;

    fn read(&self, text: &str, _: Place) -> Option<String> {
        self.0.iter().find(|word| word.eq_ignore_ascii_case(text)).map(|&word| word.to_owned())
    }

    fn allowed(&self) -> String {
        let words: Vec<String> = self.0.iter().map(|word| format!("'{word}'")).collect();
        words.join(", ")
    }

    fn show(&self, value: &String) -> String {
        Text.show(value)
    }
}

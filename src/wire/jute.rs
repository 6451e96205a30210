//! Jute, ZooKeeper's binary encoding: big-endian integers, length-prefixed buffers and strings,
//! counted vectors; −1 as a length means null. Records are the plain concatenation of their fields.
//! Java: `org.apache.jute.BinaryInputArchive`, `BinaryOutputArchive`.
//!
//! Reading never panics and never allocates more than the input can hold.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// Why bytes could not be decoded. The sender is at fault, never this server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DecodeError {
    /// The input ended inside a field: so many bytes were needed, so many were left.
    Truncated { needed: usize, left: usize },
    /// A length or count that is negative (other than −1) or over the limit (C-2).
    UnreasonableLength(i32),
    /// A value outside its enumeration, e.g. an op code inside a multi.
    BadValue { what: &'static str, value: i64 },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { needed, left } => {
                write!(f, "input ends inside a field: {needed} bytes needed, {left} left")
            }
            Self::UnreasonableLength(n) => write!(f, "Unreasonable length = {n}"),
            Self::BadValue { what, value } => write!(f, "{value} is not a valid {what}"),
        }
    }
}

impl std::error::Error for DecodeError {}

pub type Result<T> = std::result::Result<T, DecodeError>;

/// Reads jute fields off a byte slice, front to back.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        if n > self.rest.len() {
            return Err(DecodeError::Truncated { needed: n, left: self.rest.len() });
        }
        let (head, tail) = self.rest.split_at(n);
        self.rest = tail;
        Ok(head)
    }

    pub fn array<const N: usize>(&mut self) -> Result<&'a [u8; N]> {
        let left = self.rest.len();
        let truncated = DecodeError::Truncated { needed: N, left };
        let (head, tail) = self.rest.split_first_chunk().ok_or(truncated)?;
        self.rest = tail;
        Ok(head)
    }

    pub fn bool(&mut self) -> Result<bool> {
        Ok(self.take(1)?[0] != 0)
    }

    pub fn i32(&mut self) -> Result<i32> {
        self.array().map(|bytes| i32::from_be_bytes(*bytes))
    }

    pub fn i64(&mut self) -> Result<i64> {
        self.array().map(|bytes| i64::from_be_bytes(*bytes))
    }

    /// A length or count: `None` is null (−1). Bounded by what is left, so that nobody can make us
    /// allocate for bytes that were never sent.
    fn length(&mut self) -> Result<Option<usize>> {
        match self.i32()? {
            -1 => Ok(None),
            n if n < 0 => Err(DecodeError::UnreasonableLength(n)),
            n => Ok(Some(n as usize)),
        }
    }

    /// A buffer, borrowed; `None` is null.
    pub fn buffer(&mut self) -> Result<Option<&'a [u8]>> {
        match self.length()? {
            None => Ok(None),
            Some(n) => self.take(n).map(Some),
        }
    }

    /// A ustring, borrowed when it is valid UTF-8; bad bytes are replaced as Java does (C-3).
    pub fn opt_str(&mut self) -> Result<Option<Cow<'a, str>>> {
        Ok(self.buffer()?.map(text))
    }

    /// A ustring that must not matter as null: null reads as "" (no Java caller tells them apart).
    pub fn str(&mut self) -> Result<Cow<'a, str>> {
        Ok(self.opt_str()?.unwrap_or_default())
    }

    /// The count of a vector; null reads as `None`. Each item takes at least one byte.
    pub fn count(&mut self) -> Result<Option<usize>> {
        match self.length()? {
            Some(n) if n > self.rest.len() => {
                Err(DecodeError::Truncated { needed: n, left: self.rest.len() })
            }
            other => Ok(other),
        }
    }

    pub fn record<R: Record>(&mut self) -> Result<R> {
        R::read(self)
    }
}

/// Text off the wire. Checking first is quicker: replacing looks at every byte on its own.
pub fn text(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => String::from_utf8_lossy(bytes),
    }
}

/// Appends jute fields to a byte vector.
pub trait Put {
    fn put_bool(&mut self, v: bool);
    fn put_i32(&mut self, v: i32);
    fn put_i64(&mut self, v: i64);
    /// A buffer; `None` is null (length −1).
    fn put_buffer(&mut self, v: Option<&[u8]>);
    /// A ustring, encoded as Java's writer does: CESU-8, i.e. a character outside the basic plane
    /// becomes two 3-byte surrogates (C-3).
    fn put_str(&mut self, v: &str);
    /// The count of a vector.
    fn put_count(&mut self, n: usize);
}

impl Put for Vec<u8> {
    fn put_bool(&mut self, v: bool) {
        self.push(v as u8);
    }

    fn put_i32(&mut self, v: i32) {
        self.extend_from_slice(&v.to_be_bytes());
    }

    fn put_i64(&mut self, v: i64) {
        self.extend_from_slice(&v.to_be_bytes());
    }

    fn put_buffer(&mut self, v: Option<&[u8]>) {
        match v {
            None => self.put_i32(-1),
            Some(b) => {
                self.put_i32(b.len() as i32);
                self.extend_from_slice(b);
            }
        }
    }

    fn put_str(&mut self, v: &str) {
        // Four-byte UTF-8 sequences start with 0xF0 or more: rare, so test before transcoding.
        if v.is_ascii() || v.bytes().all(|b| b < 0xF0) {
            return self.put_buffer(Some(v.as_bytes()));
        }
        let mut cesu = Vec::with_capacity(v.len() + 8);
        for unit in v.encode_utf16() {
            match unit {
                0..=0x7F => cesu.push(unit as u8),
                0x80..=0x7FF => cesu.extend([0xC0 | (unit >> 6) as u8, 0x80 | (unit & 0x3F) as u8]),
                _ => cesu.extend([
                    0xE0 | (unit >> 12) as u8,
                    0x80 | ((unit >> 6) & 0x3F) as u8,
                    0x80 | (unit & 0x3F) as u8,
                ]),
            }
        }
        self.put_buffer(Some(&cesu));
    }

    fn put_count(&mut self, n: usize) {
        self.put_i32(n as i32);
    }
}

/// Something that has a jute form.
pub trait Record: Sized {
    fn read(r: &mut Reader<'_>) -> Result<Self>;
    fn write(&self, out: &mut Vec<u8>);

    /// Reads a record off the front of `bytes`; what follows it is ignored, as Java does.
    fn from_bytes(bytes: &[u8]) -> Result<Self> {
        Self::read(&mut Reader::new(bytes))
    }

    /// The record's bytes alone.
    fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }
}

impl Record for bool {
    fn read(r: &mut Reader<'_>) -> Result<Self> {
        r.bool()
    }
    fn write(&self, out: &mut Vec<u8>) {
        out.put_bool(*self);
    }
}

impl Record for i32 {
    fn read(r: &mut Reader<'_>) -> Result<Self> {
        r.i32()
    }
    fn write(&self, out: &mut Vec<u8>) {
        out.put_i32(*self);
    }
}

impl Record for i64 {
    fn read(r: &mut Reader<'_>) -> Result<Self> {
        r.i64()
    }
    fn write(&self, out: &mut Vec<u8>) {
        out.put_i64(*self);
    }
}

impl Record for String {
    fn read(r: &mut Reader<'_>) -> Result<Self> {
        Ok(r.str()?.into_owned())
    }
    fn write(&self, out: &mut Vec<u8>) {
        out.put_str(self);
    }
}

/// A nullable ustring.
impl Record for Option<String> {
    fn read(r: &mut Reader<'_>) -> Result<Self> {
        Ok(r.opt_str()?.map(Cow::into_owned))
    }
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            None => out.put_i32(-1),
            Some(s) => out.put_str(s),
        }
    }
}

/// A nullable buffer.
impl Record for Option<Box<[u8]>> {
    fn read(r: &mut Reader<'_>) -> Result<Self> {
        Ok(r.buffer()?.map(Box::from))
    }
    fn write(&self, out: &mut Vec<u8>) {
        out.put_buffer(self.as_deref());
    }
}

/// A vector; null reads as empty.
impl<T: Record> Record for Vec<T> {
    fn read(r: &mut Reader<'_>) -> Result<Self> {
        let n = r.count()?.unwrap_or(0);
        (0..n).map(|_| T::read(r)).collect()
    }
    fn write(&self, out: &mut Vec<u8>) {
        out.put_count(self.len());
        self.iter().for_each(|item| item.write(out));
    }
}

/// A vector that many have; null reads as empty.
impl<T: Record> Record for Arc<[T]> {
    fn read(r: &mut Reader<'_>) -> Result<Self> {
        Vec::read(r).map(Self::from)
    }
    fn write(&self, out: &mut Vec<u8>) {
        out.put_count(self.len());
        self.iter().for_each(|item| item.write(out));
    }
}

/// A nullable vector, where Java tells null from empty.
impl<T: Record> Record for Option<Vec<T>> {
    fn read(r: &mut Reader<'_>) -> Result<Self> {
        match r.count()? {
            None => Ok(None),
            Some(n) => (0..n).map(|_| T::read(r)).collect::<Result<_>>().map(Some),
        }
    }
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            None => out.put_i32(-1),
            Some(items) => items.write(out),
        }
    }
}

/// Declares a struct whose jute form is its fields in order.
macro_rules! record {
    ($(#[$meta:meta])* $name:ident { $($(#[$fmeta:meta])* $field:ident: $ty:ty),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
        pub struct $name {
            $($(#[$fmeta])* pub $field: $ty,)*
        }

        impl $crate::wire::jute::Record for $name {
            #[allow(unused_variables)]
            fn read(
                r: &mut $crate::wire::jute::Reader<'_>,
            ) -> $crate::wire::jute::Result<Self> {
                Ok(Self { $($field: <$ty as $crate::wire::jute::Record>::read(r)?,)* })
            }
            #[allow(unused_variables)]
            fn write(&self, out: &mut Vec<u8>) {
                $($crate::wire::jute::Record::write(&self.$field, out);)*
            }
        }
    };
}
pub(crate) use record;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_checked_before_anything_is_allocated() {
        let huge = [0x7f, 0xff, 0xff, 0xff, 1, 2];
        assert_eq!(
            Reader::new(&huge).buffer(),
            Err(DecodeError::Truncated { needed: 0x7fff_ffff, left: 2 })
        );
        assert!(Vec::<i64>::read(&mut Reader::new(&huge)).is_err());
        let negative = (-2i32).to_be_bytes();
        assert_eq!(Reader::new(&negative).buffer(), Err(DecodeError::UnreasonableLength(-2)));
    }

    #[test]
    fn null_buffers_strings_and_vectors() {
        let null = (-1i32).to_be_bytes();
        assert_eq!(Reader::new(&null).buffer(), Ok(None));
        assert_eq!(Option::<String>::read(&mut Reader::new(&null)), Ok(None));
        assert_eq!(Vec::<i32>::read(&mut Reader::new(&null)), Ok(vec![]));
        assert_eq!(Option::<Vec<i32>>::read(&mut Reader::new(&null)), Ok(None));
        assert_eq!(None::<Vec<i32>>.to_bytes(), null);
    }

    #[test]
    fn astral_characters_are_written_as_surrogates_like_java() {
        let mut out = Vec::new();
        out.put_str("a😀é");
        assert_eq!(out, b"\x00\x00\x00\x09a\xed\xa0\xbd\xed\xb8\x80\xc3\xa9");
    }
}

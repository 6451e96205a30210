//! Requests encoded once and sent millions of times: a template's bytes are copied, then its xid
//! and the decimal digits in its path are overwritten. And the mix of operations. Pure.

use crate::client::conn::put_request;
use crate::wire::proto::{CreateRequest, ReadRequest, SetDataRequest, VersionRequest};
use crate::wire::{Acl, Record, code};

/// The operations that a load consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    Read,
    Set,
    Create,
    Delete,
    Exists,
}

impl Kind {
    pub const ALL: [Self; 5] = [Self::Read, Self::Set, Self::Create, Self::Delete, Self::Exists];

    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Set => "set",
            Self::Create => "create",
            Self::Delete => "delete",
            Self::Exists => "exists",
        }
    }
}

/// A request whose path holds runs of `#`: places for numbers of that many digits.
#[derive(Debug, Clone)]
pub struct Template {
    bytes: Vec<u8>,
    /// Offset just behind the last digit, and number of digits, of each number.
    holes: Vec<(usize, usize)>,
}

impl Template {
    /// `value` matters to create and set only.
    pub fn new(kind: Kind, path: &str, value: &[u8]) -> Self {
        let data = Some(Box::from(value));
        let path = path.to_owned();
        let mut bytes = Vec::new();
        match kind {
            Kind::Read => put_request(&mut bytes, 0, code::GET_DATA, |b| {
                ReadRequest { path, watch: false }.write(b);
            }),
            Kind::Exists => put_request(&mut bytes, 0, code::EXISTS, |b| {
                ReadRequest { path, watch: false }.write(b);
            }),
            Kind::Set => put_request(&mut bytes, 0, code::SET_DATA, |b| {
                SetDataRequest { path, data, version: -1 }.write(b);
            }),
            Kind::Create => put_request(&mut bytes, 0, code::CREATE, |b| {
                CreateRequest { path, data, acl: Some(Acl::open_unsafe()), flags: 0 }.write(b);
            }),
            Kind::Delete => put_request(&mut bytes, 0, code::DELETE, |b| {
                VersionRequest { path, version: -1 }.write(b);
            }),
        }
        let holes = find_holes(&bytes);
        Self { bytes, holes }
    }

    /// Appends the request with its xid and the numbers of its path.
    pub fn put(&self, out: &mut Vec<u8>, xid: i32, numbers: &[u32]) {
        assert!(numbers.len() == self.holes.len(), "{} numbers for {:?}", numbers.len(), self);
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        let request = &mut out[start..];
        request[4..8].copy_from_slice(&xid.to_be_bytes());
        for (&(end, width), &number) in self.holes.iter().zip(numbers) {
            let mut rest = number;
            for digit in request[end - width..end].iter_mut().rev() {
                *digit = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
        }
    }
}

fn find_holes(bytes: &[u8]) -> Vec<(usize, usize)> {
    let mut holes: Vec<(usize, usize)> = Vec::new();
    // Only the path counts: it follows length, xid, op code and its own length.
    let len = u32::from_be_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]) as usize;
    for (at, &byte) in bytes.iter().enumerate().skip(16).take(len) {
        match holes.last_mut() {
            _ if byte != b'#' => {}
            Some((end, width)) if *end == at => (*end, *width) = (at + 1, *width + 1),
            _ => holes.push((at + 1, 1)),
        }
    }
    holes
}

/// Shares of the operations, e.g. `read:90,set:10`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mix {
    /// One hundred entries.
    table: Vec<Kind>,
}

impl Mix {
    /// Parses `kind:percent,…`; a kind alone means 100 %.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut table = Vec::new();
        for part in text.split(',') {
            let (name, share) = part.split_once(':').unwrap_or((part, "100"));
            let kind = Kind::ALL.into_iter().find(|k| k.name() == name).ok_or_else(|| {
                format!("mix '{text}': '{name}' is none of read, set, create, delete, exists")
            })?;
            let share: usize =
                share.parse().map_err(|_| format!("mix '{text}': '{share}' is no percentage"))?;
            table.extend(std::iter::repeat_n(kind, share.min(101)));
        }
        if table.len() != 100 {
            return Err(format!("mix '{text}': the shares add up to {}, not 100", table.len()));
        }
        Ok(Self { table })
    }

    pub fn pick(&self, random: u32) -> Kind {
        self.table[random as usize % 100]
    }
}

/// Marsaglia's xorshift64: a load needs numbers that are spread, not secret.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_filled_in() {
        let t = Template::new(Kind::Set, "/b/p####/n########", b"v#");
        let mut got = vec![];
        t.put(&mut got, 258, &[12, 99_999_999]);
        let mut want = vec![];
        put_request(&mut want, 258, code::SET_DATA, |b| {
            let path = "/b/p0012/n99999999".into();
            SetDataRequest { path, data: Some(Box::from(*b"v#")), version: -1 }.write(b);
        });
        assert_eq!(got, want);
    }

    #[test]
    fn mixes() {
        let mix = Mix::parse("read:90,set:10").unwrap();
        assert_eq!((0..100).filter(|&r| mix.pick(r) == Kind::Set).count(), 10);
        assert_eq!(Mix::parse("exists"), Mix::parse("exists:100"));
        for bad in ["", "read:50", "read:90,write:10", "read:x", "read:100,set:1", "read:-1"] {
            assert!(Mix::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn random_numbers_are_spread() {
        let mut random = Random::new(1);
        let mut counts = [0; 10];
        (0..10_000).for_each(|_| counts[random.next() as usize % 10] += 1);
        assert!(counts.iter().all(|&n| (850..1150).contains(&n)), "{counts:?}");
    }
}

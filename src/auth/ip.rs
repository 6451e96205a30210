//! Scheme `ip`: addresses and prefixes (C-193). Every connection has the id of its address.
//! Java: `IPAuthenticationProvider`.

use std::net::IpAddr;

use super::{AuthError, Provider};
use crate::wire::Id;

/// See the module.
#[derive(Debug)]
pub struct IpProvider;

/// The ip id of a connection from `addr`.
pub fn id_of(addr: IpAddr) -> Id {
    Id::new("ip", &host_address(addr))
}

/// The address among the ids of a connection, for the log.
pub fn address_in(ids: &[Id]) -> &str {
    ids.iter().find(|id| id.scheme == "ip").map_or("nowhere", |id| &id.id)
}

/// An address as Java's `InetAddress.getHostAddress` writes it: IPv6 without "::", IPv4 inside
/// IPv6 as IPv4.
pub fn host_address(addr: IpAddr) -> String {
    match addr.to_canonical() {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => v6.segments().map(|s| format!("{s:x}")).join(":"),
    }
}

impl Provider for IpProvider {
    fn scheme(&self) -> &'static str {
        "ip"
    }

    fn authenticate(&self, addr: IpAddr, _: &[u8]) -> Result<Vec<Id>, AuthError> {
        Ok(vec![id_of(addr)])
    }

    fn is_valid(&self, id: &str) -> bool {
        Prefix::parse(id).is_some()
    }

    fn matches(&self, id: &str, acl_expr: &str) -> bool {
        match (Prefix::parse(acl_expr), parse_address(id)) {
            (Some(prefix), Some(address)) => prefix.contains(address),
            _ => false,
        }
    }

    fn is_authenticated(&self) -> bool {
        false
    }
}

/// An address as bits, left-aligned in a u128 of `len` bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Address {
    bits: u128,
    len: u32,
}

/// `address` or `address/bits`.
struct Prefix {
    address: Address,
    bits: u32,
}

impl Prefix {
    fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address = parse_address(address)?;
        let bits = match bits {
            Some(bits) => bits.parse().ok().filter(|b| *b <= address.len)?,
            None => address.len,
        };
        Some(Self { address, bits })
    }

    fn contains(&self, other: Address) -> bool {
        let differing = (self.address.bits ^ other.bits).leading_zeros();
        self.address.len == other.len && differing >= self.bits
    }
}

fn parse_address(text: &str) -> Option<Address> {
    if text.contains(':') { parse_v6(text) } else { parse_v4(text) }
}

fn parse_v4(text: &str) -> Option<Address> {
    let mut bits = 0;
    let mut parts = 0;
    for part in text.split('.') {
        let v: i32 = part.parse().ok()?;
        bits = bits << 8 | u128::from(u8::try_from(v).ok()?);
        parts += 1;
        if parts > 4 {
            return None;
        }
    }
    (parts == 4).then_some(Address { bits: bits << 96, len: 32 })
}

fn parse_v6(text: &str) -> Option<Address> {
    let (head, tail) = match text.split_once("::") {
        Some((head, tail)) => (segments(head)?, Some(segments(tail)?)),
        None => (segments(text)?, None),
    };
    let given = head.len() + tail.as_ref().map_or(0, Vec::len);
    match tail {
        None if given != 8 => return None,
        Some(_) if given > 7 => return None,
        _ => {}
    }
    let zeros = std::iter::repeat_n(0, 8 - given);
    let all = head.into_iter().chain(zeros).chain(tail.unwrap_or_default());
    let bits = all.fold(0u128, |bits, segment| bits << 16 | u128::from(segment));
    Some(Address { bits, len: 128 })
}

/// Groups of one to four hex digits between colons; none in an empty text.
fn segments(text: &str) -> Option<Vec<u16>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    let segment = |s: &str| match s.len() {
        1..=4 => u16::from_str_radix(s, 16).ok(),
        _ => None,
    };
    text.split(':').map(segment).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_ids() {
        let good = ["10.0.0.1", "10.0.0.0/8", "10.0.0.1/0", "10.0.0.1/32", "::", "::1", "1::"];
        let good6 = ["1:2:3:4:5:6:7:8", "2001:db8::/32", "::ffff/128", "1:2:3:4:5:6:7::"];
        for id in good.into_iter().chain(good6) {
            assert!(IpProvider.is_valid(id), "{id}");
        }
        let bad = ["", "10.0.0", "10.0.0.256", "10.0.0.1.2", "10.0.0.1/33", "10.0.0.1/", "host"];
        let bad6 = ["1:2:3:4:5:6:7", ":::", "1::2::3", "12345::", "::g", "::1/129", "::1%eth0"];
        let bad_rest = ["1:2:3:4:5:6:7:8::", "10.0.0.1/-1", "10.0.0.1/8/8", "1:2:3:4::5:6:7:8"];
        for id in bad.into_iter().chain(bad6).chain(bad_rest) {
            assert!(!IpProvider.is_valid(id), "{id}");
        }
    }

    #[test]
    fn prefixes_match_bit_by_bit() {
        let table = [
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3", "10.1.2.4", false),
            ("10.1.2.3", "10.1.2.2/31", true),
            ("10.1.2.3", "10.1.2.4/29", true),
            ("10.1.2.3", "10.1.2.4/30", false),
            ("10.1.2.3", "99.0.0.0/0", true),
            ("0:0:0:0:0:0:0:1", "::1", true),
            ("2001:db8:0:0:0:0:0:7", "2001:db8::/32", true),
            ("2001:db9:0:0:0:0:0:7", "2001:db8::/32", false),
            ("2001:db9:0:0:0:0:0:7", "2001:db8::/31", true),
            ("10.1.2.3", "::/0", false),
            ("0:0:0:0:0:0:0:1", "0.0.0.0/0", false),
            ("10.1.2.3", "nonsense", false),
        ];
        for (id, expr, want) in table {
            assert_eq!(IpProvider.matches(id, expr), want, "{id} {expr}");
        }
    }

    #[test]
    fn connections_have_the_id_java_would_give_them() {
        let table = [
            ("10.0.0.1", "10.0.0.1"),
            ("::1", "0:0:0:0:0:0:0:1"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
            ("2001:db8::ff", "2001:db8:0:0:0:0:0:ff"),
        ];
        for (addr, want) in table {
            assert_eq!(id_of(addr.parse().unwrap()).id, want);
        }
    }
}

//! Hosts and ports as the membership lines and the client port settings write them.
//!
//! Pure: an address is text and a number here; looking names up is the shells' work.
//! Answers to Java's `ConfigUtils.getHostAndPort` and the printing of `InetSocketAddress`.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::fmt;

/// The address that means every interface. A shell that binds it should listen on IPv6 and
/// IPv4 alike, as Java does.
pub const WILDCARD: &str = "0.0.0.0";

/// A host (name or canonical IP literal, without brackets) and a port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    pub host: String,
    pub port: u16,
}

impl Address {
    /// An address whose host is put into Java's spelling ([`canonical_host`]).
    pub fn new(host: &str, port: u16) -> Address {
        Address { host: canonical_host(host), port }
    }

    /// Whether it names all interfaces (`0.0.0.0` or `::`).
    pub fn is_wildcard(&self) -> bool {
        literal(&self.host).is_some_and(|ip| ip.is_unspecified())
    }

    /// Whether the other address is known to be a different one. Two spellings of which one is
    /// a name cannot be told apart without asking a name server, which nobody does here.
    pub fn surely_differs(&self, other: &Address) -> bool {
        let distinct = match (literal(&self.host), literal(&other.host)) {
            (Some(mine), Some(theirs)) => mine != theirs,
            _ => false,
        };
        self.port != other.port || distinct
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", bracketed(&self.host), self.port)
    }
}

/// The host as it stands before a colon: IPv6 literals in brackets.
pub fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

/// An IP literal in the spelling Java prints (`127.1` → `127.0.0.1`, `::1` →
/// `0:0:0:0:0:0:0:1`, a mapped IPv4 address as IPv4); a name as it is; nothing → `localhost`.
pub fn canonical_host(host: &str) -> String {
    match literal(host) {
        Some(IpAddr::V4(ip)) => ip.to_string(),
        Some(IpAddr::V6(ip)) => ip.segments().map(|part| format!("{part:x}")).join(":"),
        None if host.is_empty() => "localhost".to_owned(),
        None => host.to_owned(),
    }
}

fn literal(host: &str) -> Option<IpAddr> {
    if let Ok(ip) = host.parse::<Ipv6Addr>() {
        return Some(ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4));
    }
    if host == "localhost" {
        return None;
    }
    ipv4_literal(host).map(IpAddr::V4)
}

/// IPv4 in one to four decimal parts, of which the last fills all the bytes that are left.
fn ipv4_literal(host: &str) -> Option<Ipv4Addr> {
    let parts: Vec<&str> = host.trim().split('.').collect();
    let (last, leading) = parts.split_last()?;
    if leading.len() > 3 || parts.iter().any(|p| p.is_empty() || !p.bytes().all(is_digit)) {
        return None;
    }
    let mut value: u64 = 0;
    for part in leading {
        value = value << 8 | u64::from(part.parse::<u8>().ok()?);
    }
    let bits = 8 * (4 - leading.len() as u32);
    let tail: u64 = last.parse().ok()?;
    let whole = value << bits | tail;
    (tail >> bits == 0).then(|| Ipv4Addr::from(whole as u32))
}

fn is_digit(byte: u8) -> bool {
    byte.is_ascii_digit()
}

/// Splits `host:a:b` at its colons, an IPv6 literal in brackets being one part. As in Java,
/// empty parts at the end do not count.
pub fn host_and_rest(text: &str) -> Result<Vec<&str>, String> {
    let Some(inner) = text.strip_prefix('[') else {
        return Ok(split_java(text, ':'));
    };
    let Some(end) = inner.find(']') else {
        return Err(format!("{text} starts with '[' but has no matching ']:'"));
    };
    let mut parts = vec![&inner[..end]];
    let after = &inner[end + 1..];
    let mut chars = after.chars();
    match (chars.next(), chars.as_str()) {
        (None, _) => {}
        (Some(_), "") => return Err(format!("{text} doesn't have a port after colon")),
        (Some(_), rest) => parts.extend(split_java(rest, ':')),
    }
    Ok(parts)
}

/// `String.split` of Java: empty parts at the end are dropped, but an empty text is one part.
pub fn split_java(text: &str, separator: char) -> Vec<&str> {
    if text.is_empty() {
        return vec![text];
    }
    let mut parts: Vec<&str> = text.split(separator).collect();
    while parts.last() == Some(&"") {
        parts.pop();
    }
    parts
}

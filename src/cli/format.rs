//! How the shell prints stats, dates, permissions and data, and reads ACLs and base64. Pure.
//! Java: `cli.StatPrinter`, `cli.AclParser`, `cli.*OutputFormatter`, `ZKUtil`.

use std::fmt::Write;

use crate::wire::{Acl, Id, Stat, perms};

const PERMS: [(char, i32); 5] = [
    ('c', perms::CREATE),
    ('d', perms::DELETE),
    ('r', perms::READ),
    ('w', perms::WRITE),
    ('a', perms::ADMIN),
];

/// A stat, one field a line. `date` turns milliseconds since 1970 into text.
pub fn stat(stat: &Stat, date: impl Fn(i64) -> String) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "{name} = {value}");
    };
    line("cZxid", format!("{:#x}", stat.czxid));
    line("ctime", date(stat.ctime));
    line("mZxid", format!("{:#x}", stat.mzxid));
    line("mtime", date(stat.mtime));
    line("pZxid", format!("{:#x}", stat.pzxid));
    line("cversion", stat.cversion.to_string());
    line("dataVersion", stat.version.to_string());
    line("aclVersion", stat.aversion.to_string());
    line("ephemeralOwner", format!("{:#x}", stat.ephemeral_owner));
    line("dataLength", stat.data_length.to_string());
    line("numChildren", stat.num_children.to_string());
    out
}

/// A list as Java prints its collections.
pub fn list(items: &[String]) -> String {
    format!("[{}]", items.join(", "))
}

/// Two lines: `'scheme,'id` and `: cdrwa`.
pub fn acl(acl: &Acl) -> String {
    let given = PERMS.iter().filter(|(_, bit)| acl.perms & bit != 0);
    let letters: String = given.map(|(letter, _)| letter).collect();
    format!("'{},'{}\n: {letters}\n", acl.id.scheme, acl.id.id)
}

/// Reads `scheme:id:perms,…`. Gives what made sense, and complaints about the rest.
pub fn parse_acl(text: &str) -> (Vec<Acl>, Vec<String>) {
    let (mut acl, mut complaints) = (Vec::new(), Vec::new());
    for entry in text.split(',') {
        let parts = entry.split_once(':').and_then(|(scheme, rest)| {
            rest.rsplit_once(':').map(|(id, letters)| (scheme, id, letters))
        });
        let Some((scheme, id, letters)) = parts else {
            complaints.push(format!("{entry} does not have the form scheme:id:perm"));
            continue;
        };
        let mut perms = 0;
        for letter in letters.chars() {
            match PERMS.iter().find(|(known, _)| *known == letter) {
                Some((_, bit)) => perms |= bit,
                None => complaints.push(format!("Unknown perm type: {letter}")),
            }
        }
        acl.push(Acl { perms, id: Id::new(scheme, id) });
    }
    (acl, complaints)
}

/// Sixteen bytes a line in hexadecimal and as characters, framed as Netty's `prettyHexDump` does.
pub fn hex_dump(data: &[u8]) -> String {
    if data.is_empty() {
        return String::new();
    }
    let rule = "+--------+-------------------------------------------------+----------------+";
    let mut out = String::from(
        "         +-------------------------------------------------+\n\
         \x20        |  0  1  2  3  4  5  6  7  8  9  a  b  c  d  e  f |\n",
    );
    out.push_str(rule);
    for (row, bytes) in data.chunks(16).enumerate() {
        let hex: String = bytes.iter().map(|b| format!(" {b:02x}")).collect();
        let printable = |b: &u8| if (0x20..0x7f).contains(b) { char::from(*b) } else { '.' };
        let text: String = bytes.iter().map(printable).collect();
        let _ = write!(out, "\n|{:08x}|{hex:<48} |{text:<16}|", row * 16);
    }
    out.push('\n');
    out.push_str(rule);
    out
}

/// Base64 with padding, strictly (RFC 4648). `None`: it is not.
pub fn base64_decode(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    if digits.len() % 4 == 1 || (text.len() != digits.len() && !text.len().is_multiple_of(4)) {
        return None;
    }
    let (mut out, mut bits, mut count) = (Vec::new(), 0u32, 0);
    for digit in digits.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stats_name_their_fields_as_java_does() {
        let s = Stat { czxid: 0x6edf9, ctime: 1, version: 2, ..Stat::default() };
        let text = stat(&s, |ms| format!("<{ms}>"));
        assert!(text.starts_with("cZxid = 0x6edf9\nctime = <1>\nmZxid = 0x0\n"), "{text}");
        assert!(text.contains("\ndataVersion = 2\n") && text.lines().count() == 11);
        let owner = Stat { ephemeral_owner: -1, ..s };
        assert!(stat(&owner, |_| "".into()).contains("ephemeralOwner = 0xffffffffffffffff\n"));
    }

    #[test]
    fn acls_go_both_ways() {
        let (parsed, complaints) = parse_acl("world:anyone:cdrwa,ip:::1:r,bad,digest:u:h:xw");
        let printed: String = parsed.iter().map(acl).collect();
        assert_eq!(printed, "'world,'anyone\n: cdrwa\n'ip,'::1\n: r\n'digest,'u:h\n: w\n");
        assert_eq!(
            complaints,
            ["bad does not have the form scheme:id:perm", "Unknown perm type: x"]
        );
    }

    #[test]
    fn a_hex_dump_looks_like_nettys() {
        let want = "         +-------------------------------------------------+
         |  0  1  2  3  4  5  6  7  8  9  a  b  c  d  e  f |
+--------+-------------------------------------------------+----------------+
|00000000| 66 6f 6f                                        |foo             |
+--------+-------------------------------------------------+----------------+";
        assert_eq!(hex_dump(b"foo"), want);
        assert_eq!(hex_dump(&[0; 17]).lines().count(), 6);
        assert_eq!(hex_dump(b""), "");
    }

    #[test]
    fn base64_is_decoded_strictly() {
        for (text, want) in [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zg", "f")]
        {
            assert_eq!(base64_decode(text).as_deref(), Some(want.as_bytes()), "{text}");
        }
        for bad in ["Z", "Zg=", "Z!==", "====="] {
            assert_eq!(base64_decode(bad), None, "{bad}");
        }
    }
}

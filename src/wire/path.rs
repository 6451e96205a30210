//! The syntax of znode paths (C-196). Java: `common.PathUtils.validatePath`.

/// Whether `path` is a legal znode path; `Err` says why not, in Java's words.
pub fn validate(path: &str) -> Result<(), String> {
    if path.is_empty() {
        return Err("Path length must be > 0".into());
    }
    if !path.starts_with('/') {
        return Err("Path must start with / character".into());
    }
    if path.len() > 1 && path.ends_with('/') {
        return Err("Path must not end with / character".into());
    }
    if path.len() == 1 || is_plain(path.as_bytes()) {
        return Ok(());
    }
    match find_fault(path) {
        None => Ok(()),
        Some((what, at)) => Err(format!("Invalid path string \"{path}\" caused by {what} @{at}")),
    }
}

/// Parent and name of an absolute path; the parent of a top-level node is "" (an alias of "/").
/// `None` without a slash.
pub fn split(path: &str) -> Option<(&str, &str)> {
    // Names are short: looking at bytes one by one is quicker than a general search.
    let slash = path.bytes().rposition(|b| b == b'/')?;
    Some((&path[..slash], &path[slash + 1..]))
}

/// The usual case, byte by byte: printable ASCII without dots and without empty names. Saying no
/// only means that a closer look is needed.
fn is_plain(path: &[u8]) -> bool {
    // Without a way out of the loop, so that many bytes are looked at at once.
    let plain = |b: u8| (0x20..0x7f).contains(&b) & (b != b'.');
    let pairs = path.iter().zip(&path[1..]);
    pairs.fold(true, |fine, (a, b)| fine & plain(*b) & !((*a == b'/') & (*b == b'/')))
}

/// The first fault and its position in UTF-16 units.
fn find_fault(path: &str) -> Option<(&'static str, usize)> {
    let mut at = 0;
    let mut name_start = 1;
    for (i, c) in path.char_indices() {
        if i > 0 {
            if c == '/' {
                if i == name_start {
                    return Some(("empty node name specified", at));
                }
                name_start = i + 1;
            } else if let Some(what) = forbidden(c) {
                return Some((what, at));
            } else if c == '.' && is_last_of_relative(path, name_start, i) {
                return Some(("relative paths not allowed", at));
            }
        }
        at += c.len_utf16();
    }
    None
}

/// Whether the name that begins at `start` is "." or "..", ending at `i`.
fn is_last_of_relative(path: &str, start: usize, i: usize) -> bool {
    let ends = path.as_bytes().get(i + 1).is_none_or(|b| *b == b'/');
    ends && matches!(&path[start..=i], "." | "..")
}

/// Control characters, surrogates (so everything outside the basic plane), private use, specials.
fn forbidden(c: char) -> Option<&'static str> {
    match c {
        '\0' => Some("null character not allowed"),
        '\u{1}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{e000}'..='\u{f8ff}' | '\u{fff0}'.. => {
            Some("invalid character")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legal_paths() {
        let plain = ["/", "/a", "/a/b", "/ a", "/a.b", "/...", "/.a", "/a.", "/..a/b", "/a~"];
        for path in plain.into_iter().chain(["/é/日本", "/\u{ffef}", "/\u{a0}"]) {
            assert_eq!(validate(path), Ok(()), "{path}");
        }
    }

    #[test]
    fn faults_are_named_as_java_names_them() {
        let table = [
            ("", "Path length must be > 0"),
            ("a", "Path must start with / character"),
            ("/a/", "Path must not end with / character"),
            ("//", "Path must not end with / character"),
            ("/a//b", "caused by empty node name specified @3"),
            ("//a", "caused by empty node name specified @1"),
            ("/a\0", "caused by null character not allowed @2"),
            ("/.", "caused by relative paths not allowed @1"),
            ("/..", "caused by relative paths not allowed @2"),
            ("/a/./b", "caused by relative paths not allowed @3"),
            ("/a/../b", "caused by relative paths not allowed @4"),
            ("/é\u{1f}", "caused by invalid character @2"),
            ("/\u{7f}", "caused by invalid character @1"),
            ("/\u{9f}", "caused by invalid character @1"),
            ("/x😀", "caused by invalid character @2"),
            ("/\u{f8ff}", "caused by invalid character @1"),
            ("/\u{fffd}", "caused by invalid character @1"),
        ];
        for (path, want) in table {
            let got = validate(path).unwrap_err();
            assert!(got.ends_with(want), "{path:?}: {got}");
        }
    }

    #[test]
    fn parents() {
        assert_eq!(split("/a/b"), Some(("/a", "b")));
        assert_eq!(split("/a"), Some(("", "a")));
        assert_eq!(split("a"), None);
    }
}

//! Changes to the static configuration file when the membership moves out of it, as text.
//! Answers to Java's `QuorumPeerConfig.editStaticConfig`. Pure: whoever calls writes the file.

use super::membership::is_membership_key;
use super::properties::{self, Malformed};

/// Whether the file itself holds members, and is therefore to be kept as `<file>.bak` before
/// [`point_to_dynamic_file`] takes them out.
pub fn has_membership(text: &str) -> Result<bool, Malformed> {
    Ok(properties::parse(text)?.iter().any(|entry| is_membership_key(entry.key.trim())))
}

/// The file without its membership, role and old pointer, and – if the client address moved to
/// the membership too – without `clientPort` and `clientPortAddress`; with a pointer to
/// `dynamic_file` (an absolute path) at the end. Unlike Java, which writes the rest in the
/// order of a hash table, this keeps lines and comments as they are.
pub fn point_to_dynamic_file(
    text: &str,
    dynamic_file: &str,
    erase_client_address: bool,
) -> Result<String, Malformed> {
    let mut kept = String::with_capacity(text.len() + dynamic_file.len() + 20);
    let mut from = 0;
    for entry in properties::parse(text)? {
        let key = entry.key.trim();
        let goes = is_membership_key(key)
            || key.starts_with("dynamicConfigFile")
            || key.starts_with("peerType")
            || (erase_client_address && key.starts_with("clientPort"));
        if goes {
            kept.push_str(&text[from..entry.span.start]);
            from = entry.span.end;
        }
    }
    kept.push_str(&text[from..]);
    if !kept.is_empty() && !kept.ends_with(['\n', '\r']) {
        kept.push('\n');
    }
    kept.push_str("dynamicConfigFile=");
    kept.push_str(dynamic_file);
    kept.push('\n');
    Ok(kept)
}

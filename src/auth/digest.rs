//! Scheme `digest`: a name and the hash of name and password (C-192).
//! Java: `DigestAuthenticationProvider`.

use std::net::IpAddr;

use super::{AuthError, Provider, base64};
use crate::wire::Id;

/// See the module.
#[derive(Debug)]
pub struct DigestProvider {
    super_digest: Option<String>,
}

impl DigestProvider {
    /// `alg` as in `DigestAuthenticationProvider.digestAlg`; `super_digest` as in
    /// `DigestAuthenticationProvider.superDigest`.
    pub fn new(alg: Option<&str>, super_digest: Option<&str>) -> Result<Self, String> {
        match alg.unwrap_or("SHA1").to_ascii_uppercase().as_str() {
            "SHA1" | "SHA-1" | "SHA" => Ok(Self { super_digest: super_digest.map(Into::into) }),
            _ => Err(format!(
                "DigestAuthenticationProvider.digestAlg={} is not supported: this server hashes \
                 digest ACLs with SHA1 only",
                alg.unwrap_or_default()
            )),
        }
    }
}

/// The ACL id for `user:password`: `user:base64(SHA1("user:password"))`.
pub fn generate_digest(id_password: &str) -> String {
    let user = id_password.split_once(':').map_or(id_password, |(user, _)| user);
    let hash = sha1_smol::Sha1::from(id_password).digest().bytes();
    let mut digest = String::with_capacity(user.len() + 29);
    digest.push_str(user);
    digest.push(':');
    base64::encode_into(&hash, &mut digest);
    digest
}

impl Provider for DigestProvider {
    fn scheme(&self) -> &'static str {
        "digest"
    }

    /// Anything is accepted: it only proves who may use ACLs with that hash.
    fn authenticate(&self, _: IpAddr, data: &[u8]) -> Result<Vec<Id>, AuthError> {
        let digest = generate_digest(&String::from_utf8_lossy(data));
        let mut ids = Vec::new();
        if self.super_digest.as_ref() == Some(&digest) {
            ids.push(Id::new("super", ""));
        }
        ids.push(Id::new("digest", &digest));
        Ok(ids)
    }

    /// Two parts around a ':'; Java's `split` does not count empty parts at the end.
    fn is_valid(&self, id: &str) -> bool {
        let id = id.trim_end_matches(':');
        !id.is_empty() && id.split(':').count() == 2
    }

    fn matches(&self, id: &str, acl_expr: &str) -> bool {
        id == acl_expr
    }

    fn is_authenticated(&self) -> bool {
        true
    }

    fn user_name<'a>(&self, id: &'a str) -> &'a str {
        id.split_once(':').map_or(id, |(user, _)| user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_as_java_makes_them() {
        let table = [
            ("user:password", "user:tpUq/4Pn5A64fVZyQ0gOJ8ZWqkY="),
            ("super:secret", "super:lK75jTNcA+U9vtVEw5vB51mj/w4="),
            ("a:", "a:faqErSBWcv9/lZW1ERCcDsnNQLg="),
            ("ü:p", "ü:RLmXr+Ch3+721+A6LjU1Ythk2bc="),
            ("x", "x:EfatjsUqKYSrqv18O1FlA3hcIHI="),
        ];
        for (given, want) in table {
            assert_eq!(generate_digest(given), want);
        }
    }

    #[test]
    fn super_digest_adds_the_super_id() {
        let p = DigestProvider::new(None, Some("super:lK75jTNcA+U9vtVEw5vB51mj/w4=")).unwrap();
        let addr = "10.0.0.1".parse().unwrap();
        let schemes = |data: &[u8]| -> Vec<String> {
            let ids = p.authenticate(addr, data).unwrap();
            ids.into_iter().map(|id| id.scheme.into_owned()).collect()
        };
        assert_eq!(schemes(b"super:secret"), ["super", "digest"]);
        assert_eq!(schemes(b"super:guess"), ["digest"]);
    }

    #[test]
    fn valid_ids() {
        let p = DigestProvider::new(Some("sha-1"), None).unwrap();
        let table = [("a:b", true), (":b", true), ("a:b:", true)];
        let bad = [("", false), ("a", false), ("a:", false), ("::", false), ("a:b:c", false)];
        for (id, want) in table.into_iter().chain(bad) {
            assert_eq!(p.is_valid(id), want, "{id}");
        }
    }

    #[test]
    fn other_algorithms_are_refused_by_name() {
        let err = DigestProvider::new(Some("SHA3-256"), None).unwrap_err();
        assert!(err.contains("digestAlg=SHA3-256"), "{err}");
    }
}

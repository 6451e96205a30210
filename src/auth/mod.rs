//! Who a connection is, and what an ACL lets it do: one file a scheme, and the registry that finds
//! a scheme's provider. Pure: a connection appears here as an address and the ids it has proved.
//! Java: `server.auth.ProviderRegistry`, `ZooKeeperServer.checkACL`,
//! `PrepRequestProcessor.fixupACL`, `AuthenticationHelper`.

pub(crate) mod base64;
pub mod digest;
mod enforce;
mod ensemble;
pub mod ip;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::net::IpAddr;

pub use digest::DigestProvider;
pub use enforce::EnforceAuth;
pub use ensemble::EnsembleProvider;
pub use ip::IpProvider;

use crate::wire::{Acl, ErrorCode, Id};

/// Why an auth packet was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthError {
    /// Reply −115 with xid −4, then close the connection (C-106).
    Failed,
    /// Close without a reply, so that the client tries another server.
    Close,
}

/// One ACL scheme. Java: `AuthenticationProvider`.
pub trait Provider: Send + Sync {
    fn scheme(&self) -> &'static str;

    /// Takes the data of an auth packet from a client at `addr`; gives the ids to add to its
    /// connection.
    fn authenticate(&self, addr: IpAddr, data: &[u8]) -> Result<Vec<Id>, AuthError>;

    /// Whether `id` may stand in an ACL entry of this scheme.
    fn is_valid(&self, id: &str) -> bool;

    /// Whether a connection's `id` is meant by the id of an ACL entry.
    fn matches(&self, id: &str, acl_expr: &str) -> bool;

    /// Whether ids of this scheme are what an `auth` entry stands for (C-190).
    fn is_authenticated(&self) -> bool;

    /// Name for whoAmI (C-157) and the audit log.
    fn user_name<'a>(&self, id: &'a str) -> &'a str {
        id
    }
}

/// What the configuration says about built-in schemes.
#[derive(Debug, Clone, Default)]
pub struct AuthConfig<'a> {
    /// `skipACL=yes`: every check passes.
    pub skip_acl: bool,
    /// `DigestAuthenticationProvider.enabled` is false: the scheme is not registered.
    pub digest_disabled: bool,
    /// `DigestAuthenticationProvider.digestAlg`; `None` is SHA1.
    pub digest_alg: Option<&'a str>,
    /// `DigestAuthenticationProvider.superDigest`: `super:base64(sha1)`.
    pub super_digest: Option<&'a str>,
    /// `ensembleAuthName`: names by commas.
    pub ensemble_names: Option<&'a str>,
}

/// The package of Java's providers.
const PROVIDERS: &str = "org.apache.zookeeper.server.auth.";

/// The schemes this server knows.
pub struct Registry {
    skip_acl: bool,
    providers: Vec<Box<dyn Provider>>,
}

impl Registry {
    /// The registry with Java's built-in schemes, ip and digest. Fails when the configuration asks
    /// for a digest algorithm that we do not have.
    pub fn new(config: &AuthConfig<'_>) -> Result<Self, String> {
        let mut registry =
            Self { skip_acl: config.skip_acl, providers: vec![Box::new(IpProvider)] };
        if !config.digest_disabled {
            let digest = DigestProvider::new(config.digest_alg, config.super_digest)?;
            registry.register(Box::new(digest));
        }
        Ok(registry)
    }

    /// Adds what the Java class of an `authProvider.*` stands for, if it is one that is known here.
    pub fn register_class(&mut self, class: &str, config: &AuthConfig<'_>) -> Result<(), String> {
        let provider: Box<dyn Provider> = match class.strip_prefix(PROVIDERS) {
            Some("IPAuthenticationProvider") => Box::new(IpProvider),
            Some("DigestAuthenticationProvider") => {
                Box::new(DigestProvider::new(config.digest_alg, config.super_digest)?)
            }
            Some("EnsembleAuthenticationProvider") => {
                Box::new(EnsembleProvider::new(config.ensemble_names))
            }
            _ => {
                let what = "has no counterpart here: its scheme is unknown, so nobody can";
                return Err(format!("{class} {what} authenticate by it, or is let in by its ACLs"));
            }
        };
        self.register(provider);
        Ok(())
    }

    /// Adds a scheme, or replaces the provider that it has.
    pub fn register(&mut self, provider: Box<dyn Provider>) {
        self.providers.retain(|p| p.scheme() != provider.scheme());
        self.providers.push(provider);
    }

    pub fn provider(&self, scheme: &str) -> Option<&dyn Provider> {
        self.providers.iter().find(|p| p.scheme() == scheme).map(AsRef::as_ref)
    }

    /// Handles an auth packet; an unknown scheme fails (C-106).
    pub fn authenticate(
        &self,
        scheme: &str,
        addr: IpAddr,
        data: &[u8],
    ) -> Result<Vec<Id>, AuthError> {
        self.provider(scheme).ok_or(AuthError::Failed)?.authenticate(addr, data)
    }

    /// The name whoAmI gives for an id (C-157); "" when its scheme has no provider.
    pub fn user_name<'a>(&self, id: &'a Id) -> &'a str {
        self.provider(&id.scheme).map_or("", |p| p.user_name(&id.id))
    }

    /// Whether `ids` together hold any permission bit of `perm` under `acl` (C-191). An empty ACL
    /// allows everything.
    pub fn check_acl(&self, acl: &[Acl], perm: i32, ids: &[Id]) -> bool {
        if self.skip_acl || acl.is_empty() {
            return true;
        }
        acl.iter().any(|entry| entry.perms & perm != 0 && self.entry_matches(&entry.id, ids))
            || ids.iter().any(|id| id.scheme == "super")
    }

    fn entry_matches(&self, entry: &Id, ids: &[Id]) -> bool {
        if is_anyone(entry) {
            return true;
        }
        let Some(provider) = self.provider(&entry.scheme) else { return false };
        ids.iter().any(|id| id.scheme == entry.scheme && provider.matches(&id.id, &entry.id))
    }

    /// The ACL to store for one that a client sent: duplicates removed, every entry checked, `auth`
    /// expanded to the connection's ids (C-190), which takes of the bytes in `room`: a few in a
    /// request can stand for very many. Java: `PrepRequestProcessor.fixupACL`.
    pub fn fixup_acl<'a>(
        &self,
        ids: &[Id],
        acl: &'a [Acl],
        room: &mut usize,
    ) -> Result<Cow<'a, [Acl]>, ErrorCode> {
        if let [entry] = acl
            && is_anyone(&entry.id)
        {
            return Ok(Cow::Borrowed(acl)); // nearly every list
        }
        let (mut fixed, mut seen) = (Vec::with_capacity(acl.len()), BTreeSet::new());
        for entry in acl {
            // A request has room for very many.
            if !seen.insert((entry.perms, &entry.id.scheme, &entry.id.id)) {
                continue;
            }
            if is_anyone(&entry.id) {
                fixed.push(entry.clone());
            } else if entry.id.scheme == "auth" {
                let before = fixed.len();
                for added in self.expand_auth(entry.perms, ids) {
                    // Permissions and two lengths are twelve.
                    let bytes = 12 + added.id.scheme.len() + added.id.id.len();
                    *room = room.checked_sub(bytes).ok_or(ErrorCode::MarshallingError)?;
                    fixed.push(added);
                }
                if fixed.len() == before {
                    return Err(ErrorCode::InvalidAcl);
                }
            } else if self.provider(&entry.id.scheme).is_some_and(|p| p.is_valid(&entry.id.id)) {
                fixed.push(entry.clone());
            } else {
                return Err(ErrorCode::InvalidAcl);
            }
        }
        if fixed.is_empty() { Err(ErrorCode::InvalidAcl) } else { Ok(fixed.into()) }
    }

    fn expand_auth<'a>(&'a self, perms: i32, ids: &'a [Id]) -> impl Iterator<Item = Acl> + 'a {
        ids.iter()
            .filter(|id| self.provider(&id.scheme).is_some_and(Provider::is_authenticated))
            .map(move |id| Acl { perms, id: id.clone() })
    }
}

fn is_anyone(id: &Id) -> bool {
    id.scheme == "world" && id.id == "anyone"
}

/// The ACL that getACL shows to callers without ADMIN: digests are hidden (C-152).
pub fn mask_digests(acl: &[Acl]) -> Cow<'_, [Acl]> {
    if acl.iter().all(|entry| entry.id.scheme != "digest") {
        return Cow::Borrowed(acl);
    }
    let mut masked = acl.to_vec();
    for entry in masked.iter_mut().filter(|entry| entry.id.scheme == "digest") {
        if let Some(colon) = entry.id.id.find(':') {
            entry.id.id = format!("{}:x", &entry.id.id[..colon]).into();
        }
    }
    Cow::Owned(masked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::perms::{ADMIN, ALL, CREATE, READ, WRITE};

    fn id(scheme: &str, id: &str) -> Id {
        Id::new(scheme, id)
    }

    fn acl(perms: i32, scheme: &str, name: &str) -> Acl {
        Acl { perms, id: id(scheme, name) }
    }

    fn registry() -> Registry {
        Registry::new(&AuthConfig::default()).unwrap()
    }

    #[test]
    fn check_acl_table() {
        let r = registry();
        let bob = [id("ip", "10.0.0.1"), id("digest", "bob:x")];
        let root = [id("ip", "10.0.0.1"), id("super", "")];
        let table: &[(&[Acl], i32, &[Id], bool)] = &[
            (&[], WRITE, &[], true),
            (&Acl::world(READ), READ, &[], true),
            (&Acl::world(READ), WRITE, &bob, false),
            (&Acl::world(READ), READ | ADMIN, &bob, true),
            (&Acl::world(READ), WRITE, &root, true),
            (&[acl(ALL, "digest", "bob:x")], CREATE, &bob, true),
            (&[acl(ALL, "digest", "bob:y")], CREATE, &bob, false),
            (&[acl(READ, "digest", "bob:x")], WRITE, &bob, false),
            (&[acl(ALL, "ip", "10.0.0.0/24")], WRITE, &bob, true),
            (&[acl(ALL, "ip", "10.0.1.0/24")], WRITE, &bob, false),
            (&[acl(ALL, "nobody", "bob:x")], READ, &bob, false),
            (&[acl(0, "world", "anyone")], READ, &root, true),
            (&[acl(0, "world", "anyone")], READ, &bob, false),
        ];
        for (acl, perm, ids, want) in table {
            assert_eq!(r.check_acl(acl, *perm, ids), *want, "{acl:?} {perm} {ids:?}");
        }
        let skip = Registry::new(&AuthConfig { skip_acl: true, ..Default::default() }).unwrap();
        assert!(skip.check_acl(&Acl::world(READ), WRITE, &[]));
    }

    #[test]
    fn fixup_acl_table() {
        let r = registry();
        let bob = [id("ip", "10.0.0.1"), id("digest", "bob:x"), id("digest", "bob:y")];
        let ok: &[(&[Acl], &[Acl])] = &[
            (&Acl::world(ALL), &Acl::world(ALL)),
            (
                &[acl(1, "world", "anyone"), acl(1, "world", "anyone"), acl(2, "digest", "a:b")],
                &[acl(1, "world", "anyone"), acl(2, "digest", "a:b")],
            ),
            (&[acl(31, "auth", "")], &[acl(31, "digest", "bob:x"), acl(31, "digest", "bob:y")]),
            (&[acl(1, "ip", "::1/128")], &[acl(1, "ip", "::1/128")]),
        ];
        for (given, want) in ok {
            assert_eq!(r.fixup_acl(&bob, given, &mut 1000).as_deref(), Ok(*want));
        }
        let bad: &[&[Acl]] = &[
            &[],
            &[acl(31, "world", "everyone")],
            &[acl(31, "digest", "noColon")],
            &[acl(31, "ip", "10.0.0.0/33")],
            &[acl(31, "sasl", "bob")],
            &[acl(31, "super", "")],
            &[acl(31, "", "")],
            &[acl(31, "world", "anyone"), acl(31, "nobody", "x")],
        ];
        for given in bad {
            assert_eq!(
                r.fixup_acl(&bob, given, &mut 1000),
                Err(ErrorCode::InvalidAcl),
                "{given:?}"
            );
        }
        let mut room = 100;
        let auth = [acl(31, "auth", "")];
        assert!(r.fixup_acl(&bob, &auth, &mut room).is_ok() && (1..100).contains(&room));
        room = room.min(20);
        assert_eq!(r.fixup_acl(&bob, &auth, &mut room), Err(ErrorCode::MarshallingError));
        let only_ip = [id("ip", "10.0.0.1")];
        assert_eq!(
            r.fixup_acl(&only_ip, &[acl(31, "auth", "")], &mut 1000),
            Err(ErrorCode::InvalidAcl)
        );
    }

    #[test]
    fn digests_are_masked_for_getacl() {
        let open = Acl::world(1);
        assert!(matches!(mask_digests(&open), Cow::Borrowed(_)));
        let given = [acl(1, "digest", "a:b:c"), acl(1, "sasl", "a:b")];
        assert_eq!(*mask_digests(&given), [acl(1, "digest", "a:x"), acl(1, "sasl", "a:b")]);
    }

    #[test]
    fn unknown_schemes_fail_and_digest_can_be_switched_off() {
        let addr = "10.0.0.1".parse().unwrap();
        assert_eq!(registry().authenticate("nobody", addr, b""), Err(AuthError::Failed));
        let off = AuthConfig { digest_disabled: true, ..Default::default() };
        let off = Registry::new(&off).unwrap();
        assert_eq!(off.authenticate("digest", addr, b"a:b"), Err(AuthError::Failed));
    }

    #[test]
    fn classes_of_java_s_that_are_known() {
        let addr = "10.0.0.1".parse().unwrap();
        let config = AuthConfig {
            digest_disabled: true,
            ensemble_names: Some("red, blue"),
            ..AuthConfig::default()
        };
        let mut r = Registry::new(&config).unwrap();
        assert_eq!(r.authenticate("ensemble", addr, b"blue"), Err(AuthError::Failed));
        for name in ["Digest", "IP", "Ensemble"] {
            let class = format!("{PROVIDERS}{name}AuthenticationProvider");
            r.register_class(&class, &config).unwrap();
        }
        assert_eq!(r.authenticate("digest", addr, b"a:b").map(|ids| ids.len()), Ok(1));
        for (name, answer) in
            [(&b"blue"[..], Ok(vec![])), (b"", Ok(vec![])), (b"green", Err(AuthError::Close))]
        {
            assert_eq!(r.authenticate("ensemble", addr, name), answer);
        }
        assert_eq!(
            r.fixup_acl(&[], &[acl(31, "ensemble", "blue")], &mut 1000),
            Err(ErrorCode::InvalidAcl)
        );
        for class in [&format!("{PROVIDERS}SASLAuthenticationProvider"), "com.example.Own", ""] {
            let why = r.register_class(class, &config).unwrap_err();
            assert!(why.starts_with(class) && why.contains("no counterpart"), "{why}");
        }
    }

    #[test]
    fn user_names_for_who_am_i() {
        let r = registry();
        assert_eq!(r.user_name(&id("digest", "bob:x")), "bob");
        assert_eq!(r.user_name(&id("ip", "10.0.0.1")), "10.0.0.1");
        assert_eq!(r.user_name(&id("super", "")), "");
    }
}

//! Clients that must authenticate before they may do anything (C-108).
//! Java: `AuthenticationHelper`.

use super::Registry;
use crate::wire::Id;

/// The schemes of which a connection must have one. A connection that has none is answered −124
/// and closed; auth and sasl packets are not asked.
#[derive(Debug, Clone)]
pub struct EnforceAuth {
    schemes: Vec<String>,
}

impl EnforceAuth {
    /// From `sessionRequireClientSASLAuth`, `enforce.auth.enabled` and `enforce.auth.schemes`
    /// (separated by commas). `None`: nothing is enforced.
    pub fn new(
        require_sasl: bool,
        enabled: bool,
        schemes: Option<&str>,
        registry: &Registry,
    ) -> Result<Option<Self>, String> {
        let schemes: Vec<String> = match (require_sasl, enabled, schemes) {
            (true, _, _) => vec!["sasl".into()],
            (_, false, _) => return Ok(None),
            (_, true, None) => {
                return Err("zookeeper.enforce.auth.enabled is true \
                            zookeeper.enforce.auth.schemes must be  configured."
                    .into());
            }
            (_, true, Some(csv)) => csv.split(',').map(|s| s.trim().to_owned()).collect(),
        };
        match schemes.iter().find(|s| registry.provider(s).is_none()) {
            Some(scheme) => Err(format!("Authentication scheme {scheme} is not available.")),
            None => Ok(Some(Self { schemes })),
        }
    }

    /// Whether a connection with these ids may go on.
    pub fn allows(&self, ids: &[Id]) -> bool {
        ids.iter().any(|id| self.schemes.iter().any(|scheme| *scheme == id.scheme))
    }

    /// Whether SASL is among the schemes: a failed SASL exchange then ends the connection (C-107).
    pub fn requires_sasl(&self) -> bool {
        self.schemes.iter().any(|s| s == "sasl")
    }
}

#[cfg(test)]
mod tests {
    use super::super::AuthConfig;
    use super::*;

    #[test]
    fn a_connection_needs_one_of_the_schemes() {
        let registry = Registry::new(&AuthConfig::default()).unwrap();
        let new = |sasl, enabled, schemes| EnforceAuth::new(sasl, enabled, schemes, &registry);
        assert!(new(false, false, Some("digest")).unwrap().is_none());
        assert!(new(false, true, None).unwrap_err().contains("must be"));
        assert!(new(false, true, Some("digest,x509")).unwrap_err().contains("x509"));
        assert!(new(true, false, None).unwrap_err().contains("sasl is not available"));
        let enforce = new(false, true, Some(" digest ,ip")).unwrap().unwrap();
        let id = |scheme: &str| Id::new(scheme, "x");
        assert!(enforce.allows(&[id("digest")]));
        assert!(!enforce.allows(&[id("super")]));
        assert!(!enforce.requires_sasl());
    }
}

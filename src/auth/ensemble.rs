//! Scheme `ensemble`: a client says which ensemble it means, so that it cannot talk to a wrong one
//! by mistake. Never part of an ACL. Java: `EnsembleAuthenticationProvider`.

use std::net::IpAddr;

use super::{AuthError, Provider};
use crate::wire::Id;

/// See the module. Without names every client passes.
#[derive(Debug)]
pub struct EnsembleProvider {
    names: Option<Vec<String>>,
}

impl EnsembleProvider {
    /// `names` as in `ensembleAuthName`: separated by commas.
    pub fn new(names: Option<&str>) -> Self {
        Self { names: names.map(|csv| csv.split(',').map(|n| n.trim().to_owned()).collect()) }
    }
}

impl Provider for EnsembleProvider {
    fn scheme(&self) -> &'static str {
        "ensemble"
    }

    fn authenticate(&self, addr: IpAddr, data: &[u8]) -> Result<Vec<Id>, AuthError> {
        let name = String::from_utf8_lossy(data);
        match &self.names {
            Some(names) if !data.is_empty() && !names.iter().any(|n| *n == name) => {
                log::warn!("Unexpected ensemble name: ensemble name: {name} client ip: {addr}");
                Err(AuthError::Close)
            }
            _ => Ok(Vec::new()),
        }
    }

    fn is_valid(&self, _: &str) -> bool {
        false
    }

    fn matches(&self, _: &str, _: &str) -> bool {
        false
    }

    fn is_authenticated(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_named_ensembles_pass() {
        let addr = "10.0.0.1".parse().unwrap();
        let p = EnsembleProvider::new(Some("blue, green"));
        assert_eq!(p.authenticate(addr, b"green"), Ok(vec![]));
        assert_eq!(p.authenticate(addr, b""), Ok(vec![]));
        assert_eq!(p.authenticate(addr, b"red"), Err(AuthError::Close));
        assert_eq!(EnsembleProvider::new(None).authenticate(addr, b"red"), Ok(vec![]));
    }
}

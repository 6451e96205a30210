//! Connect strings: servers and the prefix of all paths. Pure.
//! Java: `client.ConnectStringParser`.

use super::error::{Error, Result};

const DEFAULT_PORT: &str = "2181";

/// `host:port,host:port/chroot`, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectString {
    /// Each with its port.
    pub servers: Vec<String>,
    /// Prefix of every path; empty for none.
    pub chroot: String,
}

impl ConnectString {
    pub fn parse(text: &str) -> Result<Self> {
        let (hosts, chroot) = match text.find('/') {
            Some(slash) => text.split_at(slash),
            None => (text, ""),
        };
        let chroot = if chroot == "/" { "" } else { chroot };
        if !chroot.is_empty() {
            validate(chroot)?;
        }
        let words = hosts.split(',').map(str::trim).filter(|h| !h.is_empty());
        let servers: Vec<_> = words.map(with_port).collect();
        if servers.is_empty() {
            return Err(Error::Argument("A HostProvider may not be empty!".into()));
        }
        Ok(Self { servers, chroot: chroot.to_owned() })
    }

    /// The path as the server knows it.
    pub fn to_server(&self, path: &str) -> String {
        match (self.chroot.as_str(), path) {
            ("", _) => path.to_owned(),
            (chroot, "/") => chroot.to_owned(),
            (chroot, _) => format!("{chroot}{path}"),
        }
    }

    /// The path as the caller knows it; one outside the chroot stays as it is.
    pub fn to_client<'a>(&self, path: &'a str) -> &'a str {
        match path.strip_prefix(self.chroot.as_str()) {
            Some("") => "/",
            Some(rest) if rest.starts_with('/') => rest,
            _ => path,
        }
    }
}

fn with_port(host: &str) -> String {
    let bare_v6 = host.matches(':').count() > 1 && !host.starts_with('[');
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']')) && !bare_v6;
    match (has_port, bare_v6) {
        (true, _) => host.to_owned(),
        (_, true) => format!("[{host}]:{DEFAULT_PORT}"),
        _ => format!("{host}:{DEFAULT_PORT}"),
    }
}

/// Refuses a path that no node can have, in Java's words.
pub fn validate(path: &str) -> Result<()> {
    crate::wire::path::validate(path).map_err(Error::Argument)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connect_strings() {
        for (text, servers, chroot) in [
            ("a", &["a:2181"][..], ""),
            ("a:1, b:2 ,c/", &["a:1", "b:2", "c:2181"], ""),
            ("a,b:3/x/y", &["a:2181", "b:3"], "/x/y"),
            ("[::1]:5,[::2],::3", &["[::1]:5", "[::2]:2181", "[::3]:2181"], ""),
        ] {
            let parsed = ConnectString::parse(text).unwrap();
            assert_eq!((parsed.servers, parsed.chroot), (servers_of(servers), chroot.into()));
        }
        assert!(ConnectString::parse("a/b/").is_err());
        assert!(ConnectString::parse("/b").is_err());
    }

    fn servers_of(list: &[&str]) -> Vec<String> {
        list.iter().map(|s| s.to_string()).collect()
    }

    #[test]
    fn chroots_go_on_and_off() {
        let rooted = ConnectString::parse("h/app").unwrap();
        for (client, server) in [("/", "/app"), ("/x", "/app/x")] {
            assert_eq!(rooted.to_server(client), server);
            assert_eq!(rooted.to_client(server), client);
        }
        assert_eq!(rooted.to_client("/application"), "/application");
        let plain = ConnectString::parse("h").unwrap();
        assert_eq!((plain.to_server("/x"), plain.to_client("/x")), ("/x".into(), "/x"));
    }
}

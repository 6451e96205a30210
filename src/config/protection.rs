//! What a configuration asks for and this server cannot give yet, above all protection.
//! Pure.

use super::error::ConfigError;
use super::table::Config;

/// Schemes that need no more than what is built in.
const BUILT_IN_SCHEMES: &[&str] = &["digest", "ip"];

/// A sentence for every protection that is asked for and not there. With any of them a server
/// must not start: it would serve without what its operator relies on.
pub fn unsupported(config: &Config) -> Vec<String> {
    let tls = "TLS is not supported yet";
    let sasl = "SASL is not supported yet";
    let port = config.secure_client_port.is_some();
    let https = config.admin_enable_server && config.admin_force_https;
    let certificate = config.admin_enable_server && config.admin_need_client_auth;
    let asked = [
        (port, "secureClientPort", tls),
        (config.client_port_unification, "client.portUnification=true", tls),
        (config.ssl_quorum, "sslQuorum=true", tls),
        (config.port_unification, "portUnification=true", tls),
        (https, "admin.forceHttps=true", tls),
        (certificate, "admin.needClientAuth=true", tls),
        (config.quorum_enable_sasl, "quorum.auth.enableSasl=true", sasl),
        (config.session_require_client_sasl_auth, "sessionRequireClientSASLAuth=true", sasl),
    ];
    let mut refusals: Vec<String> = asked
        .into_iter()
        .filter(|(asked, _, _)| *asked)
        .map(|(_, setting, why)| refusal(setting, why))
        .collect();
    if config.enforce_auth_enabled {
        let schemes = config.enforce_auth_schemes.as_deref().unwrap_or_default();
        for scheme in schemes.split(',').map(str::trim).filter(|scheme| !scheme.is_empty()) {
            if !BUILT_IN_SCHEMES.contains(&scheme) {
                refusals.push(refusal(
                    &format!("enforce.auth.schemes={schemes}"),
                    &format!("the scheme '{scheme}' is not supported yet"),
                ));
            }
        }
    }
    refusals
}

/// A sentence for everything else that is asked for and not there.
pub(super) fn missing(config: &Config) -> Vec<String> {
    let set = |prefix: &str| config.properties.keys().any(|name| name.starts_with(prefix));
    let asked = [
        (config.admin_enable_server && set("zookeeper.admin."), "admin.*", "AdminServer"),
        (
            config.metrics_provider.contains("prometheus"),
            "metricsProvider.*",
            "Prometheus exporter",
        ),
        (config.audit_enable, "audit.enable=true", "audit log"),
        (config.jaas_file.is_some(), "java.security.auth.login.config", "SASL"),
    ];
    let asked = asked.into_iter().filter(|(asked, _, _)| *asked);
    asked.map(|(_, key, what)| format!("{key} has no effect: there is no {what} yet")).collect()
}

/// The configuration, unless it asks for protection that is not there.
pub fn refuse_unsupported(config: Config) -> Result<Config, ConfigError> {
    match unsupported(&config).as_slice() {
        [] => Ok(config),
        refusals => Err(ConfigError::other(refusals.join("; "))),
    }
}

fn refusal(setting: &str, why: &str) -> String {
    format!(
        "{setting} is configured, but {why}; remove it if the server may run without that \
         protection"
    )
}

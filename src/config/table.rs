//! The table of every setting: its field in [`Config`], its name in Java, where it may be
//! written, what is allowed, its default, and what it means. From these rows come the struct,
//! parsing, defaults, range checks, error messages and the printed reference; there is no
//! second place to change.
//!
//! Pure. Facts are those of Java's `QuorumPeerConfig` and of the classes that read a
//! `zookeeper.*` system property, release 3.9.5.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::address::Address;
use super::membership::{QuorumConfig, Role};
use super::rule::{
    FLAG, FilePath, Maybe, NOT_FALSE, NOT_NO, OneOf, Optional, PORT, Place, Real, RoleName, Rule,
    Text, Whole, YES,
};

/// One setting of the table.
pub struct Setting {
    /// Its name in Java, without the prefix `zookeeper.`.
    pub name: &'static str,
    pub place: Place,
    pub meaning: &'static str,
    /// What is allowed, in words.
    pub allowed: fn() -> String,
    /// Whether the text is one of those the documentation names (see [`Rule::is_documented`]).
    pub is_documented: fn(&str) -> bool,
    /// Sets the field from text; false if the text is not allowed.
    pub set: fn(&mut Config, &str) -> bool,
    /// The field as text.
    pub show: fn(&Config) -> String,
}

/// Settings that belong together.
pub struct Section {
    pub title: &'static str,
    pub settings: &'static [Setting],
}

macro_rules! settings {
    ($( $title:literal {
        $( $field:ident : $type:ty = $default:expr, $place:ident $name:literal, $rule:expr,
           $meaning:literal; )*
    } )*) => {
        /// Everything a server is configured with: one field a row of the table, and what
        /// follows from several of them. Read-only once [`super::Draft::finish`] has made it.
        #[derive(Debug, Clone)]
        pub struct Config {
            $($( #[doc = concat!("`", $name, "`: ", $meaning, ".")] pub $field: $type, )*)*
            /// The configuration file as it was named; empty when started by port and directory.
            pub config_path: String,
            /// The whole configuration file; the admin command `initial_configuration` shows it.
            pub config_text: String,
            /// Where clients connect in plain text; from `clientPort`, `clientPortAddress` and
            /// this server's own membership line.
            pub client_address: Option<Address>,
            /// Where clients connect by TLS.
            pub secure_client_address: Option<Address>,
            /// The number in `dataDir/myid`; `None` without that file.
            pub server_id: Option<i64>,
            /// The members of the ensemble; without servers in a plain standalone server.
            pub quorum: QuorumConfig,
            /// `.dynamic.next`: a membership that was proposed and not yet known to be decided.
            pub last_seen_quorum: Option<QuorumConfig>,
            /// A member of an ensemble, as opposed to standalone.
            pub distributed: bool,
            /// Options of the metrics provider, without their prefix `metricsProvider.`.
            pub metrics_options: BTreeMap<String, String>,
            /// All system properties, the rows' among them, by their full names: what `-D` set,
            /// overwritten by what the file set.
            pub properties: BTreeMap<String, String>,
            /// What the person who wrote the configuration should know. See [`super::Note`].
            pub notes: Vec<super::Note>,
        }

        impl Config {
            /// The defaults, with nothing that follows from them filled in.
            pub(super) fn defaults() -> Config {
                Config {
                    $($( $field: $default, )*)*
                    config_path: String::new(),
                    config_text: String::new(),
                    client_address: None,
                    secure_client_address: None,
                    server_id: None,
                    quorum: QuorumConfig::default(),
                    last_seen_quorum: None,
                    distributed: false,
                    metrics_options: BTreeMap::new(),
                    properties: BTreeMap::new(),
                    notes: Vec::new(),
                }
            }
        }

        /// The table, in the order of its sections.
        pub static TABLE: &[Section] = &[ $( Section {
            title: $title,
            settings: &[ $( Setting {
                name: $name,
                place: Place::$place,
                meaning: $meaning,
                allowed: || $rule.allowed(),
                is_documented: |text| $rule.is_documented(text),
                set: |config, text| match $rule.read(text, Place::$place) {
                    Some(value) => { config.$field = value; true }
                    None => false,
                },
                show: |config| $rule.show(&config.$field),
            }, )* ],
        }, )* ];
    };
}

/// Largest number of a Java `int`, the bound of most settings.
const INT: i32 = i32::MAX;
const UINT: u32 = INT as u32;
const LONG: i64 = i64::MAX;

/// The metrics providers that Java brings along.
const METRICS_PROVIDERS: &[&str] = &[
    "org.apache.zookeeper.metrics.impl.DefaultMetricsProvider",
    "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider",
    "org.apache.zookeeper.metrics.impl.NullMetricsProvider",
];

fn text(word: &str) -> String {
    word.to_owned()
}

settings! {
"Files" {
    data_dir: PathBuf = PathBuf::new(), File "dataDir", FilePath,
        "directory of snapshots and of myid; required";
    data_log_dir: PathBuf = PathBuf::new(), File "dataLogDir", FilePath,
        "directory of transaction logs, best on a disk of its own; dataDir when not set";
    snap_count: u32 = 100_000, Property "snapCount", Whole(0..=UINT),
        "transactions between two snapshots, less a random part of up to half; at least 2; more \
         while their log is short of a quarter of a snapshot's size";
    snap_size_limit_kb: i64 = 4_194_304, Property "snapSizeLimitInKb", Whole(-LONG..=LONG),
        "KiB of log between two snapshots; 0 or less for no such limit";
    txn_log_size_limit_kb: i64 = -1, Property "txnLogSizeLimitInKb", Whole(-LONG..=LONG),
        "KiB after which a new log file is begun; 0 or less for no limit";
    pre_alloc_size_kb: i64 = 65_536, Property "preAllocSize", Whole(0..=LONG / 1024),
        "KiB by which a log file grows in advance";
    commit_log_count: u32 = 500, Property "commitLogCount", Whole(0..=UINT),
        "committed proposals kept in memory for learners that lag";
    snapshot_size_factor: f64 = 0.33, Property "snapshotSizeFactor", Real(-1e9..=1e9),
        "log bytes sent to a learner rather than a snapshot, in snapshots; negative for never";
    snapshot_compression: String = text(""), Property "snapshot.compression.method",
        OneOf(&["", "gz", "snappy"]), "how snapshots are compressed; empty for not at all";
    snapshot_trust_empty: bool = false, Property "snapshot.trust.empty", FLAG,
        "start although there are logs and no snapshot (needed once after 3.4)";
    datadir_autocreate: bool = true, Property "datadir.autocreate", FLAG,
        "create version-2 directories that are missing";
    db_autocreate: bool = true, Property "db.autocreate", FLAG,
        "take an empty directory for an empty database even without the file 'initialize'";
    force_sync: bool = true, Property "forceSync", NOT_NO,
        "force the log to disk before acknowledging; 'no' can lose acknowledged writes";
    fsync_warning_threshold_ms: i64 = 1_000, PropertyOrBare "fsync.warningthresholdms",
        Whole(0..=LONG), "ms after which a sync of the log earns a warning";
    serialize_last_zxid: bool = true, Property "serializeLastProcessedZxid.enabled", FLAG,
        "write the last processed zxid into snapshots";
    digest_enabled: bool = true, Property "digest.enabled", FLAG,
        "keep the digest of the tree, and write it into logs and snapshots";
    snap_retain_count: i32 = 3, File "autopurge.snapRetainCount", Whole(-INT..=INT),
        "snapshots that autopurge keeps; less than 3 means 3";
    purge_interval_hours: i32 = 0, File "autopurge.purgeInterval", Whole(-INT..=INT),
        "hours between two purges of old files; 0 or less for never";
}
"Clients" {
    client_port: Option<u16> = None, File "clientPort", PORT,
        "port on which clients connect in plain text";
    client_port_address: Option<String> = None, File "clientPortAddress", Maybe,
        "host of that port; all interfaces when not set";
    secure_client_port: Option<u16> = None, File "secureClientPort", PORT,
        "port on which clients connect by TLS";
    secure_client_port_address: Option<String> = None, File "secureClientPortAddress", Maybe,
        "host of that port; all interfaces when not set";
    client_port_listen_backlog: i32 = -1, File "clientPortListenBacklog", Whole(-INT..=INT),
        "connections that may wait to be accepted; 0 or less for the system's default";
    max_client_cnxns: i32 = 60, File "maxClientCnxns", Whole(-INT..=INT),
        "connections of one IP address; 0 or less for no limit";
    max_cnxns: i32 = 0, Property "maxCnxns", Whole(-INT..=INT),
        "connections in all; 0 or less for no limit";
    sessionless_cnxn_timeout_ms: u32 = 10_000, Property "nio.sessionlessCnxnTimeout",
        Whole(0..=UINT), "ms that a connection may stay without a session";
    client_tcp_keep_alive: bool = false, Property "clientTcpKeepAlive", FLAG,
        "SO_KEEPALIVE on client connections";
    jute_max_buffer: u32 = 1_048_575, Bare "jute.maxbuffer", Whole(0..=UINT),
        "bytes of the largest request or response; the same on every server and client";
    jute_max_buffer_extra: Option<u32> = None, Property "jute.maxbuffer.extrasize",
        Optional(Whole(0..=UINT)),
        "bytes over jute.maxbuffer that records between servers may have; as much again";
    four_letter_whitelist: String = text("srvr"), Property "4lw.commands.whitelist", Text,
        "four-letter words that are answered, by commas; '*' for all";
    read_only_mode_enabled: bool = false, Bare "readonlymode.enabled", FLAG,
        "serve reads to read-only clients while there is no quorum";
}
"Sessions and time" {
    tick_time_ms: u32 = 3_000, File "tickTime", Whole(1..=UINT),
        "length of a tick, the unit of time-outs, in ms";
    min_session_timeout_ms: i32 = -1, File "minSessionTimeout", Whole(-1..=INT),
        "shortest session time-out in ms; -1 for 2 ticks";
    max_session_timeout_ms: i32 = -1, File "maxSessionTimeout", Whole(-1..=INT),
        "longest session time-out in ms; -1 for 20 ticks";
    local_sessions_enabled: bool = false, File "localSessionsEnabled", FLAG,
        "sessions that live on one server only";
    local_sessions_upgrading_enabled: bool = false, File "localSessionsUpgradingEnabled", FLAG,
        "a local session that needs it becomes a global one";
    close_session_txn_enabled: bool = true, Property "closeSessionTxn.enabled", FLAG,
        "log with a closed session the ephemeral nodes that go with it";
}
"Load" {
    global_outstanding_limit: i32 = 1_000, Property "globalOutstandingLimit", Whole(0..=INT),
        "requests in work before the server stops reading from clients";
    request_throttle_max_requests: i32 = 0, Property "request_throttle_max_requests",
        Whole(-INT..=INT), "requests in work before new ones are held back; 0 for no limit";
    request_throttle_stall_time_ms: u32 = 100, Property "request_throttle_stall_time",
        Whole(0..=UINT), "ms for which a request is held back";
    request_throttle_drop_stale: bool = true, Property "request_throttle_drop_stale", FLAG,
        "drop held-back requests that became stale";
    request_stale_latency_check: bool = false, Property "request_stale_latency_check", FLAG,
        "a request is stale when it waited longer than its session's time-out";
    throttled_op_wait_time_ms: i32 = 0, Property "throttled_op_wait_time", Whole(-INT..=INT),
        "ms of waiting after which a request fails as throttled; 0 for never";
    large_request_max_bytes: i32 = 104_857_600, Property "largeRequestMaxBytes", Whole(0..=INT),
        "bytes of all large requests in work together";
    large_request_threshold: i32 = -1, Property "largeRequestThreshold", Whole(-INT..=INT),
        "bytes from which a request is large; negative for never";
    connection_throttle_tokens: u32 = 0, Property "connection_throttle_tokens", Whole(0..=UINT),
        "tokens in the bucket of new connections; 0 for no throttling";
    connection_throttle_fill_time_ms: u32 = 1, Property "connection_throttle_fill_time",
        Whole(1..=UINT), "ms between two fillings of the bucket";
    connection_throttle_fill_count: u32 = 1, Property "connection_throttle_fill_count",
        Whole(0..=UINT), "tokens of a filling";
    connection_throttle_freeze_time_ms: i32 = -1, Property "connection_throttle_freeze_time",
        Whole(-INT..=INT), "ms between two changes of the drop probability; negative for never";
    connection_throttle_drop_increase: f64 = 0.02, Property "connection_throttle_drop_increase",
        Real(0.0..=1.0), "by which the drop probability grows";
    connection_throttle_drop_decrease: f64 = 0.002, Property "connection_throttle_drop_decrease",
        Real(0.0..=1.0), "by which the drop probability falls";
    connection_throttle_decrease_ratio: f64 = 0.0, Property "connection_throttle_decrease_ratio",
        Real(0.0..=1.0), "fullness of the bucket above which it falls";
    connection_throttle_weight_enabled: bool = false,
        Property "connection_throttle_weight_enabled", FLAG,
        "sessions cost tokens by their kind";
    connection_throttle_global_weight: u32 = 3,
        Property "connection_throttle_global_session_weight", Whole(1..=UINT),
        "tokens of a global session";
    connection_throttle_local_weight: u32 = 1,
        Property "connection_throttle_local_session_weight", Whole(1..=UINT),
        "tokens of a local session";
    connection_throttle_renew_weight: u32 = 2,
        Property "connection_throttle_renew_session_weight", Whole(1..=UINT),
        "tokens of a session that comes back";
}
"Nodes" {
    enforce_quota: bool = false, Property "enforceQuota", FLAG,
        "refuse writes over a hard quota";
    extended_types_enabled: bool = false, Property "extendedTypesEnabled", FLAG,
        "allow nodes with a time to live";
    emulate_353_ttl_nodes: bool = false, Property "emulate353TTLNodes", FLAG,
        "read the time to live as 3.5.3 wrote it";
    container_check_interval_ms: u32 = 60_000, Bare "znode.container.checkIntervalMs",
        Whole(1..=UINT), "ms between two looks for empty containers and outlived nodes";
    container_max_per_minute: u32 = 10_000, Bare "znode.container.maxPerMinute",
        Whole(1..=UINT), "such nodes deleted in a minute at most";
    container_max_never_used_interval_ms: i64 = 0, Bare "znode.container.maxNeverUsedIntervalMs",
        Whole(0..=LONG), "ms after which a container that never had a child goes; 0 for never";
}
"Access" {
    skip_acl: bool = false, Property "skipACL", YES,
        "check no ACLs at all";
    enable_eager_acl_check: bool = false, Property "enableEagerACLCheck", FLAG,
        "check ACLs of writes also on the server that the client is connected to";
    super_user: Option<String> = None, Property "superUser", Maybe,
        "SASL user with all rights; superUser.x adds another";
    digest_auth_enabled: bool = true, Property "DigestAuthenticationProvider.enabled", FLAG,
        "the scheme 'digest'";
    digest_auth_algorithm: String = text("SHA1"),
        Property "DigestAuthenticationProvider.digestAlg", Text, "hash of the scheme 'digest'";
    super_digest: Option<String> = None, Property "DigestAuthenticationProvider.superDigest",
        Maybe, "super:<hash>, the digest user with all rights";
    x509_super_user: Option<String> = None, Property "X509AuthenticationProvider.superUser",
        Maybe, "subject of the certificate with all rights";
    ip_use_x_forwarded_for: bool = false, Property "IPAuthenticationProvider.usexforwardedfor",
        FLAG, "take the address of an HTTP client from X-Forwarded-For";
    ensemble_auth_name: Option<String> = None, Property "ensembleAuthName", Maybe,
        "names of this ensemble, by commas, for the scheme 'ensemble'";
    enforce_auth_enabled: bool = false, Property "enforce.auth.enabled", FLAG,
        "refuse requests of sessions that did not authenticate";
    enforce_auth_schemes: Option<String> = None, Property "enforce.auth.schemes", Maybe,
        "schemes of which one is needed then, by commas";
    session_require_client_sasl_auth: bool = false, Property "sessionRequireClientSASLAuth", FLAG,
        "refuse sessions without SASL";
    allow_sasl_failed_clients: bool = false, Property "allowSaslFailedClients", FLAG,
        "keep the connection of a client whose SASL failed";
    sasl_server_config: String = text("Server"), Property "sasl.serverconfig", Text,
        "section of the JAAS file for clients";
    sasl_super_password: Option<String> = None, Property "SASLAuthenticationProvider.superPassword",
        Maybe, "password of the SASL user 'super'";
    let_any_sasl_user_do_x: Option<String> = None, Property "letAnySaslUserDoX", Maybe,
        "name in an ACL that stands for every SASL user";
    jaas_file: Option<String> = None, Bare "java.security.auth.login.config", Maybe,
        "JAAS file with users and passwords";
    kerberos_remove_host: bool = false, Property "kerberos.removeHostFromPrincipal", FLAG,
        "leave the host out of Kerberos names";
    kerberos_remove_realm: bool = false, Property "kerberos.removeRealmFromPrincipal", FLAG,
        "leave the realm out of Kerberos names";
    kerberos_canonicalize_host_names: bool = false, Property "kerberos.canonicalizeHostNames",
        FLAG, "use canonical host names in Kerberos names";
    kerberos_min_relogin_time_ms: u32 = 60_000, Property "kerberos.minReLoginTimeMs",
        Whole(0..=UINT), "ms between two logins to Kerberos at least";
    security_auth_to_local: String = text("DEFAULT"), Property "security.auth_to_local", Text,
        "rules from Kerberos names to users";
}
"TLS" {
    client_port_unification: bool = false, Property "client.portUnification", FLAG,
        "TLS and plain text on one client port";
    client_cert_reload: bool = false, Property "client.certReload", FLAG,
        "read the clients' key and trust stores again when they change";
    ssl_quorum: bool = false, File "sslQuorum", FLAG,
        "TLS between servers";
    port_unification: bool = false, File "portUnification", FLAG,
        "TLS and plain text on the ports between servers";
    ssl_quorum_reload_cert_files: bool = false, File "sslQuorumReloadCertFiles", FLAG,
        "read the servers' key and trust stores again when they change";
    ssl_auth_provider: String = text("x509"), Property "ssl.authProvider", Text,
        "scheme that a client's certificate is given to";
    fips_mode: bool = true, Property "fips-mode", FLAG,
        "keep to what FIPS 140 allows";
}
"Ensemble" {
    init_limit: u32 = 0, File "initLimit", Whole(0..=UINT),
        "ticks that a learner may take to connect and catch up; required in an ensemble";
    sync_limit: u32 = 0, File "syncLimit", Whole(0..=UINT),
        "ticks that a learner may be silent; required in an ensemble";
    connect_to_learner_master_limit: u32 = 0, File "connectToLearnerMasterLimit", Whole(0..=UINT),
        "ticks to try to connect to a leader; 0 for initLimit";
    election_alg: u32 = 3, File "electionAlg", Whole(3..=3),
        "election algorithm; there is only one left";
    peer_type: Role = Role::Participant, File "peerType", RoleName,
        "role of this server; its membership line has the last word";
    dynamic_config_file: Option<String> = None, File "dynamicConfigFile", Maybe,
        "file that holds the membership instead of this one";
    standalone_enabled: bool = true, File "standaloneEnabled", FLAG,
        "a single server runs standalone, without the machinery of an ensemble";
    reconfig_enabled: bool = false, File "reconfigEnabled", FLAG,
        "the membership may be changed while the ensemble runs";
    sync_enabled: bool = true, File "syncEnabled", FLAG,
        "an observer keeps logs and snapshots";
    observer_sync_enabled: Option<bool> = None, Property "observer.syncEnabled", Optional(FLAG),
        "the same; counts for more than syncEnabled";
    quorum_listen_on_all_ips: bool = false, File "quorumListenOnAllIPs", FLAG,
        "listen for servers on all interfaces";
    multi_address_enabled: bool = false, FileOrProperty "multiAddress.enabled", FLAG,
        "several addresses to a server";
    multi_address_check_enabled: bool = true,
        FileOrProperty "multiAddress.reachabilityCheckEnabled", FLAG,
        "look which of a server's addresses can be reached";
    multi_address_check_timeout_ms: u32 = 1_000,
        FileOrProperty "multiAddress.reachabilityCheckTimeoutMs", Whole(0..=UINT),
        "ms for that look";
    oracle_path: Option<String> = None, File "oraclePath", Maybe,
        "file whose '1' lets one of two servers go on alone";
    observer_master_port: i32 = 0, File "observerMasterPort", Whole(-INT..=65_535),
        "port on which every follower serves observers, who look for one there; 0 for none";
    observer_reconnect_delay_ms: i64 = 0, Property "observer.reconnectDelayMs", Whole(0..=LONG),
        "ms that an observer waits at most before it connects again";
    observer_election_delay_ms: i64 = 200, Property "observer.election.DelayMs", Whole(0..=LONG),
        "ms that an observer waits at most before it looks for a leader again";
    leader_serves: bool = true, Property "leaderServes", NOT_NO,
        "the leader serves clients";
    leader_max_concurrent_snap_syncs: u32 = 10, Property "leader.maxConcurrentSnapSyncs",
        Whole(0..=UINT), "learners that are sent a snapshot at a time";
    leader_max_concurrent_diff_syncs: u32 = 100, Property "leader.maxConcurrentDiffSyncs",
        Whole(0..=UINT), "learners that are sent proposals at a time";
    leader_ack_logging_frequency: u32 = 1_000, Property "leader.ackLoggingFrequency",
        Whole(0..=UINT), "one proposal in so many has its acknowledgements measured";
    leader_max_time_to_wait_for_epoch_ms: i32 = -1, Property "leader.maxTimeToWaitForEpoch",
        Whole(-INT..=INT), "ms that a leader waits for an epoch; negative for initLimit";
    leader_connect_delay_during_retry_ms: u32 = 100, Property "leaderConnectDelayDuringRetryMs",
        Whole(0..=UINT), "ms between two tries to connect to the leader";
    force_snapshot_sync: bool = false, Property "forceSnapshotSync", FLAG,
        "always send learners a snapshot";
    fastleader_min_notification_interval_ms: u32 = 200,
        Property "fastleader.minNotificationInterval", Whole(1..=UINT),
        "ms to wait for votes before sending one's own again, at first";
    fastleader_max_notification_interval_ms: u32 = 60_000,
        Property "fastleader.maxNotificationInterval", Whole(1..=UINT),
        "ms to wait for votes, at last";
    cnx_timeout_ms: u32 = 5_000, Property "cnxTimeout", Whole(0..=UINT),
        "ms to connect for an election";
    election_port_bind_retry: u32 = 3, Property "electionPortBindRetry", Whole(0..=UINT),
        "tries to bind the election port; 0 for endless";
    quorum_cnxn_timeout_ms: i32 = -1, Property "quorumCnxnTimeoutMs", Whole(-INT..=INT),
        "ms that a read on an election connection may take; negative for syncLimit";
    tcp_keep_alive: bool = false, Property "tcpKeepAlive", FLAG,
        "SO_KEEPALIVE on connections between servers";
    follower_no_delay: bool = true, Bare "follower.nodelay", FLAG,
        "TCP_NODELAY on a learner's connection to its leader";
    leader_no_delay: bool = true, Bare "leader.nodelay", FLAG,
        "TCP_NODELAY on a leader's connections to learners";
    quorum_enable_sasl: bool = false, File "quorum.auth.enableSasl", FLAG,
        "servers authenticate to each other by SASL";
    quorum_server_require_sasl: bool = false, File "quorum.auth.serverRequireSasl", FLAG,
        "refuse servers that do not";
    quorum_learner_require_sasl: bool = false, File "quorum.auth.learnerRequireSasl", FLAG,
        "refuse to join servers that do not";
    quorum_learner_login_context: String = text("QuorumLearner"),
        File "quorum.auth.learner.saslLoginContext", Text, "section of the JAAS file to join by";
    quorum_server_login_context: String = text("QuorumServer"),
        File "quorum.auth.server.saslLoginContext", Text, "section of the JAAS file to check by";
    quorum_service_principal: String = text("zkquorum/localhost"),
        File "quorum.auth.kerberos.servicePrincipal", Text, "Kerberos principal of the servers";
}
"Operators" {
    admin_enable_server: bool = true, Property "admin.enableServer", NOT_FALSE,
        "the HTTP server for commands";
    admin_server_address: String = text("0.0.0.0"), Property "admin.serverAddress", Text,
        "host of its port";
    admin_server_port: u16 = 8_080, Property "admin.serverPort", Whole(0..=u16::MAX),
        "its port; 0 for any that is free";
    admin_idle_timeout_ms: u32 = 30_000, Property "admin.idleTimeout", Whole(0..=UINT),
        "ms after which an idle HTTP connection is closed";
    admin_command_url: String = text("/commands"), Property "admin.commandURL", Text,
        "path under which the commands are found";
    admin_http_version: u32 = 11, Property "admin.httpVersion", Whole(0..=UINT),
        "version of HTTP: 11 or 20";
    admin_port_unification: bool = false, Property "admin.portUnification", FLAG,
        "HTTP and HTTPS on its port";
    admin_force_https: bool = false, Property "admin.forceHttps", FLAG,
        "HTTPS only";
    admin_need_client_auth: bool = false, Property "admin.needClientAuth", FLAG,
        "HTTPS clients must show a certificate";
    admin_rate_limiter_interval_ms: u32 = 300_000, Property "admin.rateLimiterIntervalInMS",
        Whole(0..=UINT), "ms between two snapshot or restore commands";
    admin_snapshot_enabled: bool = true, Property "admin.snapshot.enabled", FLAG,
        "the command 'snapshot'";
    admin_restore_enabled: bool = true, Property "admin.restore.enabled", FLAG,
        "the command 'restore'";
    metrics_provider: String = text(METRICS_PROVIDERS[0]),
        File "metricsProvider.className", OneOf(METRICS_PROVIDERS),
        "Java class of the metrics provider that is meant";
    audit_enable: bool = false, Property "audit.enable", FLAG,
        "log who changed what";
    log_dir: Option<String> = None, Property "log.dir", Maybe,
        "directory of the log file; set by the launch scripts";
    log_file: Option<String> = None, Property "log.file", Maybe,
        "name of the log file; set by the launch scripts";
    root_logger: Option<String> = None, Property "root.logger", Maybe,
        "level of the log, and where it goes: INFO, CONSOLE or ROLLINGFILE";
}
}

/// Settings of the JVM, of Netty or of Java's own threads, timers, caches and tests, which have no
/// meaning here. They are accepted and ignored, and one line of the log says so. A name that ends
/// in `*` stands for all that begin so.
pub const IGNORED: &[&str] = &[
    "audit.impl.class",
    "bitHashCacheSize",
    "commitProcessor.*",
    "controllerPort",
    "flushDelay",
    "follower.skipLearnerRequestToNextProcessor",
    "forward_learner_requests_to_commit_processor_disabled",
    "intBufferStartingSizeBytes",
    "jmx.*",
    "jvm.pause.*",
    "kinit",
    "leader.closeSocketAsync",
    "learner.asyncSending",
    "learner.closeSocketAsync",
    "maxBatchSize",
    "maxGetChildrenResponseCacheSize",
    "maxInProcessingDeadWatchers",
    "maxResponseCacheSize",
    "maxWriteQueuePollTime",
    "messageTracker.*",
    "netty.*",
    "nio.directBufferBytes",
    "nio.numSelectorThreads",
    "nio.numWorkerThreads",
    "nio.shutdownTimeout",
    "observerMaster.sizeLimit",
    "pathStats.*",
    "quorum.cnxn.threads.size",
    "request_stale_connection_check",
    "request_throttler.shutdownTimeout",
    "requireKerberosConfig",
    "serverCnxnFactory",
    "ssl.context.supplier.class",
    "ssl.sslProvider",
    "test.allowDiscontinuousProposals",
    "testingonly.initialZxid",
    "watchManagerName",
    "watcherClean*",
];

/// Families of keys that are known by what they begin with; the reference lists them.
pub const FAMILIES: &[(&str, &str)] = &[
    ("server.N", "host:quorumPort:electionPort[:role][|…][;[host:]clientPort] of member N"),
    ("group.G", "the members of group G, by colons; quorums are then hierarchical"),
    ("weight.N", "the weight of member N in its group; 1 when not set"),
    ("metricsProvider.*", "options of the metrics provider"),
    ("authProvider.N", "Java class of a further authentication provider"),
    ("superUser.x", "a further SASL user with all rights"),
    ("ssl.*", "key store, trust store, protocols and ciphers of the client port"),
    ("ssl.quorum.*", "the same between servers"),
];

/// All rows of the table.
pub fn all() -> impl Iterator<Item = &'static Setting> {
    TABLE.iter().flat_map(|section| section.settings)
}

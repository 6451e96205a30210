//! Tables against what Java says, and the texts of errors.

use super::membership::version_from_file_name;
use super::*;
use crate::wire::election::MAX_CONFIG_TEXT;

/// The cases of a golden file: a line's mark before the text, the text, and what follows `=>`.
fn golden(file: &'static str) -> impl Iterator<Item = (&'static str, String, &'static str)> {
    file.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(|line| {
        let (case, expected) = line.split_once("> => ").expect("a line of a golden file");
        let (mark, text) = case.split_once('<').expect("a text in angle brackets");
        (mark.trim(), unescape(text), expected)
    })
}

fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('u') => {
                let hex: String = chars.by_ref().skip(1).take_while(|&c| c != '}').collect();
                let code = u32::from_str_radix(&hex, 16).expect("hexadecimal");
                out.push(char::from_u32(code).expect("a character"));
            }
            other => out.extend(other),
        }
    }
    out
}

#[test]
fn properties_are_read_as_java_reads_them() {
    let mut cases = 0;
    for (_, text, expected) in golden(include_str!("golden/properties.txt")) {
        let got = match properties::parse(&text) {
            Err(_) => "malformed".to_owned(),
            Ok(entries) if entries.is_empty() => "nothing".to_owned(),
            Ok(entries) => {
                let last = properties::last_of_each(&entries);
                let shown = last.values().map(|e| format!("<{}>=<{}>", e.key, e.value));
                shown.collect::<Vec<_>>().join(" | ")
            }
        };
        assert_eq!(got, unescape(expected), "for {text:?}");
        cases += 1;
    }
    assert!(cases > 50, "only {cases} cases");
}

#[test]
fn entries_know_their_lines_and_spans() {
    let text = "# one\n\na=1\\\n  2\n  b=3\r\n\\\n#x\nc=4";
    let entries = properties::parse(text).unwrap();
    let found: Vec<_> =
        entries.iter().map(|e| (e.key.as_str(), e.line, &text[e.span.clone()])).collect();
    assert_eq!(found, [("a", 3, "a=1\\\n  2\n"), ("b", 5, "  b=3\r\n"), ("c", 8, "c=4")]);
}

#[test]
fn membership_is_read_and_printed_as_java_does() {
    let form = "does not have the form server_config or server_config;client_config where \
                server_config is the pipe separated list of host:port:port or \
                host:port:port:type and client_config is port or host:port";
    let mut cases = 0;
    for (mark, text, expected) in golden(include_str!("golden/membership.txt")) {
        let got = match QuorumConfig::parse(&text, mark == "multi") {
            Ok(config) => format!("<{config}>"),
            Err(error) if error.reason.contains("number of 64 bits") => "! <NUMBER>".to_owned(),
            Err(error) => format!("! <{}>", error.reason),
        };
        assert_eq!(got, unescape(expected).replace("FORM", form), "for {text:?}");
        cases += 1;
    }
    assert!(cases > 50, "only {cases} cases");
}

#[test]
fn a_printed_membership_reads_back() {
    let text = "server.1=[2001:db8::1]:1:2|b:1:2:observer;[::1]:2181\nserver.2=c:1:2;2182\n\
                group.1=2\nweight.2=4\nversion=1f00000002";
    let config = QuorumConfig::parse(text, true).unwrap();
    assert_eq!(config.version, 0x1f_0000_0002);
    assert_eq!(QuorumConfig::parse(&config.to_string(), true).unwrap(), config);
}

#[test]
fn servers_of_one_bucket_are_in_order_of_their_ids() {
    let text = "server.33=z:1:2\nserver.1=a:1:2\nserver.16=p:1:2\nserver.20=q:1:2";
    let config = QuorumConfig::parse(text, false).unwrap().to_string();
    let order: Vec<&str> = config.lines().map(|line| line.split('=').next().unwrap()).collect();
    assert_eq!(order, ["server.16", "server.1", "server.33", "server.20", "version"]);
}

#[test]
fn a_group_member_without_weight_is_refused() {
    let error = QuorumConfig::parse("server.1=a:1:2\ngroup.1=1:2", false).unwrap_err();
    assert!(error.to_string().contains("group.1 holds server 2"), "{error}");
}

/// Votes carry the text, in frames that have a bound.
#[test]
fn a_membership_that_no_vote_can_carry_is_refused() {
    let text = |n: i64| (1..=n).map(|id| format!("server.{id}=a:1:2\n")).collect::<String>();
    // What is too much is the text with all that was left out.
    assert!(text(20_000).len() < MAX_CONFIG_TEXT);
    let error = QuorumConfig::parse(&text(20_000), false).unwrap_err();
    assert!(error.to_string().contains("of which a vote carries 512 KiB"), "{error}");
    assert!(QuorumConfig::parse(&text(15_000), false).is_ok());
}

#[test]
fn dynamic_files_are_sorted_and_may_keep_the_version() {
    let text = "server.2=b:1:2\nserver.10=c:1:2:observer;2181\nserver.1=a:1:2\nversion=ab";
    let config = QuorumConfig::parse(text, false).unwrap();
    let servers = "server.10=c:1:2:observer;0.0.0.0:2181\nserver.1=a:1:2:participant\n\
                   server.2=b:1:2:participant";
    assert_eq!(config.dynamic_file_text(false), servers);
    assert_eq!(config.dynamic_file_text(true), format!("{servers}\nversion=ab"));
}

#[test]
fn versions_come_from_the_end_of_file_names() {
    for (name, version) in [
        ("zoo.cfg.dynamic.0", Some(0)),
        ("zoo.cfg.dynamic.1001", Some(0x1001)),
        ("zoo.cfg.dynamic", None),
        ("members.dcf", Some(0xdcf)),
        ("members", None),
        ("members.", None),
        ("zoo.cfg.dynamic.100000000", Some(1 << 32)),
    ] {
        assert_eq!(version_from_file_name(name), version, "for {name}");
    }
}

/// The configuration of a text, with these `-D` words, and myid 1.
fn read_with(text: &str, defines: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let defines: Vec<(String, String)> =
        defines.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let my_id = Some("1\n".to_owned());
    Draft::from_file("/c/zoo.cfg", text.as_bytes(), &defines)?
        .finish(&Surroundings { my_id, ..Surroundings::default() })
}

fn read(text: &str) -> Result<Config, ConfigError> {
    read_with(text, &[])
}

fn error(text: &str) -> String {
    read(text).expect_err(text).to_string()
}

fn has_note(config: &Config, part: &str) -> bool {
    config.notes.iter().any(|note| note.text.contains(part))
}

/// A configuration in the words of the golden file.
fn summary(config: &Config) -> String {
    let client = config.client_address.as_ref().map_or("none".to_owned(), Address::to_string);
    format!(
        "client={client} min={} max={} dist={} id={} qv={} type={}",
        config.min_session_timeout_ms,
        config.max_session_timeout_ms,
        config.distributed,
        config.server_id.unwrap_or(-1),
        config.quorum.to_string().replace('\n', "|"),
        config.peer_type.to_string().to_uppercase()
    )
}

#[test]
fn files_are_taken_and_refused_as_java_does() {
    let mut cases = 0;
    for (mark, text, java) in golden(include_str!("golden/files.txt")) {
        let got = read(&format!("dataDir=/d\n{text}"));
        match (mark, java.starts_with("refused"), &got) {
            ("", false, Ok(config)) => assert_eq!(summary(config), java, "for {text:?}"),
            ("", true, Err(_)) | ("!", false, Err(_)) | ("~", true, Ok(_)) => {}
            _ => panic!("Java says {java} of {text:?}, and we say {got:?}"),
        }
        cases += 1;
    }
    assert!(cases > 50, "only {cases} cases");
}

#[test]
fn a_plain_file_has_the_defaults() {
    let config = read("dataDir=/d\nclientPort=2181\n").unwrap();
    assert_eq!(config.client_address, Some(Address::new("0.0.0.0", 2181)));
    assert_eq!(config.data_log_dir, config.data_dir);
    assert_eq!(config.tick_time_ms, 3000);
    assert_eq!((config.min_session_timeout_ms, config.max_session_timeout_ms), (6000, 60000));
    assert_eq!((config.snap_count, config.max_client_cnxns), (100_000, 60));
    assert_eq!(config.jute_max_record(), 2_097_150);
    assert!(config.force_sync && config.admin_enable_server && !config.distributed);
    assert_eq!(config.notes, []);
    assert!(unsupported(&config).is_empty());
}

#[test]
fn errors_name_place_key_value_and_what_is_allowed() {
    for (text, expected) in [
        (
            "\ntickTime=2s\ndataDir=/d",
            "/c/zoo.cfg:2: tickTime=2s: not allowed; allowed: a whole \
            number from 1 to 2147483647",
        ),
        (
            "dataDir=/d\ntickTime=0",
            "/c/zoo.cfg:2: tickTime=0: not allowed; allowed: a whole \
            number from 1 to 2147483647",
        ),
        (
            "dataDir=/d\nreconfigEnabled=yes",
            "/c/zoo.cfg:2: reconfigEnabled=yes: not allowed; \
            allowed: 'true' or 'false'",
        ),
        (
            "dataDir=/d\nelectionAlg=2",
            "/c/zoo.cfg:2: electionAlg=2: not allowed; allowed: a whole \
            number from 3 to 3",
        ),
        (
            "dataDir=/d\nclientPort=70000",
            "/c/zoo.cfg:2: clientPort=70000: not allowed; allowed: a \
            whole number from 0 to 65535",
        ),
        (
            "dataDir=/d\npeerType=voter",
            "/c/zoo.cfg:2: peerType=voter: not allowed; allowed: \
            'participant' or 'observer'",
        ),
        (
            "dataDir=/d\nsnapCount=many",
            "/c/zoo.cfg:2: snapCount=many: not allowed; allowed: a \
            whole number from 0 to 2147483647",
        ),
        (
            "dataDir=/d\nsnapshot.compression.method=zip",
            "/c/zoo.cfg:2: \
            snapshot.compression.method=zip: not allowed; allowed: '', 'gz', 'snappy'",
        ),
        ("clientPort=2181", "/c/zoo.cfg: dataDir is not set"),
        (
            "dataDir=/d\nclientPortAddress=::1",
            "/c/zoo.cfg:2: clientPortAddress is set but \
            clientPort is not set",
        ),
        (
            "dataDir=/d\nminSessionTimeout=9\nmaxSessionTimeout=8",
            "/c/zoo.cfg:2: minSessionTimeout \
            must not be larger than maxSessionTimeout (they are 9 and 8 ms)",
        ),
        (
            "dataDir=/d\nquorum.auth.serverRequireSasl=true",
            "/c/zoo.cfg:2: quorum.auth.enableSasl \
            is disabled, so cannot enable quorum.auth.serverRequireSasl",
        ),
        (
            "dataDir=/d\nserver.1=a:1",
            "/c/zoo.cfg:2: server.1=a:1: a:1 does not have the form \
            server_config or server_config;client_config where server_config is the pipe \
            separated list of host:port:port or host:port:port:type and client_config is port \
            or host:port",
        ),
        ("dataDir=/d\nname=\\u00", "/c/zoo.cfg:2: \\u must be followed by four hexadecimal digits"),
    ] {
        assert_eq!(error(text), expected);
    }
}

#[test]
fn a_define_that_is_wrong_is_named_too() {
    let error = read_with("dataDir=/d", &[("zookeeper.snapCount", "x")]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "command line: snapCount=x: not allowed; allowed: a whole \
        number from 0 to 2147483647"
    );
    // Java's timer throws.
    let error = read_with("dataDir=/d", &[("znode.container.checkIntervalMs", "0")]).unwrap_err();
    assert!(error.to_string().ends_with("a whole number from 1 to 2147483647"), "{error}");
    assert_eq!(error.exit_code(), 2);
}

#[test]
fn secrets_are_not_shown() {
    let text = "dataDir=/d\ndynamicConfigFile=f\nserver.password=top:secret";
    assert!(!error(text).contains("top:secret"), "{}", error(text));
}

#[test]
fn the_file_overwrites_defines() {
    let defines = [
        ("zookeeper.snapCount", "7"),
        ("zookeeper.commitLogCount", "8"),
        ("zookeeper.commitLogCount", "9"),
        ("zookeeper.multiAddress.enabled", "true"),
    ];
    let config = read_with("dataDir=/d\nsnapCount=5", &defines).unwrap();
    assert_eq!((config.snap_count, config.commit_log_count), (5, 9));
    assert!(config.multi_address_enabled);
    assert_eq!(config.property("zookeeper.snapCount"), Some("5"));
}

#[test]
fn bare_properties_come_from_defines_only() {
    let config = read_with("dataDir=/d\njute.maxbuffer=5", &[("jute.maxbuffer", "0x10")]).unwrap();
    assert_eq!(config.jute_max_buffer, 16);
    assert_eq!(config.jute_max_record(), 16 + 1024);
    assert!(has_note(&config, "/c/zoo.cfg:2: jute.maxbuffer has no effect"), "{:?}", config.notes);
    let config = read_with("dataDir=/d", &[("fsync.warningthresholdms", "5")]).unwrap();
    assert_eq!(config.fsync_warning_threshold_ms, 5);
}

#[test]
fn words_other_than_the_documented_are_taken_as_java_takes_them() {
    let text = "dataDir=/d\nforceSync=false\nskipACL=true\nleaderServes=no\nenforceQuota=TRUE\n\
                admin.enableServer=no";
    let config = read(text).unwrap();
    assert!(config.force_sync && !config.skip_acl && !config.leader_serves);
    assert!(config.enforce_quota && config.admin_enable_server);
    assert!(
        has_note(&config, "/c/zoo.cfg:2: forceSync=false is taken for yes"),
        "{:?}",
        config.notes
    );
    assert!(has_note(&config, "allowed: 'yes' or 'no'"), "{:?}", config.notes);
}

#[test]
fn unknown_keys_become_properties_and_jvm_settings_are_one_line() {
    let text = "dataDir=/d\nssl.keyStore.location=/k\nmy.key= v \nnio.numWorkerThreads=4\n\
                netty.advancedFlowControl.enabled=true\nmetricsProvider.httpPort=7000\n\
                testingonly.initialZxid=5\ntest.allowDiscontinuousProposals=true";
    let config = read(text).unwrap();
    assert_eq!(config.property("zookeeper.my.key"), Some("v"));
    assert_eq!(config.property("zookeeper.ssl.keyStore.location"), Some("/k"));
    assert_eq!(config.metrics_options["httpPort"], "7000");
    let texts: Vec<&str> = config.notes.iter().map(|note| note.text.as_str()).collect();
    assert_eq!(
        texts,
        ["accepted and ignored, having no meaning here: \
        netty.advancedFlowControl.enabled, nio.numWorkerThreads, \
        test.allowDiscontinuousProposals, testingonly.initialZxid"]
    );
}

#[test]
fn what_is_not_there_yet_is_said() {
    let prometheus = "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider";
    for (line, part) in [
        ("admin.serverPort=8081", "no AdminServer yet"),
        (&format!("metricsProvider.className={prometheus}"), "no Prometheus exporter yet"),
        ("audit.enable=true", "no audit log yet"),
        ("flushDelay=5\nmaxBatchSize=9", "no meaning here: flushDelay, maxBatchSize"),
    ] {
        let config = read(&format!("dataDir=/d\n{line}")).unwrap();
        assert!(config.notes.len() == 1 && has_note(&config, part), "{:?}", config.notes);
    }
    assert!(read("dataDir=/d\nadmin.enableServer=false").unwrap().notes.is_empty());
    let jaas = [("java.security.auth.login.config", "/jaas.conf")];
    assert!(has_note(&read_with("dataDir=/d", &jaas).unwrap(), "no SASL yet"));
    let observer = read("dataDir=/d\nobserver.syncEnabled=false").unwrap();
    assert_eq!((observer.sync_enabled, observer.observer_sync_enabled), (true, Some(false)));
}

#[test]
fn small_numbers_are_raised_with_a_warning() {
    let config = read("dataDir=/d\nsnapCount=1\nautopurge.snapRetainCount=1").unwrap();
    assert_eq!((config.snap_count, config.snap_retain_count), (2, 3));
    assert!(has_note(&config, "Invalid autopurge.snapRetainCount: 1. Defaulting to 3"));
}

const ENSEMBLE: &str = "dataDir=/d\ninitLimit=5\nsyncLimit=2\n\
    server.1=a:2888:3888\nserver.2=b:2888:3888\nserver.3=c:2888:3888\n";

#[test]
fn three_servers_are_an_ensemble() {
    let config = read(&format!("{ENSEMBLE}clientPort=2181")).unwrap();
    assert!(config.distributed);
    assert_eq!((config.server_id, config.connect_to_learner_master_limit), (Some(1), 5));
    assert_eq!(config.quorum.participants().count(), 3);
    assert_eq!(
        config.quorum.to_string(),
        "server.1=a:2888:3888:participant\n\
        server.2=b:2888:3888:participant\nserver.3=c:2888:3888:participant\nversion=0"
    );
    assert_eq!(config.quorum.servers[&1].client, Some(Address::new("0.0.0.0", 2181)));
    assert_eq!(config.notes, []);
}

#[test]
fn who_is_standalone_and_what_is_no_ensemble() {
    let one = "dataDir=/d\nclientPort=2181\nserver.1=a:1:2";
    let config = read(one).unwrap();
    assert!(!config.distributed);
    assert!(has_note(&config, "only one server specified (ignoring)"));
    assert_eq!(
        error(&format!("{one}\nserver.2=b:1:2:observer")),
        "/c/zoo.cfg: Observers w/o quorum is an invalid configuration"
    );
    assert_eq!(
        error("dataDir=/d\nserver.2=b:1:2:observer"),
        "/c/zoo.cfg: Observers w/o participants is an invalid configuration"
    );
    assert_eq!(
        error("dataDir=/d\nstandaloneEnabled=false"),
        "/c/zoo.cfg: standaloneEnabled = false then number of participants should be >0"
    );
    assert_eq!(
        error(&format!("{one}\nstandaloneEnabled=false")),
        "/c/zoo.cfg: initLimit is not set"
    );
    let ensemble = format!("{one}\nstandaloneEnabled=false\ninitLimit=5\nsyncLimit=2");
    let config = read(&ensemble).unwrap();
    assert!(config.distributed);
    assert!(has_note(&config, "No server failure will be tolerated."));
    let draft = Draft::from_file("/c/zoo.cfg", ensemble.as_bytes(), &[]).unwrap();
    let error = draft.finish(&Surroundings::default()).unwrap_err().to_string();
    assert!(error.contains("myid file is missing"), "{error}");
}

#[test]
fn a_membership_line_and_the_client_port_must_agree() {
    let own = |line: &str, rest: &str| {
        read(&format!(
            "dataDir=/d\ninitLimit=5\nsyncLimit=2\nserver.1=a:1:2{line}\n\
            server.2=b:1:2\nserver.3=c:1:2\n{rest}"
        ))
    };
    let config = own(";10.0.0.1:2181", "clientPort=2181").unwrap();
    assert_eq!(config.client_address, Some(Address::new("10.0.0.1", 2181)));
    let config = own(";2181", "").unwrap();
    assert_eq!(config.client_port(), Some(2181));
    let config = own(":observer", "clientPort=2181").unwrap();
    assert_eq!(config.peer_type, Role::Observer);
    assert!(has_note(&config, "Defaulting to servers list"));
    for (line, rest) in [
        (";2182", "clientPort=2181"),
        (";10.0.0.2:2181", "clientPort=2181\nclientPortAddress=10.0.0.1"),
    ] {
        let error = own(line, rest).unwrap_err().to_string();
        assert!(
            error.contains("is different from client address found in dynamic file"),
            "{error}"
        );
    }
}

/// The configuration of a static and a dynamic file.
fn read_dynamic(fixed: &str, dynamic: &str, next: Option<&str>) -> Result<Config, ConfigError> {
    Draft::from_file("/c/zoo.cfg", fixed.as_bytes(), &[])?.finish(&Surroundings {
        dynamic: Some(dynamic.as_bytes().to_vec()),
        next_dynamic: next.map(|text| text.as_bytes().to_vec()),
        my_id: Some("2".to_owned()),
    })
}

#[test]
fn the_dynamic_file_holds_the_membership() {
    let fixed = "dataDir=/d\ninitLimit=5\nsyncLimit=2\ndynamicConfigFile=/c/zoo.cfg.dynamic.1a";
    let servers = "server.1=a:1:2;2181\nserver.2=b:1:2;2182\nserver.3=c:1:2;2183";
    let next = "server.1=a:1:2\nserver.2=b:1:2\nversion=2b";
    let config = read_dynamic(fixed, servers, Some(next)).unwrap();
    assert_eq!((config.quorum.version, config.client_port()), (0x1a, Some(2182)));
    assert_eq!(config.last_seen_quorum.unwrap().version, 0x2b);
    let error =
        |fixed: &str, dynamic: &str| read_dynamic(fixed, dynamic, None).unwrap_err().to_string();
    assert_eq!(
        error(fixed, "version=1"),
        "/c/zoo.cfg.dynamic.1a:1: version=1: dynamic file \
        shouldn't have version inside"
    );
    assert_eq!(
        error(fixed, "\nclientPort=1"),
        "/c/zoo.cfg.dynamic.1a:2: clientPort=1: \
        Unrecognised parameter: clientPort"
    );
    assert_eq!(
        error(&format!("{fixed}\nserver.1=a:1:2"), servers),
        "/c/zoo.cfg:5: \
        server.1=a:1:2: parameter: server.1 must be in a separate dynamic config file"
    );
}

#[test]
fn a_path_that_is_carelessly_relative_earns_a_warning() {
    let config = read("dataDir=data\ndataLogDir=./log").unwrap();
    let texts: Vec<&str> = config.notes.iter().map(|note| note.text.as_str()).collect();
    assert_eq!(texts, ["data is relative. Prepend ./ to indicate that you're sure!"]);
}

#[test]
fn files_beside_the_configuration() {
    let config = read(&format!("{ENSEMBLE}reconfigEnabled=true")).unwrap();
    assert_eq!(config.dynamic_file(0x1_0000_000a), "/c/zoo.cfg.dynamic.10000000a");
    assert_eq!(config.next_dynamic_file(), "/c/zoo.cfg.dynamic.next");
    assert!(config.wants_backup() && !read(ENSEMBLE).unwrap().wants_backup());
}

#[test]
fn a_broken_myid_is_refused() {
    let around = Surroundings { my_id: Some("one".to_owned()), ..Surroundings::default() };
    let draft = Draft::from_file("/c/zoo.cfg", b"dataDir=/d", &[]).unwrap();
    let error = draft.finish(&around).unwrap_err().to_string();
    assert_eq!(error, "/d/myid:1: serverid one is not a number");
}

#[test]
fn started_by_port_and_directory() {
    let words = ["2181", "/d", "500", "9"].map(str::to_owned);
    let around = Surroundings::default();
    let config = Draft::from_words(&words, &[]).unwrap().finish(&around).unwrap();
    assert_eq!(
        (config.client_port(), config.tick_time_ms, config.max_client_cnxns),
        (Some(2181), 500, 9)
    );
    let config = Draft::from_words(&words[..2], &[]).unwrap().finish(&around).unwrap();
    assert_eq!((config.tick_time_ms, config.max_client_cnxns), (3000, 0));
    for wrong in [&words[..1], &["x".to_owned(), "/d".to_owned()]] {
        let error = Draft::from_words(wrong, &[]).unwrap_err().to_string();
        assert!(error.contains("allowed:"), "{error}");
    }
}

#[test]
fn protection_that_is_not_there_is_refused() {
    for (line, part) in [
        ("secureClientPort=2281", "secureClientPort is configured, but TLS"),
        ("sslQuorum=true", "sslQuorum=true"),
        ("client.portUnification=true", "client.portUnification=true"),
        ("quorum.auth.enableSasl=true", "SASL is not supported yet"),
        ("sessionRequireClientSASLAuth=true", "SASL is not supported yet"),
        ("enforce.auth.enabled=true\nenforce.auth.schemes=digest,sasl", "the scheme 'sasl'"),
        ("admin.forceHttps=true", "TLS is not supported yet"),
    ] {
        let refusals = unsupported(&read(&format!("dataDir=/d\n{line}")).unwrap());
        assert!(refusals.len() == 1 && refusals[0].contains(part), "{line}: {refusals:?}");
    }
    let digest = "dataDir=/d\nenforce.auth.enabled=true\nenforce.auth.schemes=digest";
    assert!(unsupported(&read(digest).unwrap()).is_empty());
    let unused = "dataDir=/d\nadmin.enableServer=false\nadmin.forceHttps=true";
    assert!(unsupported(&read(unused).unwrap()).is_empty());
}

#[test]
fn the_static_file_keeps_what_is_not_membership() {
    let text = "# our ensemble\ndataDir = /d\nserver.1=a:1:2;\\\n  2181\nclientPort=2181\n\
                peerType=observer\ngroup.1=1\nautopurge.purgeInterval=1";
    let kept = point_to_dynamic_file(text, "/c/zoo.cfg.dynamic.5", true).unwrap();
    assert_eq!(
        kept,
        "# our ensemble\ndataDir = /d\nautopurge.purgeInterval=1\n\
        dynamicConfigFile=/c/zoo.cfg.dynamic.5\n"
    );
    let again = point_to_dynamic_file(&kept, "/c/zoo.cfg.dynamic.6", true).unwrap();
    assert_eq!(again, kept.replace("dynamic.5", "dynamic.6"));
    assert!(point_to_dynamic_file(text, "f", false).unwrap().contains("clientPort=2181\n"));
    assert!(has_membership(text).unwrap() && !has_membership(&kept).unwrap());
}

#[test]
fn flag_variables_are_split_as_a_shell_splits_them() {
    let arguments = ["-Da=1", "zoo.cfg"].map(str::to_owned);
    let words = launch::Words::sort(&arguments, &["-Xmx1g  -Da=2 -XX:+Foo\n", "-Db -Da=x=y"]);
    let defines: Vec<_> = words.defines.iter().map(|(n, v)| format!("{n}:{v}")).collect();
    assert_eq!(defines, ["a:1", "a:2", "b:", "a:x=y"]);
    assert_eq!(words.jvm_options, ["-Xmx1g", "-XX:+Foo"]);
    assert_eq!(words.rest, ["zoo.cfg"]);
}

#[test]
fn four_letter_words_are_allowed_by_the_whitelist() {
    let config = read("dataDir=/d\n4lw.commands.whitelist=stat, ruok").unwrap();
    assert!(config.allows_four_letter_word("ruok") && config.allows_four_letter_word("srvr"));
    assert!(!config.allows_four_letter_word("mntr") && !config.allows_four_letter_word("isro"));
    let config = read_with("dataDir=/d", &[("readonlymode.enabled", "true")]).unwrap();
    assert!(config.allows_four_letter_word("srvr") && config.allows_four_letter_word("isro"));
}

#[test]
fn every_row_has_a_name_of_its_own_and_takes_its_default() {
    let mut names = std::collections::BTreeSet::new();
    let mut config = Config::defaults();
    for row in table::all() {
        assert!(names.insert(row.name), "{} is there twice", row.name);
        let default = (row.show)(&config);
        if default != "none" && row.name != "initLimit" {
            assert!((row.set)(&mut config, &default), "{}={default}", row.name);
            assert_eq!((row.show)(&config), default, "{}", row.name);
        }
        assert!(!row.meaning.is_empty() && reference().contains(row.name));
    }
}

/// Texts out of pieces that mean something, in an order that means nothing.
#[test]
fn no_text_makes_the_reader_panic() {
    let pieces = [
        "server.1",
        "group.1",
        "weight.2",
        "version",
        "dataDir",
        "clientPort",
        "tickTime",
        "=",
        ":",
        ";",
        "|",
        "\\",
        "\\u00e9",
        "\\u0",
        "\n",
        "\r\n",
        " ",
        "#",
        "[::1]",
        "[",
        "]",
        "]:",
        "127.0.0.1",
        "1.2.3.4.5",
        "é",
        "\u{1f600}",
        "observer",
        "2181",
        "99999999999999999999",
        "-1",
        "0x",
        "true",
        "/d",
        "",
    ];
    let mut state: u64 = 0x2545_f491_4f6c_dd1d;
    let mut pick = |n: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % n as u64) as usize
    };
    for _ in 0..5_000 {
        let text: String = (0..pick(16)).map(|_| pieces[pick(pieces.len())]).collect();
        if let Ok(membership) = QuorumConfig::parse(&text, true) {
            let printed = membership.to_string();
            let again = QuorumConfig::parse(&printed, true).expect(&printed);
            assert_eq!(again.to_string(), printed, "from {text:?}");
        }
        let _ = read(&format!("dataDir=/d\n{text}"));
        let _ = point_to_dynamic_file(&text, "/f", true);
    }
}

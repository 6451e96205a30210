//! The launch scripts in bin/, run with a stand-in for the program that notes how it was called.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Notes its words and flag variables in $NOTES; `server` lives until it is told to end, unless
/// the configuration says it is broken; `4lw` answers as a server does.
const STAND_IN: &str = r#"#!/usr/bin/env bash
echo "$*" >> "$NOTES"
case $1 in
  server)
    trap 'exit 0' TERM
    echo "flags: $SERVER_JVMFLAGS" >> "$NOTES"
    if grep -q broken "${!#}"; then echo "a wrong configuration"; exit 2; fi
    while :; do sleep 0.05; done
    ;;
  4lw) [ "$3" = 1 ] || printf 'Zookeeper version: x\nMode: standalone\n' ;;
  version) echo "Apache ZooKeeper, version 3.9.5" ;;
esac
"#;

/// A directory with a configuration and the stand-in; what it started ends with it.
struct Place {
    dir: PathBuf,
}

struct Said {
    out: String,
    err: String,
    code: Option<i32>,
}

impl Place {
    fn new(config: &str) -> Place {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ironkeeper-scripts-{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(dir.join("conf")).unwrap();
        let place = Place { dir };
        place.write("conf/zoo.cfg", &config.replace("DIR", place.dir.to_str().unwrap()));
        place.program("ironkeeper", STAND_IN);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn program(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt;
        self.write(name, text);
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn command(&self, script: &Path, words: &[&str]) -> Command {
        let mut command = Command::new(script);
        command
            .args(words)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.dir)
            .env("USER", "me")
            .env("HOSTNAME", "here")
            .env("NOTES", self.path("notes"))
            .env("IRONKEEPER", self.path("ironkeeper"))
            .env("ZOOCFGDIR", self.path("conf"))
            .env("ZOO_LOG_DIR", self.path("logs"));
        command
    }

    /// Runs a script of bin/ to its end.
    fn run(&self, script: &str, words: &[&str], environment: &[(&str, &str)]) -> Said {
        let mut command = self.command(&bin(script), words);
        said(command.envs(environment.iter().copied()).output().unwrap())
    }

    fn server(&self, words: &[&str]) -> Said {
        self.run("zkServer.sh", words, &[])
    }

    fn pid(&self) -> String {
        self.read("data/zookeeper_server.pid")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.command(&bin("zkServer.sh"), &["stop"]).output();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn bin(script: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("bin").join(script)
}

fn said(output: Output) -> Said {
    Said {
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
        code: output.status.code(),
    }
}

fn is_alive(pid: &str) -> bool {
    let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !state.is_empty() && !state.contains(") Z ")
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

const PLAIN: &str = "dataDir=DIR/data\nclientPort=2181\n";

#[test]
fn a_server_is_started_once_asked_and_stopped() {
    let place = Place::new(PLAIN);
    let flags = [("SERVER_JVMFLAGS", "-Dzookeeper.snapCount=7")];
    let started = place.run("zkServer.sh", &["start"], &flags);
    assert_eq!(started.out, "Starting zookeeper ... STARTED\n", "{}", started.err);
    assert_eq!(started.code, Some(0));
    let config = place.path("conf/zoo.cfg");
    assert_eq!(started.err, format!("Using config: {}\n", config.display()));
    let pid = place.pid();
    assert!(!pid.ends_with('\n') && is_alive(&pid), "pid file holds {pid:?}");
    let words = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap().replace('\0', " ");
    assert!(words.contains(config.to_str().unwrap()), "{words}");
    let logs = place.path("logs");
    assert_eq!(
        place.read("notes"),
        format!(
            "server -Dzookeeper.log.dir={} -Dzookeeper.log.file=zookeeper-me-server-here.log {}\n\
         flags: -Dzookeeper.snapCount=7\n",
            logs.display(),
            config.display()
        )
    );
    assert!(logs.join("zookeeper-me-server-here.out").exists());

    let again = place.server(&["start"]);
    assert_eq!(again.out, format!("Starting zookeeper ... already running as process {pid}.\n"));
    assert_eq!(again.code, Some(1));

    let hangup = Command::new("kill").args(["-HUP", &pid]).status().unwrap();
    assert!(hangup.success() && is_alive(&pid));

    let stopped = place.server(&["stop"]);
    assert_eq!((stopped.out.as_str(), stopped.code), ("Stopping zookeeper ... STOPPED\n", Some(0)));
    assert!(!is_alive(&pid) && !place.path("data/zookeeper_server.pid").exists());
    let nothing = place.server(&["stop"]);
    assert_eq!(nothing.code, Some(0));
    assert_eq!(
        nothing.out,
        format!(
            "Stopping zookeeper ... no zookeeper to stop (could not find file {})\n",
            place.path("data/zookeeper_server.pid").display()
        )
    );
}

#[test]
fn restart_gives_another_process() {
    let place = Place::new(PLAIN);
    assert_eq!(place.server(&["start"]).code, Some(0));
    let first = place.pid();
    let said = place.server(&["restart"]);
    assert_eq!(said.out, "Stopping zookeeper ... STOPPED\nStarting zookeeper ... STARTED\n");
    assert!(place.pid() != first && is_alive(&place.pid()) && !is_alive(&first));
}

/// In a container, the parent of what was started may be a program that never asks for it.
#[test]
fn a_process_that_nobody_waited_for_has_ended() {
    let place = Place::new(PLAIN);
    let mut child = Command::new("true").spawn().unwrap();
    let pid = child.id().to_string();
    wait_until("it has ended", || !is_alive(&pid));
    for (word, said) in [
        ("stop", "Stopping zookeeper ... STOPPED\n"),
        ("start", "Starting zookeeper ... STARTED\n"),
    ] {
        place.write("data/zookeeper_server.pid", &pid);
        assert_eq!(place.server(&[word]).out, said);
    }
    child.wait().unwrap();
}

#[test]
fn a_server_that_ends_at_once_failed_to_start() {
    let place = Place::new("dataDir=DIR/data\n# broken\n");
    let said = place.server(&["start"]);
    assert_eq!(
        (said.out.as_str(), said.code),
        ("Starting zookeeper ... FAILED TO START\n", Some(1))
    );
    assert!(said.err.contains("a wrong configuration"), "{}", said.err);
}

#[test]
fn the_pid_file_may_be_elsewhere() {
    let place = Place::new(PLAIN);
    let file = place.path("run/zk.pid");
    let elsewhere = [("ZOOPIDFILE", file.to_str().unwrap())];
    assert_eq!(place.run("zkServer.sh", &["start"], &elsewhere).code, Some(0));
    let pid = place.read("run/zk.pid");
    assert!(is_alive(&pid));
    assert_eq!(place.run("zkServer.sh", &["stop"], &elsewhere).code, Some(0));
    assert!(!is_alive(&pid) && !file.exists());
}

#[test]
fn start_foreground_becomes_the_server() {
    let place = Place::new(PLAIN);
    let mut child = place.command(&bin("zkServer.sh"), &["start-foreground"]).spawn().unwrap();
    wait_until("the server runs", || place.read("notes").contains("flags:"));
    let words = fs::read_to_string(format!("/proc/{}/cmdline", child.id())).unwrap();
    assert!(words.contains("/ironkeeper\0server\0"), "{words:?}");
    Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn configurations_are_found_by_name_and_by_path() {
    let place = Place::new(PLAIN);
    place.write("conf/other.cfg", PLAIN);
    let other = |words: &[&str], environment: &[(&str, &str)]| {
        place.run("zkServer.sh", words, environment).err
    };
    let using = |name: &str| format!("Using config: {}\n", place.path(name).display());
    let path = place.path("conf/other.cfg");
    let path = path.to_str().unwrap();
    let conf = place.path("conf");
    let conf = conf.to_str().unwrap();
    assert_eq!(other(&["print-cmd"], &[]), using("conf/zoo.cfg"));
    assert_eq!(other(&["print-cmd", "other.cfg"], &[]), using("conf/other.cfg"));
    assert_eq!(other(&["print-cmd", path], &[]), using("conf/other.cfg"));
    assert_eq!(other(&["print-cmd"], &[("ZOOCFG", "other.cfg")]), using("conf/other.cfg"));
    let by_option = other(&["--config", conf, "print-cmd"], &[("ZOOCFGDIR", "/nowhere")]);
    assert_eq!(by_option, using("conf/zoo.cfg"));
    let missing = place.server(&["start", "none.cfg"]);
    assert!(missing.code == Some(1) && missing.err.contains("none.cfg"), "{}", missing.err);
}

#[test]
fn environment_files_are_heeded() {
    let place = Place::new(PLAIN);
    place.write("conf/java.env", "SERVER_JVMFLAGS=-Dfrom=java.env\n");
    place.write("conf/zookeeper-env.sh", "ZOO_LOG_FILE=my.log\n");
    let said = place.server(&["print-cmd"]);
    for part in
        ["SERVER_JVMFLAGS=\"-Dfrom=java.env\"", "-Dzookeeper.log.file=my.log", "zoo.cfg\" > \""]
    {
        assert!(said.out.contains(part), "{part} in {}", said.out);
    }
}

#[test]
fn without_autocreate_the_directories_must_exist() {
    let place = Place::new("dataDir=DIR/data\ndataLogDir=DIR/log\nclientPort=2181\n");
    let disabled = [("ZOO_DATADIR_AUTOCREATE_DISABLE", "1")];
    let start = || place.run("zkServer.sh", &["start"], &disabled);
    assert!(start().out.starts_with("ZooKeeper data directory is missing at"));
    fs::create_dir_all(place.path("data/version-2")).unwrap();
    let said = start();
    assert!(said.out.starts_with("ZooKeeper txnlog directory is missing at"), "{}", said.out);
    assert_eq!(said.code, Some(1));
    fs::create_dir_all(place.path("log/version-2")).unwrap();
    assert_eq!(start().code, Some(0));
    assert!(place.read("notes").starts_with("server -Dzookeeper.datadir.autocreate=false "));
}

#[test]
fn status_finds_the_port_as_apaches_script_does() {
    let dynamic = "dataDir=DIR/data\ndynamicConfigFile=DIR/conf/zoo.cfg.dynamic.1\n";
    let missing = "Client port not found in static config file. Looking in dynamic config file.\n";
    for (config, port, address, said_before) in [
        ("dataDir=DIR/data\nclientPort=2181\n", "2181", "localhost", ""),
        (
            " dataDir = DIR/data \n clientPort = 2182\nclientPortAddress=127.0.0.2\n",
            "2182",
            "127.0.0.2",
            "",
        ),
        ("dataDir=DIR/data\nserver.7=a:1:2;2183\n", "2183", "localhost", ""),
        ("dataDir=DIR/data\nserver.7=a:1:2:participant;10.0.0.7:2184\n", "2184", "10.0.0.7", ""),
        ("dataDir=DIR/data\nserver.7=a:1:2;[::1]:2185\nserver.77=a:1:2;1\n", "2185", "::1", ""),
        (dynamic, "2186", "10.0.0.8", missing),
    ] {
        let place = Place::new(config);
        place.write("data/myid", "7\n");
        place.write("conf/zoo.cfg.dynamic.1", "server.1=a:1:2;1\nserver.7=b:1:2;10.0.0.8:2186\n");
        let said = place.server(&["status"]);
        assert_eq!(
            said.out,
            format!(
                "{said_before}Client port found: {port}. Client address: {address}. \
             Client SSL: false.\nMode: standalone\n"
            )
        );
        assert_eq!(said.code, Some(0));
        assert_eq!(place.read("notes"), format!("4lw {address} {port} srvr\n"));
    }
}

#[test]
fn status_says_when_there_is_no_answer_or_no_port() {
    let place = Place::new("dataDir=DIR/data\nclientPort=1\n");
    let said = place.server(&["status"]);
    assert!(said.out.ends_with("Error contacting service. It is probably not running.\n"));
    assert_eq!(said.code, Some(1));
    let place = Place::new("dataDir=DIR/data\n");
    let said = place.server(&["status"]);
    assert_eq!(said.code, Some(1));
    assert_eq!(
        said.out,
        "myid could not be determined, will not able to locate clientPort in \
        the server configs.\nClient port not found. Looking for secureClientPort in the static \
        config.\nUnable to find either secure or unsecure client port in any configs. \
        Terminating.\n"
    );
    let place = Place::new("dataDir=DIR/data\nsecureClientPort=1\n");
    let said = place.server(&["status"]);
    assert!(
        said.out.contains("Client port found: 1. Client address: localhost. Client SSL: true.")
    );
    assert_eq!(said.code, Some(1));
}

#[test]
fn version_and_usage() {
    let place = Place::new(PLAIN);
    let said = place.server(&["version"]);
    assert_eq!((said.out.as_str(), said.code), ("Apache ZooKeeper, version 3.9.5\n", Some(0)));
    let said = place.server(&["dance"]);
    assert!(said.err.contains("{start|start-foreground|stop|version|restart|status|print-cmd}"));
}

#[test]
fn the_other_scripts_hand_their_words_on() {
    let place = Place::new("dataDir=DIR/data\ndataLogDir=DIR/log\n");
    assert_eq!(place.run("zkCli.sh", &["-server", "h:1", "ls", "/a b"], &[]).code, Some(0));
    assert_eq!(place.run("zkCleanup.sh", &["-n", "3"], &[]).code, Some(0));
    let dir = place.dir.display();
    let notes = format!("cli -server h:1 ls /a b\npurge {dir}/log {dir}/data -n 3\n");
    assert_eq!(place.read("notes"), notes);
}

#[test]
fn initialize_makes_directories_and_spares_data() {
    let place = Place::new("dataDir=DIR/data\ndataLogDir=DIR/log\n");
    let initialize = |words: &[&str]| place.run("zkServer-initialize.sh", words, &[]);
    let said = initialize(&["--myid=5"]);
    assert_eq!((said.out.as_str(), said.code), ("Using myid of 5\n", Some(0)));
    assert_eq!(place.read("data/myid"), "5\n");
    for name in ["data/version-2", "log/version-2", "data/initialize", "log/initialize"] {
        assert!(place.path(name).exists(), "{name}");
    }

    place.write("data/version-2/snapshot.0", "data");
    let said = initialize(&["--myid", "6"]);
    assert_eq!(said.code, Some(1));
    assert!(said.out.starts_with("ZooKeeper data directory already exists at"), "{}", said.out);
    assert_eq!(place.read("data/version-2/snapshot.0"), "data");

    let said = initialize(&["--force"]);
    assert_eq!(
        said.out,
        format!(
            "Force enabled, data/txnlog directories will be re-initialized\nNo myid provided, be \
         sure to specify it in {} if using non-standalone\n",
            place.path("data/myid").display()
        )
    );
    assert!(!place.path("data/version-2/snapshot.0").exists());
    assert!(!place.path("data/myid").exists());
    let said = initialize(&["--what"]);
    assert!(said.code == Some(1) && said.out.starts_with("Unknown option: --what\nusage:"));
}

/// A tree of sources with a `cargo` that "builds" the stand-in.
#[test]
fn start_builds_what_is_not_built() {
    let place = Place::new(PLAIN);
    place.write("tree/Cargo.toml", "");
    place.write("tree/conf/zoo.cfg", &place.read("conf/zoo.cfg"));
    for script in ["zkServer.sh", "zkEnv.sh"] {
        place.program(&format!("tree/bin/{script}"), &fs::read_to_string(bin(script)).unwrap());
    }
    let cargo = "#!/bin/sh\necho \"cargo $*\" >> \"$NOTES\"\nmkdir -p target/release\n\
                 cp \"$HOME/ironkeeper\" target/release/\n";
    let run = |word: &str, path: &str| {
        let mut command = place.command(&place.path("tree/bin/zkServer.sh"), &[word]);
        command.env_remove("IRONKEEPER").env_remove("ZOOCFGDIR").env_remove("ZOO_LOG_DIR");
        said(command.env("PATH", path).output().unwrap())
    };
    let without = run("start", "/usr/bin:/bin");
    assert_eq!(without.code, Some(1));
    assert!(without.err.contains("Rust toolchain"), "{}", without.err);
    let without = run("status", "/usr/bin:/bin");
    assert!(without.code == Some(1) && without.err.contains("not built yet"), "{}", without.err);

    place.program(".cargo/bin/cargo", cargo);
    let built = run("start", "/usr/bin:/bin");
    assert_eq!(built.out, "Starting zookeeper ... STARTED\n", "{}", built.err);
    assert!(built.err.contains("building it"), "{}", built.err);
    assert!(place.read("notes").starts_with("cargo build --release --quiet\nserver "));
    assert!(place.path("tree/logs/zookeeper-me-server-here.out").exists());
}

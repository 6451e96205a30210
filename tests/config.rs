//! The program and its configuration, from outside: what it says and with which code it ends.

mod process;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use process::Server;

/// A configuration file in a directory of its own.
struct File {
    dir: PathBuf,
}

impl File {
    fn new(text: &str) -> File {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ironkeeper-config-{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(&dir).unwrap();
        let text = format!("dataDir={}/data\n{text}", dir.display());
        fs::write(dir.join("zoo.cfg"), text).unwrap();
        File { dir }
    }

    fn path(&self) -> String {
        self.dir.join("zoo.cfg").display().to_string()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn ironkeeper(words: &[&str], flags: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ironkeeper"))
        .args(words)
        .env_clear()
        .env("SERVER_JVMFLAGS", flags)
        .output()
        .unwrap()
}

/// Runs a server that must refuse, and gives what it says.
fn refusal(words: &[&str], flags: &str) -> String {
    let output = ironkeeper(&[&["server"], words].concat(), flags);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.ends_with("Invalid config, exiting abnormally\n"), "{said}");
    said
}

#[test]
fn a_wrong_value_ends_the_process_with_code_2_and_its_place() {
    let file = File::new("clientPort=2181\nsyncEnabled=perhaps\n");
    let said = refusal(&[&file.path()], "");
    let expected =
        format!("{}:3: syncEnabled=perhaps: not allowed; allowed: 'true' or 'false'", file.path());
    assert!(said.contains(&expected), "{said}");
    let said = refusal(&[&file.path()], "-Dzookeeper.snapCount=5 -Dzookeeper.maxCnxns=x");
    assert!(said.contains(":3: syncEnabled"), "the file comes first: {said}");
}

#[test]
fn flags_reach_the_server_from_variables_and_words() {
    let file = File::new("");
    let said = refusal(&[&file.path()], "-Xmx1g -Dzookeeper.maxCnxns=x");
    assert!(said.contains("command line: maxCnxns=x: not allowed"), "{said}");
    let said = refusal(&["-Dzookeeper.maxCnxns=y", &file.path()], "");
    assert!(said.contains("command line: maxCnxns=y: not allowed"), "{said}");
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let said = refusal(&["/no/such/zoo.cfg"], "");
    assert!(said.contains("Error processing /no/such/zoo.cfg"), "{said}");
    let file = File::new("dynamicConfigFile=/no/such/file\n");
    let said = refusal(&[&file.path()], "");
    assert!(said.contains("Error processing /no/such/file"), "{said}");
    let said = refusal(&[], "");
    assert!(said.contains("allowed: a configuration file, or port, directory"), "{said}");
}

#[test]
fn the_myid_file_is_read() {
    let servers = "server.1=a:1:2\nserver.2=b:1:2\ninitLimit=5\nsyncLimit=2\n";
    let file = File::new(servers);
    let said = refusal(&[&file.path()], "");
    assert!(said.contains("myid file is missing"), "{said}");
    fs::create_dir_all(file.dir.join("data")).unwrap();
    fs::write(file.dir.join("data/myid"), "first\n").unwrap();
    let said = refusal(&[&file.path()], "");
    assert!(said.contains("data/myid:1: serverid first is not a number"), "{said}");
}

#[test]
fn a_server_does_not_start_without_the_protection_that_is_asked_for() {
    let file = File::new("clientPort=2181\nsecureClientPort=2281\nsslQuorum=true\n");
    let said = refusal(&[&file.path()], "");
    for setting in ["secureClientPort is configured", "sslQuorum=true is configured"] {
        assert!(said.contains(setting), "{said}");
    }
}

#[test]
fn the_reference_and_the_version_are_printed() {
    let print = |command: &str| {
        let output = ironkeeper(&[command], "");
        assert_eq!(output.status.code(), Some(0));
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(print("config-reference").contains("**tickTime** – length of a tick"));
    assert!(print("version").starts_with("Apache ZooKeeper, version 3.9.5 "));
    assert!(print("help").contains("4lw HOST PORT WORD"));
    assert_eq!(ironkeeper(&["dance"], "").status.code(), Some(2));
    assert_eq!(ironkeeper(&["4lw", "localhost"], "").status.code(), Some(2));
}

#[test]
fn a_hangup_ends_nothing_and_sigterm_ends_well() {
    let mut server = Server::start("signals", "4lw.commands.whitelist=ruok\n");
    let signal = |name: &str, server: &Server| {
        let pid = server.process.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    };
    server.wait_for("srvr", |answer| answer.contains("Mode: standalone\n"));
    signal("-HUP", &server);
    server.wait_for("ruok", |answer| answer == "imok");
    signal("-TERM", &server);
    assert_eq!(server.process.wait().unwrap().code(), Some(0));
}

//! A running server asked by four-letter words, the way probes and monitors ask.

mod process;

use std::io::Write;
use std::net::{Shutdown, TcpStream};

use process::{DEADLINE, Server, free_port, read_all};

/// Telegraf's pattern for a line of `mntr`: `^zk_(\w[\w\.\-]*)\s+([\w\.\-]+)`. One line that does
/// not match makes it drop all.
fn telegraf_reads(line: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let more = |c: char| word(c) || c == '.' || c == '-';
    let Some(rest) = line.strip_prefix("zk_").filter(|rest| rest.starts_with(word)) else {
        return false;
    };
    let value = rest.trim_start_matches(more);
    value.starts_with(char::is_whitespace) && value.trim_start().starts_with(more)
}

#[test]
fn a_standalone_server() {
    let server = Server::start("words", "4lw.commands.whitelist=*\n");
    server.wait_for("srvr", |answer| answer.contains("Mode: standalone\n"));

    let ask = |word: &str| server.ask(word.as_bytes()).unwrap();
    // What comes after the four letters does not matter: probes send line ends of all kinds.
    for bytes in ["ruok", "ruok\n", "ruok\r\n", "ruok and much more"] {
        assert_eq!(ask(bytes), "imok", "{bytes:?}");
    }
    let exact = [
        ("isro", "rw"),
        ("gtmk", "306"),
        ("stmk\0\0\0\0\0\0\u{1}\u{2}", "258"),
        ("gtmk", "258"),
        ("crst", "Connection stats reset.\n"),
        ("srst", "Server stats reset.\n"),
        ("wchs", "0 connections watching 0 paths\nTotal watches:0\n"),
        ("wchc", "\n"),
        ("wchp", "\n"),
        ("hash", ""),
    ];
    for (word, answer) in exact {
        assert_eq!(ask(word), answer, "{word:?}");
    }
    assert_eq!(server.ask(b"\xff\xf4\xff\xfd").unwrap_or_default(), "", "telnet hangs up");

    let mntr = ask("mntr");
    let (mut lines, mut keys) = (0, std::collections::HashSet::new());
    for line in mntr.lines() {
        assert!(telegraf_reads(line), "{line:?}");
        lines += 1;
        keys.insert(line.split('\t').next().unwrap());
    }
    assert!(lines == keys.len() && lines > 490, "{lines} lines, {} keys", keys.len());
    assert!(mntr.starts_with("zk_version\t3.9.5-") && mntr.contains(", built on "), "{mntr}");
    for word in ["conf", "cons", "dirs", "dump", "envi", "stat"] {
        assert!(ask(word).lines().count() > 1, "{word}");
    }
    assert!(ask("conf").contains(&format!("clientPort={}\n", server.port)));
}

/// `nc` closes its half of the connection when it has sent the word.
#[test]
fn a_client_that_has_said_all_gets_its_answer() {
    let server = Server::start("words-half", "4lw.commands.whitelist=stat\n");
    server.wait_for("stat", |answer| answer.contains("Mode: standalone\n"));
    let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(b"stat").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let answer = read_all(stream).unwrap();
    assert!(answer.ends_with("Mode: standalone\nNode count: 5\n"), "{answer}");
}

#[test]
fn words_that_are_not_on_the_whitelist_are_refused() {
    let server = Server::start("words-refused", "4lw.commands.whitelist=ruok, wchs\n");
    server.wait_for("srvr", |answer| answer.contains("Mode: standalone\n"));
    let refusal = "is not executed because it is not in the whitelist.\n";
    for word in ["mntr", "conf", "isro", "stat"] {
        assert_eq!(server.ask(word.as_bytes()).unwrap(), format!("{word} {refusal}"));
    }
    assert_eq!(server.ask(b"ruok").unwrap(), "imok");
}

#[test]
fn a_member_without_a_quorum_says_that_it_does_not_serve() {
    let (mut servers, mut ports) = (String::new(), (0..6).map(|_| free_port()));
    for id in 1..=3 {
        let (quorum, election) = (ports.next().unwrap(), ports.next().unwrap());
        servers += &format!("server.{id}=127.0.0.1:{quorum}:{election}\n");
    }
    let config = format!("4lw.commands.whitelist=*\ninitLimit=5\nsyncLimit=2\n{servers}");
    let server = Server::start("words-alone", &config);
    server.wait_for("ruok", |answer| answer == "imok");
    let not_serving = "This ZooKeeper instance is not currently serving requests";
    let words = ["srvr", "stat", "mntr", "conf", "cons", "crst", "dirs", "dump", "srst", "wchs"];
    for word in words {
        assert_eq!(server.ask(word.as_bytes()).unwrap(), format!("{not_serving}\n"), "{word}");
    }
    assert_eq!(server.ask(b"hash").unwrap(), not_serving);
    assert_eq!(server.ask(b"isro").unwrap(), "null");
    assert_eq!(server.ask(b"gtmk").unwrap(), "306");
    assert!(server.ask(b"envi").unwrap().starts_with("Environment:\nzookeeper.version=3.9.5-"));
}

//! Bytes that no client should send, to a running server: it answers or hangs up, says in one line
//! who it was, and nobody else notices.

mod mutate;
mod process;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Instant;

use ironkeeper::wire::proto::{ConnectRequest, ReplyHeader};
use ironkeeper::wire::{Put, Reader, Record, code};
use mutate::Random;
use process::{DEADLINE, Server};

fn handshake(session_id: i64) -> Vec<u8> {
    let request = ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: 0,
        timeout: 30_000,
        session_id,
        passwd: Some([0; 16].into()),
        read_only: Some(false),
    };
    frame(&request.to_bytes())
}

fn frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.put_buffer(Some(payload));
    frame
}

fn request(op: i32, body: &[u8]) -> Vec<u8> {
    frame(&[&7i32.to_be_bytes()[..], &op.to_be_bytes(), body].concat())
}

/// A path, and the number of a list's items or another number behind it.
fn path_and(number: i32) -> Vec<u8> {
    let mut body = Vec::new();
    body.put_str("/");
    body.put_i32(number);
    body
}

struct Client(TcpStream);

impl Client {
    fn dial(server: &Server) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Self(stream)
    }

    fn open(server: &Server) -> Self {
        let mut client = Self::dial(server);
        client.send(&handshake(0));
        assert_eq!(client.frame().map(|frame| frame.len()), Some(37));
        client
    }

    /// The server may have hung up already.
    fn send(&mut self, bytes: &[u8]) {
        let _ = self.0.write_all(bytes);
    }

    /// `None` when the server has hung up.
    fn frame(&mut self) -> Option<Vec<u8>> {
        let mut len = [0; 4];
        self.0.read_exact(&mut len).ok()?;
        let mut frame = vec![0; u32::from_be_bytes(len) as usize];
        self.0.read_exact(&mut frame).ok()?;
        Some(frame)
    }

    /// The error code of the next reply.
    fn err(&mut self) -> Option<i32> {
        let frame = self.frame()?;
        Some(Reader::new(&frame).record::<ReplyHeader>().unwrap().err)
    }
}

fn log(server: &Server) -> String {
    String::from_utf8(std::fs::read(server.dir.join("log")).unwrap()).expect("text")
}

/// Waits until the log has another line that is a warning or worse; gives those there are.
fn complaints(server: &Server, more_than: usize) -> Vec<String> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let log = log(server);
        let is_bad = |line: &&str| line.contains(" - WARN ") || line.contains(" - ERROR ");
        let bad: Vec<String> = log.lines().filter(is_bad).map(str::to_owned).collect();
        if bad.len() > more_than {
            return bad;
        }
        assert!(Instant::now() < deadline, "no line about it:\n{log}");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn what_is_wrong_is_answered_and_said_once() {
    let server = Server::start("hostile", "4lw.commands.whitelist=*\n");
    server.wait_for("srvr", |answer| answer.contains("Mode: standalone\n"));
    let huge = i32::MAX;
    let multi = [&code::CREATE.to_be_bytes()[..], b"\0\xff\xff\xff\xff", &path_and(huge)].concat();
    let watches = [&[0; 8][..], &huge.to_be_bytes()].concat();
    let injection =
        [&0i32.to_be_bytes()[..], &frame(b"x\n2026 - ERROR y\x1b[2J"), &[0; 4]].concat();
    // Bytes; whether a session comes first; the error code of the answer, if there is one.
    let rows: [(&str, Vec<u8>, bool, Option<i32>); 19] = [
        ("a length below zero", vec![0xff; 4], false, None),
        ("a frame too long", (1i32 << 24).to_be_bytes().to_vec(), false, None),
        ("an empty frame", vec![0; 4], false, None),
        ("HTTP", b"GET / HTTP/1.1\r\n\r\n".to_vec(), false, None),
        ("TLS", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03".to_vec(), false, None),
        ("no handshake", request(code::GET_DATA, &path_and(0)), false, None),
        ("a handshake cut short", frame(&handshake(0)[4..20]), false, None),
        ("a request without an op code", frame(&[0; 7]), true, None),
        ("an unknown op code", request(4711, b""), true, Some(-6)),
        ("a write without a body", request(code::CREATE, b""), true, Some(-5)),
        ("a read without a body", request(code::GET_DATA, b""), true, Some(-5)),
        ("a path longer than its frame", request(code::DELETE, &[0x7f; 8]), true, Some(-5)),
        ("a list of many ACLs", request(code::SET_ACL, &path_and(huge)), true, Some(-5)),
        ("a list of less than none", request(code::SET_ACL, &path_and(-7)), true, Some(-5)),
        ("a multi of nonsense", request(code::MULTI, &multi), true, Some(-5)),
        ("a multiRead of nonsense", request(code::MULTI_READ, &multi), true, Some(-5)),
        ("many watches", request(code::SET_WATCHES, &watches), true, Some(-5)),
        ("half an auth packet", request(code::AUTH, &[0; 6]), true, None),
        ("a scheme with a line of its own", request(code::AUTH, &injection), true, Some(-115)),
    ];
    let mut bystander = Client::open(&server);
    let mut said = 0;
    for (what, bytes, with_session, answer) in rows {
        let mut client = if with_session { Client::open(&server) } else { Client::dial(&server) };
        client.send(&bytes);
        assert_eq!(client.err(), answer, "{what}");
        let bad = complaints(&server, said);
        assert!(bad.len() == said + 1 && bad[said].contains("127.0.0.1"), "{what}: {bad:?}");
        said = bad.len();
        bystander.send(&request(code::PING, b""));
        assert_eq!(bystander.err(), Some(0), "{what}");
    }
    let mut thief = Client::dial(&server);
    thief.send(&handshake(0x1234));
    assert_eq!(thief.frame().map(|frame| frame[4..12] == [0; 8]), Some(true), "no session");
    assert!(complaints(&server, said)[said].contains("127.0.0.1: incorrect password"));
    assert!(log(&server).chars().all(|c| c == '\n' || !c.is_control()));
}

/// The frames that clients sent in the recorded conversations.
fn recorded() -> Vec<Vec<u8>> {
    let digit = |b: u8| (b as char).to_digit(16).unwrap() as u8;
    let unhex = |text: &str| -> Vec<u8> {
        text.as_bytes().chunks_exact(2).map(|p| digit(p[0]) << 4 | digit(p[1])).collect()
    };
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/wire");
    let mut frames = Vec::new();
    for file in std::fs::read_dir(directory).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let sent = text.lines().filter_map(|line| line.split_once("> "));
        frames.extend(
            sent.filter(|(name, _)| !name.starts_with('@'))
                .map(|(_, hex)| unhex(hex.split(' ').next().unwrap())),
        );
    }
    frames
}

#[test]
fn frames_that_are_nearly_right_harm_nobody() {
    let server = Server::start("nearly", "maxClientCnxns=0\n");
    server.wait_for("srvr", |answer| answer.contains("Mode: standalone\n"));
    let frames = recorded();
    let mut random = Random(0x5eed_0002);
    let mut bystander = Client::open(&server);
    for _ in 0..300 {
        let mut client =
            if random.below(8) == 0 { Client::dial(&server) } else { Client::open(&server) };
        let mut bytes = Vec::new();
        for _ in 0..=random.below(10) {
            let recorded = &frames[random.below(frames.len())];
            match random.below(4) {
                0 => bytes.extend(random.mutate(recorded)),
                _ => bytes.extend(frame(&random.mutate(recorded.get(4..).unwrap_or_default()))),
            }
        }
        client.send(&bytes);
        drop(client);
        bystander.send(&request(code::GET_DATA, &[&frame(b"/zookeeper")[..], &[0]].concat()));
        assert_eq!(bystander.err(), Some(0));
    }
    assert!(server.ask(b"srvr").unwrap().contains("Mode: standalone"));
    assert!(!log(&server).contains("panicked"), "{}", log(&server));
}

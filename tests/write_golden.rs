//! Conversations that a Java server 3.9.5 had with clients (tests/golden/wire), their writes played
//! through prep, the tree and the replies: every answer must be Java's, byte for byte but for the
//! bytes that differ from run to run.

mod mutate;

use std::collections::{BTreeMap, HashMap};

use ironkeeper::auth::{AuthConfig, Registry, ip};
use ironkeeper::metrics::ServerMetrics;
use ironkeeper::pipeline::prep::{Context, Outcome, Prep, PrepOptions, PrepRequest};
use ironkeeper::pipeline::reply::{self, Answer, ReplyTo};
use ironkeeper::session::{Kind, SessionTracker};
use ironkeeper::tree::{DataTree, OwnerRules, Seed, TreeOptions};
use ironkeeper::wire::proto::{AuthPacket, ConnectRequest};
use ironkeeper::wire::txn::CreateSessionTxn;
use ironkeeper::wire::{Id, Reader, Record, code, op};
use mutate::Random;

struct Server {
    tree: DataTree,
    sessions: SessionTracker,
    auth: Registry,
    prep: Prep,
}

#[derive(Default)]
struct Client {
    session: Option<i64>,
    ids: Vec<Id>,
}

impl Server {
    /// As tests/golden/record.py starts Java's.
    fn new() -> Self {
        let owner_rules = OwnerRules { extended_types: true, emulate_353: false };
        let tree =
            DataTree::new(TreeOptions { digest_enabled: true, owner_rules, seed: Seed(1, 2) });
        let super_digest = Some("super:D/InIHSb7yEEbrWz8b9l71RjZJU=");
        let options = PrepOptions {
            enforce_quota: false,
            close_session_txn: true,
            reconfig: false,
            standalone: true,
            multi_address: false,
            max_txn: 2 << 20,
        };
        Self {
            sessions: SessionTracker::new(Kind::Standalone, &BTreeMap::new(), 2000, 1, 0),
            auth: Registry::new(&AuthConfig { super_digest, ..Default::default() }).unwrap(),
            prep: Prep::new(options, 0, &tree),
            tree,
        }
    }

    /// The reply to a write; `None` where the connection is closed without.
    fn write(&mut self, client: &Client, xid: i32, op: i32, body: &[u8]) -> Option<Vec<u8>> {
        let request = PrepRequest {
            session: client.session.expect("connected"),
            cxid: xid,
            op,
            body,
            ids: &client.ids,
            owner: None,
            upgrade_error: None,
        };
        let mut context = Context {
            tree: &self.tree,
            sessions: &mut self.sessions,
            auth: &self.auth,
            ensemble: None,
            time: 0,
            now: 0,
            metrics: &ServerMetrics::default(),
        };
        let mut out = Vec::new();
        let prepared = match self.prep.prepare(&request, &mut context) {
            Outcome::Txn(prepared) => prepared,
            Outcome::NoTxn(result) => {
                let err = result.expect_err("a write without a transaction").code();
                reply::error(&mut out, xid, self.tree.last_zxid(), err);
                return Some(out);
            }
        };
        let zxid = prepared.header.zxid;
        let applied = self.tree.apply(&prepared.header, &prepared.txn, &mut |_| {});
        self.prep.applied(zxid);
        if let Some(promised) = &prepared.digest {
            assert_eq!(promised.digest, self.tree.digest(), "{:?}", prepared.txn);
        }
        if op == code::CLOSE_SESSION {
            self.sessions.remove_session(request.session);
        }
        let to = ReplyTo { xid, op, config: "" };
        (reply::write(&mut out, &to, zxid, &applied) == Answer::Frame).then_some(out)
    }

    /// The answer to a client's first frame, which must be that of a new session.
    fn connect(&mut self, client: &mut Client, frame: &[u8], session: i64) -> Vec<u8> {
        let request: ConnectRequest = Reader::new(frame).record().unwrap();
        let timeout = request.timeout.clamp(4000, 40_000);
        client.session = Some(session);
        client.ids = vec![ip::id_of("127.0.0.1".parse().unwrap())];
        let body = CreateSessionTxn { timeout }.to_bytes();
        self.write(client, 0, code::CREATE_SESSION, &body);
        let mut out = Vec::new();
        reply::session(&mut out, session, timeout, request.read_only.map(|_| false));
        out
    }
}

fn hex(text: &str) -> Vec<u8> {
    let byte = |i| u8::from_str_radix(&text[i..i + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(byte).collect()
}

/// A frame without the bytes that differ from run to run (` ~offset:length,...`).
fn masked(mut frame: Vec<u8>, mask: Option<&str>) -> Vec<u8> {
    for range in mask.into_iter().flat_map(|m| m.split(',')) {
        let (offset, len) = range.split_once(':').unwrap();
        let (offset, len): (usize, usize) = (offset.parse().unwrap(), len.parse().unwrap());
        if let Some(bytes) = frame.get_mut(offset..offset + len) {
            bytes.fill(0);
        }
    }
    frame
}

type Answered<'a> = (Vec<u8>, Option<&'a str>);

/// The next frame on a connection with that xid, from line `at` on, and its mask.
fn answer<'a>(lines: &[&'a str], at: usize, name: &str, xid: Option<i32>) -> Option<Answered<'a>> {
    lines[at..].iter().find_map(|line| {
        let rest = line.strip_prefix(name)?.strip_prefix("< ")?;
        let (frame, mask) = match rest.split_once(" ~") {
            Some((frame, mask)) => (hex(frame), Some(mask)),
            None => (hex(rest), None),
        };
        xid.is_none_or(|xid| frame[4..8] == xid.to_be_bytes()).then_some((frame, mask))
    })
}

/// Plays a conversation; gives how many answers were compared.
fn play(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let mut server = Server::new();
    let mut clients: HashMap<&str, Client> = HashMap::new();
    let mut compared = 0;
    for (at, line) in lines.iter().enumerate() {
        let Some((name, frame)) = line.split_once("> ").filter(|_| !line.starts_with('@')) else {
            continue;
        };
        let frame = hex(frame);
        let frame = &frame[4..];
        let mut client = clients.remove(name).unwrap_or_default();
        if client.session.is_none() {
            // A senseless handshake is not answered.
            let Some((want, _)) = answer(&lines, at, name, None) else { continue };
            let session = i64::from_be_bytes(want[12..20].try_into().unwrap());
            assert_eq!(server.connect(&mut client, frame, session), want, "{line}");
            compared += 1;
        } else if frame.len() >= 8 {
            let mut r = Reader::new(frame);
            let (xid, op) = (r.i32().unwrap(), r.i32().unwrap());
            if op == code::AUTH {
                if let Ok(packet) = r.record::<AuthPacket>() {
                    let data = packet.auth.unwrap_or_default();
                    let addr = "127.0.0.1".parse().unwrap();
                    let ids = server.auth.authenticate(&packet.scheme, addr, &data);
                    client.ids.extend(ids.unwrap_or_default());
                }
            } else if op::is_write(op) && op != code::CHECK {
                // None where the server did not read on, the connection being on its way out.
                if let Some((want, mask)) = answer(&lines, at, name, Some(xid)) {
                    let got = server.write(&client, xid, op, r.rest());
                    let got = got.map(|frame| masked(frame, mask));
                    assert_eq!(got, Some(masked(want, mask)), "{line}");
                    compared += 1;
                }
            }
        }
        clients.insert(name, client);
    }
    compared
}

#[test]
fn writes_are_answered_as_java_answers_them() {
    let conversations = [
        ("authentication", include_str!("golden/wire/authentication.txt"), 12),
        ("create_nodes", include_str!("golden/wire/create_nodes.txt"), 49),
        ("write_nodes", include_str!("golden/wire/write_nodes.txt"), 27),
        ("multi_operations", include_str!("golden/wire/multi_operations.txt"), 12),
        ("multi_nonsense", include_str!("golden/wire/multi_nonsense.txt"), 6),
        ("quotas", include_str!("golden/wire/quotas.txt"), 11),
        ("reconfiguration", include_str!("golden/wire/reconfiguration.txt"), 4),
        ("watches", include_str!("golden/wire/watches.txt"), 15),
        ("persistent_watches", include_str!("golden/wire/persistent_watches.txt"), 15),
        ("set_watches", include_str!("golden/wire/set_watches.txt"), 16),
        ("read_nodes", include_str!("golden/wire/read_nodes.txt"), 10),
        ("nonsense", include_str!("golden/wire/nonsense.txt"), 8),
        ("undecodable", include_str!("golden/wire/undecodable.txt"), 12),
        ("delete_container", include_str!("golden/wire/delete_container.txt"), 5),
        ("broken_clients", include_str!("golden/wire/broken_clients.txt"), 4),
    ];
    for (name, text, answers) in conversations {
        assert_eq!(play(text), answers, "answers compared in {name}");
    }
}

/// The same conversations with bytes changed: no panic, and prep promises what applying does.
#[test]
fn requests_that_are_nearly_right_do_no_harm() {
    let mut random = Random(0x5eed_0001);
    for file in std::fs::read_dir("tests/golden/wire").unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let requests: Vec<Vec<u8>> = text
            .lines()
            .filter(|line| !line.starts_with('@'))
            .filter_map(|line| line.split_once("> "))
            .map(|(_, frame)| hex(frame.split(' ').next().unwrap_or_default()))
            .filter_map(|frame| frame.get(4..).map(<[u8]>::to_vec))
            .filter(|frame| frame.len() >= 8)
            .collect();
        for _ in 0..500 {
            let mut server = Server::new();
            let client = Client { session: Some(7), ids: vec![Id::new("super", "")] };
            let open = CreateSessionTxn { timeout: 30_000 }.to_bytes();
            server.write(&client, 0, code::CREATE_SESSION, &open);
            for request in &requests {
                let op = Reader::new(&request[4..]).i32().unwrap();
                let body = match random.below(3) {
                    0 => request[8..].to_vec(),
                    _ => random.mutate(&request[8..]),
                };
                if op::is_write(op) && !matches!(op, code::CHECK | code::CLOSE_SESSION) {
                    server.write(&client, 1, op, &body);
                }
            }
        }
    }
}

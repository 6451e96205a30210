//! Meshes on loopback: real sockets, conditions with deadlines.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};

use super::*;
use crate::wire::election::{Handshake, ServerState, read_frame};

const PATIENCE: Duration = Duration::from_secs(20);

/// A port that nobody uses now.
fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

fn at(port: u16) -> Vec<Address> {
    vec![Address { host: "127.0.0.1".into(), port }]
}

/// The membership as server `me` sees it, of servers 1, 2, … at these ports.
fn members(me: i64, ports: &[u16]) -> Members {
    let of = |sid: i64| at(ports[sid as usize - 1]);
    let others = (1..=ports.len() as i64).filter(|sid| *sid != me);
    Members { own: of(me), peers: others.map(|sid| (sid, of(sid))).collect() }
}

struct Node {
    mesh: Mesh,
    events: Receiver<MeshEvent>,
}

impl Node {
    fn start(me: i64, ports: &[u16]) -> Node {
        Self::start_with(MeshConfig::new(me), members(me, ports))
    }

    fn start_with(config: MeshConfig, members: Members) -> Node {
        let (sender, events) = bounded(100);
        Node { mesh: Mesh::start(config, members, sender).unwrap(), events }
    }

    /// Drops events up to one that satisfies the condition.
    fn wait_for(&self, what: &str, wanted: impl Fn(&MeshEvent) -> bool) -> MeshEvent {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        loop {
            match self.events.recv_deadline(deadline) {
                Ok(event) if wanted(&event) => return event,
                Ok(event) => seen.push(event),
                Err(RecvTimeoutError::Timeout) => panic!("no {what} but {seen:?}"),
                Err(RecvTimeoutError::Disconnected) => panic!("mesh ended; seen {seen:?}"),
            }
        }
    }

    fn wait_connected(&self, sid: i64) {
        self.wait_for("connection", |event| *event == MeshEvent::Connected { sid });
    }

    fn wait_disconnected(&self, sid: i64) {
        self.wait_for("break", |event| *event == MeshEvent::Disconnected { sid });
    }

    fn wait_vote(&self, sid: i64, vote: &Notification) {
        let wanted = MeshEvent::Received { from: sid, notification: vote.clone() };
        self.wait_for("vote", |event| *event == wanted);
    }
}

fn vote(leader: i64) -> Notification {
    Notification {
        state: ServerState::Looking,
        leader,
        zxid: 1,
        election_epoch: 1,
        peer_epoch: 1,
        version: 2,
        config: Some("version=0".into()),
    }
}

fn exchange(a: &Node, a_sid: i64, b: &Node, b_sid: i64) {
    a.mesh.send(b_sid, &vote(a_sid));
    b.wait_vote(a_sid, &vote(a_sid));
    b.mesh.send(a_sid, &vote(b_sid));
    a.wait_vote(b_sid, &vote(b_sid));
}

#[test]
fn links_come_up_in_either_order_of_start_and_again_after_a_restart() {
    for order in [[1, 2], [2, 1]] {
        let ports = [free_port(), free_port()];
        let first = Node::start(order[0], &ports);
        for _ in 0..2 {
            let second = Node::start(order[1], &ports);
            first.wait_connected(order[1]);
            second.wait_connected(order[0]);
            exchange(&first, order[0], &second, order[1]);
            assert_eq!(first.mesh.connected(), [order[1]]);
            second.mesh.stop();
            first.wait_disconnected(order[1]);
            assert_eq!(first.mesh.connected(), []);
        }
    }
}

#[test]
fn three_servers_make_a_full_mesh() {
    let ports = [free_port(), free_port(), free_port()];
    let nodes: Vec<Node> = (1..=3).map(|sid| Node::start(sid, &ports)).collect();
    for (i, node) in nodes.iter().enumerate() {
        for other in (1..=3).filter(|other| *other != i as i64 + 1) {
            let deadline = Instant::now() + PATIENCE;
            while !node.mesh.connected().contains(&other) {
                assert!(Instant::now() < deadline, "server {} has no link to {other}", i + 1);
                // Events must be taken, or the mesh waits for us.
                let _ = node.events.recv_timeout(Duration::from_millis(5));
            }
        }
    }
}

fn raw(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn raw_handshake(sid: i64, port: u16) -> Vec<u8> {
    Handshake { sid, addresses: vec![("127.0.0.1".into(), port)] }.to_bytes(false)
}

fn assert_closed(mut stream: TcpStream) {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}"),
    }
}

/// Connects until the listener is there.
fn patient(port: u16) -> TcpStream {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => {
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                return stream;
            }
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// ZOOKEEPER-3769, and what Java's listener thread does with a silent connection: it waits.
#[test]
fn zookeeper_3769_garbage_costs_its_own_connection_only() {
    let ports = [free_port(), free_port(), free_port()];
    let node = Node::start(1, &ports);
    let silent = patient(ports[0]);
    for garbage in [
        b"GET / HTTP/1.1\r\n\r\n\xff\xff\xff".to_vec(),
        vec![0xff; 64],
        (-65536i64).to_be_bytes().to_vec(),
        raw_handshake(1, 1),
        [raw_handshake(2, 1), 0i32.to_be_bytes().to_vec()].concat(),
        [raw_handshake(2, 1), i32::MAX.to_be_bytes().to_vec()].concat(),
        [raw_handshake(2, 1), b"\0\0\0\x05abcde".to_vec()].concat(),
    ] {
        let mut stream = raw(ports[0]);
        stream.write_all(&garbage).unwrap();
        // It may have hung up already.
        let _ = stream.shutdown(std::net::Shutdown::Write);
        assert_closed(stream);
    }
    let second = Node::start(3, &ports);
    node.wait_connected(3);
    exchange(&node, 1, &second, 3);
    drop(silent);
}

#[test]
fn a_handshake_may_come_in_pieces_and_from_a_version_before_3_5() {
    let ports = [free_port(), free_port()];
    let node = Node::start(1, &ports);
    let legacy = 2i64.to_be_bytes().to_vec();
    for handshake in [raw_handshake(2, ports[1]), legacy] {
        let mut stream = patient(ports[0]);
        for byte in &handshake {
            stream.write_all(&[*byte]).unwrap();
        }
        node.wait_connected(2);
        let mut frame = Vec::new();
        write_frame(&vote(2).to_bytes(), &mut frame);
        stream.write_all(&frame).unwrap();
        node.wait_vote(2, &vote(2));
        node.mesh.send(2, &vote(7));
        let answer = read_frame(&mut stream).unwrap();
        assert_eq!(Notification::from_bytes(&answer), Ok(vote(7)));
    }
}

/// A server with a smaller id only says that it is there, and is dialled back – where it says that
/// it is, even if no configuration knows it (a joiner).
#[test]
fn a_smaller_id_is_dialled_back_even_if_it_is_a_stranger() {
    let ports = [free_port(), free_port(), free_port()];
    let node = Node::start_with(MeshConfig::new(9), members(3, &ports));
    for sid in [2, 5] {
        let mine = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let mut asking = patient(ports[2]);
        let mine_at = mine.local_addr().unwrap().port();
        asking.write_all(&raw_handshake(sid, mine_at)).unwrap();
        assert_closed(asking);
        let (mut link, _) = mine.accept().unwrap();
        let handshake = Handshake::read_from(&mut link).unwrap();
        assert_eq!(handshake.sid, 9);
        assert_eq!(handshake.addresses, [("127.0.0.1".to_string(), ports[2])]);
        let mut frame = Vec::new();
        write_frame(&vote(sid).to_bytes(), &mut frame);
        link.write_all(&frame).unwrap();
        node.wait_vote(sid, &vote(sid));
        node.mesh.send(sid, &vote(9));
        let answer = read_frame(&mut link).unwrap();
        assert_eq!(Notification::from_bytes(&answer), Ok(vote(9)));
    }
    // The stranger is no member, and is forgotten when it goes.
    assert!(!node.mesh.connected().contains(&5));
    let deadline = Instant::now() + PATIENCE;
    while node.mesh.shared.peer(5).is_some() {
        assert!(Instant::now() < deadline, "the stranger is still known");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn strangers_are_bounded() {
    let ports = [free_port(), free_port()];
    let node = Node::start(1, &ports);
    let mut links = Vec::new();
    for sid in 100..100 + MAX_STRANGERS as i64 + 1 {
        let mut stream = patient(ports[0]);
        stream.write_all(&raw_handshake(sid, 1)).unwrap();
        links.push(stream);
        let deadline = Instant::now() + PATIENCE;
        while links.len() <= MAX_STRANGERS && node.mesh.shared.peer(sid).is_none() {
            assert!(Instant::now() < deadline, "stranger {sid} is not let in");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    assert_closed(links.pop().unwrap());
    assert_eq!(lock(&node.mesh.shared.peers).len(), MAX_STRANGERS + 1);
}

#[test]
fn members_come_and_go_and_ports_change() {
    let mut ports = [free_port(), free_port()];
    let mut one = Node::start_with(MeshConfig::new(1), members(1, &ports[..1]));
    let two = Node::start(2, &ports);
    // A stranger to server 1 at first: there is a link, but no event.
    two.wait_connected(1);
    one.mesh.set_members(members(1, &ports)).unwrap();
    one.wait_connected(2);
    exchange(&one, 1, &two, 2);

    one.mesh.set_members(members(1, &ports[..1])).unwrap();
    two.wait_disconnected(1);
    two.mesh.stop();

    ports[0] = free_port();
    one.mesh.set_members(members(1, &ports)).unwrap();
    let two = Node::start(2, &ports);
    one.wait_connected(2);
    exchange(&one, 1, &two, 2);
}

#[test]
fn a_port_that_cannot_be_bound_is_reported_after_the_attempts() {
    let holder = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = holder.local_addr().unwrap().port();
    let config = MeshConfig { bind_attempts: 2, ..MeshConfig::new(1) };
    let node = Node::start_with(config, members(1, &[port]));
    node.wait_for("failure", |event| match event {
        MeshEvent::ListenerFailed { error } => error.contains(&port.to_string()),
        _ => false,
    });
    // One address of two is enough.
    let both = Members { own: [at(port), at(free_port())].concat(), ..Members::default() };
    let usable = both.own[1].port;
    let _node = Node::start_with(MeshConfig::new(1), both);
    patient(usable);
}

#[test]
fn on_all_interfaces_without_resolving_its_own_name() {
    let port = free_port();
    let own = vec![Address { host: "no-such-host.invalid".into(), port }];
    let config = MeshConfig { listen_on_all_ips: true, ..MeshConfig::new(1) };
    let _node = Node::start_with(config, Members { own, ..Members::default() });
    patient(port);
}

/// Only the newest vote is kept for a peer that does not take them.
#[test]
fn the_newest_vote_replaces_what_was_not_sent() {
    let ports = [free_port(), free_port()];
    let node = Node::start(1, &ports);
    let mut peer = patient(ports[0]);
    peer.write_all(&raw_handshake(2, ports[1])).unwrap();
    node.wait_connected(2);
    let large = Notification { config: Some("x".repeat(400_000)), ..vote(1) };
    for leader in 0..200 {
        node.mesh.send(2, &Notification { leader, ..large.clone() });
    }
    let mut votes = Vec::new();
    while votes.last() != Some(&199) {
        let frame = read_frame(&mut peer).unwrap();
        votes.push(Notification::from_bytes(&frame).unwrap().leader);
    }
    assert!(votes.len() < 150, "{votes:?}");
    assert!(votes.is_sorted(), "{votes:?}");
}

/// Nobody takes the events: the mesh holds back its peers, and still stops.
#[test]
fn a_full_channel_does_not_keep_the_mesh_from_stopping() {
    let port = free_port();
    let (sender, events) = bounded(0);
    let mesh = Mesh::start(MeshConfig::new(1), members(1, &[port, free_port()]), sender).unwrap();
    let mut peer = patient(port);
    peer.write_all(&raw_handshake(2, 1)).unwrap();
    let mut frame = Vec::new();
    write_frame(&vote(2).to_bytes(), &mut frame);
    peer.write_all(&frame.repeat(10)).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while lock(&mesh.shared.peers).values().all(|peer| !peer.is_connected()) {
        assert!(Instant::now() < deadline, "no link");
        std::thread::sleep(Duration::from_millis(1));
    }
    mesh.stop();
    assert_closed(peer);
    drop(events);
}

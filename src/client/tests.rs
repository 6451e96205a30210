//! The client against a server of the test's own: a thread that reads requests and says what the
//! test wants said.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, unbounded};

use super::conn::read_frame;
use super::error::CONNECTION_LOSS;
use super::*;
use crate::wire::op::xid;
use crate::wire::proto::{
    ConnectRequest, ConnectResponse, GetDataResponse, ReplyHeader, RequestHeader, SetWatches2,
    WatcherEvent,
};
use crate::wire::{ErrorCode, Put, Reader, Record, Stat};

const PATIENCE: Duration = Duration::from_secs(10);

/// One accepted connection, seen from the server.
struct Peer(TcpStream);

impl Peer {
    /// Accepts a client and grants what it asks for; gives the connection and the request.
    fn accept(listener: &TcpListener) -> (Self, ConnectRequest) {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut buf = vec![];
        read_frame(&mut stream, &mut buf).unwrap();
        (Self(stream), ConnectRequest::read(&mut Reader::new(&buf)).unwrap())
    }

    fn grant(&mut self, session_id: i64, timeout: i32) {
        let response = ConnectResponse {
            protocol_version: 0,
            timeout,
            session_id,
            passwd: [7; 16],
            read_only: Some(false),
        };
        self.send(&response.to_bytes());
    }

    fn send(&mut self, packet: &[u8]) {
        let mut frame = vec![];
        frame.put_buffer(Some(packet));
        self.0.write_all(&frame).unwrap();
    }

    fn receive(&mut self) -> (RequestHeader, Vec<u8>) {
        let mut buf = vec![];
        read_frame(&mut self.0, &mut buf).unwrap();
        let mut reader = Reader::new(&buf);
        (reader.record().unwrap(), reader.rest().to_vec())
    }

    fn reply(&mut self, xid: i32, zxid: i64, err: i32, body: &impl Record) {
        let mut packet = ReplyHeader { xid, zxid, err }.to_bytes();
        body.write(&mut packet);
        self.send(&packet);
    }
}

fn connected() -> (TcpListener, Client, Receiver<WatchedEvent>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (sender, events) = unbounded();
    let servers = format!("{}/app", listener.local_addr().unwrap());
    let client = Client::connect(&servers, 30_000, false, move |event| {
        sender.send(event).unwrap();
    });
    (listener, client.unwrap(), events)
}

fn next_state(events: &Receiver<WatchedEvent>) -> KeeperState {
    events.recv_timeout(PATIENCE).unwrap().state
}

#[test]
fn a_lost_connection_is_replaced_with_its_watches() {
    let (listener, client, events) = connected();
    let server = thread::spawn(move || {
        let (mut peer, hello) = Peer::accept(&listener);
        assert_eq!((hello.session_id, hello.timeout), (0, 30_000));
        peer.grant(5, 20_000);
        let (header, body) = peer.receive();
        assert_eq!((header.op, body), (code::GET_DATA, b"\0\0\0\x06/app/a\x01".to_vec()));
        let answer = GetDataResponse { data: Some(Box::from(*b"v")), stat: Stat::default() };
        peer.reply(header.xid, 9, 0, &answer);
        // A request that will never be answered.
        assert_eq!(peer.receive().0.op, code::DELETE);
        drop(peer);

        let (mut peer, hello) = Peer::accept(&listener);
        assert_eq!((hello.session_id, hello.last_zxid_seen), (5, 9));
        assert_eq!(hello.passwd.as_deref(), Some(&[7; 16][..]));
        peer.grant(5, 20_000);
        let (header, body) = peer.receive();
        assert_eq!((header.xid, header.op), (xid::SET_WATCHES, code::SET_WATCHES2));
        let set: SetWatches2 = Reader::new(&body).record().unwrap();
        assert_eq!((set.relative_zxid, set.data), (9, vec!["/app/a".to_owned()]));
        peer.reply(xid::SET_WATCHES, 9, 0, &Vec::<i32>::new());
        let event = WatcherEvent { kind: 3, state: 3, path: "/app/a".into() };
        peer.reply(xid::NOTIFICATION, 10, 0, &event);
        peer
    });
    let got = client.get_data("/a", true).unwrap();
    assert_eq!(got.data.as_deref(), Some(&b"v"[..]));
    assert_eq!((client.session_id(), client.timeout_ms()), (5, 20_000));
    assert_eq!(client.delete("/a", -1), Err(Error::new(CONNECTION_LOSS, "/a")));
    assert_eq!(next_state(&events), KeeperState::SyncConnected);
    assert_eq!(next_state(&events), KeeperState::Disconnected);
    assert_eq!(next_state(&events), KeeperState::SyncConnected);
    let event = events.recv_timeout(PATIENCE).unwrap();
    assert_eq!((event.kind, event.path.as_deref(), event.zxid), (3, Some("/a"), 10));
    drop(server.join().unwrap());
}

#[test]
fn an_expired_session_is_over() {
    let (listener, client, events) = connected();
    let (mut peer, _) = Peer::accept(&listener);
    peer.grant(0, 0);
    assert_eq!(next_state(&events), KeeperState::Expired);
    assert!(client.exists("/", false).unwrap_err().is(ErrorCode::SessionExpired));
    assert_eq!(client.state(), State::Closed);
}

#[test]
fn refused_credentials_end_the_session() {
    let (listener, client, events) = connected();
    let (mut peer, _) = Peer::accept(&listener);
    client.add_auth("digest", Some(b"u:p"));
    peer.grant(5, 20_000);
    assert_eq!(peer.receive().0.op, code::AUTH);
    peer.reply(xid::AUTH, 0, ErrorCode::AuthFailed.code(), &Vec::<i32>::new());
    assert_eq!(next_state(&events), KeeperState::SyncConnected);
    assert_eq!(next_state(&events), KeeperState::AuthFailed);
    assert!(client.exists("/", false).unwrap_err().is(ErrorCode::AuthFailed));
}

#[test]
fn a_silent_connection_is_pinged_and_given_up() {
    let (listener, _client, events) = connected();
    let (mut peer, _) = Peer::accept(&listener);
    peer.grant(5, 300);
    assert_eq!(peer.receive().0, RequestHeader { xid: xid::PING, op: code::PING });
    assert_eq!(next_state(&events), KeeperState::SyncConnected);
    assert_eq!(next_state(&events), KeeperState::Disconnected);
}

#[test]
fn closing_closes_the_session() {
    let (listener, client, events) = connected();
    let (mut peer, _) = Peer::accept(&listener);
    peer.grant(5, 20_000);
    assert_eq!(next_state(&events), KeeperState::SyncConnected);
    let closing = thread::spawn(move || client.close());
    let (header, _) = peer.receive();
    assert_eq!(header.op, code::CLOSE_SESSION);
    peer.reply(header.xid, 1, 0, &Vec::<i32>::new());
    drop(peer);
    closing.join().unwrap();
    assert_eq!(next_state(&events), KeeperState::Closed);
    assert!(events.try_recv().is_err(), "closed means closed");
}

#[test]
fn a_refused_connection_fails_what_waits() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let servers = listener.local_addr().unwrap().to_string();
    drop(listener);
    let client = Client::connect(&servers, 30_000, false, |_| {}).unwrap();
    assert_eq!(client.exists("/", false), Err(Error::new(CONNECTION_LOSS, "/")));
    assert!(client.state().is_alive());
}

#[test]
fn events_print_as_javas() {
    let mut event = WatchedEvent::of(KeeperState::SyncConnected);
    assert_eq!(event.to_string(), "WatchedEvent state:SyncConnected type:None path:null zxid: -1");
    (event.kind, event.path, event.zxid) = (3, Some("/a".into()), 7);
    assert_eq!(
        event.to_string(),
        "WatchedEvent state:SyncConnected type:NodeDataChanged path:/a zxid: 7"
    );
}

//! Answers to ordered requests, as whole frames: length, reply header, body. Knows what applying a
//! transaction gave, and the request's op code and xid; not to whom it goes.
//! Java: the write half of `FinalRequestProcessor`, `MultiResponse`,
//! `ZooKeeperServer.finishSessionInit`.

use crate::session::generate_password;
use crate::tree::Applied;
use crate::wire::proto::{ConnectResponse, MultiHeader};
use crate::wire::{ErrorCode, Put, Record, Stat, code};

/// The part of a request that its reply repeats or depends on.
#[derive(Debug, Clone, Copy)]
pub struct ReplyTo<'a> {
    pub xid: i32,
    pub op: i32,
    /// Text of the membership now in force: what reconfig answers with.
    pub config: &'a str,
}

/// What to do with a request that has been applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The frame is written.
    Frame,
    /// Close the connection without a reply: the session has moved to another (C-94,
    /// ZOOKEEPER-710).
    Close,
}

/// Appends the reply to a write, with the zxid of its transaction.
pub fn write(out: &mut Vec<u8>, to: &ReplyTo<'_>, zxid: i64, applied: &Applied<'_>) -> Answer {
    const MOVED: i32 = ErrorCode::SessionMoved as i32;
    if applied.err == MOVED || applied.sub.iter().any(|part| part.err == MOVED) {
        return Answer::Close;
    }
    // A multi that fails says so inside (C-142); one that could not be read has no inside.
    if to.op == code::MULTI && applied.op == code::MULTI {
        frame(out, |out| {
            header(out, to.xid, zxid, 0);
            multi(out, &applied.sub);
        });
    } else if applied.err != 0 {
        error(out, to.xid, zxid, applied.err);
    } else {
        frame(out, |out| {
            header(out, to.xid, zxid, 0);
            body(out, to, applied);
        });
    }
    Answer::Frame
}

/// Appends a reply of nothing but a header: an error, or success of an op without body.
pub fn error(out: &mut Vec<u8>, xid: i32, zxid: i64, err: i32) {
    frame(out, |out| header(out, xid, zxid, err));
}

/// Appends the reply to sync: its path, unchanged (C-155).
pub fn sync(out: &mut Vec<u8>, xid: i32, zxid: i64, path: &str) {
    frame(out, |out| {
        header(out, xid, zxid, 0);
        out.put_str(path);
    });
}

/// Appends the answer to a ConnectRequest. `read_only`: whether this server is read-only, `None`
/// when the client did not ask (C-86).
pub fn session(out: &mut Vec<u8>, session: i64, timeout: i32, read_only: Option<bool>) {
    let passwd = generate_password(session);
    connect_response(out, timeout, session, passwd, read_only);
}

/// Appends the answer to a ConnectRequest for a session that is not there any more, or with a
/// wrong password (C-88).
pub fn invalid_session(out: &mut Vec<u8>, read_only: Option<bool>) {
    connect_response(out, 0, 0, [0; 16], read_only);
}

fn connect_response(
    out: &mut Vec<u8>,
    timeout: i32,
    session_id: i64,
    passwd: [u8; 16],
    read_only: Option<bool>,
) {
    let response = ConnectResponse { protocol_version: 0, timeout, session_id, passwd, read_only };
    frame(out, |out| response.write(out));
}

/// Appends what `fill` writes, its length in front.
fn frame(out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.put_i32(0);
    fill(out);
    let len = (out.len() - start - 4) as i32;
    out[start..start + 4].copy_from_slice(&len.to_be_bytes());
}

fn header(out: &mut Vec<u8>, xid: i32, zxid: i64, err: i32) {
    out.put_i32(xid);
    out.put_i64(zxid);
    out.put_i32(err);
}

fn body(out: &mut Vec<u8>, to: &ReplyTo<'_>, applied: &Applied<'_>) {
    match to.op {
        code::CREATE => out.put_str(path(applied)),
        code::CREATE2 | code::CREATE_CONTAINER | code::CREATE_TTL => {
            out.put_str(path(applied));
            stat(applied).write(out);
        }
        code::SET_DATA | code::SET_ACL | code::CHECK => stat(applied).write(out),
        code::RECONFIG => {
            out.put_buffer(Some(to.config.as_bytes()));
            stat(applied).write(out);
        }
        _ => {}
    }
}

fn multi(out: &mut Vec<u8>, parts: &[Applied<'_>]) {
    for part in parts {
        let (op, err) = match part.op {
            code::CREATE_CONTAINER | code::CREATE_TTL => (code::CREATE2, 0),
            code::ERROR => (code::ERROR, part.err),
            op => (op, 0),
        };
        MultiHeader { op, done: false, err }.write(out);
        match op {
            code::CREATE => out.put_str(path(part)),
            code::CREATE2 => {
                out.put_str(path(part));
                stat(part).write(out);
            }
            code::SET_DATA => stat(part).write(out),
            code::ERROR => out.put_i32(part.err),
            _ => {}
        }
    }
    MultiHeader { op: -1, done: true, err: -1 }.write(out);
}

fn path<'a>(applied: &Applied<'a>) -> &'a str {
    applied.path.unwrap_or_default()
}

fn stat(applied: &Applied<'_>) -> Stat {
    applied.stat.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::proto::{Create2Response, ReplyHeader};
    use crate::wire::{Reader, Record};

    const STAT: Stat = Stat {
        czxid: 7,
        mzxid: 8,
        ctime: 1,
        mtime: 2,
        version: 3,
        cversion: 4,
        aversion: 5,
        ephemeral_owner: 6,
        data_length: 9,
        num_children: 10,
        pzxid: 11,
    };

    fn done(op: i32) -> Applied<'static> {
        Applied { op, path: Some("/p"), stat: Some(STAT), ..Applied::default() }
    }

    /// The one frame that the reply is: its header and its body.
    fn reply(op: i32, applied: &Applied<'_>) -> (ReplyHeader, Vec<u8>) {
        let mut out = vec![1, 2, 3];
        let to = ReplyTo { xid: 5, op, config: "version=0" };
        assert_eq!(write(&mut out, &to, 99, applied), Answer::Frame);
        assert_eq!(out[..3], [1, 2, 3], "appends");
        let mut r = Reader::new(&out[3..]);
        let frame = r.buffer().unwrap().unwrap();
        assert!(r.is_empty());
        let mut r = Reader::new(frame);
        (r.record().unwrap(), r.rest().to_vec())
    }

    #[test]
    fn bodies_by_op() {
        let path = b"\0\0\0\x02/p".to_vec();
        let create2 = Create2Response { path: "/p".into(), stat: STAT }.to_bytes();
        let config = [&b"\0\0\0\x09version=0"[..], &STAT.to_bytes()].concat();
        let table = [
            (code::CREATE, path),
            (code::CREATE2, create2.clone()),
            (code::CREATE_CONTAINER, create2.clone()),
            (code::CREATE_TTL, create2),
            (code::DELETE, vec![]),
            (code::SET_DATA, STAT.to_bytes()),
            (code::SET_ACL, STAT.to_bytes()),
            (code::RECONFIG, config),
            (code::CLOSE_SESSION, vec![]),
        ];
        for (op, want) in table {
            let (header, body) = reply(op, &done(op));
            assert_eq!(header, ReplyHeader { xid: 5, zxid: 99, err: 0 });
            assert_eq!(body, want, "op {op}");
        }
    }

    #[test]
    fn errors_have_no_body() {
        let failed = Applied { err: -101, op: code::ERROR, ..Applied::default() };
        for op in [code::CREATE, code::SET_DATA, code::MULTI, code::RECONFIG] {
            let (header, body) = reply(op, &failed);
            assert_eq!((header.err, body), (-101, vec![]), "op {op}");
        }
    }

    #[test]
    fn a_multi_answers_op_by_op_and_never_fails_in_its_header() {
        let ops = [code::CREATE, code::CREATE_TTL, code::DELETE, code::SET_DATA, code::CHECK];
        let sub = ops.iter().map(|op| done(*op)).collect();
        let (header, body) =
            reply(code::MULTI, &Applied { op: code::MULTI, sub, ..Applied::default() });
        assert_eq!(header.err, 0);
        let mut want = Vec::new();
        let mut put = |op: i32, body: &[u8]| {
            MultiHeader { op, done: op == -1, err: if op == -1 { -1 } else { 0 } }.write(&mut want);
            want.extend_from_slice(body);
        };
        put(1, b"\0\0\0\x02/p");
        put(15, &Create2Response { path: "/p".into(), stat: STAT }.to_bytes());
        put(2, b"");
        put(5, &STAT.to_bytes());
        put(13, b"");
        put(-1, b"");
        assert_eq!(body, want);

        let error = |err| Applied { err, op: code::ERROR, ..Applied::default() };
        let sub = vec![error(0), error(-110), error(-2)];
        let failed = Applied { err: -110, op: code::MULTI, sub, ..Applied::default() };
        let (header, body) = reply(code::MULTI, &failed);
        assert_eq!(header.err, 0);
        let mut want = Vec::new();
        for err in [0i32, -110, -2] {
            MultiHeader { op: -1, done: false, err }.write(&mut want);
            want.extend_from_slice(&err.to_be_bytes());
        }
        MultiHeader { op: -1, done: true, err: -1 }.write(&mut want);
        assert_eq!(body, want);
    }

    #[test]
    fn a_moved_session_gets_no_reply_zookeeper_710() {
        let moved = Applied { err: -118, op: code::ERROR, ..Applied::default() };
        let sub = vec![moved.clone()];
        let multi = Applied { err: -118, op: code::MULTI, sub, ..Applied::default() };
        for (op, applied) in [(code::SET_DATA, moved), (code::MULTI, multi)] {
            let mut out = Vec::new();
            let to = ReplyTo { xid: 5, op, config: "" };
            assert_eq!(write(&mut out, &to, 99, &applied), Answer::Close);
            assert!(out.is_empty());
        }
    }

    #[test]
    fn connect_responses_and_sync() {
        let mut out = Vec::new();
        session(&mut out, 1, 4000, Some(false));
        let head = b"\0\0\0\x25\0\0\0\0\0\0\x0f\xa0\0\0\0\0\0\0\0\x01\0\0\0\x10\x05\x4c";
        assert_eq!(out[..head.len()], head[..]);
        assert_eq!((out.len(), out[40]), (41, 0));
        out.clear();
        invalid_session(&mut out, None);
        assert_eq!(out, [&b"\0\0\0\x24"[..], &[0; 19], &[16], &[0; 16]].concat());
        out.clear();
        sync(&mut out, 3, 9, "/x");
        assert_eq!(out, b"\0\0\0\x16\0\0\0\x03\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\x02/x");
    }
}

//! The nodes that a load needs before it starts.

use std::io;
use std::time::Duration;

use super::engine::{Engine, Workload, open_sessions};
use super::options::Options;
use super::request::{Kind, Template};
use crate::client::conn::{Connection, Hello, invalid};
use crate::wire::proto::CreateRequest;
use crate::wire::{Acl, CreateMode, ErrorCode, Record, code};

/// Requests under way while a tree is being prepared.
const OUTSTANDING: usize = 256;

/// Template of the paths of keys below `root`.
pub fn key_path(root: &str) -> String {
    format!("{root}/k#######")
}

/// Template of the paths of created nodes: parent and node, whose name has 13 bytes.
pub fn node_path(root: &str) -> String {
    format!("{root}/p####/node-########")
}

/// A request for each number below a limit, from whichever connection is free.
pub struct Each<F> {
    next: u32,
    limit: u32,
    put: F,
}

impl<F: FnMut(u32, i32, &mut Vec<u8>) -> Kind> Each<F> {
    /// `put` appends the request for a number under an xid.
    pub fn new(limit: u32, put: F) -> Self {
        Self { next: 0, limit, put }
    }
}

impl<F: FnMut(u32, i32, &mut Vec<u8>) -> Kind> Workload for Each<F> {
    fn next(&mut self, _: usize, xid: i32, out: &mut Vec<u8>) -> Option<Kind> {
        if self.next == self.limit {
            return None;
        }
        self.next += 1;
        Some((self.put)(self.next - 1, xid, out))
    }
}

/// A session on the first server.
pub fn session(options: &Options) -> io::Result<Connection> {
    let hello = Hello::new(options.session_timeout);
    Connection::open(options.servers[0], &hello, Duration::from_secs(30))
}

/// Creates one node; gives its path, or the error code.
fn create(
    session: &mut Connection,
    path: &str,
    value: &[u8],
    mode: CreateMode,
) -> io::Result<Result<String, i32>> {
    let request = CreateRequest {
        path: path.into(),
        data: Some(Box::from(value)),
        acl: Some(Acl::open_unsafe()),
        flags: mode as i32,
    };
    let (header, mut body) = session.call(code::CREATE, |b| request.write(b))?;
    if header.err != 0 {
        return Ok(Err(header.err));
    }
    Ok(Ok(body.record().map_err(invalid)?))
}

/// Creates a node with this value, and all nodes above it, unless they are there.
pub fn create_path_with(session: &mut Connection, path: &str, value: &[u8]) -> io::Result<()> {
    let ends = path.match_indices('/').map(|(i, _)| i).skip(1).chain([path.len()]);
    for end in ends {
        match create(session, &path[..end], value, CreateMode::Persistent)? {
            Err(err) if err != ErrorCode::NodeExists.code() => {
                return Err(invalid(format!("create {}: error {err}", &path[..end])));
            }
            _ => {}
        }
    }
    Ok(())
}

/// [`create_path_with`] an empty value, over a session of its own.
pub fn create_path(options: &Options, path: &str) -> io::Result<()> {
    create_path_with(&mut session(options)?, path, b"")
}

/// A fresh node below the root, so that no run meets the nodes of another.
pub fn run_root(options: &Options) -> io::Result<String> {
    let mut session = session(options)?;
    create_path_with(&mut session, &options.root, b"")?;
    let prefix = format!("{}/run-", options.root);
    create(&mut session, &prefix, b"", CreateMode::PersistentSequential)?
        .map_err(|err| invalid(format!("create {prefix}: error {err}")))
}

/// Creates the keys that are read and set.
pub fn keys(options: &Options, root: &str) -> io::Result<()> {
    let value = vec![b'v'; options.value_size];
    let template = Template::new(Kind::Create, &key_path(root), &value);
    each(options, options.keys, &template)
}

/// Creates the parents of [`node_path`].
pub fn parents(options: &Options, root: &str, count: u32) -> io::Result<()> {
    each(options, count, &Template::new(Kind::Create, &format!("{root}/p####"), b""))
}

fn each(options: &Options, count: u32, template: &Template) -> io::Result<()> {
    let sessions = open_sessions(&options.servers[..1], 1, options.session_timeout)?;
    let mut engine = Engine::new(sessions, OUTSTANDING)?;
    let mut load = Each::new(count, |i, xid, out| {
        template.put(out, xid, &[i]);
        Kind::Create
    });
    engine.run(&mut load, None)?;
    engine.totals.errors.remove(&ErrorCode::NodeExists.code());
    match engine.totals.errors.first_key_value() {
        None => Ok(()),
        Some((err, n)) => Err(invalid(format!("{n} creates failed with error {err}"))),
    }
}

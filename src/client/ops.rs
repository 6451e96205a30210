//! The operations, typed: paths are checked and prefixed here, replies decoded.

use super::error::{Error, Result};
use super::multi::{self, Op, OpResult};
use super::paths::validate;
use super::watches::{Kind, Wish};
use super::{Client, KeeperState, Reply, Ticket, WatchedEvent};
use crate::wire::op::{WatcherType, code};
use crate::wire::proto::{
    AclResponse, AuthPacket, Children2Response, ClientInfo, Create2Response, CreateRequest,
    CreateTtlRequest, GetDataResponse, PathRequest, PathResponse, ReadRequest, ReconfigRequest,
    SetAclRequest, SetDataRequest, VersionRequest, WatchRequest,
};
use crate::wire::{Acl, CreateMode, ErrorCode, Reader, Record, Stat};

/// Where the ensemble's membership is kept; chroots do not apply to it.
const CONFIG_NODE: &str = "/zookeeper/config";

/// How `addWatch` watches. Java: `AddWatchMode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddWatchMode {
    Persistent = 0,
    PersistentRecursive = 1,
}

/// What a create asks for.
#[derive(Debug, Clone)]
pub struct Create<'a> {
    pub path: &'a str,
    pub data: Option<&'a [u8]>,
    pub acl: Vec<Acl>,
    pub mode: CreateMode,
    /// Milliseconds; for the modes with a TTL.
    pub ttl: i64,
}

impl<'a> Create<'a> {
    /// A persistent node open to everybody.
    pub fn new(path: &'a str, data: &'a [u8]) -> Self {
        let mode = CreateMode::Persistent;
        Self { path, data: Some(data), acl: Acl::open_unsafe(), mode, ttl: 0 }
    }
}

impl Client {
    /// Waits, and decodes the body or makes the error.
    fn finish<R: Record>(&self, ticket: Ticket, path: &str) -> Result<R> {
        decode(succeeded(ticket.wait(), path)?, path)
    }

    fn server_path(&self, path: &str) -> Result<String> {
        validate(path)?;
        Ok(self.session.servers().to_server(path))
    }

    /// Creates a node; gives its path, which for sequential modes is longer than asked for.
    pub fn create(&self, create: &Create<'_>) -> Result<String> {
        let path = create.path;
        if create.mode.is_sequential() {
            // A number will follow the path, so it may end in a slash.
            validate(&format!("{path}1"))?;
        } else {
            validate(path)?;
        }
        if create.acl.is_empty() {
            return Err(Error::Code { code: ErrorCode::InvalidAcl.code(), path: None });
        }
        let request = CreateRequest {
            path: self.session.servers().to_server(path),
            data: create.data.map(Box::from),
            acl: Some(create.acl.clone()),
            flags: create.mode as i32,
        };
        let created = if create.mode.is_ttl() {
            let CreateRequest { path: server_path, data, acl, flags } = request;
            let ttl = create.ttl;
            let request = CreateTtlRequest { path: server_path, data, acl, flags, ttl };
            let ticket = self.submit(code::CREATE_TTL, |b| request.write(b));
            self.finish::<Create2Response>(ticket, path)?.path
        } else if create.mode == CreateMode::Container {
            let ticket = self.submit(code::CREATE_CONTAINER, |b| request.write(b));
            self.finish::<Create2Response>(ticket, path)?.path
        } else {
            let ticket = self.submit(code::CREATE, |b| request.write(b));
            self.finish::<PathResponse>(ticket, path)?.path
        };
        Ok(self.session.servers().to_client(&created).to_owned())
    }

    /// Deletes a node whose version is `version`, or any with −1.
    pub fn delete(&self, path: &str, version: i32) -> Result<()> {
        let request = VersionRequest { path: self.server_path(path)?, version };
        succeeded(self.submit(code::DELETE, |b| request.write(b)).wait(), path).map(drop)
    }

    /// `None`: there is no such node.
    pub fn exists(&self, path: &str, watch: bool) -> Result<Option<Stat>> {
        match self.finish(self.read(code::EXISTS, path, watch.then_some(Kind::Exist))?, path) {
            Ok(stat) => Ok(Some(stat)),
            Err(e) if e.is(ErrorCode::NoNode) => Ok(None),
            Err(e) => Err(e),
        }
    }

    pub fn get_data(&self, path: &str, watch: bool) -> Result<GetDataResponse> {
        self.finish(self.read(code::GET_DATA, path, watch.then_some(Kind::Data))?, path)
    }

    /// Children in the server's order, and the node's stat.
    pub fn get_children(&self, path: &str, watch: bool) -> Result<(Vec<String>, Stat)> {
        let ticket = self.read(code::GET_CHILDREN2, path, watch.then_some(Kind::Child))?;
        let Children2Response { children, stat } = self.finish(ticket, path)?;
        Ok((children, stat))
    }

    fn read(&self, op: i32, path: &str, watch: Option<Kind>) -> Result<Ticket> {
        Ok(self.read_node(op, self.server_path(path)?, watch))
    }

    fn read_node(&self, op: i32, path: String, watch: Option<Kind>) -> Ticket {
        let wish = watch.map(|kind| Wish { kind, path: path.clone() });
        let request = ReadRequest { path, watch: watch.is_some() };
        self.session.submit(op, wish, |b| request.write(b))
    }

    pub fn set_data(&self, path: &str, data: &[u8], version: i32) -> Result<Stat> {
        let data = Some(Box::from(data));
        let request = SetDataRequest { path: self.server_path(path)?, data, version };
        self.finish(self.submit(code::SET_DATA, |b| request.write(b)), path)
    }

    pub fn get_acl(&self, path: &str) -> Result<(Vec<Acl>, Stat)> {
        let ticket = self.of_path(code::GET_ACL, path)?;
        let AclResponse { acl, stat } = self.finish(ticket, path)?;
        Ok((acl, stat))
    }

    pub fn set_acl(&self, path: &str, acl: &[Acl], version: i32) -> Result<Stat> {
        let server_path = self.server_path(path)?;
        if acl.is_empty() {
            return Err(Error::Code { code: ErrorCode::InvalidAcl.code(), path: None });
        }
        let request = SetAclRequest { path: server_path, acl: Some(acl.to_vec()), version };
        self.finish(self.submit(code::SET_ACL, |b| request.write(b)), path)
    }

    /// Sends a request that is a path and nothing else.
    fn of_path(&self, op: i32, path: &str) -> Result<Ticket> {
        let request = PathRequest { path: self.server_path(path)? };
        Ok(self.submit(op, |b| request.write(b)))
    }

    /// Everything that was committed before is visible here when the ticket's reply comes.
    pub fn sync(&self, path: &str) -> Result<Ticket> {
        self.of_path(code::SYNC, path)
    }

    /// This session's ephemerals whose paths start with `prefix`.
    pub fn get_ephemerals(&self, prefix: &str) -> Result<Vec<String>> {
        let paths: Vec<String> =
            self.finish(self.of_path(code::GET_EPHEMERALS, prefix)?, prefix)?;
        Ok(paths.iter().map(|p| self.session.servers().to_client(p).to_owned()).collect())
    }

    /// How many nodes there are below a path.
    pub fn get_all_children_number(&self, path: &str) -> Result<i32> {
        self.finish(self.of_path(code::GET_ALL_CHILDREN_NUMBER, path)?, path)
    }

    /// All or nothing. An `Ok` holds a result for each operation, errors if it was nothing.
    pub fn multi(&self, ops: Vec<Op>) -> Result<Vec<OpResult>> {
        self.multi_of(code::MULTI, ops)
    }

    /// Reads, each with a result of its own.
    pub fn multi_read(&self, ops: Vec<Op>) -> Result<Vec<OpResult>> {
        self.multi_of(code::MULTI_READ, ops)
    }

    fn multi_of(&self, op: i32, mut ops: Vec<Op>) -> Result<Vec<OpResult>> {
        for op in &mut ops {
            let path = op.path_mut();
            *path = self.session.servers().to_server(path);
        }
        let ticket = self.submit(op, |b| multi::put(&ops, b));
        let reply = succeeded(ticket.wait(), "")?;
        multi::read(&reply.body).map_err(|_| Error::new(ErrorCode::MarshallingError.code(), ""))
    }

    /// Sends credentials; a refusal shows as the state AuthFailed.
    pub fn add_auth(&self, scheme: &str, auth: Option<&[u8]>) {
        let (scheme, auth) = (scheme.to_owned(), auth.map(Box::from));
        self.session.add_auth(AuthPacket { kind: 0, scheme, auth });
    }

    pub fn who_am_i(&self) -> Result<Vec<ClientInfo>> {
        self.finish(self.submit(code::WHO_AM_I, |_| {}), "")
    }

    pub fn add_watch(&self, path: &str, mode: AddWatchMode) -> Result<()> {
        let server_path = self.server_path(path)?;
        let kind = match mode {
            AddWatchMode::Persistent => Kind::Persistent,
            AddWatchMode::PersistentRecursive => Kind::PersistentRecursive,
        };
        let wish = Wish { kind, path: server_path.clone() };
        let request = WatchRequest { path: server_path, mode: mode as i32 };
        let ticket = self.session.submit(code::ADD_WATCH, Some(wish), |b| request.write(b));
        succeeded(ticket.wait(), path).map(drop)
    }

    /// Removes the watches of a kind from a path, and says so by events. `local`: even when the
    /// server cannot be asked.
    pub fn remove_watches(&self, path: &str, which: WatcherType, local: bool) -> Result<()> {
        let server_path = self.server_path(path)?;
        if !self.session.with_watches(|w| w.has(which, &server_path)) {
            return Err(Error::new(ErrorCode::NoWatcher.code(), path));
        }
        let mode = match which {
            WatcherType::Children => 1,
            WatcherType::Data => 2,
            WatcherType::Any => 3,
            WatcherType::Persistent => 4,
            WatcherType::PersistentRecursive => 5,
        };
        let request = WatchRequest { path: server_path.clone(), mode };
        let reply = self.submit(code::REMOVE_WATCHES, |b| request.write(b)).wait();
        if !local {
            succeeded(reply, path)?;
        }
        for event in self.session.with_watches(|w| w.remove(which, &server_path)) {
            (self.on_event)(WatchedEvent {
                kind: event as i32,
                state: KeeperState::SyncConnected,
                path: Some(path.to_owned()),
                zxid: -1,
            });
        }
        Ok(())
    }

    /// The ensemble's membership.
    pub fn get_config(&self, watch: bool) -> Result<GetDataResponse> {
        let watch = watch.then_some(Kind::Data);
        self.finish(self.read_node(code::GET_DATA, CONFIG_NODE.into(), watch), CONFIG_NODE)
    }

    /// Changes the ensemble's membership.
    pub fn reconfig(&self, request: &ReconfigRequest) -> Result<GetDataResponse> {
        self.finish(self.submit(code::RECONFIG, |b| request.write(b)), "")
    }
}

fn succeeded(reply: Reply, path: &str) -> Result<Reply> {
    if reply.err == 0 { Ok(reply) } else { Err(Error::new(reply.err, path)) }
}

fn decode<R: Record>(reply: Reply, path: &str) -> Result<R> {
    let malformed = |_| Error::new(ErrorCode::MarshallingError.code(), path);
    R::read(&mut Reader::new(&reply.body)).map_err(malformed)
}

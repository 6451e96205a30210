//! Transactions: what the leader decides, the log keeps and every server applies (D-16, D-17).
//! Java: `zookeeper.jute` package `txn`, `server.util.SerializeUtils`.

use std::sync::Arc;

use super::jute::{DecodeError, Put, Reader, Record, Result, record};
use super::op::code;
use super::proto::Acl;

record! {
    TxnHeader {
        client_id: i64,
        cxid: i32,
        zxid: i64,
        /// Wall clock of the leader, milliseconds since 1970.
        time: i64,
        /// Op code of the body ([`Txn::op`]).
        op: i32,
    }
}
record! {
    /// The tree's digest after the transaction (D-45, D-47).
    TxnDigest { version: i32, digest: i64 }
}
record! { CreateSessionTxn { timeout: i32 } }
record! {
    CloseSessionTxn {
        /// The ephemerals to delete; null: whatever the session owns.
        paths: Option<Vec<String>>,
    }
}
record! {
    /// create, create2 (ephemeral or not) – Java's `CreateTxn`.
    CreateTxn {
        path: String,
        data: Option<Box<[u8]>>,
        acl: Arc<[Acl]>,
        ephemeral: bool,
        /// The parent's internal cversion after this create; −1: current + 1 (C-121).
        parent_cversion: i32,
    }
}
record! {
    CreateContainerTxn {
        path: String,
        data: Option<Box<[u8]>>,
        acl: Arc<[Acl]>,
        parent_cversion: i32,
    }
}
record! {
    CreateTtlTxn {
        path: String,
        data: Option<Box<[u8]>>,
        acl: Arc<[Acl]>,
        parent_cversion: i32,
        /// Milliseconds.
        ttl: i64,
    }
}
record! { SetDataTxn { path: String, data: Option<Box<[u8]>>, version: i32 } }
record! { SetAclTxn { path: String, acl: Arc<[Acl]>, version: i32 } }

/// The body of a transaction. Sub-transactions of a multi are the same, without header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Txn {
    CreateSession(CreateSessionTxn),
    /// `None` in logs written without `closeSessionTxn.enabled` (C-133).
    CloseSession(Option<CloseSessionTxn>),
    Create(CreateTxn),
    /// Same body and effect as `Create`; the reply differs.
    Create2(CreateTxn),
    CreateContainer(CreateContainerTxn),
    CreateTtl(CreateTtlTxn),
    Delete(String),
    DeleteContainer(String),
    SetData(SetDataTxn),
    Reconfig(SetDataTxn),
    SetAcl(SetAclTxn),
    /// Path and version that a multi's check passed with.
    Check(String, i32),
    /// A request that failed; it uses up a zxid all the same (C-130).
    Error(i32),
    Multi(Vec<Txn>),
}

impl Txn {
    /// Op code under which the body is stored.
    pub fn op(&self) -> i32 {
        match self {
            Self::CreateSession(_) => code::CREATE_SESSION,
            Self::CloseSession(_) => code::CLOSE_SESSION,
            Self::Create(_) => code::CREATE,
            Self::Create2(_) => code::CREATE2,
            Self::CreateContainer(_) => code::CREATE_CONTAINER,
            Self::CreateTtl(_) => code::CREATE_TTL,
            Self::Delete(_) => code::DELETE,
            Self::DeleteContainer(_) => code::DELETE_CONTAINER,
            Self::SetData(_) => code::SET_DATA,
            Self::Reconfig(_) => code::RECONFIG,
            Self::SetAcl(_) => code::SET_ACL,
            Self::Check(..) => code::CHECK,
            Self::Error(_) => code::ERROR,
            Self::Multi(_) => code::MULTI,
        }
    }

    pub fn write_body(&self, out: &mut Vec<u8>) {
        match self {
            Self::CreateSession(t) => t.write(out),
            Self::CloseSession(None) => {}
            Self::CloseSession(Some(t)) => t.write(out),
            Self::Create(t) | Self::Create2(t) => t.write(out),
            Self::CreateContainer(t) => t.write(out),
            Self::CreateTtl(t) => t.write(out),
            Self::Delete(path) | Self::DeleteContainer(path) => out.put_str(path),
            Self::SetData(t) | Self::Reconfig(t) => t.write(out),
            Self::SetAcl(t) => t.write(out),
            Self::Check(path, version) => {
                out.put_str(path);
                out.put_i32(*version);
            }
            Self::Error(err) => out.put_i32(*err),
            Self::Multi(txns) => {
                out.put_count(txns.len());
                for txn in txns {
                    out.put_i32(txn.op());
                    let start = out.len();
                    out.put_i32(0);
                    txn.write_body(out);
                    let len = (out.len() - start - 4) as i32;
                    out[start..start + 4].copy_from_slice(&len.to_be_bytes());
                }
            }
        }
    }

    /// Reads the body stored under `op`.
    pub fn read_body(op: i32, r: &mut Reader<'_>) -> Result<Self> {
        Ok(match op {
            code::CREATE_SESSION => Self::CreateSession(r.record()?),
            code::CLOSE_SESSION if is_bare(r.rest()) => Self::CloseSession(None),
            code::CLOSE_SESSION => Self::CloseSession(Some(r.record()?)),
            code::CREATE => Self::Create(read_create(r)?),
            code::CREATE2 => Self::Create2(read_create(r)?),
            code::CREATE_CONTAINER => Self::CreateContainer(r.record()?),
            code::CREATE_TTL => Self::CreateTtl(r.record()?),
            code::DELETE => Self::Delete(r.record()?),
            code::DELETE_CONTAINER => Self::DeleteContainer(r.record()?),
            code::SET_DATA => Self::SetData(r.record()?),
            code::RECONFIG => Self::Reconfig(r.record()?),
            code::SET_ACL => Self::SetAcl(r.record()?),
            code::CHECK => Self::Check(r.record()?, r.record()?),
            code::ERROR => Self::Error(r.record()?),
            code::MULTI => Self::Multi(read_multi(r)?),
            _ => return Err(DecodeError::BadValue { what: "transaction type", value: op as i64 }),
        })
    }
}

/// Whether a closeSession has no paths: nothing follows, or a digest of version 2 does. Two paths
/// in the same twelve bytes would both be empty, which no path is.
fn is_bare(rest: &[u8]) -> bool {
    rest.is_empty() || rest.len() == 12 && rest.starts_with(&[0, 0, 0, 2])
}

/// Logs from before 3.4 lack `parentCVersion` (Java's `CreateTxnV0`).
fn read_create(r: &mut Reader<'_>) -> Result<CreateTxn> {
    Ok(CreateTxn {
        path: r.record()?,
        data: r.record()?,
        acl: r.record()?,
        ephemeral: r.bool()?,
        parent_cversion: if r.is_empty() { -1 } else { r.i32()? },
    })
}

fn read_multi(r: &mut Reader<'_>) -> Result<Vec<Txn>> {
    let n = r.count()?.unwrap_or(0);
    let mut txns = Vec::new();
    for _ in 0..n {
        let op = r.i32()?;
        if op == code::MULTI {
            return Err(DecodeError::BadValue { what: "transaction inside a multi", value: 14 });
        }
        let body = r.buffer()?.unwrap_or_default();
        txns.push(Txn::read_body(op, &mut Reader::new(body))?);
    }
    Ok(txns)
}

/// When a transaction was made – wall clock of the leader, ms – by its bytes alone.
pub fn time_of(txn: &[u8]) -> Option<i64> {
    let time = txn.get(20..)?.first_chunk()?;
    Some(i64::from_be_bytes(*time))
}

/// A whole transaction: header, body and, if the leader computed one, digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TxnRecord {
    pub header: TxnHeader,
    pub txn: Txn,
    pub digest: Option<TxnDigest>,
}

impl Record for TxnRecord {
    /// Reads one record that fills its input: what follows the body is the digest.
    fn read(r: &mut Reader<'_>) -> Result<Self> {
        let header: TxnHeader = r.record()?;
        let txn = Txn::read_body(header.op, r)?;
        let digest = if r.is_empty() { None } else { Some(r.record()?) };
        Ok(Self { header, txn, digest })
    }

    fn write(&self, out: &mut Vec<u8>) {
        self.header.write(out);
        self.txn.write_body(out);
        if let Some(digest) = &self.digest {
            digest.write(out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_round_trips() {
        let record = TxnRecord {
            header: TxnHeader { client_id: 5, cxid: 6, zxid: 7, time: 8, op: code::MULTI },
            txn: Txn::Multi(vec![
                Txn::Delete("/a".into()),
                Txn::Error(-101),
                Txn::Create2(CreateTxn {
                    path: "/b".into(),
                    parent_cversion: 3,
                    ..CreateTxn::default()
                }),
            ]),
            digest: Some(TxnDigest { version: 2, digest: -9 }),
        };
        let bytes = record.to_bytes();
        assert_eq!(TxnRecord::read(&mut Reader::new(&bytes)), Ok(record));
        assert_eq!((time_of(&bytes), time_of(&bytes[..27])), (Some(8), None));
    }

    #[test]
    fn a_close_session_without_paths_may_have_a_digest() {
        let header = TxnHeader { client_id: 5, cxid: 6, zxid: 7, time: 8, op: code::CLOSE_SESSION };
        let lists = [None, Some(vec![]), Some(vec!["/abc".into()]), Some(vec!["/a".into(); 2])];
        let listed = lists.into_iter().map(|paths| Some(CloseSessionTxn { paths }));
        for txn in listed.chain([None]) {
            for digest in [None, Some(TxnDigest { version: 2, digest: 1 << 34 })] {
                let txn = Txn::CloseSession(txn.clone());
                let record = TxnRecord { header: header.clone(), txn, digest };
                assert_eq!(TxnRecord::read(&mut Reader::new(&record.to_bytes())), Ok(record));
            }
        }
    }

    #[test]
    fn a_multi_inside_a_multi_is_refused() {
        let inner = Txn::Multi(vec![Txn::Multi(vec![])]);
        let mut bytes = Vec::new();
        inner.write_body(&mut bytes);
        assert!(Txn::read_body(code::MULTI, &mut Reader::new(&bytes)).is_err());
    }
}

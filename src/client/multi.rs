//! Several operations as one: multi and multiRead (C-140 … C-143).
//! Java: `Op`, `OpResult`, `MultiOperationRecord`, `MultiResponse`.

use crate::wire::jute::{DecodeError, Result};
use crate::wire::op::code;
use crate::wire::proto::{
    CreateRequest, CreateTtlRequest, MultiHeader, ReadRequest, SetDataRequest, VersionRequest,
};
use crate::wire::{CreateMode, Reader, Record, Stat};

/// One operation of a multi.
#[derive(Debug, Clone)]
pub enum Op {
    Create(CreateRequest),
    /// As [`Op::Create`], answered with a stat too.
    Create2(CreateRequest),
    CreateTtl(CreateTtlRequest),
    Delete {
        path: String,
        version: i32,
    },
    SetData(SetDataRequest),
    Check {
        path: String,
        version: i32,
    },
    /// In a multiRead only.
    GetData {
        path: String,
    },
    /// In a multiRead only.
    GetChildren {
        path: String,
    },
}

/// How one operation of a multi ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpResult {
    Create {
        path: String,
        stat: Option<Stat>,
    },
    Delete,
    SetData(Stat),
    Check,
    GetData {
        data: Option<Box<[u8]>>,
        stat: Stat,
    },
    GetChildren(Vec<String>),
    /// Its error code; 0 when another operation's failure undid it.
    Error(i32),
}

impl Op {
    fn code(&self) -> i32 {
        match self {
            Self::Create2(r) if r.flags == CreateMode::Container as i32 => code::CREATE_CONTAINER,
            Self::Create(_) => code::CREATE,
            Self::Create2(_) => code::CREATE2,
            Self::CreateTtl(_) => code::CREATE_TTL,
            Self::Delete { .. } => code::DELETE,
            Self::SetData(_) => code::SET_DATA,
            Self::Check { .. } => code::CHECK,
            Self::GetData { .. } => code::GET_DATA,
            Self::GetChildren { .. } => code::GET_CHILDREN,
        }
    }

    /// The path, to be replaced by the server's.
    pub fn path_mut(&mut self) -> &mut String {
        match self {
            Self::Create(r) | Self::Create2(r) => &mut r.path,
            Self::CreateTtl(r) => &mut r.path,
            Self::SetData(r) => &mut r.path,
            Self::Delete { path, .. }
            | Self::Check { path, .. }
            | Self::GetData { path }
            | Self::GetChildren { path } => path,
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        MultiHeader { op: self.code(), done: false, err: -1 }.write(out);
        match self.clone() {
            Self::Create(r) | Self::Create2(r) => r.write(out),
            Self::CreateTtl(r) => r.write(out),
            Self::SetData(r) => r.write(out),
            Self::Delete { path, version } | Self::Check { path, version } => {
                VersionRequest { path, version }.write(out);
            }
            Self::GetData { path } | Self::GetChildren { path } => {
                ReadRequest { path, watch: false }.write(out);
            }
        }
    }
}

/// Appends the body of a multi or multiRead.
pub fn put(ops: &[Op], out: &mut Vec<u8>) {
    ops.iter().for_each(|op| op.write(out));
    MultiHeader { op: -1, done: true, err: -1 }.write(out);
}

/// Reads the answer to a multi or multiRead.
pub fn read(body: &[u8]) -> Result<Vec<OpResult>> {
    let (mut reader, mut results) = (Reader::new(body), Vec::new());
    loop {
        let header: MultiHeader = reader.record()?;
        if header.done {
            return Ok(results);
        }
        results.push(read_one(header.op, &mut reader)?);
    }
}

fn read_one(op: i32, r: &mut Reader<'_>) -> Result<OpResult> {
    Ok(match op {
        code::CREATE => OpResult::Create { path: r.record()?, stat: None },
        code::CREATE2 => OpResult::Create { path: r.record()?, stat: Some(r.record()?) },
        code::DELETE => OpResult::Delete,
        code::SET_DATA => OpResult::SetData(r.record()?),
        code::CHECK => OpResult::Check,
        code::GET_DATA => OpResult::GetData { data: r.record()?, stat: r.record()? },
        code::GET_CHILDREN => OpResult::GetChildren(r.record()?),
        code::ERROR => OpResult::Error(r.record()?),
        _ => return Err(DecodeError::BadValue { what: "multi result", value: op.into() }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_headers_and_bodies() {
        let mut out = vec![];
        put(&[Op::Check { path: "/a".into(), version: 3 }], &mut out);
        let mut want = MultiHeader { op: 13, done: false, err: -1 }.to_bytes();
        VersionRequest { path: "/a".into(), version: 3 }.write(&mut want);
        MultiHeader { op: -1, done: true, err: -1 }.write(&mut want);
        assert_eq!(out, want);
    }

    #[test]
    fn answers_are_read_and_nonsense_is_not() {
        let mut bytes = MultiHeader { op: 2, done: false, err: 0 }.to_bytes();
        MultiHeader { op: -1, done: false, err: -101 }.write(&mut bytes);
        (-101i32).write(&mut bytes);
        assert!(read(&bytes).is_err(), "no end");
        MultiHeader { op: -1, done: true, err: -1 }.write(&mut bytes);
        assert_eq!(read(&bytes), Ok(vec![OpResult::Delete, OpResult::Error(-101)]));
        assert!(read(&MultiHeader { op: 77, done: false, err: 0 }.to_bytes()).is_err());
    }
}

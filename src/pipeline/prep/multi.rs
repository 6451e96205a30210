//! multi: all ops or none, under one zxid (C-140 … C-144). Java: `MultiOperationRecord`, `Op`.

use super::ops::{CreateOp, Op};
use super::{Decision, Step};
use crate::wire::proto::MultiHeader;
use crate::wire::{CreateMode, DecodeError, ErrorCode, Reader, Txn, code};

impl Step<'_> {
    /// The stored form of a failed multi keeps the ops before the failure as they were, then the
    /// error, then "not tried" for the rest (C-141); whoever applies it must know. Its changes are
    /// the caller's to undo.
    pub(super) fn multi(&mut self, body: &mut Reader<'_>) -> Decision {
        // Unlike a lone op, it has its zxid before it is decoded.
        let ops = read_ops(body).map_err(|why| {
            self.request.log_undecodable(&why);
            ErrorCode::MarshallingError
        })?;
        let mut txns = Vec::with_capacity(ops.len());
        let mut failure = None;
        for op in &ops {
            if failure.is_some() {
                txns.push(Txn::Error(ErrorCode::RuntimeInconsistency.code()));
                continue;
            }
            match self.single_op(op) {
                Ok(txn) => txns.push(txn),
                Err(err) => {
                    txns.push(Txn::Error(err.code()));
                    failure = Some(err);
                }
            }
        }
        Ok((Txn::Multi(txns), failure.map_or(0, ErrorCode::code)))
    }
}

fn read_ops<'a>(r: &mut Reader<'a>) -> Result<Vec<Op<'a>>, DecodeError> {
    let mut ops = Vec::new();
    loop {
        let header: MultiHeader = r.record()?;
        if header.done {
            return Ok(ops);
        }
        let mut op = Op::read(header.op, r)?;
        if op.path().is_none() {
            return Err(DecodeError::BadValue { what: "path inside a multi", value: -1 });
        }
        if let Op::Create(create) = &mut op {
            settle_kind(create)?;
        }
        ops.push(op);
    }
}

/// Inside a multi the flags decide about the kind of node, where a lone request has its op code.
fn settle_kind(create: &mut CreateOp<'_>) -> Result<(), DecodeError> {
    let mode = CreateMode::from_flags(create.flags);
    if create.kind == code::CREATE_TTL && !mode.is_some_and(CreateMode::is_ttl) {
        create.kind = code::CREATE;
        create.ttl = -1;
    } else if mode.is_none() {
        return Err(DecodeError::BadValue { what: "create mode", value: create.flags.into() });
    }
    match mode {
        Some(CreateMode::Container) => create.kind = code::CREATE_CONTAINER,
        Some(mode) if mode.is_ttl() => create.kind = code::CREATE_TTL,
        _ => {}
    }
    Ok(())
}

/// Whether a request of a local session needs a global one, because it creates an ephemeral node
/// (C-109). Says no to what cannot be decoded: [`super::Prep`] will say why.
/// Java: `QuorumZooKeeperServer.checkUpgradeSession`.
pub fn creates_ephemeral(op: i32, body: &[u8]) -> bool {
    let mut r = Reader::new(body);
    let is_ephemeral = |op: &Op<'_>| match op {
        Op::Create(create) if matches!(create.kind, code::CREATE | code::CREATE2) => {
            CreateMode::from_flags(create.flags).is_some_and(CreateMode::is_ephemeral)
        }
        _ => false,
    };
    match op {
        code::CREATE | code::CREATE2 => Op::read(op, &mut r).is_ok_and(|op| is_ephemeral(&op)),
        code::MULTI => read_ops(&mut r).is_ok_and(|ops| ops.iter().any(is_ephemeral)),
        _ => false,
    }
}

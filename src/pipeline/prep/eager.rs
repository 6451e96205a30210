//! `enableEagerACLCheck` (C-111): a member of an ensemble refuses at once what its own tree
//! forbids, and spares the leader the request. Java: `ZooKeeperServer.authWriteRequest`.

use super::PrepOptions;
use super::ops::{Op, split_unless_special};
use crate::auth::Registry;
use crate::tree::DataTree;
use crate::wire::{Acl, DecodeError, ErrorCode, Id, Reader, code, perms};

/// `NoAuth` or `InvalidAcl`. All else that may be wrong with a request is found where it is
/// ordered: this tree may be behind.
pub fn eager_acl_check(
    tree: &DataTree,
    auth: &Registry,
    op: i32,
    body: &[u8],
    ids: &[Id],
    options: &PrepOptions,
) -> Result<(), ErrorCode> {
    let Ok(Some(demand)) = Demand::of(op, body) else { return Ok(()) };
    if let Some(acl) = &demand.new_acl {
        auth.fixup_acl(ids, acl, &mut options.max_auth_bytes(op))?;
    }
    let Some(node) = tree.lookup(&demand.path) else { return Ok(()) };
    let acl = tree.acl(tree.node(node).acl_id());
    if auth.check_acl(acl, demand.perm, ids) { Ok(()) } else { Err(ErrorCode::NoAuth) }
}

/// What a request needs: a permission on a node, and that the list it brings is a valid one.
struct Demand {
    path: String,
    perm: i32,
    new_acl: Option<Vec<Acl>>,
}

impl Demand {
    /// `None` for requests that are not looked at, and for paths that make no sense.
    fn of(op: i32, body: &[u8]) -> Result<Option<Self>, DecodeError> {
        let mut body = Reader::new(body);
        let (path, perm, new_acl) = match op {
            code::SET_ACL => (body.opt_str()?, perms::ADMIN, Some(body.record()?)),
            code::CREATE | code::CREATE2 | code::DELETE | code::SET_DATA => {
                match Op::read(op, &mut body)? {
                    Op::Create(create) => (create.path, perms::CREATE, Some(create.acl.list())),
                    Op::Delete { path, .. } => (path, perms::DELETE, None),
                    Op::SetData { path, .. } => (path, perms::WRITE, None),
                    Op::Check { .. } => return Ok(None),
                }
            }
            _ => return Ok(None),
        };
        let path = path.unwrap_or_default();
        let path = match perm {
            perms::CREATE | perms::DELETE => split_unless_special(&path).ok().map(|(p, _)| p),
            _ => Some(&*path),
        };
        Ok(path.map(|path| Self { path: path.to_owned(), perm, new_acl }))
    }
}

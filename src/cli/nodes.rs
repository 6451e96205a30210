//! create, delete, deleteall, get, set, ls, stat.

use super::args::{Args, flag, value};
use super::command::{Command, Failure, Outcome, number};
use super::{err, format, out, print_stat};
use crate::auth::base64;
use crate::client::multi::{Op, OpResult};
use crate::client::{Client, Create, Error, Result as ClientResult};
use crate::wire::{Acl, CreateMode, ErrorCode};

/// The longest time to live that a node can have, in milliseconds (C-182).
const MAX_TTL: i64 = 0xff_ffff_ffff;
/// Nodes that one multi of `deleteall` deletes unless told otherwise.
const BATCH: i32 = 1000;

pub const COMMANDS: [Command; 7] = [
    Command {
        options: &[
            flag("e", "ephemeral"),
            flag("s", "sequential"),
            flag("c", "container"),
            value("t", "ttl"),
        ],
        ..Command::new("create", "[-s] [-e] [-c] [-t ttl] path [data] [acl]", create)
    },
    Command {
        options: &[value("v", "version")],
        ..Command::new("delete", "[-v version] path", delete)
    },
    Command {
        options: &[value("b", "batch size")],
        ..Command::new("deleteall", "path [-b batch size]", delete_all)
    },
    Command {
        options: &[
            flag("s", "Print znode stats additionally"),
            flag("w", "Watch for changes on the znode"),
            flag("b", "Output data in base64 format"),
            flag("x", "Output data in hexdump format"),
        ],
        explains: true,
        old_watch: Some("get [-s] [-w] path"),
        ..Command::new("get", "[-s] [-w] [-b] [-x] path", get)
    },
    Command {
        options: &[
            flag("s", "Print znode stats additionally"),
            value("v", "Set with an expected version"),
            flag("b", "Supply data in base64 format"),
        ],
        words: 3,
        explains: true,
        ..Command::new("set", "path data [-s] [-v version] [-b]", set)
    },
    Command {
        options: &[flag("?", "help"), flag("s", "stat"), flag("w", "watch"), flag("R", "recurse")],
        words: 1,
        old_watch: Some("ls [-w] path"),
        ..Command::new("ls", LS, ls)
    },
    Command {
        options: &[flag("w", "watch")],
        old_watch: Some("stat [-w] path"),
        ..Command::new("stat", "[-w] path", stat)
    },
];

const LS: &str = "[-s] [-w] [-R] path";

/// The first operand: how many there must be has been checked.
pub fn path(args: &Args) -> &str {
    args.word(1).unwrap_or_default()
}

/// Which mode the options of `create` mean, and the time to live.
fn mode(args: &Args) -> Result<(CreateMode, i64), Failure> {
    let (e, s, c, t) = (args.has("e"), args.has("s"), args.has("c"), args.has("t"));
    if c && (e || s) {
        return Err(Failure::new(
            "-c cannot be combined with -s or -e. Containers cannot be ephemeral or sequential.",
        ));
    }
    let ttl = args.value("t").map_or(Ok(0), str::parse::<i64>);
    let ttl = ttl.map_err(|_| Failure::new("-t argument must be a long value"))?;
    if t && e {
        return Err(Failure::new("TTLs cannot be used with Ephemeral znodes"));
    }
    if t && c {
        return Err(Failure::new("TTLs cannot be used with Container znodes"));
    }
    if t && !(1..=MAX_TTL).contains(&ttl) {
        return Err(Failure::new(format!(
            "ttl must be positive and cannot be larger than: {MAX_TTL}"
        )));
    }
    let mode = match (e, s, c, t) {
        (true, true, ..) => CreateMode::EphemeralSequential,
        (true, ..) => CreateMode::Ephemeral,
        (_, true, _, true) => CreateMode::PersistentSequentialWithTtl,
        (_, true, ..) => CreateMode::PersistentSequential,
        (_, _, true, _) => CreateMode::Container,
        (.., true) => CreateMode::PersistentWithTtl,
        _ => CreateMode::Persistent,
    };
    Ok((mode, ttl))
}

fn create(client: &Client, args: &Args) -> Outcome {
    let (mode, ttl) = mode(args)?;
    let acl = match args.word(3) {
        None => Acl::open_unsafe(),
        Some(text) => acl_of(text),
    };
    let data = args.word(2).map(str::as_bytes);
    match client.create(&Create { path: path(args), data, acl, mode, ttl }) {
        Ok(created) => err!("Created {created}"),
        Err(e) => {
            if e.is(ErrorCode::EphemeralOnLocalSession) {
                err!("Unable to create ephemeral node on a local session");
            } else if e.is(ErrorCode::InvalidAcl) {
                err!("{e}");
            }
            return Err(e.into());
        }
    }
    Ok(())
}

/// Reads an ACL, complaining about what makes no sense in it.
pub fn acl_of(text: &str) -> Vec<Acl> {
    let (acl, complaints) = format::parse_acl(text);
    for complaint in complaints {
        err!("{complaint}");
    }
    acl
}

fn delete(client: &Client, args: &Args) -> Outcome {
    if args.words.len() > 2 {
        err!(
            "'delete path [version]' has been deprecated. Please use 'delete [-v version] path' \
             instead."
        );
    }
    Ok(client.delete(path(args), number(args.value("v"), -1)?)?)
}

fn delete_all(client: &Client, args: &Args) -> Outcome {
    let batch = number(args.value("b"), BATCH)
        .map_err(|_| Failure::new("-b argument must be an int value"))?;
    let mut tree = vec![path(args).to_owned()];
    let mut next = 0;
    while let Some(node) = tree.get(next) {
        let (children, _) = client.get_children(node, false)?;
        let base = node.trim_end_matches('/').to_owned();
        tree.extend(children.iter().map(|child| format!("{base}/{child}")));
        next += 1;
    }
    tree.reverse();
    if batch <= 0 {
        for node in &tree {
            client.delete(node, -1)?;
        }
        return Ok(());
    }
    for paths in tree.chunks(batch as usize) {
        if !delete_batch(client, paths)? {
            err!("Failed to delete some node(s) in the subtree!");
            break;
        }
    }
    Ok(())
}

fn delete_batch(client: &Client, paths: &[String]) -> ClientResult<bool> {
    let ops = paths.iter().map(|path| Op::Delete { path: path.clone(), version: -1 }).collect();
    Ok(client.multi(ops)?.iter().all(|result| *result == OpResult::Delete))
}

fn get(client: &Client, args: &Args) -> Outcome {
    let answer = client.get_data(path(args), args.has("w"))?;
    let data = answer.data.as_deref().unwrap_or(b"null");
    if args.has("x") {
        out!("{}", format::hex_dump(data));
    } else if args.has("b") {
        let mut text = String::new();
        base64::encode_into(data, &mut text);
        out!("{text}");
    } else {
        out!("{}", String::from_utf8_lossy(data));
    }
    if args.has("s") {
        print_stat(&answer.stat);
    }
    Ok(())
}

fn set(client: &Client, args: &Args) -> Outcome {
    let text = args.word(2).unwrap_or_default();
    let data = if args.has("b") {
        format::base64_decode(text).ok_or_else(|| Failure::new(format!("not base64: {text}")))?
    } else {
        text.as_bytes().to_vec()
    };
    let stat = client.set_data(path(args), &data, number(args.value("v"), -1)?)?;
    if args.has("s") {
        print_stat(&stat);
    }
    Ok(())
}

fn ls(client: &Client, args: &Args) -> Outcome {
    if args.has("?") {
        out!("usage: ls [options] path\n -?   help\n -R   recurse\n -s   stat\n -w   watch");
    }
    let Some(path) = args.word(1) else { return Err(Failure::new(format!("ls {LS}"))) };
    if args.has("R") {
        visit(client, path, args.has("w"), |node| out!("{node}"))?;
        return Ok(());
    }
    let (mut children, stat) = client.get_children(path, args.has("w"))?;
    children.sort_unstable_by(|a, b| a.encode_utf16().cmp(b.encode_utf16()));
    out!("{}", format::list(&children));
    if args.has("s") {
        print_stat(&stat);
    }
    Ok(())
}

/// Calls `each` with a node, then its children, then what is below each of them.
/// Nodes that vanish meanwhile are passed over. Java: `ZKUtil.visitSubTreeDFS`.
pub fn visit(
    client: &Client,
    path: &str,
    watch: bool,
    mut each: impl FnMut(&str),
) -> ClientResult<()> {
    client.get_data(path, watch)?;
    each(path);
    let mut stack = vec![path.to_owned()];
    while let Some(node) = stack.pop() {
        let mut children = match client.get_children(&node, watch) {
            Ok((children, _)) => children,
            Err(e) if e.is(ErrorCode::NoNode) => continue,
            Err(e) => return Err(e),
        };
        children.sort_unstable_by(|a, b| a.encode_utf16().cmp(b.encode_utf16()));
        let base = node.trim_end_matches('/');
        let paths: Vec<_> = children.iter().map(|child| format!("{base}/{child}")).collect();
        paths.iter().for_each(|child| each(child));
        stack.extend(paths.into_iter().rev());
    }
    Ok(())
}

fn stat(client: &Client, args: &Args) -> Outcome {
    let path = path(args);
    match client.exists(path, args.has("w"))? {
        Some(stat) => print_stat(&stat),
        None => return Err(Error::new(ErrorCode::NoNode.code(), path).into()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::command::find;
    use super::*;

    #[test]
    fn create_modes() {
        use CreateMode::*;
        let mode_of = |line: &str| {
            let words: Vec<_> = line.split(' ').map(String::from).collect();
            let args = find("create").unwrap().parse(&words, |_| {}).unwrap();
            mode(&args).map_err(|f| f.text)
        };
        for (line, mode, ttl) in [
            ("create /a", Persistent, 0),
            ("create -e /a", Ephemeral, 0),
            ("create -s -e /a", EphemeralSequential, 0),
            ("create -s /a", PersistentSequential, 0),
            ("create -c /a", Container, 0),
            ("create -t 5 /a", PersistentWithTtl, 5),
            ("create -st 5 /a", PersistentSequentialWithTtl, 5),
        ] {
            assert_eq!(mode_of(line), Ok((mode, ttl)), "{line}");
        }
        for (line, text) in [
            ("create -c -e /a", "-c cannot be combined"),
            ("create -t x /a", "-t argument must be a long value"),
            ("create -t 5 -e /a", "TTLs cannot be used with Ephemeral znodes"),
            ("create -t 5 -c /a", "TTLs cannot be used with Container znodes"),
            ("create -t -5 /a", "ttl must be positive and cannot be larger than: 1099511627775"),
        ] {
            assert!(mode_of(line).unwrap_err().starts_with(text), "{line}");
        }
    }
}

//! getAcl, setAcl, addauth, whoami.

use super::args::{Args, flag, value};
use super::command::{Command, Outcome, number};
use super::nodes::{acl_of, path, visit};
use super::{format, out, out_part, print_stat};
use crate::client::Client;

pub const COMMANDS: [Command; 4] = [
    Command { options: &[flag("s", "stats")], ..Command::new("getAcl", "[-s] path", get_acl) },
    Command {
        options: &[flag("s", "stats"), value("v", "version"), flag("R", "recursive")],
        words: 3,
        ..Command::new("setAcl", "[-s] [-v version] [-R] path acl", set_acl)
    },
    Command::new("addauth", "scheme auth", add_auth),
    Command { words: 1, ..Command::new("whoami", "", who_am_i) },
];

fn get_acl(client: &Client, args: &Args) -> Outcome {
    let (acl, stat) = client.get_acl(path(args))?;
    for entry in &acl {
        out_part!("{}", format::acl(entry));
    }
    if args.has("s") {
        print_stat(&stat);
    }
    Ok(())
}

fn set_acl(client: &Client, args: &Args) -> Outcome {
    let acl = acl_of(args.word(2).unwrap_or_default());
    let version = number(args.value("v"), -1)?;
    if args.has("R") {
        visit(client, path(args), false, |node| {
            if let Err(e) = client.set_acl(node, &acl, version) {
                out_part!("{e}");
            }
        })?;
        return Ok(());
    }
    let stat = client.set_acl(path(args), &acl, version)?;
    if args.has("s") {
        print_stat(&stat);
    }
    Ok(())
}

fn add_auth(client: &Client, args: &Args) -> Outcome {
    client.add_auth(path(args), args.word(2).map(str::as_bytes));
    Ok(())
}

fn who_am_i(client: &Client, _: &Args) -> Outcome {
    let infos = client.who_am_i()?;
    out!("Auth scheme: User");
    for info in infos {
        out!("{}: {}", info.auth_scheme, info.user);
    }
    Ok(())
}

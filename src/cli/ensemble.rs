//! config, reconfig, sync, version, getEphemerals, getAllChildrenNumber.

use std::time::Duration;
use std::{fs, io};

use super::args::{Args, flag, value};
use super::command::{Command, Failure, Outcome};
use super::nodes::path;
use super::{format, out, print_stat};
use crate::client::Client;
use crate::client::error::OPERATION_TIMEOUT;
use crate::config::{QuorumConfig, ZOOKEEPER_RELEASE, properties};
use crate::wire::proto::ReconfigRequest;

const SYNC_PATIENCE: Duration = Duration::from_secs(30);

const RECONFIG: &str = "[-s] [-v version] [[-file path] | \
                        [-members serverID=host:port1:port2;port3[,...]*]] | \
                        [-add serverId=host:port1:port2;port3[,...]]* [-remove serverId[,...]*]";

pub const COMMANDS: [Command; 6] = [
    Command {
        options: &[flag("s", "stats"), flag("w", "watch"), flag("c", "client connection string")],
        words: 1,
        ..Command::new("config", "[-c] [-w] [-s]", config)
    },
    Command {
        options: &[
            flag("s", "stats"),
            value("v", "required current config version"),
            value("file", "path of config file to parse for membership"),
            value("members", "comma-separated list of config strings for non-incremental reconfig"),
            value("add", "comma-separated list of config strings for new servers"),
            value("remove", "comma-separated list of server IDs to remove"),
        ],
        words: 1,
        ..Command::new("reconfig", RECONFIG, reconfig)
    },
    Command::new("sync", "path", sync),
    Command { words: 1, ..Command::new("version", "", version) },
    Command { words: 1, ..Command::new("getEphemerals", "path", get_ephemerals) },
    Command::new("getAllChildrenNumber", "path", get_all_children_number),
];

fn config(client: &Client, args: &Args) -> Outcome {
    let answer = client.get_config(args.has("w"))?;
    let text = String::from_utf8_lossy(answer.data.as_deref().unwrap_or(b"null")).into_owned();
    if args.has("c") {
        out!("{}", client_addresses(&text));
    } else {
        out!("{text}");
    }
    if args.has("s") {
        print_stat(&answer.stat);
    }
    Ok(())
}

/// The version and where clients connect: `100000000 host:port,host:port`.
fn client_addresses(text: &str) -> String {
    let entries = properties::parse(text).unwrap_or_default();
    let last = properties::last_of_each(&entries);
    let version = last.get("version").map_or("", |entry| entry.value.as_str());
    let config = QuorumConfig::parse(text, true).unwrap_or_default();
    let clients = config.servers.values().filter_map(|server| server.client.as_ref());
    let list: Vec<_> = clients.map(|client| format!("{}:{}", client.host, client.port)).collect();
    format!("{version} {}", list.join(","))
}

fn reconfig(client: &Client, args: &Args) -> Outcome {
    let answer = client.reconfig(&reconfig_request(args)?)?;
    let text = String::from_utf8_lossy(answer.data.as_deref().unwrap_or_default()).into_owned();
    out!("Committed new configuration:\n{text}");
    if args.has("s") {
        print_stat(&answer.stat);
    }
    Ok(())
}

fn reconfig_request(args: &Args) -> Result<ReconfigRequest, Failure> {
    let (list, steps) =
        (args.has("file") || args.has("members"), args.has("add") || args.has("remove"));
    if !list && !steps {
        return Err(Failure::new(format!("reconfig {RECONFIG}")));
    }
    let config_id = match args.value("v") {
        None => -1,
        Some(text) => i64::from_str_radix(text, 16)
            .map_err(|_| Failure::new("-v must be followed by a long (configuration version)"))?,
    };
    if list && steps {
        return Err(Failure::new(
            "Can't use -file or -members together with -add or -remove (mixing incremental and \
             non-incremental modes is not allowed)",
        ));
    }
    if args.has("file") && args.has("members") {
        return Err(Failure::new(
            "Can't use -file and -members together (conflicting non-incremental modes)",
        ));
    }
    let lower = |name: &str| args.value(name).map(str::to_lowercase);
    let new_members = match args.value("file") {
        Some(file) => Some(members_of(file)?),
        None => lower("members"),
    };
    Ok(ReconfigRequest { joining: lower("add"), leaving: lower("remove"), new_members, config_id })
}

/// The membership in a file, checked before it goes to the leader.
fn members_of(file: &str) -> Result<String, Failure> {
    let failed = |why: &str| Failure::new(format!("Error processing {file}{why}"));
    let text = fs::read(file).map_err(|e| failed(&unreadable(file, &e)))?;
    let config = QuorumConfig::parse_members(&properties::latin1(&text), true)
        .map_err(|e| failed(&e.reason))?;
    config.check_roles(true).map_err(failed)?;
    Ok(config.to_string())
}

/// As a JVM says it: the system's words without Rust's number of the error.
fn unreadable(file: &str, error: &io::Error) -> String {
    let text = error.to_string();
    let words = text.split_once(" (os error").map_or(text.as_str(), |(words, _)| words);
    format!("{file} ({words})")
}

fn sync(client: &Client, args: &Args) -> Outcome {
    let ticket = client.sync(path(args))?;
    match ticket.wait_for(SYNC_PATIENCE).map_or(OPERATION_TIMEOUT, |reply| reply.err) {
        0 => out!("Sync is OK"),
        rc => out!("Sync has failed. rc={rc}"),
    }
    Ok(())
}

fn version(_: &Client, args: &Args) -> Outcome {
    if args.words.len() > 1 {
        return Err(Failure::new("version "));
    }
    let own = env!("CARGO_PKG_VERSION");
    out!("ZooKeeper CLI version: {ZOOKEEPER_RELEASE} (IronKeeper {own})");
    Ok(())
}

fn get_ephemerals(client: &Client, args: &Args) -> Outcome {
    out!("{}", format::list(&client.get_ephemerals(args.word(1).unwrap_or("/"))?));
    Ok(())
}

fn get_all_children_number(client: &Client, args: &Args) -> Outcome {
    out!("{}", client.get_all_children_number(path(args))?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::command::find;
    use super::*;

    fn request(line: &str) -> Result<ReconfigRequest, String> {
        let words: Vec<_> = line.split(' ').map(String::from).collect();
        reconfig_request(&find("reconfig").unwrap().parse(&words, |_| {}).unwrap())
            .map_err(|f| f.text)
    }

    #[test]
    fn reconfig_modes_do_not_mix() {
        assert_eq!(
            request("reconfig -add Server.5=H:1:2;3 -remove 1,2 -v 1f"),
            Ok(ReconfigRequest {
                joining: Some("server.5=h:1:2;3".into()),
                leaving: Some("1,2".into()),
                new_members: None,
                config_id: 31,
            })
        );
        for (line, text) in [
            ("reconfig", "reconfig [-s]"),
            ("reconfig -add x -members y", "Can't use -file or -members together with"),
            ("reconfig -file x -members y", "Can't use -file and -members together"),
            ("reconfig -add x -v g", "-v must be followed by a long"),
            ("reconfig -file /nonexistent", "Error processing /nonexistent"),
        ] {
            assert!(request(line).unwrap_err().starts_with(text), "{line}");
        }
    }

    #[test]
    fn client_addresses_are_listed() {
        let text = "server.1=a:1:2:participant;0.0.0.0:3\nserver.2=b:1:2;5\nversion=100000000";
        assert_eq!(client_addresses(text), "100000000 0.0.0.0:3,0.0.0.0:5");
        assert_eq!(client_addresses(""), " ");
    }
}

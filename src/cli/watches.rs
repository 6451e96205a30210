//! addWatch, removewatches.

use super::args::{Args, flag, value};
use super::command::{Command, Failure, Outcome};
use super::nodes::path;
use crate::client::{AddWatchMode, Client};
use crate::wire::op::WatcherType;

const ADD: &str = "[-m mode] path # optional mode is one of [PERSISTENT, PERSISTENT_RECURSIVE] - \
                   default is PERSISTENT_RECURSIVE";

pub const COMMANDS: [Command; 2] = [
    Command { options: &[value("m", "")], ..Command::new("addWatch", ADD, add_watch) },
    Command {
        options: &[
            flag("c", "child watcher type"),
            flag("d", "data watcher type"),
            flag("p", "persistent watcher type"),
            flag("r", "persistent recursive watcher type"),
            flag("a", "any watcher type"),
            flag("l", "remove locally when there is no server connection"),
        ],
        ..Command::new("removewatches", "path [-c|-d|-a] [-l]", remove_watches)
    },
];

fn add_watch(client: &Client, args: &Args) -> Outcome {
    let mode = args.value("m").map(str::to_uppercase);
    let mode = match mode.as_deref() {
        None | Some("PERSISTENT_RECURSIVE") => AddWatchMode::PersistentRecursive,
        Some("PERSISTENT") => AddWatchMode::Persistent,
        _ => return Err(Failure::new(format!("addWatch {ADD}"))),
    };
    if args.words.len() != 2 {
        return Err(Failure::new(format!("addWatch {ADD}")));
    }
    Ok(client.add_watch(path(args), mode)?)
}

fn remove_watches(client: &Client, args: &Args) -> Outcome {
    let kinds = [
        ("c", WatcherType::Children),
        ("d", WatcherType::Data),
        ("p", WatcherType::Persistent),
        ("r", WatcherType::PersistentRecursive),
    ];
    let given = kinds.iter().find(|(option, _)| args.has(option));
    let which = given.map_or(WatcherType::Any, |(_, which)| *which);
    Ok(client.remove_watches(path(args), which, args.has("l"))?)
}

//! setquota, listquota, delquota. A quota is an ordinary node's text below `/zookeeper/quota`.
//! Java: `cli.SetQuotaCommand`, `cli.ListQuotaCommand`, `cli.DelQuotaCommand`.

use super::args::{Args, Group, Opt, flag, value};
use super::command::{Command, Failure, Outcome};
use super::nodes::{path, visit};
use super::{err, out};
use crate::client::{Client, Create, Error, Result as ClientResult};
use crate::tree::{LIMITS, QUOTA_ROOT, StatsTrack, limits_path, stats_path};
use crate::wire::ErrorCode;

/// The kinds of limit: option, key in the node's text.
const KINDS: [(&str, &str); 4] =
    [("n", "count"), ("b", "bytes"), ("N", "countHardLimit"), ("B", "byteHardLimit")];

const SET: [Opt; 4] = [
    value("n", "num soft quota"),
    value("b", "bytes soft quota"),
    value("N", "num hard quota"),
    value("B", "bytes hard quota"),
];

const DELETE: [Opt; 4] = [
    flag("n", "num soft quota"),
    flag("b", "bytes soft quota"),
    flag("N", "num hard quota"),
    flag("B", "bytes hard quota"),
];

pub const COMMANDS: [Command; 3] = [
    Command {
        options: &SET,
        group: Group::Required,
        ..Command::new("setquota", "-n|-b|-N|-B val path", set_quota)
    },
    Command::new("listquota", "path", list_quota),
    Command {
        options: &DELETE,
        group: Group::One,
        ..Command::new("delquota", "[-n|-b|-N|-B] path", delete_quota)
    },
];

fn set_quota(client: &Client, args: &Args) -> Outcome {
    let path = path(args);
    if path.starts_with(QUOTA_ROOT) {
        err!("cannot set a quota under the path: {QUOTA_ROOT}");
        return Ok(());
    }
    let Some((key, limit)) = limit(args) else { return Ok(()) };
    if client.exists(path, false)?.is_none() {
        return Err(Failure::new(format!("{path} does not exist.")));
    }
    check_below(client, path)?;
    check_above(client, path)?;
    let (limits, stats) = (limits_path(path), stats_path(path));
    if client.exists(&limits, false)?.is_some() {
        let mut track = read(client, &limits)?;
        track.set(key, limit);
        warn_of_excess(&track, &read(client, &stats)?);
        client.set_data(&limits, track.to_string().as_bytes(), -1)?;
        return Ok(());
    }
    let mut track = StatsTrack::new(-1, -1);
    KINDS.iter().for_each(|(_, key)| track.set(key, -1));
    track.set(key, limit);
    create_parents(client, &limits)?;
    client.create(&Create::new(&limits, track.to_string().as_bytes()))?;
    client.create(&Create::new(&stats, StatsTrack::new(0, 0).to_string().as_bytes()))?;
    warn_of_excess(&read(client, &limits)?, &read(client, &stats)?);
    Ok(())
}

/// The limit that the options ask for; without one they have been complained about.
fn limit(args: &Args) -> Option<(&'static str, i64)> {
    let (option, key) = *KINDS.iter().find(|(option, _)| args.has(option))?;
    let counts = matches!(option, "n" | "N");
    let text = args.value(option).unwrap_or_default();
    let limit = text.parse::<i64>().ok().filter(|&n| !counts || i32::try_from(n).is_ok());
    match limit {
        None => err!("NumberFormatException happens when parsing the option value"),
        Some(n) if counts && n <= 0 => err!("the num quota must be greater than zero"),
        Some(n) if n < 0 => err!("the bytes quota must be greater than or equal to zero"),
        Some(n) => return Some((key, n)),
    }
    None
}

/// Quotas do not nest: nothing below may have one.
fn check_below(client: &Client, path: &str) -> Outcome {
    let own = format!("{QUOTA_ROOT}{path}");
    let own = own.trim_end_matches('/');
    let (mut found, suffix) = (None, format!("/{LIMITS}"));
    let visited = visit(client, own, false, |node| {
        if let Some(holder) = node.strip_suffix(&suffix)
            && holder != own
        {
            found.get_or_insert(holder[QUOTA_ROOT.len()..].to_owned());
        }
    });
    match (visited, found) {
        (Err(e), _) if !e.is(ErrorCode::NoNode) => Err(e.into()),
        (_, Some(child)) => {
            Err(Failure::new(format!("{path} has a child {child} which has a quota")))
        }
        _ => Ok(()),
    }
}

/// Nor may anything above.
fn check_above(client: &Client, path: &str) -> Outcome {
    for (end, _) in path.match_indices('/').skip(1) {
        let parent = &path[..end];
        match client.get_children(&format!("{QUOTA_ROOT}{parent}"), false) {
            Ok((children, _)) if children.iter().any(|child| child == LIMITS) => {
                let text = format!("{path} has a parent {parent} which has a quota");
                return Err(Failure::new(text));
            }
            Ok(_) => {}
            Err(e) if e.is(ErrorCode::NoNode) => return Ok(()),
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

/// Creates the nodes above a path, each without data.
fn create_parents(client: &Client, path: &str) -> ClientResult<()> {
    for (end, _) in path.match_indices('/').skip(1) {
        if client.exists(&path[..end], false)?.is_some() {
            continue;
        }
        let parent = Create { data: None, ..Create::new(&path[..end], b"") };
        match client.create(&parent) {
            Err(e) if !e.is(ErrorCode::NodeExists) => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

fn read(client: &Client, path: &str) -> ClientResult<StatsTrack> {
    let data = client.get_data(path, false)?.data;
    Ok(StatsTrack::parse(data.as_deref().unwrap_or_default()))
}

fn warn_of_excess(limits: &StatsTrack, used: &StatsTrack) {
    let over = |limit: i64, used: i64| limit > -1 && limit < used;
    let (count, bytes) = (used.count(), used.bytes());
    if over(limits.count(), count) || over(limits.count_hard_limit(), count) {
        out!("[Warning]: the count quota you create is less than the existing count:{count}");
    }
    if over(limits.bytes(), bytes) || over(limits.byte_hard_limit(), bytes) {
        out!("[Warning]: the bytes quota you create is less than the existing bytes:{bytes}");
    }
}

fn list_quota(client: &Client, args: &Args) -> Outcome {
    let path = path(args);
    err!("absolute path is {}", limits_path(path));
    let both = read(client, &limits_path(path))
        .and_then(|limits| Ok((limits, read(client, &stats_path(path))?)));
    match both {
        Ok((limits, stats)) => {
            out!("Output quota for {path} {limits}");
            out!("Output stat for {path} {stats}");
            Ok(())
        }
        Err(e) => no_quota(path, e),
    }
}

fn no_quota(path: &str, e: Error) -> Outcome {
    if !e.is(ErrorCode::NoNode) {
        return Err(e.into());
    }
    err!("quota for {path} does not exist.");
    Ok(())
}

fn delete_quota(client: &Client, args: &Args) -> Outcome {
    let path = path(args);
    let limits = limits_path(path);
    if client.exists(&limits, false)?.is_none() {
        out!("Quota does not exist for {path}");
        return Ok(());
    }
    let key = KINDS.iter().find(|(option, _)| args.has(option)).map(|(_, key)| *key);
    let done = match key {
        Some(key) => clear(client, &limits, key),
        None => prune(client, &format!("{QUOTA_ROOT}{path}")),
    };
    done.or_else(|e| no_quota(path, e))
}

/// Takes one limit away and leaves the others.
fn clear(client: &Client, limits: &str, key: &str) -> ClientResult<()> {
    let mut track = read(client, limits)?;
    track.set(key, -1);
    client.set_data(limits, track.to_string().as_bytes(), -1).map(drop)
}

/// Deletes the quota's nodes and every parent that they leave empty.
fn prune(client: &Client, node: &str) -> ClientResult<()> {
    for child in client.get_children(node, false)?.0 {
        client.delete(&format!("{node}/{child}"), -1)?;
    }
    let mut node = node;
    while node != QUOTA_ROOT && client.get_children(node, false)?.0.is_empty() {
        client.delete(node, -1)?;
        node = node.rsplit_once('/').map_or(QUOTA_ROOT, |(parent, _)| parent);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::command::find;
    use super::*;

    #[test]
    fn limits_are_read_from_the_options() {
        let limit_of = |line: &str| {
            let words: Vec<_> = line.split(' ').map(String::from).collect();
            limit(&find("setquota").unwrap().parse(&words, |_| {}).unwrap())
        };
        assert_eq!(limit_of("setquota -n 5 /a"), Some(("count", 5)));
        assert_eq!(limit_of("setquota -B 5000000000 /a"), Some(("byteHardLimit", 5_000_000_000)));
        assert_eq!(limit_of("setquota -b 0 /a"), Some(("bytes", 0)));
        for bad in ["setquota -n 0 /a", "setquota -N 5000000000 /a", "setquota -b -1 /a"] {
            assert_eq!(limit_of(bad), None, "{bad}");
        }
    }
}

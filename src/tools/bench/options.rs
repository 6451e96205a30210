//! The options of `ironkeeper bench`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::request::Mix;
use crate::client::conn::resolve;

/// What the command line asks for. One set for all modes; each uses what it needs.
#[derive(Debug, Clone)]
pub struct Options {
    pub servers: Vec<SocketAddr>,
    pub connections: usize,
    /// Requests under way on each connection.
    pub outstanding: usize,
    pub mix: Mix,
    pub warmup: Duration,
    pub duration: Duration,
    /// Instead of warm-up and duration: so many requests.
    pub ops: Option<u64>,
    pub value_size: usize,
    /// Nodes that reads and sets choose from.
    pub keys: u32,
    /// Nodes that `fill` creates.
    pub nodes: u32,
    /// Sessions of `watch` and `idle`.
    pub sessions: usize,
    pub rounds: usize,
    /// Milliseconds.
    pub session_timeout: i32,
    /// Where the nodes go.
    pub root: String,
    /// Server processes whose processor time and memory are reported.
    pub pids: Vec<u32>,
    /// Where `disk` writes its file.
    pub dir: PathBuf,
    pub json: bool,
}

pub fn table() -> getopts::Options {
    let mut o = getopts::Options::new();
    o.optopt("s", "servers", "servers to load (127.0.0.1:2181)", "HOST:PORT,…");
    o.optopt("c", "connections", "connections, spread over the servers (16)", "N");
    o.optopt("o", "outstanding", "requests under way on each (16)", "N");
    o.optopt("m", "mix", "percentages of read, set, create, delete, exists (read:100)", "MIX");
    o.optopt("t", "duration", "seconds to measure or hold (5)", "SECONDS");
    o.optopt("w", "warmup", "seconds before that (1)", "SECONDS");
    o.optopt("n", "ops", "stop after so many requests instead", "N");
    o.optopt("v", "value-size", "bytes of a node's data (100)", "BYTES");
    o.optopt("k", "keys", "nodes that reads and sets choose from (1000)", "N");
    o.optopt("", "nodes", "nodes that fill creates (1000000)", "N");
    o.optopt("", "sessions", "sessions that watch and idle open (2000)", "N");
    o.optopt("", "rounds", "rounds of watch; writes and wake-ups of disk (20)", "N");
    o.optopt("", "session-timeout", "asked for by every session (30000)", "MS");
    o.optopt("", "root", "node below which everything happens (/bench)", "PATH");
    o.optopt("p", "pid", "server processes to watch", "PID,…");
    o.optopt("d", "dir", "directory that disk measures (.)", "DIR");
    o.optflag("j", "json", "print one line of JSON");
    o
}

/// Parses the words behind the mode.
pub fn parse(args: &[String]) -> Result<Options, String> {
    let matches = table().parse(args).map_err(|e| e.to_string())?;
    if let Some(word) = matches.free.first() {
        return Err(format!("'{word}' is not an option"));
    }
    let text = |name: &str, default: &str| matches.opt_str(name).unwrap_or(default.into());
    let number = |name: &str, default: &str| {
        let value = text(name, default);
        value.parse::<u32>().map_err(|_| format!("--{name} {value}: not a whole number"))
    };
    let positive = |name: &str, default: &str| match number(name, default)? {
        0 => Err(format!("--{name} must not be 0")),
        n => Ok(n),
    };
    let seconds = |name: &str, default: &str| {
        let value = text(name, default);
        let seconds = value.parse().ok().and_then(|s| Duration::try_from_secs_f64(s).ok());
        seconds.ok_or_else(|| format!("--{name} {value}: not a number of seconds"))
    };
    let ops = matches.opt_present("ops").then(|| positive("ops", "")).transpose()?;
    Ok(Options {
        servers: servers(&text("servers", "127.0.0.1:2181"))?,
        connections: positive("connections", "16")? as usize,
        outstanding: positive("outstanding", "16")? as usize,
        mix: Mix::parse(&text("mix", "read:100"))?,
        warmup: seconds("warmup", "1")?,
        duration: seconds("duration", "5")?,
        ops: ops.map(u64::from),
        value_size: number("value-size", "100")? as usize,
        keys: positive("keys", "1000")?,
        nodes: number("nodes", "1000000")?,
        sessions: positive("sessions", "2000")? as usize,
        rounds: positive("rounds", "20")? as usize,
        session_timeout: positive("session-timeout", "30000")?.min(i32::MAX as u32) as i32,
        root: text("root", "/bench"),
        pids: pids(&text("pid", ""))?,
        dir: text("dir", ".").into(),
        json: matches.opt_present("json"),
    })
}

fn servers(list: &str) -> Result<Vec<SocketAddr>, String> {
    list.split(',')
        .map(|s| match resolve(s) {
            Ok(addrs) => Ok(addrs[0]),
            Err(e) => Err(format!("--servers {s}: {e}")),
        })
        .collect()
}

fn pids(list: &str) -> Result<Vec<u32>, String> {
    let words = list.split(',').filter(|w| !w.is_empty());
    words.map(|w| w.parse().map_err(|_| format!("--pid {w}: not a process id"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Options, String> {
        parse(&line.split_whitespace().map(String::from).collect::<Vec<_>>())
    }

    #[test]
    fn defaults_and_values() {
        let o = parsed("").unwrap();
        assert_eq!((o.connections, o.outstanding, o.ops, o.json), (16, 16, None, false));
        let o = parsed("-s 127.0.0.1:1,127.0.0.1:2 -m set -p 4,5 -n 7 -t 0.5 --json").unwrap();
        assert_eq!(o.servers.len(), 2);
        assert_eq!((o.pids, o.ops, o.json), (vec![4, 5], Some(7), true));
        assert_eq!(o.duration, Duration::from_millis(500));
    }

    #[test]
    fn mistakes_are_named() {
        for (line, part) in [
            ("-c 0", "--connections must not be 0"),
            ("-o x", "--outstanding x: not a whole number"),
            ("-t -1", "--duration -1"),
            ("-p 1,a", "--pid a"),
            ("-s 127.0.0.1", "--servers 127.0.0.1"),
            ("word", "'word' is not an option"),
            ("--wrong", "wrong"),
        ] {
            let err = parsed(line).unwrap_err();
            assert!(err.contains(part), "{line}: {err}");
        }
    }
}

//! The shell behind `bin/zkCli.sh`: Apache's commands, options, texts and exit codes.
//! Java: `ZooKeeperMain` and package `cli`.

mod acls;
mod args;
mod command;
mod ensemble;
mod format;
mod nodes;
mod quota;
mod watches;
mod words;

use std::io::{self, BufRead, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use command::{Failure, Outcome};
use crossbeam_channel::{Receiver, Sender, bounded};
use words::Startup;

use crate::client::error::CONNECTION_LOSS;
use crate::client::{Client, Error, KeeperState, State};
use crate::sys::local_time;
use crate::wire::Stat;

/// A line on standard output. Who closes the pipe early has read enough.
macro_rules! out {
    ($($arg:tt)*) => {{
        use std::io::Write;
        let _ = writeln!(std::io::stdout(), $($arg)*);
    }};
}

/// Part of a line on standard output.
macro_rules! out_part {
    ($($arg:tt)*) => {{
        use std::io::Write;
        let _ = write!(std::io::stdout(), $($arg)*);
    }};
}

/// A line on standard error.
macro_rules! err {
    ($($arg:tt)*) => {{
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), $($arg)*);
    }};
}

use {err, out, out_part};

const COMMAND_NOT_FOUND: u8 = 127;
/// How many commands `history` shows.
const HISTORY: usize = 10;

/// Prints a stat with its times in the local time zone.
fn print_stat(stat: &Stat) {
    out_part!("{}", format::stat(stat, date));
}

/// Milliseconds since 1970 as Java's `Date` prints them: Mon Nov 23 01:01:45 UTC 2026.
fn date(ms: i64) -> String {
    const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let Some(t) = local_time(ms.div_euclid(1000)) else { return format!("{ms} ms") };
    let (day, month) = (DAYS[t.weekday % 7], MONTHS[t.month % 12]);
    format!(
        "{day} {month} {:02} {:02}:{:02}:{:02} {} {}",
        t.day, t.hour, t.minute, t.second, t.zone, t.year
    )
}

/// Runs the shell with the words that follow `cli`.
pub fn run(arguments: &[String]) -> ExitCode {
    let startup = match Startup::parse(arguments) {
        Ok(startup) => startup,
        Err(text) => {
            err!("{text}");
            return ExitCode::FAILURE;
        }
    };
    if let Some(file) = &startup.client_configuration {
        // Better no connection than one without the protection that the file may ask for.
        err!("-client-configuration {file}: TLS and SASL are not supported by this shell yet");
        return ExitCode::FAILURE;
    }
    out!("Connecting to {}", startup.server);
    let command = startup.command.clone();
    let server = startup.server.clone();
    let mut shell = Shell::new(startup);
    if let Err(failure) = shell.connect(&server) {
        err!("{}", failure.text);
        return ExitCode::FAILURE;
    }
    if command.is_empty() {
        shell.converse();
    } else {
        shell.process(&command);
    }
    ExitCode::from(shell.exit_code)
}

struct Shell {
    startup: Startup,
    client: Option<Client>,
    /// What the prompt names: the connect string in use.
    host: String,
    history: Vec<String>,
    print_watches: Arc<AtomicBool>,
    exit_code: u8,
    /// `quit` was given.
    done: bool,
}

impl Shell {
    fn new(startup: Startup) -> Self {
        Self {
            startup,
            client: None,
            host: String::new(),
            history: Vec::new(),
            print_watches: Arc::new(AtomicBool::new(true)),
            exit_code: 0,
            done: false,
        }
    }

    fn is_alive(&self) -> bool {
        self.client.as_ref().is_some_and(|client| client.state().is_alive())
    }

    /// Ends the session there is and begins one with these servers.
    fn connect(&mut self, servers: &str) -> Outcome {
        self.close();
        self.host = servers.to_owned();
        let (print, (connected, is_connected)) = (self.print_watches.clone(), bounded(1));
        let (timeout, read_only) = (self.startup.timeout, self.startup.read_only);
        let client = Client::connect(servers, timeout, read_only, move |event| {
            if print.load(Ordering::Relaxed) {
                out!("\nWATCHER::\n\n{event}");
            }
            if event.state == KeeperState::SyncConnected && event.path.is_none() {
                announce(&connected);
            }
        })?;
        self.client = Some(client);
        if self.startup.wait_for_connection {
            wait(&is_connected, timeout)?;
        }
        Ok(())
    }

    fn close(&mut self) {
        if let Some(client) = self.client.take() {
            client.close();
        }
    }

    fn state(&self) -> &'static str {
        match self.client.as_ref().map(Client::state) {
            Some(State::Connecting) => "CONNECTING",
            Some(State::Connected) => "CONNECTED",
            Some(State::ConnectedReadOnly) => "CONNECTEDREADONLY",
            Some(State::AuthFailed) => "AUTH_FAILED",
            Some(State::Closed) | None => "CLOSED",
        }
    }

    /// Reads commands until there are no more.
    fn converse(&mut self) {
        out!("Welcome to ZooKeeper!\nJLine support is disabled");
        let prompts = io::stdin().is_terminal() && io::stdout().is_terminal();
        let mut lines = io::stdin().lock().lines();
        while !self.done {
            if prompts {
                out_part!("[zk: {}({}) {}] ", self.host, self.state(), self.history.len());
                let _ = io::stdout().flush();
            }
            let Some(Ok(line)) = lines.next() else { break };
            let words = words::split(&line);
            if !words.is_empty() {
                self.history.push(line);
                self.process(&words);
            }
        }
    }

    fn process(&mut self, words: &[String]) {
        let (exit_code, text) = match self.execute(words) {
            Ok(()) => (0, None),
            Err(failure) => (failure.exit_code, Some(failure.text)),
        };
        if let Some(text) = text {
            err!("{text}");
        }
        if !self.done {
            self.exit_code = exit_code;
        }
    }

    fn execute(&mut self, words: &[String]) -> Outcome {
        let name = words[0].as_str();
        let command = command::find(name);
        if command.is_none() && !command::BUILT_IN.iter().any(|(built_in, _)| *built_in == name) {
            err!("{}", command::help());
            let text = format!("Command not found: Command not found {name}");
            return Err(Failure { text, exit_code: COMMAND_NOT_FOUND });
        }
        match (name, words.get(1)) {
            ("quit", _) => {
                self.close();
                self.done = true;
                return Ok(());
            }
            ("redo", Some(number)) => return self.redo(number),
            ("history", _) => self.show_history(),
            ("printwatches", None) => {
                let on = self.print_watches.load(Ordering::Relaxed);
                out!("printwatches is {}", if on { "on" } else { "off" });
            }
            ("printwatches", Some(word)) => {
                self.print_watches.store(word == "on", Ordering::Relaxed);
            }
            ("connect", host) => {
                let host = host.unwrap_or(&self.host).clone();
                self.connect(&host)?;
            }
            _ => {}
        }
        let Some(client) = self.client.as_ref().filter(|_| self.is_alive()) else {
            out!("Not connected");
            return Ok(());
        };
        match command {
            Some(command) => {
                let args = command.parse(words, |advice| err!("{advice}"))?;
                (command.run)(client, &args)
            }
            None => {
                if name == "close" {
                    self.close();
                }
                Ok(())
            }
        }
    }

    /// Runs an earlier command again; it takes the place of `redo` in the history.
    fn redo(&mut self, number: &str) -> Outcome {
        let number: usize = command::number(Some(number), 0)?;
        let last = self.history.len().saturating_sub(1);
        if number >= last {
            return Err(Failure::new("Command index out of range"));
        }
        let line = self.history[number].clone();
        let words = words::split(&line);
        if words[0] == "redo" {
            return Err(Failure::new("No redoing redos"));
        }
        self.history[last] = line;
        self.execute(&words)
    }

    fn show_history(&self) {
        let first = self.history.len().saturating_sub(HISTORY + 1);
        for (number, line) in self.history.iter().enumerate().skip(first) {
            out!("{number} - {line}");
        }
    }
}

fn announce(connected: &Sender<()>) {
    // Full: it has been announced before.
    let _ = connected.try_send(());
}

fn wait(connected: &Receiver<()>, timeout_ms: i32) -> Outcome {
    let patience = Duration::from_millis(timeout_ms.max(0) as u64);
    connected
        .recv_timeout(patience)
        .map_err(|_| Error::Code { code: CONNECTION_LOSS, path: None }.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_look_like_javas() {
        let text = date(1_000);
        let words: Vec<_> = text.split(' ').collect();
        assert_eq!(words.len(), 6, "{text}");
        assert!(["1969", "1970"].contains(&words[5]), "{text}");
    }
}

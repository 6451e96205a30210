//! The command line: which part of the program the first word asks for.

use std::process::ExitCode;

use ironkeeper::admin;
use ironkeeper::config::{self, Config, Severity, ZOOKEEPER_RELEASE, load};
use ironkeeper::server::{self, logging};
use ironkeeper::tools;
use log::{error, info, warn};

const USAGE: &str = "\
usage: ironkeeper COMMAND [arguments]
commands:
  server [-Dname=value…] CONFIG           run a server with a configuration file
  server PORT DIRECTORY [TICK [CNXNS]]    run a standalone server without one
  cli [-server HOST:PORT] [command…]      the client shell
  4lw HOST PORT WORD                      ask a server by a four-letter word
  purge LOGDIR [SNAPDIR] -n COUNT         delete old logs and snapshots
  bench MODE [options]                    load servers and measure them
  config-reference                        print all settings
  version, help";

/// Java's exit code for a wrong command line or configuration.
const INVALID_INVOCATION: u8 = 2;

fn main() -> ExitCode {
    let arguments: Vec<String> =
        std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let (command, rest) = match arguments.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("", arguments.as_slice()),
    };
    match command {
        "server" => serve(rest),
        "cli" => ironkeeper::cli::run(rest),
        "4lw" => tools::four_letter_word::run(rest),
        "purge" => tools::purge::run(rest),
        "bench" => ExitCode::from(tools::bench::main(rest) as u8),
        "config-reference" => print(&config::reference()),
        "version" | "--version" => print(&format!(
            "Apache ZooKeeper, version {ZOOKEEPER_RELEASE} (IronKeeper {})\n",
            env!("CARGO_PKG_VERSION")
        )),
        "help" | "--help" | "-h" => print(&format!("{USAGE}\n")),
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(INVALID_INVOCATION)
        }
    }
}

fn print(text: &str) -> ExitCode {
    use std::io::Write;
    // Who closes the pipe early has read enough.
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

/// Reads the configuration, says what is noteworthy about it, and runs the server with it.
fn serve(arguments: &[String]) -> ExitCode {
    let loaded = load::config(&load::words(arguments)).and_then(config::refuse_unsupported);
    logging::init(loaded.as_ref().ok());
    let config = match loaded {
        Ok(config) => config,
        Err(error) => {
            error!("{error}");
            eprintln!("Invalid config, exiting abnormally");
            return ExitCode::from(error.exit_code());
        }
    };
    if !config.config_path.is_empty() {
        info!("Reading configuration from: {}", config.config_path);
    }
    for note in &config.notes {
        match note.severity {
            Severity::Info => info!("{}", note.text),
            Severity::Warning => warn!("{}", note.text),
            Severity::Error => error!("{}", note.text),
        }
    }
    run(config)
}

fn run(config: Config) -> ExitCode {
    server::run(config, admin::answerer)
}

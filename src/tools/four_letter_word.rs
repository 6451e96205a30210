//! Asks a server by a four-letter word and prints the answer: `ironkeeper 4lw HOST PORT WORD`.
//! Answers to Java's `FourLetterWordMain`, which the launch scripts run for `status`.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::time::Duration;

/// How long connecting may take, and each wait for a part of the answer; Java's time-out.
const TIMEOUT: Duration = Duration::from_secs(5);

const USAGE: &str = "Usage: ironkeeper 4lw HOST PORT WORD";

/// Runs the command with the words that follow `4lw`.
pub fn run(arguments: &[String]) -> ExitCode {
    let [host, port, word] = arguments else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let Ok(port) = port.parse() else {
        eprintln!("{port} is not a port\n{USAGE}");
        return ExitCode::from(2);
    };
    let answer = ask(host, port, word).and_then(|text| io::stdout().write_all(text.as_bytes()));
    match answer {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{host}:{port} did not answer {word}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What the server at `host` (a name, or an IP literal with or without brackets) answers.
pub fn ask(host: &str, port: u16, word: &str) -> io::Result<String> {
    let mut stream = connect(host.trim_matches(['[', ']']), port)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.write_all(word.as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Connects to the first of a host's addresses that accepts.
fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut refused = io::Error::new(ErrorKind::NotFound, "the host has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, TIMEOUT) {
            Ok(stream) => return Ok(stream),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    #[test]
    fn the_word_is_sent_and_the_answer_read_to_its_end() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut word = String::new();
            stream.read_to_string(&mut word).unwrap();
            stream.write_all(b"Mode: standalone\nNode count: 5\n").unwrap();
            word
        });
        assert_eq!(ask("localhost", port, "srvr").unwrap(), "Mode: standalone\nNode count: 5\n");
        assert_eq!(server.join().unwrap(), "srvr");
    }

    #[test]
    fn a_closed_port_is_an_error() {
        let port = {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap().port()
        };
        assert!(ask("127.0.0.1", port, "srvr").is_err());
    }
}

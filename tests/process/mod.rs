//! A running server, the executable itself, for tests that look at it from outside.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

pub const DEADLINE: Duration = Duration::from_secs(20);

/// A server with a directory of its own; both end with it.
pub struct Server {
    pub process: Child,
    /// With `zoo.cfg`, `data` and `log`, what it says on standard error.
    pub dir: PathBuf,
    pub port: u16,
}

pub fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

impl Server {
    /// `name` tells the tests of one process apart.
    pub fn start(name: &str, config: &str) -> Server {
        let dir = std::env::temp_dir().join(format!("ironkeeper-{name}-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("data")).unwrap();
        std::fs::write(dir.join("data/myid"), "1").unwrap();
        let port = free_port();
        let data = dir.join("data").display().to_string();
        let common = format!("tickTime=2000\nclientPort={port}\ndataDir={data}\n");
        std::fs::write(dir.join("zoo.cfg"), common + config).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_ironkeeper"))
            .arg("server")
            .arg(dir.join("zoo.cfg"))
            .env("ZOO_LOG4J_PROP", "INFO,CONSOLE")
            .stderr(std::fs::File::create(dir.join("log")).unwrap())
            .spawn()
            .unwrap();
        Server { process, dir, port }
    }

    /// What the server answers to these bytes before it closes the connection.
    pub fn ask(&self, bytes: &[u8]) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(bytes).ok()?;
        read_all(stream)
    }

    pub fn wait_for(&self, word: &str, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + DEADLINE;
        loop {
            match self.ask(word.as_bytes()) {
                Some(answer) if wanted(&answer) => return answer,
                answer => assert!(Instant::now() < deadline, "{word} is answered {answer:?}"),
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

pub fn read_all(mut stream: TcpStream) -> Option<String> {
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        std::fs::remove_dir_all(&self.dir).unwrap();
    }
}

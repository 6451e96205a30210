//! A client's socket: the one place where bytes come in and go out, so that TLS can be put between
//! here without anybody else noticing. Non-blocking.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::options::Options;
use crate::sys;

/// See the module.
#[derive(Debug)]
pub struct Transport {
    socket: TcpStream,
}

impl Transport {
    /// Prepares an accepted socket as Java's `NIOServerCnxn` does.
    pub fn new(socket: TcpStream, options: &Options) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        if options.tcp_keep_alive {
            sys::set_keepalive(socket.as_fd())?;
        }
        Ok(Self { socket })
    }

    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.socket, token, Interest::READABLE | Interest::WRITABLE)
    }

    pub fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.socket.read(into)
    }

    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.write(bytes)
    }

    /// Ends the connection so that the peer gets everything written. Input that nobody read would
    /// turn the end into a reset, so it is read first, if there is not too much of it.
    pub fn close(mut self) {
        let mut ignored = [0; 4096];
        for _ in 0..16 {
            match self.socket.read(&mut ignored) {
                Ok(n) if n > 0 => {}
                _ => break,
            }
        }
        // The peer may be gone already.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

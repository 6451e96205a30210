//! One attempt to reach a peer: resolve, connect, say who we are. Host names are resolved anew for
//! every attempt, on the attempt's own thread: a name server that hangs delays nobody else.
//! Java: `QuorumCnxManager.initiateConnection`, `startConnection`.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::AsFd;

use log::debug;

use super::{MeshConfig, Shared, lock};
use crate::config::Address;
use crate::sys;
use crate::wire::election::Handshake;

/// Connects to the first address that answers and sends our handshake, in one write.
pub(super) fn dial(shared: &Shared, addresses: &[Address]) -> io::Result<TcpStream> {
    let config = &shared.config;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "no address is known");
    for address in addresses {
        match connect(config, address) {
            Ok(mut stream) => {
                set_options(config, &stream)?;
                stream.write_all(&handshake(shared))?;
                return Ok(stream);
            }
            Err(error) => {
                debug!("cannot open channel at election address {address}: {error}");
                last = error;
            }
        }
    }
    Err(last)
}

fn handshake(shared: &Shared) -> Vec<u8> {
    let own = lock(&shared.own);
    let addresses = own.iter().map(|address| (address.host.clone(), address.port)).collect();
    Handshake { sid: shared.config.sid, addresses }.to_bytes(shared.config.multi_address)
}

fn connect(config: &MeshConfig, address: &Address) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for resolved in (address.host.as_str(), address.port).to_socket_addrs()? {
        match connect_to(config, &resolved) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn connect_to(config: &MeshConfig, address: &SocketAddr) -> io::Result<TcpStream> {
    let stream = if config.connect_timeout.is_zero() {
        TcpStream::connect(address)?
    } else {
        TcpStream::connect_timeout(address, config.connect_timeout)?
    };
    // A port of our own machine in the ephemeral range can be connected to itself.
    if stream.local_addr()? == *address {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(stream)
}

/// Votes are small and urgent; and a peer that takes nothing for long is gone.
pub(super) fn set_options(config: &MeshConfig, stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    if !config.connect_timeout.is_zero() {
        stream.set_write_timeout(Some(config.connect_timeout))?;
    }
    if config.keep_alive {
        sys::set_keepalive(stream.as_fd())?;
    }
    Ok(())
}

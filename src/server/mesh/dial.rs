//! One attempt to reach a peer: resolve, connect, say who we are. Host names are resolved anew for
//! every attempt, on the attempt's own thread: a name server that hangs delays nobody else.
//! Java: `QuorumCnxManager.initiateConnection`, `startConnection`.

use std::io::{self, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;

use super::{MeshConfig, Shared, lock};
use crate::config::Address;
use crate::server::sockets;
use crate::sys;
use crate::wire::election::Handshake;

/// Connects to the first address that answers and sends our handshake, in one write.
pub(super) fn dial(shared: &Shared, addresses: Vec<Address>) -> io::Result<TcpStream> {
    let mut stream = sockets::connect(addresses, shared.config.connect_timeout)?;
    set_options(&shared.config, &stream)?;
    stream.write_all(&handshake(shared))?;
    Ok(stream)
}

fn handshake(shared: &Shared) -> Vec<u8> {
    let own = lock(&shared.own);
    let addresses = own.iter().map(|address| (address.host.clone(), address.port)).collect();
    Handshake { sid: shared.config.sid, addresses }.to_bytes(shared.config.multi_address)
}

/// Votes are small and urgent; and a peer that takes nothing for long is gone. After a cut the
/// kernel would wait longer and longer before it tries again to deliver: a new link is quicker.
pub(super) fn set_options(config: &MeshConfig, stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sys::set_user_timeout(stream.as_fd(), config.silence_timeout)?;
    if !config.connect_timeout.is_zero() {
        stream.set_write_timeout(Some(config.connect_timeout))?;
    }
    if config.keep_alive {
        sys::set_keepalive(stream.as_fd())?;
    }
    Ok(())
}

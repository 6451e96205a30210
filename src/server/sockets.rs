//! Reaching a server that has several addresses, and binding one's own. Names are resolved at
//! every attempt, on the caller's thread or on one of the attempt's: never on the commit thread.
//! Java: `MultipleAddresses`, `Learner.LeaderConnector`.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, bounded};

use crate::config::Address;

/// How long an address has for itself before the next one is tried, too: on the way to it there
/// may be a network that swallows every packet.
const HEAD_START: Duration = Duration::from_millis(250);

/// Connects to whichever address answers first. `timeout` is that of one attempt; zero: as long as
/// the kernel tries.
pub fn connect(addresses: Vec<Address>, timeout: Duration) -> io::Result<TcpStream> {
    first_to_answer(addresses, move |address| {
        let resolved = (address.host.as_str(), address.port).to_socket_addrs()?.collect();
        first_to_answer(resolved, move |address| connect_one(address, timeout))
    })
}

fn connect_one(address: &SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
    let stream = match timeout.is_zero() {
        true => TcpStream::connect(address)?,
        false => TcpStream::connect_timeout(address, timeout)?,
    };
    // A port of our own machine in the ephemeral range can be connected to itself.
    if stream.local_addr()? == *address {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(stream)
}

/// Tries the places in their order, the next one as soon as those before have failed or had their
/// head start. Who answers when another has is dropped.
fn first_to_answer<P: Send + 'static, T: Send + 'static>(
    places: Vec<P>,
    attempt: impl Fn(&P) -> io::Result<T> + Clone + Send + 'static,
) -> io::Result<T> {
    if let [only] = &places[..] {
        return attempt(only);
    }
    let mut error = io::Error::new(io::ErrorKind::NotFound, "no address is known");
    let (answer, answers) = bounded(places.len());
    for place in places {
        let (answer, attempt) = (answer.clone(), attempt.clone());
        thread::Builder::new().name("connect".into()).spawn(move || {
            // Nobody waits for it any more when another was first.
            let _ = answer.send(attempt(&place));
        })?;
        match answers.recv_timeout(HEAD_START) {
            Ok(Ok(reached)) => return Ok(reached),
            Ok(Err(e)) => error = e,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
    }
    drop(answer);
    for answer in answers {
        match answer {
            Ok(reached) => return Ok(reached),
            Err(e) => error = e,
        }
    }
    Err(error)
}

/// All interfaces are those of IPv6 and IPv4, where there is IPv6.
pub fn bind(address: &Address) -> io::Result<TcpListener> {
    if address.is_wildcard() {
        return TcpListener::bind((Ipv6Addr::UNSPECIFIED, address.port))
            .or_else(|_| TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port)));
    }
    TcpListener::bind((address.host.as_str(), address.port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    /// A place that answers, one that refuses, one that swallows what is sent to it.
    #[derive(Clone, Copy, PartialEq, Debug)]
    enum Place {
        Answers(u8),
        Refuses,
        Swallows,
    }

    fn first(places: &[Place]) -> io::Result<u8> {
        first_to_answer(places.to_vec(), |place| match place {
            Place::Answers(n) => Ok(*n),
            Place::Refuses => Err(io::ErrorKind::ConnectionRefused.into()),
            Place::Swallows => {
                // Longer than any test waits; the thread ends with the process.
                thread::park_timeout(Duration::from_secs(3600));
                Err(io::ErrorKind::TimedOut.into())
            }
        })
    }

    #[test]
    fn the_first_that_answers_is_taken() {
        use Place::{Answers, Refuses, Swallows};
        let started = Instant::now();
        for (places, expected) in [
            (&[Answers(1)][..], Some(1)),
            (&[Answers(1), Answers(2)], Some(1)),
            (&[Refuses, Answers(2)], Some(2)),
            (&[Swallows, Answers(2)], Some(2)),
            (&[Swallows, Refuses, Answers(3)], Some(3)),
            (&[Refuses, Refuses], None),
            (&[], None),
        ] {
            assert_eq!(first(places).ok(), expected, "{places:?}");
        }
        assert!(started.elapsed() < Duration::from_secs(60), "waited for who does not answer");
    }

    #[test]
    fn a_server_is_reached_by_the_address_that_works() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let works = Address::new("127.0.0.1", listener.local_addr().unwrap().port());
        let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let addresses = vec![Address::new("127.0.0.1", gone), works.clone()];
        let stream = connect(addresses, Duration::from_secs(5)).unwrap();
        assert_eq!(stream.peer_addr().unwrap().port(), works.port);
    }
}

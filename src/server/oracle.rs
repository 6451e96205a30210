//! The oracle (`oraclePath`, Q-73): a file that somebody outside keeps, and whose first character
//! says whether the one of two servers that is left may go on alone. Read again and again while the
//! server runs; judges nothing. Java: `QuorumOracleMaj.askOracle`.

use std::fs::File;
use std::io::{self, Read};
use std::thread;
use std::time::Duration;

use crate::mailbox::Sender;
use crate::pipeline::node::Event;

/// An answer is at most so old.
const INTERVAL: Duration = Duration::from_millis(50);

/// Starts the thread that asks. It ends when nobody takes its answers any more.
pub fn start(path: String, events: Sender<Event>) -> io::Result<()> {
    log::info!("Oracle is set to {path}");
    let ask = move || {
        let mut last = None;
        loop {
            let answer = matches!(first_byte(&path), Ok(b'1'));
            if last.replace(answer) != Some(answer) {
                log::info!("Oracle says: {}", if answer { "yes" } else { "no" });
            }
            if events.send(Event::Oracle { answer }).is_err() {
                return;
            }
            thread::sleep(INTERVAL);
        }
    };
    thread::Builder::new().name("oracle".into()).spawn(ask)?;
    Ok(())
}

/// Who cannot be asked says no.
fn first_byte(path: &str) -> io::Result<u8> {
    let mut byte = [0];
    File::open(path)?.read_exact(&mut byte)?;
    Ok(byte[0])
}

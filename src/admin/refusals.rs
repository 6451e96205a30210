//! Says in the log which four-letter words were refused to whom, without letting a probe that asks
//! every second fill the log. Time is an argument.

use std::collections::HashMap;
use std::net::IpAddr;

/// One line about the same word and peer in so many ms.
const INTERVAL_MS: i64 = 60_000;
/// Words and peers that are kept in mind; beyond that nothing is said.
const MAX_KNOWN: usize = 1_024;

#[derive(Debug, Default)]
pub struct Refusals {
    said: HashMap<(IpAddr, [u8; 4]), i64>,
}

impl Refusals {
    /// Whether a line is due now.
    pub fn is_news(&mut self, peer: IpAddr, word: [u8; 4], now: i64) -> bool {
        if self.said.get(&(peer, word)).is_some_and(|said| now - said < INTERVAL_MS) {
            return false;
        }
        if self.said.len() >= MAX_KNOWN {
            self.said.retain(|_, said| now - *said < INTERVAL_MS);
        }
        if self.said.len() >= MAX_KNOWN {
            return false;
        }
        self.said.insert((peer, word), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_minute_for_a_word_and_a_peer() {
        let (a, b) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let mut refusals = Refusals::default();
        let table = [
            (a, b"mntr", 0, true),
            (a, b"mntr", 59_999, false),
            (a, b"conf", 1, true),
            (b, b"mntr", 1, true),
            (a, b"mntr", 60_000, true),
            (a, b"mntr", 60_001, false),
        ];
        for (peer, word, now, news) in table {
            assert_eq!(refusals.is_news(peer, *word, now), news, "{peer} {word:?} {now}");
        }
    }

    #[test]
    fn many_peers_are_forgotten_in_time() {
        let mut refusals = Refusals::default();
        let peer = |i: usize| IpAddr::from((i as u32).to_be_bytes());
        (0..MAX_KNOWN).for_each(|i| assert!(refusals.is_news(peer(i), *b"mntr", 0)));
        assert!(!refusals.is_news(peer(MAX_KNOWN), *b"mntr", 1));
        assert!(refusals.is_news(peer(MAX_KNOWN), *b"mntr", INTERVAL_MS));
        assert_eq!(refusals.said.len(), 1);
    }
}

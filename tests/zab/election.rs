//! The election core as the subject of a script.
//!   election id=3 voters=1,2,3 epoch=1 last=1:9    starts to look
//!   2 says LOOKING leader=2 round=1 epoch=1 last=1:9 [version=0]
//!   bytes HEX    whether they are a vote
//!   up sid  down sid  established epoch  tick ms
//!   look epoch=2 last=2:0    looks again

use ironkeeper::config::Role;
use ironkeeper::quorum::election::{Election, Event, Output, Settings};
use ironkeeper::quorum::verifier::JointVerifier;
use ironkeeper::wire::election::{Notification, ServerState};

use super::{Words, config, shown};

const STATES: [(&str, ServerState); 4] = [
    ("LOOKING", ServerState::Looking),
    ("FOLLOWING", ServerState::Following),
    ("LEADING", ServerState::Leading),
    ("OBSERVING", ServerState::Observing),
];

fn name(state: ServerState) -> &'static str {
    STATES.iter().find(|(_, s)| *s == state).map_or("?", |(name, _)| name)
}

pub fn new(words: &Words<'_>, now: i64) -> (Election, Vec<String>) {
    let verifier = JointVerifier::new(config(words.get("voters").expect("voters=")), None);
    let settings = Settings::new(words.number("id"));
    let mut election = Election::new(settings, verifier, Role::Participant);
    let shown = take(&mut election, start(words), now);
    (election, shown)
}

fn start(words: &Words<'_>) -> Event {
    let (current_epoch, last_logged_zxid) = (words.number("epoch"), words.zxid("last"));
    Event::Start { current_epoch, last_logged_zxid }
}

pub fn event(election: &mut Election, words: &Words<'_>, now: i64) -> Vec<String> {
    let number = |position| words.at(position).parse::<i64>().expect("a number");
    let event = match words.at(0) {
        "look" => start(words),
        "up" => Event::Connected { sid: number(1) },
        "down" => Event::Disconnected { sid: number(1) },
        "established" => Event::EpochEstablished { epoch: number(1) },
        "tick" => Event::Tick,
        "bytes" => return vec![decoded(words.at(1))],
        _ if words.at(1) == "says" => {
            Event::Received { from: number(0), notification: notification(words) }
        }
        other => panic!("{other} is nothing that happens to an election"),
    };
    take(election, event, now)
}

fn notification(words: &Words<'_>) -> Notification {
    let state = STATES.iter().find(|(name, _)| *name == words.at(2)).expect("a state").1;
    Notification {
        state,
        leader: words.number("leader"),
        zxid: words.zxid("last"),
        election_epoch: words.number("round"),
        peer_epoch: words.number("epoch"),
        version: words.get("version").map_or(2, |n| n.parse().expect("a version")),
        config: None,
    }
}

fn decoded(hex: &str) -> String {
    let digits = hex.as_bytes().chunks(2).map(|pair| str::from_utf8(pair).expect("hex"));
    let bytes: Vec<u8> = digits.map(|d| u8::from_str_radix(d, 16).expect("hex")).collect();
    match Notification::from_bytes(&bytes) {
        Ok(n) => format!("a vote for {}", n.leader),
        Err(e) => format!("the link is closed: {e}"),
    }
}

fn take(election: &mut Election, event: Event, now: i64) -> Vec<String> {
    let mut out = Vec::new();
    election.step(event, now as u64, &mut out);
    out.iter().map(show).collect()
}

fn show(output: &Output) -> String {
    match output {
        Output::Send { to, notification: n } => format!(
            "tell {to} {} leader={} round={} epoch={} last={}",
            name(n.state),
            n.leader,
            n.election_epoch,
            n.peer_epoch,
            shown(n.zxid)
        ),
        Output::Decided { state, vote, supporters } => {
            format!("{} under {}, by the votes of {supporters:?}", name(*state), vote.leader)
        }
        Output::PeerLooking { sid } => format!("{sid} looks again"),
        Output::NewerConfig { from, .. } => format!("a later configuration from {from}"),
    }
}

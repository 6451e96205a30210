//! Elections as tables, as regressions named by their issue, and as a whole ensemble in one
//! thread whose messages arrive in random order.

use std::collections::VecDeque;
use std::sync::Arc;

use super::*;
use ServerState::{Following, Leading, Looking, Observing};

fn config_text(voters: std::ops::RangeInclusive<i64>, extra: &str, version: i64) -> String {
    let mut text: String =
        voters.map(|id| format!("server.{id}=h{id}:1:2:participant\n")).collect();
    text.push_str(extra);
    text + &format!("version={version:x}")
}

fn verifier_of(text: &str) -> JointVerifier {
    JointVerifier::new(Arc::new(QuorumConfig::parse(text, false).unwrap()), None)
}

fn election_in(text: &str, sid: i64) -> Election {
    let verifier = verifier_of(text);
    let role = verifier.current().config().servers.get(&sid).map_or(Role::Participant, |s| s.role);
    let settings = Settings { reconfig_enabled: true, ..Settings::new(sid) };
    Election::new(settings, verifier, role)
}

/// A server of three voters (1, 2, 3) that has begun to look: round 1, epoch 5, zxid 0x500000007.
fn looking(sid: i64) -> Election {
    let mut election = election_in(&config_text(1..=3, "", 0), sid);
    start(&mut election);
    election
}

fn start(election: &mut Election) -> Vec<Output> {
    step(election, Event::Start { current_epoch: 5, last_logged_zxid: ZXID })
}

const ZXID: i64 = 0x5_0000_0007;

fn step_at(election: &mut Election, event: Event, now: u64) -> Vec<Output> {
    let mut out = Vec::new();
    election.step(event, now, &mut out);
    out
}

fn step(election: &mut Election, event: Event) -> Vec<Output> {
    step_at(election, event, 0)
}

/// A notification like those of `looking`'s world, for `leader`.
fn says(state: ServerState, leader: i64) -> Notification {
    Notification {
        state,
        leader,
        zxid: ZXID,
        election_epoch: 1,
        peer_epoch: 5,
        version: 2,
        config: None,
    }
}

fn hear(election: &mut Election, from: i64, notification: Notification) -> Vec<Output> {
    step(election, Event::Received { from, notification })
}

/// Who is sent what, in short.
fn sent(out: &[Output]) -> Vec<(i64, ServerState, i64, i64)> {
    let short = |output: &Output| match output {
        Output::Send { to, notification: n } => Some((*to, n.state, n.leader, n.election_epoch)),
        _ => None,
    };
    out.iter().filter_map(short).collect()
}

fn decided(out: &[Output]) -> Option<(ServerState, i64)> {
    out.iter().find_map(|output| match output {
        Output::Decided { state, vote, .. } => Some((*state, vote.leader)),
        _ => None,
    })
}

#[test]
fn a_start_tells_every_other_voter_our_candidacy() {
    let mut election = election_in(&config_text(1..=3, "server.9=h:1:2:observer\n", 0), 2);
    assert_eq!(election.state(), Looking);
    assert_eq!(hear(&mut election, 1, says(Looking, 1)), []);
    let out = start(&mut election);
    assert_eq!(sent(&out), [(1, Looking, 2, 1), (3, Looking, 2, 1)]);
    let Output::Send { notification, .. } = &out[0] else { panic!() };
    assert_eq!((notification.zxid, notification.peer_epoch), (ZXID, 5));
    assert_eq!(notification.config.as_ref(), Some(&election.config_text));
}

#[test]
fn a_better_vote_is_taken_over_and_told_a_worse_one_is_not() {
    let better = [
        (3, Notification { peer_epoch: 6, zxid: 0, ..says(Looking, 1) }, true),
        (3, Notification { zxid: ZXID + 1, ..says(Looking, 1) }, true),
        (3, says(Looking, 3), true),
        (1, says(Looking, 1), false),
        (3, Notification { zxid: ZXID - 1, ..says(Looking, 3) }, false),
        (3, Notification { peer_epoch: 4, zxid: i64::MAX, ..says(Looking, 3) }, false),
        // Nobody to vote for, and a server without data.
        (3, says(Looking, 7), false),
        (3, Notification { zxid: -1, peer_epoch: 9, ..says(Looking, 3) }, false),
    ];
    for (from, notification, taken) in better {
        let mut election = looking(2);
        let leader = notification.leader;
        hear(&mut election, from, notification.clone());
        let expected = if taken { leader } else { 2 };
        assert_eq!(election.vote().leader, expected, "{notification:?}");
    }
}

#[test]
fn rounds() {
    // A later round is entered with the better of its vote and our own; an earlier one answered.
    let mut election = looking(2);
    let later = |leader| Notification { election_epoch: 4, ..says(Looking, leader) };
    assert_eq!(sent(&hear(&mut election, 1, later(1))), [(1, Looking, 2, 4), (3, Looking, 2, 4)]);
    assert_eq!(sent(&hear(&mut election, 1, says(Looking, 3))), [(1, Looking, 2, 4)]);
    let five = Notification { election_epoch: 5, ..says(Looking, 3) };
    assert_eq!(sent(&hear(&mut election, 3, five)), [(1, Looking, 3, 5), (3, Looking, 3, 5)]);
    // Our vote for 3 in round 4 does not count in round 5; the next start is round 6.
    assert_eq!(sent(&start(&mut election)), [(1, Looking, 2, 6), (3, Looking, 2, 6)]);
    // Nothing a peer sends makes us overflow.
    let last = Notification { election_epoch: i64::MAX, ..says(Looking, 3) };
    hear(&mut election, 3, last);
    start(&mut election);
    assert_eq!(election.vote().round, i64::MAX);
}

#[test]
fn who_votes_under_the_next_configuration_only_is_met_in_its_round() {
    let (now, next) = (config_text(1..=1, "", 4), config_text(1..=2, "", 5));
    let of = |text: &str| Arc::new(QuorumConfig::parse(text, false).unwrap());
    let verifier = JointVerifier::new(of(&now), Some(of(&next)));
    let mut election = Election::new(Settings::new(1), verifier, Role::Participant);
    assert_eq!(sent(&start(&mut election)), [(2, Looking, 1, 1)]);
    let undecided = |round| Notification { election_epoch: round, ..says(Looking, i64::MIN) };
    assert_eq!(sent(&hear(&mut election, 2, undecided(6))), [(2, Looking, 1, 6)]);
    assert_eq!(sent(&hear(&mut election, 2, undecided(5))), []);
    assert_eq!(sent(&hear(&mut election, 2, undecided(6))), []);
    let agrees = Notification { election_epoch: 6, ..says(Looking, 1) };
    assert_eq!(decided(&hear(&mut election, 2, agrees)), Some((Leading, 1)));
}

#[test]
fn a_proposal_that_was_given_up_keeps_nobody_out() {
    // 3 was to leave and 4 to come; 2 and 3 go on without having heard of it.
    let of = |text: &str| Arc::new(QuorumConfig::parse(text, false).unwrap());
    let next = config_text(1..=2, "server.4=h4:1:2:participant\n", 5);
    let verifier = JointVerifier::new(of(&config_text(1..=3, "", 4)), Some(of(&next)));
    let mut election = Election::new(Settings::new(1), verifier, Role::Participant);
    start(&mut election);
    let settled = |state| Notification { election_epoch: 9, ..says(state, 3) };
    assert_eq!(decided(&hear(&mut election, 2, settled(Following))), None);
    assert_eq!(decided(&hear(&mut election, 3, settled(Leading))), Some((Following, 3)));
}

#[test]
fn who_is_no_voter_does_not_answer_those_who_answer_it() {
    let mut election = election_in(&config_text(1..=3, "", 0), 7);
    start(&mut election);
    assert_eq!(sent(&start(&mut election)).len(), 3);
    assert_eq!(sent(&hear(&mut election, 1, says(Looking, 1))), []);
    let settled = |from| Notification { election_epoch: 9, ..says(from, 2) };
    hear(&mut election, 1, settled(Following));
    assert_eq!(decided(&hear(&mut election, 2, settled(Leading))), Some((Following, 2)));
}

#[test]
fn the_first_worse_vote_of_a_round_is_answered_once() {
    let mut election = looking(2);
    assert_eq!(sent(&hear(&mut election, 1, says(Looking, 1))), [(1, Looking, 2, 1)]);
    assert_eq!(sent(&hear(&mut election, 1, says(Looking, 1))), []);
}

#[test]
fn a_quorum_waits_for_the_others_unless_they_agree_or_are_gone() {
    // A third server of which nothing is known: 200 ms, as Java waits.
    let mut election = looking(3);
    assert_eq!(decided(&hear(&mut election, 2, says(Looking, 3))), None);
    assert_eq!(election.next_deadline(), Some(200));
    assert_eq!(decided(&step_at(&mut election, Event::Tick, 199)), None);
    let out = step_at(&mut election, Event::Tick, 200);
    assert_eq!(decided(&out), Some((Leading, 3)));
    assert_eq!(election.next_deadline(), None);

    // It agrees.
    let mut election = looking(3);
    hear(&mut election, 2, says(Looking, 3));
    assert_eq!(decided(&hear(&mut election, 1, says(Looking, 3))), Some((Leading, 3)));

    // It is gone, before or after.
    let mut election = looking(3);
    step(&mut election, Event::Disconnected { sid: 1 });
    assert_eq!(decided(&hear(&mut election, 2, says(Looking, 3))), Some((Leading, 3)));
    let mut election = looking(3);
    hear(&mut election, 2, says(Looking, 3));
    assert_eq!(decided(&step(&mut election, Event::Disconnected { sid: 1 })), Some((Leading, 3)));

    // Its link is up: it may be better.
    let mut election = looking(2);
    step(&mut election, Event::Connected { sid: 3 });
    assert_eq!(decided(&hear(&mut election, 1, says(Looking, 2))), None);
    hear(&mut election, 3, says(Looking, 3));
    assert_eq!(election.next_deadline(), Some(200));
    let out = hear(&mut election, 1, says(Looking, 3));
    assert_eq!(decided(&out), Some((Following, 3)));
}

#[test]
fn who_is_gone_supports_nobody_and_leads_nobody() {
    let mut election = looking(3);
    hear(&mut election, 1, says(Looking, 3));
    step(&mut election, Event::Disconnected { sid: 1 });
    step(&mut election, Event::Disconnected { sid: 2 });
    assert_eq!(decided(&step_at(&mut election, Event::Tick, 60_000)), None);

    let mut election = looking(2);
    step(&mut election, Event::Connected { sid: 3 });
    hear(&mut election, 3, says(Looking, 3));
    let out = step(&mut election, Event::Disconnected { sid: 3 });
    assert_eq!(sent(&out), [(1, Looking, 2, 2), (3, Looking, 2, 2)]);
    // Said twice, done once.
    assert_eq!(step(&mut election, Event::Disconnected { sid: 3 }), []);
}

#[test]
fn votes_are_repeated_with_a_back_off_that_is_capped_while_a_quorum_is_in_sight() {
    let intervals = |election: &mut Election| {
        let mut now = 0;
        let mut intervals = Vec::new();
        for _ in 0..10 {
            let due = election.next_deadline().unwrap();
            intervals.push(due - now);
            now = due;
            assert_eq!(sent(&step_at(election, Event::Tick, now)).len(), 2);
        }
        intervals
    };
    let mut alone = looking(2);
    let java = [200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 60000];
    assert_eq!(intervals(&mut alone), java);
    // Somebody comes: it hears from us at once, and again soon.
    let now = 1_000_000;
    alone.repeat_at = now + 60_000;
    let out = step_at(&mut alone, Event::Connected { sid: 3 }, now);
    assert_eq!(sent(&out), [(3, Looking, 2, 1)]);
    assert_eq!(alone.next_deadline(), Some(now + 200));

    let mut visible = looking(2);
    step(&mut visible, Event::Connected { sid: 3 });
    assert_eq!(intervals(&mut visible), [200, 400, 800, 1000, 1000, 1000, 1000, 1000, 1000, 1000]);
}

#[test]
fn who_looks_is_answered_by_who_does_not() {
    for (sid, leader, state) in [(1, 2, Following), (2, 2, Leading)] {
        let mut election = looking(sid);
        for from in (1..=3).filter(|from| *from != sid) {
            hear(&mut election, from, says(Looking, 3));
        }
        let other = if sid == 1 { 2 } else { 1 };
        start(&mut election);
        step(&mut election, Event::Disconnected { sid: 3 });
        hear(&mut election, other, Notification { election_epoch: 2, ..says(Looking, leader) });
        assert_eq!(election.state(), state);
        step(&mut election, Event::EpochEstablished { epoch: 6 });
        let out = hear(&mut election, 3, says(Looking, 3));
        assert_eq!(out[0], Output::PeerLooking { sid: 3 });
        assert_eq!(sent(&out), [(3, state, leader, 2)]);
        let Output::Send { notification, .. } = &out[1] else { panic!() };
        assert_eq!(notification.peer_epoch, 6);
        assert_eq!(hear(&mut election, 3, says(Following, 3)), []);
        let out = step(&mut election, Event::Connected { sid: 3 });
        assert_eq!(sent(&out), [(3, state, leader, 2)]);
        assert_eq!(election.next_deadline(), None);
    }
}

#[test]
fn observers_and_strangers_are_answered_and_not_counted() {
    let text = config_text(1..=3, "server.9=h9:1:2:observer\n", 0);
    let mut election = election_in(&text, 3);
    start(&mut election);
    for stranger in [9, 77, i64::MIN] {
        let out = hear(&mut election, stranger, says(Looking, 3));
        assert_eq!(sent(&out), [(stranger, Looking, 3, 1)]);
        assert_eq!(out.len(), 1);
    }
    assert_eq!(decided(&step_at(&mut election, Event::Tick, 60_000)), None);

    // An observer brings nothing, and follows whom a quorum of voters names or has.
    let mut observer = election_in(&text, 9);
    let out = start(&mut observer);
    assert_eq!(sent(&out), [1, 2, 3].map(|to| (to, Looking, i64::MIN, 1)));
    assert_eq!(observer.vote().zxid, i64::MIN);
    hear(&mut observer, 1, says(Following, 3));
    assert_eq!(decided(&hear(&mut observer, 3, says(Leading, 3))), Some((Observing, 3)));

    let mut observer = election_in(&text, 9);
    start(&mut observer);
    for from in 1..=2 {
        assert_eq!(decided(&hear(&mut observer, from, says(Looking, 3))), None);
    }
    assert_eq!(decided(&hear(&mut observer, 3, says(Looking, 3))), Some((Observing, 3)));
}

#[test]
fn who_has_no_weight_never_wins() {
    let groups = "group.1=1:2:3\nweight.3=0\n";
    let mut election = election_in(&config_text(1..=3, groups, 0), 2);
    start(&mut election);
    hear(&mut election, 3, says(Looking, 3));
    assert_eq!(election.vote().leader, 2);
    hear(&mut election, 3, Notification { election_epoch: 2, ..says(Looking, 3) });
    assert_eq!((election.vote().leader, election.vote().round), (2, 2));
}

#[test]
fn a_later_configuration_is_taken_over_before_anything_is_counted() {
    let mut election = looking(2);
    let later = config_text(1..=5, "", 0x1_0000_0003);
    let notification = Notification { config: Some(later.clone()), ..says(Looking, 3) };
    let out = hear(&mut election, 3, notification.clone());
    let config = QuorumConfig::parse(&later, false).unwrap();
    assert_eq!(out, [Output::NewerConfig { from: 3, config }]);

    let verifier = verifier_of(&later);
    let out = step(&mut election, Event::Reconfigured { verifier, role: Role::Participant });
    assert_eq!(sent(&out), [1, 3, 4, 5].map(|to| (to, Looking, 2, 2)));
    assert_eq!(sent(&hear(&mut election, 3, notification)), [(3, Looking, 2, 2)]);

    // Not with reconfigEnabled=false, nor when it makes no sense, nor when it is older.
    let mut fixed = looking(2);
    fixed.settings.reconfig_enabled = false;
    let mut broken = looking(2);
    // A vote has room for that text, but not for the one we would tell it with.
    let mut filled = looking(2);
    let fills: String = (1..=20_000).map(|id| format!("server.{id}=a:1:2\n")).collect();
    let fills = fills + "version=ffff";
    let cases = [
        (&mut fixed, later.as_str()),
        (&mut broken, "server.1=what\nversion=ff"),
        (&mut filled, fills.as_str()),
    ];
    for (election, text) in cases {
        let notification = Notification { config: Some(text.to_string()), ..says(Looking, 3) };
        hear(election, 3, notification);
        assert_eq!(election.vote().leader, 3);
    }
}

#[test]
fn a_leader_needs_quorums_of_the_old_and_of_the_next_configuration() {
    let parse = |text: String| Arc::new(QuorumConfig::parse(&text, false).unwrap());
    let next = parse(config_text(3..=5, "", 0x1_0000_0003));
    let verifier = JointVerifier::new(parse(config_text(1..=3, "", 0)), Some(next));
    let mut election = Election::new(Settings::new(3), verifier, Role::Participant);
    assert_eq!(sent(&start(&mut election)).len(), 4);
    hear(&mut election, 2, says(Looking, 3));
    hear(&mut election, 1, says(Looking, 3));
    assert_eq!(election.finalize_at, None);
    hear(&mut election, 5, says(Looking, 3));
    assert_eq!(election.finalize_at, Some(200));
}

/// A member with an old round and zxid joins an ensemble whose members' votes differ in round and
/// zxid, because they joined it at different times.
#[test]
fn zookeeper_1732_a_joiner_is_not_put_off_by_rounds_and_zxids() {
    let mut election = looking(3);
    let follower = Notification { election_epoch: 9, zxid: 1, ..says(Following, 2) };
    let leader = Notification { election_epoch: 7, zxid: 2, ..says(Leading, 2) };
    assert_eq!(decided(&hear(&mut election, 1, follower)), None);
    assert_eq!(decided(&hear(&mut election, 2, leader)), Some((Following, 2)));
    // From now on it is of that ensemble's round.
    assert_eq!(election.vote().round, 7);
}

/// Epochs must agree, though: a follower of the last leadership does not support this one.
#[test]
fn zookeeper_1818_a_follower_of_an_older_epoch_does_not_count() {
    let mut election = looking(3);
    let follower = Notification { election_epoch: 9, peer_epoch: 4, ..says(Following, 2) };
    let leader = Notification { election_epoch: 9, ..says(Leading, 2) };
    hear(&mut election, 1, follower);
    assert_eq!(decided(&hear(&mut election, 2, leader)), None);
    let follower = Notification { election_epoch: 9, ..says(Following, 2) };
    assert_eq!(decided(&hear(&mut election, 1, follower)), Some((Following, 2)));
}

/// A new leader learns who made it leader, and which of them looks again: it need not wait for
/// supporters who changed their mind.
#[test]
fn zookeeper_3109_a_leader_hears_when_a_supporter_looks_again() {
    let mut election = looking(3);
    step(&mut election, Event::Disconnected { sid: 1 });
    let out = hear(&mut election, 2, says(Looking, 3));
    let Some(Output::Decided { supporters, .. }) = out.last() else { panic!("{out:?}") };
    assert_eq!(*supporters, BTreeSet::from([2, 3]));
    assert!(matches!(hear(&mut election, 2, says(Looking, 3))[..], [Output::Send { to: 2, .. }]));
    let again = Notification { election_epoch: 2, ..says(Looking, 2) };
    assert_eq!(hear(&mut election, 2, again)[0], Output::PeerLooking { sid: 2 });
}

/// The leader must claim its leadership in the same set of votes that make the quorum: that it led
/// in another round does not confirm the followers of this one.
#[test]
fn zookeeper_3537_the_leader_is_checked_in_the_right_set_of_votes() {
    let with_a_vote_for_2 = || {
        let mut election = election_in(&config_text(1..=5, "", 0), 1);
        start(&mut election);
        hear(&mut election, 3, says(Looking, 2));
        election
    };
    let mut election = with_a_vote_for_2();
    let before = Notification { election_epoch: 9, peer_epoch: 4, ..says(Leading, 2) };
    hear(&mut election, 2, before);
    assert_eq!(decided(&hear(&mut election, 4, says(Following, 2))), None);

    let mut election = with_a_vote_for_2();
    assert_eq!(decided(&hear(&mut election, 2, says(Leading, 2))), Some((Following, 2)));
}

/// Others who follow us say so of a time before our restart, unless it is our very round.
#[test]
fn zookeeper_3537_a_memory_of_our_own_leadership_makes_no_leader() {
    let mut election = looking(3);
    let memory = |round| Notification { election_epoch: round, ..says(Following, 3) };
    assert_eq!(decided(&hear(&mut election, 1, memory(4))), None);
    assert_eq!(decided(&hear(&mut election, 2, memory(4))), None);
    assert_eq!(decided(&hear(&mut election, 1, memory(1))), Some((Leading, 3)));
}

/// A crash between writing a snapshot and the epoch file leaves a zxid of a later epoch than
/// `currentEpoch`: the epoch file ranks first, and the election goes on.
#[test]
fn zookeeper_2354_the_epoch_file_ranks_before_the_epoch_inside_the_zxid() {
    let mut election = election_in(&config_text(1..=3, "", 0), 3);
    step(&mut election, Event::Start { current_epoch: 4, last_logged_zxid: 0x6_0000_0001 });
    hear(&mut election, 1, says(Looking, 1));
    assert_eq!(election.vote().leader, 1);
}

/// Nothing that can be decoded makes the core panic, or stops it from answering.
#[test]
fn zookeeper_3769_extreme_notifications_do_not_stop_the_election() {
    let values = [i64::MIN, -1, 0, 1, 2, 3, i64::MAX];
    let mut random = Random(7);
    let mut election = looking(2);
    for i in 0..20_000u64 {
        let notification = Notification {
            state: [Looking, Following, Leading, Observing][random.below(4)],
            leader: values[random.below(7)],
            zxid: values[random.below(7)],
            election_epoch: values[random.below(7)],
            peer_epoch: values[random.below(7)],
            version: [i32::MIN, 0, 1, 2, i32::MAX][random.below(5)],
            config: [None, Some("version=".into()), Some("group.1=1".into())][random.below(3)]
                .clone(),
        };
        step_at(&mut election, Event::Received { from: values[random.below(7)], notification }, i);
        if random.below(10) == 0 {
            let zxid = values[random.below(7)];
            let event = Event::Start { current_epoch: 5, last_logged_zxid: zxid };
            assert_eq!(step_at(&mut election, event, i).len(), 2);
        }
    }
}

#[test]
fn an_ensemble_of_two_asks_the_oracle() {
    let text = config_text(1..=2, "", 0);
    // Yes: we lead alone, after the wait.
    let mut election = election_in(&text, 1);
    step(&mut election, Event::Oracle { answer: Some(true) });
    start(&mut election);
    assert_eq!(decided(&step_at(&mut election, Event::Tick, 200)), Some((Leading, 1)));
    // No: the other leads alone, and we may follow it.
    let mut election = election_in(&text, 1);
    step(&mut election, Event::Oracle { answer: Some(false) });
    start(&mut election);
    assert_eq!(decided(&step_at(&mut election, Event::Tick, 200)), None);
    let out = hear(&mut election, 2, Notification { election_epoch: 9, ..says(Leading, 2) });
    assert_eq!(decided(&out), Some((Following, 2)));
}

/// A small generator (splitmix64): the seed is in the failure's message.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }
}

/// Servers 1 to n, in order within a link, in any order between links.
struct Ensemble {
    servers: BTreeMap<i64, Election>,
    credentials: BTreeMap<i64, (i64, i64)>,
    wires: BTreeMap<(i64, i64), VecDeque<Notification>>,
    /// What else will happen to servers, in order for each.
    agenda: BTreeMap<i64, VecDeque<Event>>,
    random: Random,
    now: u64,
    delivered: usize,
}

impl Ensemble {
    fn new(n: i64, seed: u64) -> Self {
        let mut random = Random(seed);
        let text = config_text(1..=n, "", 0);
        let servers: BTreeMap<_, _> = (1..=n).map(|sid| (sid, election_in(&text, sid))).collect();
        let mut credentials = BTreeMap::new();
        for sid in 1..=n {
            credentials.insert(sid, (random.below(2) as i64, random.below(3) as i64));
        }
        let (wires, agenda) = (BTreeMap::new(), BTreeMap::new());
        Self { servers, credentials, wires, agenda, random, now: 0, delivered: 0 }
    }

    fn plan(&mut self, sid: i64, event: Event) {
        self.agenda.entry(sid).or_default().push_back(event);
    }

    fn plan_start(&mut self, sid: i64) {
        let (current_epoch, last_logged_zxid) = self.credentials[&sid];
        self.plan(sid, Event::Start { current_epoch, last_logged_zxid });
    }

    fn best(&self) -> i64 {
        let rank = |(sid, (epoch, zxid)): (&i64, &(i64, i64))| (*epoch, *zxid, *sid);
        self.credentials.iter().map(rank).max().unwrap().2
    }

    fn take(&mut self, sid: i64, event: Event) {
        let Some(server) = self.servers.get_mut(&sid) else { return };
        let mut out = Vec::new();
        server.step(event, self.now, &mut out);
        for output in out {
            if let Output::Send { to, notification } = output {
                self.wires.entry((sid, to)).or_default().push_back(notification);
            }
        }
    }

    /// Lets things happen in random order until nothing is left to happen without a timer.
    fn settle(&mut self) {
        loop {
            self.agenda.retain(|_, events| !events.is_empty());
            self.wires.retain(|_, messages| !messages.is_empty());
            let choices = self.agenda.len() + self.wires.len();
            if choices == 0 {
                return;
            }
            let choice = self.random.below(choices);
            if let Some((&sid, events)) = self.agenda.iter_mut().nth(choice) {
                let event = events.pop_front().unwrap();
                self.take(sid, event);
            } else {
                let nth = choice - self.agenda.len();
                let (&(from, sid), messages) = self.wires.iter_mut().nth(nth).unwrap();
                let notification = messages.pop_front().unwrap();
                self.delivered += 1;
                self.take(sid, Event::Received { from, notification });
            }
        }
    }

    /// Jumps to the next timer and lets it fire.
    fn wait(&mut self) {
        let due = self.servers.values().filter_map(Election::next_deadline).min();
        self.now = due.expect("somebody looks");
        for sid in self.servers.keys().copied().collect::<Vec<_>>() {
            self.take(sid, Event::Tick);
        }
        self.settle();
    }

    fn leader(&self) -> Option<i64> {
        let leader = self.servers.values().next()?.vote().leader;
        let content = self.servers.iter().all(|(&sid, server)| {
            let state = if sid == leader { Leading } else { Following };
            server.state() == state && server.vote().leader == leader
        });
        content.then_some(leader)
    }

    /// Kills a server: in random order, the others lose the link to it and begin to look.
    fn kill(&mut self, sid: i64) {
        self.servers.remove(&sid);
        self.credentials.remove(&sid);
        for other in self.servers.keys().copied().collect::<Vec<_>>() {
            let looks_first = self.random.below(2) == 0;
            if looks_first {
                self.plan_start(other);
            }
            self.plan(other, Event::Disconnected { sid });
            if !looks_first {
                self.plan_start(other);
            }
        }
        self.settle();
    }
}

fn connected(n: i64, seed: u64) -> Ensemble {
    let mut ensemble = Ensemble::new(n, seed);
    for sid in 1..=n {
        for other in (1..=n).filter(|other| *other != sid) {
            ensemble.plan(sid, Event::Connected { sid: other });
        }
        ensemble.plan_start(sid);
    }
    ensemble.settle();
    ensemble
}

/// All up, no faults: the best server leads, all others follow it, before any timer fires, and
/// with few messages.
#[test]
fn all_up_without_faults_one_leader_at_once() {
    for n in [1, 3, 5, 7] {
        for seed in 0..100 {
            let ensemble = connected(n, seed);
            assert_eq!(ensemble.leader(), Some(ensemble.best()), "{n} servers, seed {seed}");
            assert_eq!(ensemble.now, 0);
            // Each server changes its vote at most n times, and is answered once a vote and round.
            let bound = 4 * (n * n * n) as usize;
            assert!(ensemble.delivered <= bound, "{} messages, seed {seed}", ensemble.delivered);
            for server in ensemble.servers.values() {
                assert!(server.vote().round <= 2, "round {}, seed {seed}", server.vote().round);
            }
        }
    }
}

/// The same, if nothing is known about links beforehand: within the wait of 200 ms.
#[test]
fn all_up_with_unknown_links_one_leader() {
    for n in [3, 5, 7] {
        for seed in 0..100 {
            let mut ensemble = Ensemble::new(n, seed);
            for sid in 1..=n {
                ensemble.plan_start(sid);
            }
            ensemble.settle();
            assert_eq!(ensemble.leader(), Some(ensemble.best()), "{n} servers, seed {seed}");
        }
    }
}

/// A leader dies: the rest has a new one before any timer fires, whatever the order in which they
/// notice. Again and again, while a majority is left.
#[test]
fn a_killed_leader_is_replaced_without_waiting() {
    for n in [3, 5, 7] {
        for seed in 0..100 {
            let mut ensemble = connected(n, seed);
            for _ in 0..n / 2 {
                let leader = ensemble.leader().unwrap();
                ensemble.kill(leader);
                assert_eq!(ensemble.leader(), Some(ensemble.best()), "{n} servers, seed {seed}");
                assert_eq!(ensemble.now, 0);
            }
        }
    }
}

/// A minority elects nobody, however long it waits; a server that comes back makes it whole.
#[test]
fn a_minority_waits_and_a_returning_server_ends_the_wait() {
    for seed in 0..100 {
        let mut ensemble = connected(3, seed);
        for _ in 0..2 {
            let victim = *ensemble.servers.keys().next_back().unwrap();
            ensemble.kill(victim);
        }
        for _ in 0..20 {
            ensemble.wait();
        }
        let survivor = *ensemble.servers.keys().next().unwrap();
        assert_eq!(ensemble.servers[&survivor].state(), Looking);

        ensemble.wires.clear();
        ensemble.servers.insert(2, election_in(&config_text(1..=3, "", 0), 2));
        ensemble.credentials.insert(2, (1, 1));
        ensemble.plan(2, Event::Disconnected { sid: 3 });
        ensemble.plan(2, Event::Connected { sid: survivor });
        ensemble.plan_start(2);
        ensemble.plan(survivor, Event::Connected { sid: 2 });
        let waited_from = ensemble.now;
        ensemble.settle();
        assert_eq!(ensemble.leader(), Some(ensemble.best()), "seed {seed}");
        assert_eq!(ensemble.now, waited_from);
    }
}

/// Whoever comes late joins the ensemble that stands, even if it would have been the better one.
#[test]
fn a_late_server_joins_the_ensemble_that_stands() {
    for n in [3, 5, 7] {
        for seed in 0..100 {
            let mut ensemble = Ensemble::new(n, seed);
            for sid in 1..n {
                ensemble.plan_start(sid);
            }
            ensemble.settle();
            while ensemble.servers.values().any(|s| s.state() == Looking && s.vote().round > 0) {
                ensemble.wait();
            }
            ensemble.wires.clear();
            let leader = ensemble.servers[&1].vote().leader;
            ensemble.plan_start(n);
            ensemble.settle();
            assert_eq!(ensemble.leader(), Some(leader), "{n} servers, seed {seed}");
        }
    }
}

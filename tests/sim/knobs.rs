//! What a seed draws before its history begins: sizes, speeds, and which faults happen how often
//! ("swarm testing": each history has some kinds of fault and lacks others).

use super::rng::Rng;
use ironkeeper::quorum::leader::LAST_COUNTER;

/// The kinds of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The process dies; what it wrote stays.
    Kill,
    /// The machine dies: what was not synced is lost, torn or kept.
    PowerCut,
    /// The power goes at a later disk operation, in the midst of what it belongs to.
    DiskCrash,
    /// The process dies between two of the outputs of a batch.
    CrashPoint,
    /// The network falls into two parts.
    Split,
    /// One server is alone.
    Isolate,
    /// One direction between two servers is silent.
    OneWay,
    /// A connection breaks: both ends notice.
    Cut,
    /// A process stands still, and then goes on as if nothing had happened.
    Pause,
    /// Everybody loses power at once.
    Blackout,
}

pub const FAULTS: [Fault; 10] = [
    Fault::Kill,
    Fault::PowerCut,
    Fault::DiskCrash,
    Fault::CrashPoint,
    Fault::Split,
    Fault::Isolate,
    Fault::OneWay,
    Fault::Cut,
    Fault::Pause,
    Fault::Blackout,
];

#[derive(Debug, Clone)]
pub struct Knobs {
    pub voters: usize,
    pub observers: usize,
    pub clients: usize,
    /// Requests that a client has under way at most.
    pub depth: usize,
    /// Mean time between two requests of a client, µs.
    pub think: u64,
    /// Transactions in memory for DIFF.
    pub ring: usize,
    /// How much of the logs may be sent rather than a snapshot: mostly all.
    pub size_factor: f64,
    pub snap_count: i64,
    /// Bytes after which a log file is full; 0: never.
    pub log_limit: u64,
    pub preallocate: u64,
    /// Old snapshots and logs are removed.
    pub purge: bool,
    /// Longest times, µs.
    pub link_delay: u64,
    pub log_delay: u64,
    pub snap_delay: u64,
    /// Events and log orders taken at once.
    pub batch: u64,
    /// Differences of clock rates, parts in 1,000.
    pub skew: u64,
    pub faults: Vec<Fault>,
    /// Mean time between two faults, µs.
    pub fault_every: u64,
    /// How long faults happen, µs.
    pub chaos: u64,
    /// At the end everybody loses power, and only a quorum comes back at first.
    pub final_blackout: bool,
    /// Followers serve observers.
    pub observer_masters: bool,
    /// How many transactions an epoch has.
    pub last_counter: u32,
    /// The membership changes.
    pub reconfig: bool,
    /// Servers that are no members at first.
    pub spares: usize,
    /// Mean time between two requests for another membership, µs.
    pub reconfig_every: u64,
    /// `standaloneEnabled`: two servers have to stay.
    pub standalone: bool,
    /// Configuration files say at first where clients connect, the members' lines do not.
    pub static_client_port: bool,
}

impl Knobs {
    pub fn draw(rng: &mut Rng) -> Self {
        let voters = if rng.chance(850) { 3 } else { 5 };
        let mut faults: Vec<Fault> = FAULTS.into_iter().filter(|_| rng.chance(450)).collect();
        if faults.is_empty() {
            faults.push(rng.pick(&FAULTS));
        }
        let mut knobs = Self {
            voters,
            observers: usize::from(rng.chance(250)),
            clients: rng.range(1, 5) as usize,
            depth: rng.range(1, 8) as usize,
            think: rng.pick(&[5_000, 20_000, 60_000]),
            ring: rng.pick(&[1, 2, 3, 5, 10, 40, 500]),
            size_factor: rng.pick(&[0.0, 0.0, 0.33, -1.0]),
            snap_count: rng.pick(&[4, 8, 20, 60, 1_000]),
            log_limit: rng.pick(&[0, 0, 600, 3_000]),
            preallocate: rng.pick(&[0, 1_024, 8_192]),
            purge: rng.chance(700),
            link_delay: rng.pick(&[500, 2_000, 10_000, 40_000]),
            log_delay: rng.pick(&[200, 2_000, 20_000, 80_000]),
            snap_delay: rng.pick(&[1_000, 50_000, 1_000_000]),
            batch: rng.pick(&[1, 3, 20, 256]),
            skew: rng.pick(&[0, 0, 20]),
            faults,
            fault_every: rng.pick(&[150_000, 400_000, 1_000_000, 2_000_000]),
            chaos: rng.range(4_000_000, 12_000_000),
            final_blackout: rng.chance(500),
            observer_masters: rng.chance(600),
            last_counter: rng.pick(&[LAST_COUNTER, LAST_COUNTER, LAST_COUNTER, 60, 300]),
            reconfig: false,
            spares: 0,
            reconfig_every: rng.pick(&[100_000, 400_000, 1_500_000]),
            standalone: rng.chance(500),
            static_client_port: rng.chance(500),
        };
        if rng.chance(330) {
            knobs.reconfig = true;
            knobs.voters = rng.pick(&[3, 3, 3, 2, 5]);
            knobs.spares = rng.range(0, 2) as usize;
        }
        knobs
    }

    pub fn servers(&self) -> usize {
        self.voters + self.observers + self.spares
    }
}

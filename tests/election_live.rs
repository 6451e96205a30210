//! Elections by our election core with its mesh, among themselves and with real Java servers. There
//! is no Zab here: what Java does with the outcome is seen at our quorum port, where its followers
//! introduce themselves, and at its own ports.
//!
//! Those with Java need the peers of the interop tests (`tests/interop/peers install`), and are
//! therefore ignored by a plain `cargo test`; `tests/run` runs them.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, select, unbounded};
use ironkeeper::config::QuorumConfig;
use ironkeeper::quorum::election::{Election, Event, Output, Settings};
use ironkeeper::quorum::{JointVerifier, Vote};
use ironkeeper::server::mesh::{Members, Mesh, MeshConfig, MeshEvent};
use ironkeeper::wire::election::ServerState;
use ironkeeper::wire::quorum::{LearnerInfo, packet};
use ironkeeper::wire::{QuorumPacket, Reader, Record};

const PATIENCE: Duration = Duration::from_secs(60);

fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The class path of a Java server, from the interop tests' own script.
fn classpath(version: &str) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/peers");
    let output = Command::new(script).args(["classpath", version]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_string()
}

/// An ensemble's configuration and directory; the directory goes when it does.
struct Ensemble {
    dir: PathBuf,
    config: Arc<QuorumConfig>,
    client_ports: Vec<u16>,
}

impl Ensemble {
    /// One letter a server: `p` for a participant, `o` for an observer.
    fn new(name: &str, roles: &str) -> Ensemble {
        let dir = std::env::temp_dir().join(format!("election-live-{name}-{}", std::process::id()));
        // All sockets are held until every port is chosen, so that no two are the same.
        let sockets: Vec<TcpListener> =
            (0..3 * roles.len()).map(|_| TcpListener::bind(("127.0.0.1", 0)).unwrap()).collect();
        let ports: Vec<u16> = sockets.iter().map(|s| s.local_addr().unwrap().port()).collect();
        let line = |(i, role)| {
            let role = if role == 'o' { "observer" } else { "participant" };
            format!("server.{}=127.0.0.1:{}:{}:{role}\n", i + 1, ports[3 * i], ports[3 * i + 1])
        };
        let text: String = roles.chars().enumerate().map(line).collect();
        let config = Arc::new(QuorumConfig::parse(&text, false).unwrap());
        let client_ports = (0..roles.len()).map(|i| ports[3 * i + 2]).collect();
        Ensemble { dir, config, client_ports }
    }

    fn quorum_port(&self, sid: i64) -> u16 {
        self.config.servers[&sid].addresses[0].quorum_port
    }

    fn java(&self, version: &str, sid: i64) -> Java {
        let dir = self.dir.join(sid.to_string());
        fs::create_dir_all(dir.join("data")).unwrap();
        fs::write(dir.join("data/myid"), sid.to_string()).unwrap();
        let client_port = self.client_ports[sid as usize - 1];
        let mut config = format!(
            "tickTime=1000\ninitLimit=20\nsyncLimit=20\ndataDir={}\nclientPort={client_port}\n\
             admin.enableServer=false\n4lw.commands.whitelist=*\n",
            dir.join("data").display()
        );
        for (id, server) in &self.config.servers {
            config += &format!("server.{id}={server}\n");
        }
        fs::write(dir.join("zoo.cfg"), config).unwrap();
        let log = fs::File::options().create(true).append(true).open(dir.join("log")).unwrap();
        // The kernel kills it if we die.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", "java", "-Xmx256m", "-XX:+UseSerialGC"])
            .args(["-XX:TieredStopAtLevel=1", "-Dzookeeper.log.level=info"])
            .args(["-cp", &classpath(version)])
            .arg("org.apache.zookeeper.server.quorum.QuorumPeerMain")
            .arg(dir.join("zoo.cfg"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Java { child, client_port }
    }
}

impl Drop for Ensemble {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("logs are kept in {}", self.dir.display());
        } else {
            fs::remove_dir_all(&self.dir).ok();
        }
    }
}

/// A Java server's process; killed (-9) when dropped.
struct Java {
    child: Child,
    client_port: u16,
}

impl Java {
    /// What it says it is, once it serves: `leader`, `follower`, `observer`.
    fn mode(&self) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.client_port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        stream.write_all(b"srvr").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        text.lines().find_map(|line| line.strip_prefix("Mode: ")).map(str::to_string)
    }
}

impl Drop for Java {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// What our side of an election has come to.
#[derive(Debug, Clone, PartialEq)]
struct Decision {
    state: ServerState,
    vote: Vote,
    supporters: BTreeSet<i64>,
    /// Since the start of that election.
    took: Duration,
}

/// Our election core with its mesh, in a thread of its own.
struct Ours {
    control: Option<Sender<Event>>,
    decisions: Receiver<Decision>,
    links: Receiver<(i64, bool)>,
    thread: Option<JoinHandle<()>>,
}

impl Ours {
    fn start(ensemble: &Ensemble, sid: i64) -> Ours {
        Self::start_with(ensemble, Settings::new(sid))
    }

    fn start_with(ensemble: &Ensemble, settings: Settings) -> Ours {
        let sid = settings.sid;
        let config = &ensemble.config;
        let of = |id: i64| config.servers[&id].addresses.iter().map(|a| a.election()).collect();
        let others = config.servers.keys().filter(|id| **id != sid);
        let members = Members { own: of(sid), peers: others.map(|id| (*id, of(*id))).collect() };
        let (mesh_events, events) = bounded(100);
        let mesh = Mesh::start(MeshConfig::new(sid), members, mesh_events).unwrap();
        let role = config.servers[&sid].role;
        let verifier = JointVerifier::new(config.clone(), None);
        let election = Election::new(settings, verifier, role);
        let (control, commands) = unbounded();
        let (decided, decisions) = unbounded();
        let (changes, links) = unbounded();
        let thread = std::thread::spawn(move || {
            run(&mesh, election, &events, &commands, &decided, &changes);
            mesh.stop();
        });
        Ours { control: Some(control), decisions, links, thread: Some(thread) }
    }

    fn look(&self, current_epoch: i64, last_logged_zxid: i64) {
        let event = Event::Start { current_epoch, last_logged_zxid };
        self.control.as_ref().unwrap().send(event).unwrap();
    }

    fn wait_link(&self, sid: i64, up: bool) {
        while self.links.recv_timeout(PATIENCE).expect("no change of links") != (sid, up) {}
    }

    fn decision(&self) -> Decision {
        self.decisions.recv_timeout(PATIENCE).expect("no decision")
    }

    fn elect(&self, current_epoch: i64, last_logged_zxid: i64) -> (ServerState, i64) {
        self.look(current_epoch, last_logged_zxid);
        let decision = self.decision();
        println!("{decision:?}");
        (decision.state, decision.vote.leader)
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        self.control = None;
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn run(
    mesh: &Mesh,
    mut election: Election,
    events: &Receiver<MeshEvent>,
    commands: &Receiver<Event>,
    decided: &Sender<Decision>,
    links: &Sender<(i64, bool)>,
) {
    let epoch = Instant::now();
    let now = || epoch.elapsed().as_millis() as u64;
    let mut started = Instant::now();
    let mut out = Vec::new();
    loop {
        let due = election.next_deadline().unwrap_or(u64::MAX).saturating_sub(now());
        let event = select! {
            recv(commands) -> command => match command {
                Ok(event) => {
                    started = Instant::now();
                    event
                }
                Err(_) => return,
            },
            recv(events) -> event => match event.unwrap() {
                MeshEvent::Received { from, notification } => {
                    Event::Received { from, notification }
                }
                MeshEvent::Connected { sid } => {
                    links.send((sid, true)).unwrap();
                    Event::Connected { sid }
                }
                MeshEvent::Disconnected { sid } => {
                    links.send((sid, false)).unwrap();
                    Event::Disconnected { sid }
                }
                MeshEvent::ListenerFailed { error } => panic!("{error}"),
            },
            default(Duration::from_millis(due.min(1_000))) => Event::Tick,
        };
        election.step(event, now(), &mut out);
        for output in out.drain(..) {
            match output {
                Output::Send { to, notification } => mesh.send(to, &notification),
                Output::Decided { state, vote, supporters } => {
                    let took = started.elapsed();
                    decided.send(Decision { state, vote, supporters, took }).unwrap();
                }
                Output::NewerConfig { .. } | Output::PeerLooking { .. } => {}
            }
        }
    }
}

/// Our quorum port: takes followers in, and keeps them waiting.
struct QuorumPort {
    port: TcpListener,
    waiting: Vec<TcpStream>,
}

impl QuorumPort {
    fn bind(ensemble: &Ensemble, sid: i64) -> QuorumPort {
        let port = TcpListener::bind(("127.0.0.1", ensemble.quorum_port(sid))).unwrap();
        port.set_nonblocking(true).unwrap();
        QuorumPort { port, waiting: Vec::new() }
    }

    /// The id in the next FOLLOWERINFO.
    fn follower(&mut self) -> i64 {
        let (mut stream, _) = wait_for("a follower at our quorum port", || self.port.accept().ok());
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let hello = QuorumPacket::read_from(&mut stream, 1 << 20).unwrap();
        assert_eq!(hello.kind, packet::FOLLOWERINFO);
        let info = LearnerInfo::read(&mut Reader::new(hello.payload())).unwrap();
        assert_eq!(info.protocol_version, 0x10000);
        self.waiting.push(stream);
        info.sid
    }
}

/// Three of ours, with timers that never fire: they elect, replace a dead leader, and take it back
/// when it returns, by messages and broken links alone.
#[test]
fn no_timer_is_needed_to_elect_to_replace_and_to_return() {
    let ensemble = Ensemble::new("no-timer", "ppp");
    let never = 3_600_000;
    let start = |sid| {
        let settings = Settings::new(sid);
        let settings = Settings { finalize_wait: never, min_interval: never, ..settings };
        let ours = Ours::start_with(&ensemble, settings);
        ours.look(1, 0);
        ours
    };
    let (one, two, three) = (start(1), start(2), start(3));
    for (ours, state) in [
        (&one, ServerState::Following),
        (&two, ServerState::Following),
        (&three, ServerState::Leading),
    ] {
        let decision = ours.decision();
        assert_eq!((decision.state, decision.vote.leader), (state, 3));
    }
    drop(three);
    for ours in [&one, &two] {
        ours.wait_link(3, false);
        ours.look(1, 0);
    }
    for (ours, state) in [(&one, ServerState::Following), (&two, ServerState::Leading)] {
        let decision = ours.decision();
        println!("{decision:?}");
        assert_eq!((decision.state, decision.vote.leader), (state, 2));
    }
    let three = start(3);
    let decision = three.decision();
    assert_eq!((decision.state, decision.vote.leader), (ServerState::Following, 2));
}

/// The least id of three: Java dials us, and elects itself.
#[test]
#[ignore = "needs Java servers: tests/interop/peers install"]
fn java_leads_and_we_agree() {
    let ensemble = Ensemble::new("java-leads", "ppp");
    let two = ensemble.java("3.9.5", 2);
    let three = ensemble.java("3.9.5", 3);
    let ours = Ours::start(&ensemble, 1);
    // A server that is not there yet would not be waited for.
    ours.wait_link(3, true);
    assert_eq!(ours.elect(0, 0), (ServerState::Following, 3));
    wait_for("Java's leader", || (three.mode()? == "leader").then_some(()));
    wait_for("Java's follower", || (two.mode()? == "follower").then_some(()));

    // The ensemble stands; we look again, and both say so.
    ours.look(0, 0);
    let decision = ours.decision();
    println!("{decision:?}");
    assert_eq!((decision.state, decision.vote.leader), (ServerState::Following, 3));
    assert_eq!(decision.supporters, BTreeSet::from([2, 3]));
    assert_eq!(decision.vote.peer_epoch, 1, "the epoch that Java's leader has established");

    // We come back as a new process would, and make ourselves known to greater ids.
    drop(ours);
    let ours = Ours::start(&ensemble, 1);
    assert_eq!(ours.elect(0, 0), (ServerState::Following, 3));

    // Its leader is killed: we know at once, and agree with the other on the other, which has the
    // later epoch. It leads: its quorum port is open.
    drop(three);
    ours.wait_link(3, false);
    assert_eq!(ours.elect(0, 0), (ServerState::Following, 2));
    let port = ensemble.quorum_port(2);
    wait_for("Java's second leader", || TcpStream::connect(("127.0.0.1", port)).ok());
    drop(two);
}

/// The greatest id of three: we dial Java, and it elects us; and whoever comes back finds us.
#[test]
#[ignore = "needs Java servers: tests/interop/peers install"]
fn java_follows_us() {
    for version in ["3.9.5", "3.8.0"] {
        let ensemble = Ensemble::new(&format!("java-follows-{version}"), "ppp");
        let mut port = QuorumPort::bind(&ensemble, 3);
        let one = ensemble.java(version, 1);
        let two = ensemble.java("3.9.5", 2);
        let ours = Ours::start(&ensemble, 3);
        assert_eq!(ours.elect(0, 0), (ServerState::Leading, 3), "{version}");
        assert_eq!(BTreeSet::from([port.follower(), port.follower()]), BTreeSet::from([1, 2]));

        // A Java server that looks is answered by us who lead, and by the other that follows.
        drop(one);
        let one = ensemble.java(version, 1);
        assert_eq!(port.follower(), 1);
        drop((one, two));
    }
}

/// Between two Java servers: one dials us, the other is dialled. The later epoch wins over ids.
#[test]
#[ignore = "needs Java servers: tests/interop/peers install"]
fn java_follows_the_later_epoch() {
    let ensemble = Ensemble::new("later-epoch", "ppp");
    let mut port = QuorumPort::bind(&ensemble, 2);
    let _one = ensemble.java("3.9.5", 1);
    let _three = ensemble.java("3.9.5", 3);
    let ours = Ours::start(&ensemble, 2);
    assert_eq!(ours.elect(4, 0x4_0000_0007), (ServerState::Leading, 2));
    assert_eq!(BTreeSet::from([port.follower(), port.follower()]), BTreeSet::from([1, 3]));
}

/// We observe: Java answers us, and does not count us.
#[test]
#[ignore = "needs Java servers: tests/interop/peers install"]
fn we_observe_a_java_ensemble() {
    let ensemble = Ensemble::new("observe", "ppo");
    let ours = Ours::start(&ensemble, 3);
    ours.look(0, 0);
    let _one = ensemble.java("3.9.5", 1);
    let two = ensemble.java("3.9.5", 2);
    let decision = ours.decision();
    println!("{decision:?}");
    assert_eq!((decision.state, decision.vote.leader), (ServerState::Observing, 2));
    wait_for("Java's leader", || (two.mode()? == "leader").then_some(()));
    // Again, when it stands.
    assert_eq!(ours.elect(0, 0), (ServerState::Observing, 2));
}

"""Four-letter words: the same lines, keys and layout as on Java 3.9.5; numbers may differ."""

import difflib
import re

import pytest
import tree
import zk
from ensembles import CONFIG, begin
from test_roles import connect
from tree import wire
from wire import create, flag, string

WORDS = [
    "conf", "cons", "crst", "dirs", "dump", "envi", "gtmk", "hash", "isro", "lsnp", "mntr",
    "ruok", "srst", "srvr", "stat", "stmk", "wchc", "wchp", "wchs",
]  # fmt: skip

# What differs from run to run and between two implementations on one machine.
VARYING = [
    (re.compile(r"0x[0-9a-f]+"), "HEX"),
    (re.compile(r"\w{3} \w{3} +\d+ \d\d:\d\d:\d\d \w+ \d{4}"), "TIME"),
    (re.compile(r"(version[:=\t ]+).*"), r"\1VERSION"),
    (re.compile(r"(dataDir|dataLogDir)=.*"), r"\1=DIRECTORY"),
    (re.compile(r"-?\d+(\.\d+)?(E-?\d+)?"), "N"),
]
# Java's own: the machine under it, its threads and memory, what has a thread for each learner
# there, the configuration node that each server writes for itself; and one that is ours.
JAVA_S_OWN = re.compile(
    r"zk_(jvm|open_file|max_file|approximate_data|cnxn_closed|learner|.*netty|.*jmx)"
    r"|zk_\w*(_learner_handler_qp_|_zookeeper_write_per_namespace)|zk_zxids_left"
    r"|java\.|os\.|user\.|host\.|jvm"
)


def client_with_state(server):
    client = tree.client(server)
    tree.must(client, wire.CREATE, create("/a", b"x"))
    tree.must(client, wire.CREATE, create("/a/e", b"x", flags=1))
    tree.must(client, wire.GET_DATA, string("/a") + flag(True))
    tree.must(client, wire.GET_CHILDREN, string("/a") + flag(True))
    return client


def layout(server, word):
    lines = server.word(word).splitlines()
    lines = [line for line in lines if not JAVA_S_OWN.match(line)]
    for pattern, name in VARYING:
        lines = [pattern.sub(name, line) for line in lines]
    # Which sessions expire together is chance.
    lines = [line for line in lines if line != "N expire at TIME:"]
    # Java lists connections in the order of a hash set; everything else has its place.
    connections = iter(sorted(line for line in lines if line.startswith(" /")))
    return [next(connections) if line.startswith(" /") else line for line in lines]


@pytest.fixture(scope="module")
def both(kind):
    with zk.Lab() as lab:
        servers = [lab.server(k, flags=tree.FLAGS).start() for k in (zk.JAVA, kind)]
        clients = [client_with_state(s) for s in servers]
        yield servers
        del clients


@pytest.mark.parametrize("word", WORDS)
def test_word(both, word):
    java, other = (layout(server, word) for server in both)
    difference = list(difflib.unified_diff(java, other, "java", "other", n=1, lineterm=""))
    assert not difference, "\n".join(difference[:60])


ROLES = {"observer": 1, "follower": 2, "leader": 4}
# That one has to be waited for until it gives up, for an argument.
QUICK_WORDS = [word for word in WORDS if word != "stmk"]


@pytest.fixture(scope="module")
def ensembles(quorum_kind):
    """Java's and ours, each of three voters and an observer; a client with each server."""
    with zk.Lab() as lab:
        kinds = (zk.JAVA, quorum_kind)
        both = [begin(lab, [kind] * 4, observers=[1]) for kind in kinds]
        clients = [tree.client(server) for ensemble in both for server in ensemble]
        for ensemble in both:
            client = tree.client(ensemble[3])
            tree.must(client, wire.CREATE, create("/e", b"x", flags=1))
            clients.append(client)
        yield both
        del clients


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("word", QUICK_WORDS)
def test_word_in_each_role(ensembles, word, role):
    servers = [ensemble[ROLES[role]] for ensemble in ensembles]
    assert [server.mode() for server in servers] == [role, role]
    java, other = (layout(server, word) for server in servers)
    difference = list(difflib.unified_diff(java, other, "java", "other", n=1, lineterm=""))
    assert not difference, "\n".join(difference[:60])


@pytest.fixture(scope="module")
def alone(quorum_kind):
    """Of each kind one server of three: it looks for the others, and serves nobody."""
    with zk.Lab() as lab:
        servers = [lab.ensemble([kind] * 3)[2] for kind in (zk.JAVA, quorum_kind)]
        for server in servers:
            server.start(wait=False)
            zk.wait_for("it to answer", lambda s=server: s.word("ruok") == "imok")
        yield servers


@pytest.mark.parametrize("word", QUICK_WORDS)
def test_word_without_a_leader(alone, word):
    java, other = (layout(server, word) for server in alone)
    difference = list(difflib.unified_diff(java, other, "java", "other", n=1, lineterm=""))
    assert not difference, "\n".join(difference[:60])


def counts(server, *keys):
    found = server.mntr()
    return {key: found[key] for key in keys}


@pytest.fixture(params=[zk.JAVA, "ours"])
def each_kind(request, quorum_kind):
    return zk.JAVA if request.param == zk.JAVA else quorum_kind


def test_sessions_that_come_back_are_counted_once(lab, each_kind):
    """By the server they come to; and by the leader, when it is asked about them."""
    servers = begin(lab, [each_kind] * 3)
    here, there, leader = servers
    connection = connect(here)
    moved = connect(there, like=connection)
    again = connect(leader, like=moved)
    assert again.session == connection.session
    again.password = bytes(16)
    assert connect(here, like=again).session == 0
    asked, back = "revalidate_count", "connection_revalidate_count"
    assert [counts(s, asked, back) for s in servers] == [
        {asked: "0", back: "1"},
        {asked: "0", back: "1"},
        {asked: "1", back: "1"},
    ]


@pytest.mark.parametrize("way", ["diff", "snap"])
def test_synchronisations_are_counted(lab, each_kind, way):
    """Once as one begins, and once as it ends."""
    flags = [f"-Dzookeeper.forceSnapshotSync={str(way == 'snap').lower()}"]
    servers = begin(lab, [each_kind] * 3, flags)
    leader = servers.leader()
    leader.word("srst")
    servers[1].kill()
    servers[1].start()
    done, other = {"snap": ("snap", "diff"), "diff": ("diff", "snap")}[way]
    expected = {f"{done}_count": "1", f"{other}_count": "0"}
    expected |= {f"cnt_inflight_{done}_count": "2", f"sum_inflight_{done}_count": "1"}
    expected |= {f"min_inflight_{done}_count": "0", f"max_inflight_{done}_count": "1"}
    expected |= {f"cnt_inflight_{other}_count": "0"}
    assert counts(leader, *expected) == expected


def test_who_is_not_supported_any_more_counts_it(lab, quorum_kind):
    """2 votes for 3, does not find it where it looks, and looks for a leader again."""
    if quorum_kind == zk.JAVA:
        pytest.skip("Java's waits until initLimit")
    servers = lab.ensemble([quorum_kind] * 3, CONFIG)
    other, lost, leader = servers
    host, _, rest = lost.config["server.3"].split(":", 2)
    lost.config["server.3"] = f"{host}:{zk.free_port()}:{rest}"
    for server in (lost, leader):
        server.start(wait=False)
    zk.wait_for("it to give up", lambda: "supports us no more" in leader.log.read_text())
    other.start(wait=False)
    zk.wait_for("it to lead", lambda: leader.mode() == "leader")
    assert int(leader.mntr()["quit_leading_due_to_disloyal_voter"]) > 0


def test_word_not_allowed(lab, kind):
    config = {"4lw.commands.whitelist": "ruok, srvr"}
    answers = [
        [server.word(word) for word in ("ruok", "conf", "mntr", "nope")]
        for server in (lab.server(k, config).start() for k in (zk.JAVA, kind))
    ]
    assert answers[0] == answers[1]

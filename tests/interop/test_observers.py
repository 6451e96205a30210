"""Observers that learn from followers (observerMasterPort): ours from ours, ours from Java's and
Java's from ours. Each server has an address of its own, since all masters have the same port."""

import shutil

import pytest
import tree
import zk
from ensembles import Loads, assert_one_tree
from kazoo.client import KazooClient
from test_roles import connect, exists, sees, write_through
from tree import wire
from wire import create, flag, i32, string

VOTERS, OBSERVER = 3, 4

# Who was away for long is brought up to date from the logs on disk.
FEW_KEPT = "-Dzookeeper.commitLogCount=50"


@pytest.fixture(params=["ours-ours", "java-ours", "ours-java", "mixed-ours", "mixed-java"])
def kinds(request, quorum_kind):
    """Of three voters and an observer."""
    voters, observer = (
        {"ours": [quorum_kind], "java": [zk.JAVA], "mixed": [quorum_kind, zk.JAVA]}[word]
        for word in request.param.split("-")
    )
    return (voters * VOTERS)[:VOTERS] + observer


@pytest.fixture
def masters(lab, kinds):
    return start(lab, kinds)


def start(lab, kinds, config=None):
    port = {"observerMasterPort": zk.free_port(), "tickTime": 500, "initLimit": 20}
    observers = range(VOTERS + 1, len(kinds) + 1)
    flags = [*tree.FLAGS, FEW_KEPT]
    servers = lab.ensemble(kinds, port | (config or {}), flags, observers, apart=True)
    return servers.start()


def master_of(servers, observer=OBSERVER):
    """The follower that serves the observer; None while there is none."""
    watching = servers[observer]
    if watching.mode() != "observer":
        return None
    number = int(watching.mntr().get("observer_master_id", -1))
    return servers[number] if number > 0 and servers[number].mode() == "follower" else None


def wait_master(servers, other_than=None):
    def found():
        master = master_of(servers)
        return master if master is not other_than else None

    master = zk.wait_for("an observer master", found, 60)
    zk.wait_for("it to count", lambda: master.mntr().get("synced_observers") == "1")
    return master


def reconnect(server, like):
    """The session of an earlier connection, as soon as the server takes it."""
    server.wait_serving()
    return zk.wait_for("the session", lambda: connect(server, 20000, like=like))


def test_observer_master(masters):
    servers, watching = masters, masters[OBSERVER]
    wait_master(servers)
    assert servers.leader().mntr()["synced_observers"] == "0"
    mine = write_through(watching, "/by-observer")
    theirs = write_through(servers[1], "/by-voter")
    for server in servers:
        assert sees(server, "/by-observer") and sees(server, "/by-voter")
    # A watch at the observer; who is told sees the change.
    tree.must(mine, wire.GET_DATA, string("/by-voter") + flag(True))
    tree.must(theirs, wire.SET_DATA, string("/by-voter") + wire.buffer(b"new") + i32(-1))
    mine.event()
    assert mine.log[-1][1] == "<" and mine.log[-1][2].bytes[4:8] == i32(-1)
    # Errors come back to their request, in order with what is written.
    assert mine.call(wire.CREATE, create("/by-voter")) == -110
    tree.must(mine, wire.CREATE, create("/after-an-error"))
    # Back after a while, when the others have gone on, and its session with it.
    watching.kill()
    for n in range(30):
        tree.must(theirs, wire.CREATE, create(f"/while-away-{n}"))
    watching.start()
    assert sees(watching, "/while-away-29")
    again = reconnect(watching, mine)
    assert again.session == mine.session
    again.end()
    tree.wait_gone(servers[1], "/by-observer")
    # A session that is no more.
    assert connect(watching, like=mine).session == 0
    theirs.end()
    wait_master(servers)
    assert_one_tree(servers)


def test_masters_come_and_go(masters):
    servers, watching = masters, masters[OBSERVER]
    mine = write_through(watching, "/by-observer")
    for n in range(2):
        master = wait_master(servers)
        master.kill()
        # There is one follower left.
        wait_master(servers, other_than=master)
        mine = reconnect(watching, mine)
        tree.must(mine, wire.CREATE, create(f"/with-another-{n}"))
        master.start()
    # Another leader: every observer is let go, and comes back.
    leader = servers.leader()
    leader.kill()
    zk.wait_for(
        "another leader", lambda: any(s.mode() == "leader" for s in servers if s.alive), 60
    )
    wait_master(servers)
    mine = reconnect(watching, mine)
    tree.must(mine, wire.CREATE, create("/under-another-leader"))
    leader.start()
    mine.end()
    tree.wait_gone(leader, "/by-observer")
    assert_one_tree(servers, ["/with-another-0", "/with-another-1", "/under-another-leader"])


def test_observers_under_load(masters, long):
    """What an observer is synchronised with, and what is passed on from there, leave no gap and
    overlap in nothing: also after it has lost its master, or its disk."""
    servers, watching = masters, masters[OBSERVER]
    # Behind a fuzzy snapshot of Java's, an observer of Java's counts digests that differ.
    exact = all(server.kind != zk.JAVA for server in list(servers)[:VOTERS])
    with Loads(servers) as loads:
        for round_ in range(10 if long else 2):
            watching.kill()
            loads.advance(100)
            if round_ % 2 and exact:
                shutil.rmtree(watching.version_2)
            watching.start()
            loads.advance()
            master = wait_master(servers)
            master.kill()
            loads.advance()
            master.start()
            wait_master(servers)
        loads.assert_nobody_lost()
    assert_one_tree(servers, loads.acknowledged())


def test_reconfigurations_reach_observers(lab, kinds):
    """The observer learns of them without losing its master, or its clients their sessions."""
    servers = start(lab, kinds, {"reconfigEnabled": "true"})
    master = wait_master(servers)
    number = next(
        n for n in range(1, OBSERVER) if servers[n] not in (master, servers.leader())
    )
    line = f"server.{number}={servers[number].config[f'server.{number}']}"
    admin = KazooClient(servers[OBSERVER].address, timeout=20)
    admin.start(30)
    admin.add_auth("digest", "super:test")
    session = admin.client_id[0]
    for joining, leaving in [(None, str(number)), (line, None)]:
        answer, _ = admin.reconfig(joining, leaving, None)
        assert (line in answer.decode()) == bool(joining)
        assert admin.get("/zookeeper/config")[0] == answer
        assert master_of(servers) is master
    assert admin.client_id[0] == session and admin.connected
    admin.stop()
    admin.close()


def test_sessions_move_between_observers(lab, quorum_kind):
    """And between them and their masters; what an observer hears of keeps sessions alive."""
    servers = start(lab, [quorum_kind] * VOTERS + [quorum_kind, zk.JAVA])
    connection = write_through(servers[OBSERVER], "/mine")
    for server in [*servers, *servers]:
        moved = connect(server, like=connection)
        assert moved.session == connection.session
        assert exists(moved, "/mine") == 0
        tree.must(moved, wire.CREATE, create("/seq-", flags=2))
        connection.socket.close()
        connection = moved
    short = connect(servers[OBSERVER], 2000)
    tree.must(short, wire.CREATE, create("/short", flags=1))
    pinged = connect(servers[OBSERVER], 2000)
    tree.must(pinged, wire.CREATE, create("/pinged", flags=1))
    reader = connect(servers[1])

    def expired():
        assert pinged.call(wire.PING, xid=wire.PING_XID) == 0
        return exists(reader, "/short") == -101

    zk.wait_for("the silent session to expire", expired)
    assert exists(reader, "/pinged") == 0


@pytest.mark.parametrize("all_of", [zk.JAVA, "ours"])
def test_masters_count(lab, quorum_kind, all_of):
    """Sessions that an observer asks about, which the leader is asked about, too; and observers
    that begin and end to be synchronised."""
    servers = start(lab, [all_of if all_of == zk.JAVA else quorum_kind] * (VOTERS + 1))
    master, leader, watching = wait_master(servers), servers.leader(), servers[OBSERVER]
    moved = connect(watching, like=connect(master))
    assert moved.session != 0
    asked = {server: server.mntr()["revalidate_count"] for server in servers}
    assert asked == {s: "1" if s in (master, leader) else "0" for s in servers}
    assert watching.mntr()["connection_revalidate_count"] == "1"
    counts = master.mntr()
    observed = [int(counts[f"cnt_inflight_{way}_count"]) for way in ("diff", "snap")]
    assert sum(observed) >= 2, observed


def test_nobody_serves_observers(lab, quorum_kind):
    """An observer that finds no master learns from the leader. Java's would go on looking."""
    if quorum_kind == zk.JAVA:
        pytest.skip("Java's observer has no other way")
    port = {"observerMasterPort": zk.free_port()}
    config = {"tickTime": 500, "initLimit": 20}
    servers = lab.ensemble([quorum_kind] * OBSERVER, config, tree.FLAGS, observers=[OBSERVER])
    servers[OBSERVER].config |= port
    servers.start()
    watching, leader = servers[OBSERVER], servers.leader()
    assert watching.mode() == "observer"
    assert servers[int(watching.mntr()["observer_master_id"])] is leader
    write_through(watching, "/by-observer").end()

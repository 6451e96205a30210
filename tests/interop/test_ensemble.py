"""Ensembles of our servers and Java's, mixed: all of them hold one tree, whoever leads and however
a server that was away is brought up to date."""

import itertools
import re
import threading
import time

import pytest
import tree
import zk
from kazoo.client import KazooClient, KazooState
from kazoo.exceptions import KazooException, NodeExistsError
from tree import wire
from wire import buffer, create, flag, i32, i64, multi, string

CONFIG = {"reconfigEnabled": "true"}


def mixes(kind):
    """With the highest id leading, each kind leads once over each number of the other."""
    java = zk.JAVA
    return [
        [java, java, kind], [java, kind, java], [java, kind, kind], [kind, kind, java],
        [zk.OLD_JAVA, kind, kind], [kind, kind, zk.OLD_JAVA], [kind, kind, kind],
    ]  # fmt: skip


@pytest.fixture(params=range(7), ids=lambda n: "-".join(k[:1] + k[-1] for k in mixes("ours")[n]))
def mix(request, quorum_kind):
    return mixes(quorum_kind)[request.param]


def begin(lab, kinds, **options):
    """Started so that the highest id leads."""
    return lab.ensemble(kinds, CONFIG, tree.FLAGS, **options).start()


def synced(server):
    """A connection that has caught up with the leader."""
    connection = tree.client(server)
    tree.must(connection, wire.SYNC, string("/"))
    return connection


def comparable(lines):
    """Each server stamps the configuration node itself, with its own clock."""
    own = "/zookeeper/config "
    return [re.sub(r"mtime=\d+", "", line) if line.startswith(own) else line for line in lines]


def assert_one_tree(ensemble, at_least=()):
    dumps = []
    for server in ensemble:
        if server.alive:
            synced(server).end()
            dumps.append((server, comparable(tree.dump(server))))
    first, expected = dumps[0]
    for server, lines in dumps[1:]:
        different = set(expected) ^ set(lines)
        assert not different, (
            f"{first.kind} {first.address} and {server.kind} {server.address} differ: "
            f"{sorted(different)[:6]}"
        )
    paths = {line.split(" ")[0] for line in expected}
    missing = [p for p in at_least if p not in paths]
    assert not missing, f"lost: {missing[:10]}"
    for server in ensemble:
        if server.alive:
            assert server.mntr().get("digest_mismatches_count", "0") == "0"


def put(connection, *paths):
    for path in paths:
        tree.must(connection, wire.CREATE, create(path, path.encode()))


def test_everything_through_every_server(lab, mix):
    ensemble = begin(lab, mix)
    assert ensemble.leader() is ensemble[3]
    live = []
    for number, server in enumerate(ensemble, 1):
        live += tree.write(server, f"/v{number}")
    assert_one_tree(ensemble)
    # A watch on one server, the change on another.
    for watching, changing in itertools.permutations(ensemble, 2):
        watcher, changer = synced(watching), tree.client(changing)
        tree.must(watcher, wire.GET_DATA, string("/v1") + flag(True))
        tree.must(changer, wire.SET_DATA, string("/v1") + buffer(b"changed") + i32(-1))
        watcher.event()
        event = watcher.log[-1][2]
        assert event is not None and event.bytes[4:8] == b"\xff" * 4
        watcher.end()
        changer.end()
    # A failing multi leaves nothing anywhere.
    follower = synced(ensemble[1])
    tree.must(follower, wire.MULTI, multi(
        (wire.CREATE, create("/never")), (wire.CHECK, string("/nowhere") + i32(0))))  # fmt: skip
    assert follower.call(wire.EXISTS, string("/never") + flag(False)) == -101
    # An ephemeral goes everywhere when its session ends at one server.
    live[0].end()
    for server in ensemble:
        tree.wait_gone(server, "/v1/eph-a")
    assert_one_tree(ensemble)


def test_leader_killed_and_back(lab, mix):
    ensemble = begin(lab, mix)
    setup = tree.client(ensemble[1])
    put(setup, "/a")
    paths = ["/a"]
    for round_ in range(3):
        old = ensemble.leader()
        old.kill()
        others = [s for s in ensemble if s is not old]
        zk.wait_for("another leader", lambda o=others: any(s.mode() == "leader" for s in o), 30)
        for server in others:
            server.wait_serving()
            path = f"/round-{round_}-{server.port}"
            put(tree.client(server), path)
            paths.append(path)
        old.start()
        assert_one_tree(ensemble, paths)


def sync_counts(server):
    counters = server.mntr()
    return {name: int(counters.get(f"{name}_count", 0)) for name in ("diff", "snap")}


@pytest.mark.parametrize("how", ["diff", "snap"])
def test_follower_was_away(lab, mix, how):
    """A follower comes back: by the missing transactions, or empty and by a snapshot."""
    ensemble = begin(lab, mix)
    leader, away = ensemble.leader(), ensemble[1]
    put(tree.client(leader), "/before")
    away.kill()
    if how == "snap":
        for file in away.version_2.iterdir():
            file.unlink()
    before = sync_counts(leader)
    writer = tree.client(leader)
    paths = [f"/while-away-{n}" for n in range(20)]
    put(writer, *paths)
    away.start()
    assert_one_tree(ensemble, ["/before", *paths])
    assert sync_counts(leader)[how] > before[how]


def test_truncation(lab, mix):
    """What only a dead leader had logged is cut off when it comes back under another one."""
    ensemble = begin(lab, mix)
    leader = ensemble.leader()
    put(tree.client(leader), "/before")
    followers = [s for s in ensemble if s is not leader]
    writer = tree.client(leader)
    for server in followers:
        server.pause()
    for n in range(5):
        writer.send(wire.CREATE, create(f"/lost-{n}"))
    # The leader answers ruok after its log has the requests: its outstanding count says so.
    zk.wait_for("proposals", lambda: int(leader.mntr().get("outstanding_requests", 0)) >= 5, 10)
    logged = sum(f.stat().st_blocks for f in leader.version_2.iterdir())
    assert logged > 0
    leader.kill()
    for server in followers:
        server.resume()
    zk.wait_for("another leader", lambda: any(s.mode() == "leader" for s in followers), 40)
    for server in followers:
        server.wait_serving()
    put(tree.client(followers[0]), "/after")
    leader.start()
    assert_one_tree(ensemble, ["/before", "/after"])


def test_reconfig_adds_and_removes(lab, mix):
    ensemble = begin(lab, mix)
    admin = tree.client(ensemble[3])
    tree.authenticate(admin, "super:test")
    quorum, election, client = (zk.free_port() for _ in range(3))
    joiner = f"server.4=127.0.0.1:{quorum}:{election}:observer;127.0.0.1:{client}"
    tree.must(admin, wire.RECONFIG, string(joiner) + string(None) + string(None) + i64(-1))
    for server in ensemble:
        reader = synced(server)
        config = tree.answer(reader, wire.GET_DATA, string("/zookeeper/config") + flag(False))
        assert f"server.4=127.0.0.1:{quorum}" in config.text().decode()
    tree.must(admin, wire.RECONFIG, string(None) + string("1,4") + string(None) + i64(-1))
    put(admin, "/after-reconfig")
    reader = synced(ensemble[2])
    assert reader.call(wire.EXISTS, string("/after-reconfig") + flag(False)) == 0


class Load(threading.Thread):
    """A kazoo client that writes all the while and keeps what was acknowledged, and whether its
    session ever expired."""

    def __init__(self, addresses, name):
        super().__init__(daemon=True)
        self.name, self.acknowledged, self.lost = name, [], False
        self.longest, self.stopping = 0.0, False
        self.client = KazooClient(addresses, timeout=30, randomize_hosts=True)
        self.client.add_listener(self.listen)
        self.client.start(30)
        self.client.create(f"/{name}-ephemeral", b"", ephemeral=True)

    def listen(self, state):
        self.lost = self.lost or state == KazooState.LOST and not self.stopping

    def run(self):
        number, last = 0, time.monotonic()
        while not self.stopping:
            path = f"/{self.name}-{number}"
            try:
                self.client.create(path, path.encode())
            except NodeExistsError:
                pass  # done, but the answer was lost
            except KazooException:
                time.sleep(0.02)
                continue
            self.acknowledged.append(path)
            number += 1
            now = time.monotonic()
            self.longest, last = max(self.longest, now - last), now

    def end(self):
        self.stopping = True
        self.join(30)
        self.client.stop()
        self.client.close()


def test_migration_under_load(lab, quorum_kind):
    """Java to the other and back, server by server, clients writing all the while."""
    ensemble = begin(lab, [zk.JAVA] * 3)
    loads = [Load(ensemble.addresses, f"load{n}") for n in range(3)]
    for load in loads:
        load.start()
    for target in (quorum_kind, zk.JAVA):
        for server in ensemble:
            wait_for_writes(loads, 30)
            server.stop()
            server.become(target).start()
            ensemble.leader()
    wait_for_writes(loads, 30)
    for load in loads:
        load.end()
    assert not any(load.lost for load in loads), "a session expired"
    paths = [path for load in loads for path in load.acknowledged]
    print(f"{len(paths)} writes, longest gaps {[round(x.longest, 2) for x in loads]} s")
    assert_one_tree(ensemble, paths)


def wait_for_writes(loads, count):
    goals = [(load, len(load.acknowledged) + count) for load in loads]
    zk.wait_for("writes", lambda: all(len(x.acknowledged) >= g for x, g in goals), 60)


def test_whole_ensemble_restarts(lab, mix):
    """Killed at once and started again: sessions live on, with their ephemerals."""
    ensemble = begin(lab, mix)
    live = tree.write(ensemble[1])
    ensemble.kill()
    ensemble.start()
    assert_one_tree(ensemble, ["/v", "/v/eph-a", "/v/eph-b"])
    again = wire.Connection(ensemble[2].address, "again", [])
    again.socket.settimeout(20)
    again.connect(tree.LONG_LIVED, live[0].session, live[0].password)
    assert again.session == live[0].session


def test_no_majority_no_service(lab, quorum_kind):
    ensemble = begin(lab, [quorum_kind] * 3)
    left = ensemble[1]
    ensemble[2].kill()
    ensemble[3].kill()
    zk.wait_for("the last one to stop serving", lambda: left.mode() is None, 30)
    assert left.word("ruok") == "imok"
    assert "not currently serving" in left.word("srvr")
    ensemble[2].start()
    left.wait_serving()

"""Ensembles of our servers and Java's, mixed: all of them hold one tree, whoever leads."""

import itertools

import pytest
import tree
import zk
from ensembles import SHORT_LIVED, assert_one_tree, begin, put, synced, wait_leader_among
from tree import wire
from wire import buffer, create, flag, i32, multi, string


def mixes(kind):
    """With the highest id leading first, each kind leads over each number of the other."""
    java = zk.JAVA
    return [
        [java, java, kind], [java, kind, java], [java, kind, kind], [kind, java, java],
        [kind, java, kind], [kind, kind, java], [zk.OLD_JAVA, kind, kind],
        [kind, java, zk.OLD_JAVA], [kind, kind, kind],
    ]  # fmt: skip


def name(number):
    return "-".join({zk.OURS: "ours", zk.JAVA: "java"}.get(k, "old") for k in mixes(zk.OURS)[number])


@pytest.fixture(params=range(9), ids=name)
def mix(request, quorum_kind):
    return mixes(quorum_kind)[request.param]


@pytest.fixture
def main_mix(mix, request, long):
    """In the short form only some of them: each kind leads, and each follows each."""
    if not long and request.node.callspec.params["mix"] not in (0, 3, 6, 7, 8):
        pytest.skip("only in the long form")
    return mix


def test_everything_through_every_server(lab, mix):
    ensemble = begin(lab, mix)
    assert [server.mode() for server in ensemble] == ["follower", "follower", "leader"]
    live = []
    for number, server in enumerate(ensemble, 1):
        live += tree.write(server, f"/v{number}", zk.OLD_JAVA in mix)
    assert_one_tree(ensemble)
    watches_across(ensemble)
    failed_multi(ensemble)
    session_moves(ensemble)
    sessions_end(ensemble, live[0])
    assert_one_tree(ensemble)


def watches_across(ensemble):
    """A watch on one server, the change on another; who is told sees the change."""
    for watching, changing in itertools.permutations(ensemble, 2):
        watcher, changer = synced(watching), tree.client(changing)
        tree.must(watcher, wire.GET_DATA, string("/v1") + flag(True))
        tree.must(changer, wire.SET_DATA, string("/v1") + buffer(changer.name.encode()) + i32(-1))
        watcher.event()
        sign, event = watcher.log[-1][1:]
        assert sign == "<" and event.bytes[4:8] == b"\xff" * 4, "no notification"
        data = tree.answer(watcher, wire.GET_DATA, string("/v1") + flag(False))
        assert data.text() == changer.name.encode()
        watcher.end()
        changer.end()


def failed_multi(ensemble):
    """It leaves nothing anywhere."""
    operations = ((wire.CREATE, create("/never")), (wire.CHECK, string("/nowhere") + i32(0)))
    for server in ensemble:
        connection = tree.client(server)
        tree.must(connection, wire.MULTI, multi(*operations))
        connection.end()
    for server in ensemble:
        reader = synced(server)
        assert reader.call(wire.EXISTS, string("/never") + flag(False)) == -101
        reader.end()


def session_moves(ensemble):
    """A session taken to each server in turn keeps its ephemeral; what its older connection sends
    after that is not done, and closes that connection (C-95)."""
    here = tree.client(ensemble[1])
    tree.must(here, wire.CREATE, create("/moving", b"", flags=1))
    for number, server in enumerate([ensemble[2], ensemble[3], ensemble[1]]):
        there = wire.Connection(server.address, "there", [])
        there.socket.settimeout(20)
        there.xid = here.xid  # as a client that goes on counting
        there.connect(tree.LONG_LIVED, here.session, here.password)
        assert there.session == here.session
        assert here.call(wire.CREATE, create(f"/too-late-{number}")) is None
        assert here.log[-1][1] == "-", "the older connection stays open"
        path = string("/moving")
        stat = tree.answer(there, wire.EXISTS, path + flag(False)).fields()
        assert f"owner={there.session} " in stat
        tree.must(there, wire.SET_DATA, path + buffer(b"moved") + i32(number))
        here = there
    for server in ensemble:
        reader = synced(server)
        for number in range(3):
            path = string(f"/too-late-{number}")
            assert reader.call(wire.EXISTS, path + flag(False)) == -101
        reader.end()
    wrong = wire.Connection(ensemble[2].address, "wrong", [])
    wrong.socket.settimeout(20)
    wrong.connect(tree.LONG_LIVED, here.session, bytes(16))
    assert wrong.session == 0
    here.end()


def sessions_end(ensemble, closing):
    """Ephemerals go everywhere when their session is closed at one server, or expires."""
    abandoned = [tree.client(server, SHORT_LIVED) for server in ensemble]
    for number, connection in enumerate(abandoned):
        tree.must(connection, wire.CREATE, create(f"/abandoned-{number}", b"", flags=1))
        connection.socket.close()
    closing.end()
    for server in ensemble:
        tree.wait_gone(server, "/v1/eph-a")
        for number in range(len(abandoned)):
            tree.wait_gone(server, f"/abandoned-{number}")


def test_leader_killed_and_back(lab, main_mix):
    """Each time the leader goes – killed, or told to – another one leads, and it comes back."""
    ensemble = begin(lab, main_mix)
    put(tree.client(ensemble[1]), "/a")
    paths, led = ["/a"], []
    for round_ in range(3):
        old = ensemble.leader()
        led.append(old.kind)
        old.stop() if round_ == 1 else old.kill()
        others = [s for s in ensemble if s is not old]
        wait_leader_among(others)
        for server in others:
            server.wait_serving()
            path = f"/round-{round_}-{server.port}"
            put(tree.client(server), path)
            paths.append(path)
        old.start()
    assert_one_tree(ensemble, paths)
    print("led:", led)


def test_whole_ensemble_restarts(lab, main_mix):
    """Killed at once and started again: sessions live on, with their ephemerals."""
    ensemble = begin(lab, main_mix)
    live = tree.write(ensemble[1], old=zk.OLD_JAVA in main_mix)
    ensemble.kill()
    ensemble.start()
    assert_one_tree(ensemble, ["/v", "/v/eph-a", "/v/eph-b"])
    again = wire.Connection(ensemble[2].address, "again", [])
    again.socket.settimeout(20)
    again.connect(tree.LONG_LIVED, live[0].session, live[0].password)
    assert again.session == live[0].session

"""Ensembles of our servers alone, and observers: they serve on while a majority lives, whatever
happens to single servers, and nothing that was acknowledged is lost."""

import shutil
import time

import pytest
import tree
import zk
from ensembles import (
    CONFIG, SHORT_LIVED, Loads, assert_one_tree, begin, put, synced, wait_leader_among,
)  # fmt: skip
from tree import wire
from wire import create, flag, string


def test_rolling_restart_under_load(lab, quorum_kind, long):
    ensemble = lab.ensemble([quorum_kind] * 3, CONFIG).start()
    with Loads(ensemble) as loads:
        for _ in range(20 if long else 2):
            for server in ensemble:
                server.stop()
                loads.advance()
                server.start()
                loads.advance()
        loads.assert_nobody_lost()
    assert_one_tree(ensemble, loads.acknowledged())


def test_leader_killed_again_and_again(lab, quorum_kind, long):
    ensemble = lab.ensemble([quorum_kind] * 3, CONFIG).start()
    with Loads(ensemble) as loads:
        for _ in range(50 if long else 5):
            leader = ensemble.leader()
            leader.kill()
            loads.advance()
            leader.start()
        loads.assert_nobody_lost()
    assert_one_tree(ensemble, loads.acknowledged())


def test_any_server_killed(lab, quorum_kind, long):
    """Followers, too, and two at once: service ends and comes back, what was written stays."""
    ensemble = lab.ensemble([quorum_kind] * 3, CONFIG).start()
    with Loads(ensemble) as loads:
        for round_ in range(20 if long else 2):
            victims = [ensemble[1 + round_ % 3], ensemble[1 + (round_ + 1) % 3]]
            for server in victims:
                server.kill()
            for server in victims:
                server.start(wait=False)
            ensemble.wait_serving()
            loads.advance()
        loads.assert_nobody_lost()
    assert_one_tree(ensemble, loads.acknowledged())


def test_a_lost_disk_under_load(lab, quorum_kind):
    """A server whose data directory is gone joins again; so does one that led."""
    ensemble = lab.ensemble([quorum_kind] * 3, CONFIG).start()
    leader = ensemble.leader()
    follower = next(server for server in ensemble if server is not leader)
    with Loads(ensemble) as loads:
        for server in (follower, leader):
            server.kill()
            loads.advance()
            shutil.rmtree(server.version_2)
            server.start()
            loads.advance()
        loads.assert_nobody_lost()
    assert_one_tree(ensemble, loads.acknowledged())


def test_sessions_outlive_a_whole_restart(lab, quorum_kind):
    """The time in which there is no server does not count against a session's time-out."""
    ensemble = lab.ensemble([quorum_kind] * 3, CONFIG, tree.FLAGS).start()
    before = tree.client(ensemble[1], SHORT_LIVED)
    tree.must(before, wire.CREATE, create("/alive", b"", flags=1))
    ensemble.kill()
    end = time.monotonic() + 1.5 * SHORT_LIVED / 1000
    zk.wait_for("its time-out to be over", lambda: time.monotonic() > end)
    ensemble.start()
    again = wire.Connection(ensemble[2].address, "again", [])
    again.connect(SHORT_LIVED, before.session, before.password)
    assert again.session == before.session
    tree.must(again, wire.EXISTS, string("/alive") + flag(False))
    # Nobody keeps it alive any more: now it does count.
    again.socket.close()
    tree.wait_gone(ensemble[3], "/alive")


def test_no_majority_no_service(lab, quorum_kind):
    ensemble = lab.ensemble([quorum_kind] * 3, CONFIG).start()
    left = ensemble[1]
    ensemble[2].kill()
    ensemble[3].kill()
    zk.wait_for("the last one to stop serving", lambda: left.mode() is None, 30)
    assert left.word("ruok") == "imok"
    assert "not currently serving" in left.word("srvr")
    ensemble[2].start()
    left.wait_serving()


@pytest.mark.parametrize("voters, observer", [("ours", "ours"), ("java", "ours"), ("ours", "java")])
def test_observer(lab, quorum_kind, voters, observer):
    kinds = {"ours": quorum_kind, "java": zk.JAVA}
    ensemble = begin(lab, [kinds[observer], *[kinds[voters]] * 3], observers=[1])
    watching = ensemble[1]
    assert watching.mode() == "observer"
    tree.write(watching, "/o")
    tree.write(ensemble[2], "/v")
    assert_one_tree(ensemble)
    # It hears of changes made elsewhere, and forwards its clients' writes.
    watcher = synced(watching)
    tree.must(watcher, wire.EXISTS, string("/made") + flag(True), -101)
    put(tree.client(ensemble[3]), "/made")
    watcher.event()
    assert watcher.log[-1][1] == "<"
    # Voters do not need it, and it catches up with what it missed.
    watching.kill()
    leader, writer = ensemble.leader(), tree.client(ensemble[2])
    missed = [f"/missed-{n}" for n in range(30)]
    put(writer, *missed)
    watching.start()
    assert watching.mode() == "observer"
    # The leader goes: the observer finds the next one, and its sessions live on.
    kept = tree.client(watching)
    tree.must(kept, wire.CREATE, create("/kept", b"", flags=1))
    leader.kill()
    wait_leader_among([server for server in ensemble if server is not leader])
    watching.wait_serving()
    again = wire.Connection(watching.address, "again", [])
    again.socket.settimeout(20)
    again.connect(tree.LONG_LIVED, kept.session, kept.password)
    assert again.session == kept.session
    put(again, "/through-the-observer")
    leader.start()
    assert_one_tree(ensemble, ["/made", "/kept", "/through-the-observer", *missed])

"""Transactions larger than servers take from one another: none is made. A Java leader makes them,
loses every follower over it, and finds no end of that in its log (ZOOKEEPER-4306)."""

import pytest
import tree
import zk
from ensembles import assert_one_tree, begin, put, synced, wait_leader_among
from tree import wire
from wire import create, flag, multi, string

EPHEMERALS, AT_ONCE = 40_000, 1_000
AUTH = [(31, "auth", "")]
# Less than a record at a time, and Java writes a zero into what it has logged.
PREALLOCATED = "-Dzookeeper.preAllocSize=8192"


@pytest.fixture(params=["ours", "java"])
def ensemble(lab, request):
    """Led by ours; nothing is committed without one of the followers."""
    follower = {"ours": zk.OURS, "java": zk.JAVA}[request.param]
    return begin(lab, [follower, follower, zk.OURS], [PREALLOCATED])


def assert_goes_on(ensemble):
    """With every server started over its log, and another leader."""
    put(tree.client(ensemble[1]), "/after")
    assert_one_tree(ensemble, ["/after"])
    assert ensemble[3].mode() == "leader", "there was another election"
    ensemble.kill()
    ensemble[1].start(wait=False)
    ensemble[2].start(wait=False)
    wait_leader_among([ensemble[1], ensemble[2]])
    ensemble[3].start()
    ensemble.wait_serving()
    put(tree.client(ensemble[1]), "/in-the-end")
    assert_one_tree(ensemble, ["/after", "/in-the-end"])


def close_a_session_of_many(ensemble, server):
    """Everybody sees its nodes go."""
    owner = tree.client(server)
    paths = [f"/{n:060}" for n in range(EPHEMERALS)]
    for first in range(0, EPHEMERALS, AT_ONCE):
        creates = [(wire.CREATE, create(p, flags=1)) for p in paths[first : first + AT_ONCE]]
        tree.must(owner, wire.MULTI, multi(*creates))
    watchers = [synced(server) for server in ensemble]
    for watcher in watchers:
        tree.must(watcher, wire.EXISTS, string(paths[-1]) + flag(True))
    owner.end()
    for watcher in watchers:
        watcher.event()
        sign, event = watcher.log[-1][1:]
        assert sign == "<" and event.bytes.endswith(string(paths[-1])), "not told"
    for server in ensemble:
        assert server.mntr()["ephemerals_count"] == "0"


def test_a_session_of_very_many_ephemerals_is_closed(ensemble):
    close_a_session_of_many(ensemble, ensemble[1])
    assert_goes_on(ensemble)


def test_a_multi_whose_acls_become_too_large_fails(ensemble):
    creates = [(wire.CREATE, create(f"/{n:09}", acl=AUTH)) for n in range(20_000)]
    for server in ensemble:
        client = tree.client(server)
        for user in ("alice:a", "bob:b"):
            tree.authenticate(client, user)
        tree.must(client, wire.MULTI, multi(*creates), error=-5)
        assert client.call(wire.EXISTS, string("/000000000") + flag(False)) == -101
        client.end()
    client = tree.client(ensemble[2])
    tree.authenticate(client, "alice:a")
    tree.must(client, wire.MULTI, multi(*creates[:AT_ONCE]))
    assert_goes_on(ensemble)


def test_what_a_java_leader_makes_is_taken(lab):
    """By our followers, also when they come back."""
    ensemble = begin(lab, [zk.OURS, zk.OURS, zk.JAVA], [PREALLOCATED])
    close_a_session_of_many(ensemble, ensemble[1])
    put(tree.client(ensemble[2]), "/after")
    ensemble[1].kill()
    ensemble[1].start()
    assert_one_tree(ensemble, ["/after"])
    assert ensemble[3].mode() == "leader", "there was another election"

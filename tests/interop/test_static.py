"""Memberships that are changed the old way, by hand in each zoo.cfg, with servers restarted in turn;
and a standalone server that becomes one of three, and one of three that becomes standalone."""

import pytest
import tree
import zk
from ensembles import CONFIG, Loads, assert_one_tree, put, synced
from tree import wire
from wire import create, flag, string

STATIC = CONFIG | {"reconfigEnabled": "false"}


def data(server):
    """What the tree holds, but for the node that names the members."""
    synced(server).end()
    return [line for line in tree.dump(server) if not line.startswith("/zookeeper/config ")]


def alone(server):
    """The next start is without an ensemble. Returns what brings it back."""
    members = server.config
    lines = {k: v for k, v in members.items() if not k.startswith("server.")}
    own = {"clientPort": server.port, "clientPortAddress": "127.0.0.1"}
    server.config = lines | own
    myid = server.data / "myid"
    number = myid.read_text()
    myid.unlink()

    def back():
        server.config = members
        myid.write_text(number)

    return back


@pytest.mark.parametrize("before", (zk.JAVA, "under test"))
def test_standalone_becomes_three_and_back(lab, quorum_kind, before):
    """What it had is on each of the three, its sessions live; any of the three has it all alone."""
    ensemble = lab.ensemble([quorum_kind] * 3, STATIC, tree.FLAGS)
    first, last = ensemble[1], ensemble[3]
    members = alone(first)
    first.become(zk.JAVA if before == zk.JAVA else quorum_kind).start()
    assert first.mode() == "standalone"
    for connection in tree.write(first):
        connection.end()
    session = tree.client(first)
    tree.must(session, wire.CREATE, create("/alive", b"", flags=1))
    had = data(first)
    first.stop()
    members()
    first.become(quorum_kind).start(wait=False)
    # The empty ones must not elect each other.
    ensemble[2].start(wait=False)
    zk.wait_for("the server with data to lead", lambda: first.mode() == "leader", 40)
    last.start()
    ensemble.wait_serving()
    again = wire.Connection(last.address, "again", [])
    again.connect(tree.LONG_LIVED, session.session, session.password)
    assert again.session == session.session
    tree.must(again, wire.EXISTS, string("/alive") + flag(False))
    for server in ensemble:
        assert data(server) == had
    put(again, "/three")
    had = data(last)
    assert any(line.startswith("/three ") for line in had)
    for server in ensemble:
        assert data(server) == had
    ensemble.stop()
    alone(last)
    last.start()
    assert last.mode() == "standalone"
    assert data(last) == had
    again = wire.Connection(last.address, "alone", [])
    again.connect(tree.LONG_LIVED, session.session, session.password)
    assert again.session == session.session
    put(again, "/alone")


def rewrite(ensemble, numbers, loads, lines):
    """Each of them gets these member lines, and is restarted, while clients write."""
    for number in numbers:
        server = ensemble[number]
        server.stop()
        kept = {k: v for k, v in server.config.items() if not k.startswith("server.")}
        server.config = kept | lines
        server.start()
        loads.advance()


def members(ensemble, count):
    return {f"server.{n}": ensemble[n].config[f"server.{n}"] for n in range(1, count + 1)}


def test_three_become_five_by_restarts(lab, quorum_kind):
    ensemble = lab.ensemble([quorum_kind] * 5, STATIC)
    five = members(ensemble, 5)
    for number in (1, 2, 3):
        ensemble[number].config.update({"server.4": None, "server.5": None})
    for number in (1, 2, 3):
        ensemble[number].start(wait=False)
    for number in (1, 2, 3):
        ensemble[number].wait_serving()
    with Loads(ensemble) as loads:
        rewrite(ensemble, (4, 5, 1, 2, 3), loads, five)
        # Three of five are a quorum, which they are not by a configuration that has but three.
        for number in (1, 2):
            ensemble[number].kill()
        loads.advance()
        for number in (1, 2):
            ensemble[number].start()
        loads.assert_nobody_lost()
    assert_one_tree(ensemble, loads.acknowledged())
    assert not list(ensemble[1].directory.glob("*.dynamic*"))


@pytest.mark.parametrize("moved", (1, 3))
def test_ports_change_by_restarts(lab, quorum_kind, moved):
    """The ports between servers of one of them are others: its own file first, then the rest."""
    ensemble = lab.ensemble([quorum_kind] * 3, STATIC).start()
    lines = members(ensemble, 3)
    role = lines[f"server.{moved}"].split(":", 3)[3]
    lines[f"server.{moved}"] = f"127.0.0.1:{zk.free_port()}:{zk.free_port()}:{role}"
    others = [number for number in (1, 2, 3) if number != moved]
    with Loads(ensemble) as loads:
        rewrite(ensemble, (moved, *others), loads, lines)
        ensemble.leader().kill()
        loads.advance()
        for server in ensemble:
            if not server.alive:
                server.start()
        loads.assert_nobody_lost()
    assert_one_tree(ensemble, loads.acknowledged())

"""What a server is besides leader or follower: local sessions, read-only mode, observers, limits;
and sessions that move from server to server. Raw connections, so that every code shows."""

import pytest
import tree
import zk
from tree import wire
from wire import create, flag, i32, multi, string

LOCAL = {"localSessionsEnabled": "true", "tickTime": 500}
UPGRADING = LOCAL | {"localSessionsUpgradingEnabled": "true"}
EPHEMERAL = 1


def connect(server, timeout=10000, like=None, read_only=False):
    """A connection with a session: a new one, or that of the connection `like`. None if the server
    refuses or does not answer; its `session` is 0 if the server says that it is no more."""
    connection = wire.Connection(server.address, "c", [])
    connection.socket.settimeout(20)
    session, password = (like.session, like.password) if like else (0, bytes(16))
    answer = connection.connect(timeout, session, password, read_only=read_only)
    return None if answer is None else connection


def closed(connection, deadline=20):
    """Waits until the server has closed the connection; what it still says is ignored."""
    connection.socket.settimeout(deadline)
    while connection.socket.recv(4096):
        pass
    return True


def ensemble(lab, kind, config, **options):
    return lab.ensemble([kind] * 3, config, tree.FLAGS, **options).start()


def roles(servers):
    leader = servers.leader()
    return leader, [s for s in servers if s is not leader]


def zxid(server):
    line = next(w for w in server.word("srvr").splitlines() if w.startswith("Zxid: "))
    return int(line.removeprefix("Zxid: "), 16)


def exists(connection, path):
    return connection.call(wire.EXISTS, string(path) + flag(False))


def test_local_sessions_cost_no_transaction(lab, quorum_kind):
    servers = ensemble(lab, quorum_kind, LOCAL)
    leader, followers = roles(servers)
    # A new leader of Java's shows the first zxid of its epoch, which is no transaction's.
    first = connect(leader)
    tree.must(first, wire.CREATE, create("/first"))
    first.end()
    for server in (leader, followers[0]):
        zk.wait_for("no local session", lambda s=server: s.mntr()["local_sessions"] == "0")
        before = zxid(leader)
        connection = connect(server)
        assert exists(connection, "/") == 0
        assert server.mntr()["local_sessions"] == "1"
        assert server.mntr()["global_sessions"] == "0"
        path = f"/by-{server.port}"
        tree.must(connection, wire.CREATE, create(path))
        tree.must(connection, wire.SYNC, string("/"))
        assert connection.call(wire.CLOSE_SESSION) == 0
        assert closed(connection)
        zk.wait_for("no local session", lambda s=server: s.mntr()["local_sessions"] == "0")
        assert zxid(leader) == before + 1


def test_no_ephemerals_without_upgrading(lab, quorum_kind):
    for server in ensemble(lab, quorum_kind, LOCAL):
        connection = connect(server)
        assert connection.call(wire.CREATE, create("/e", flags=EPHEMERAL)) == -120
        assert connection.call(wire.CREATE2, create("/e", flags=EPHEMERAL | 2)) == -120
        assert exists(connection, "/e") == -101
        connection.end()


@pytest.mark.parametrize("how", ["create", "multi"])
def test_ephemerals_make_sessions_global(lab, quorum_kind, how):
    servers = ensemble(lab, quorum_kind, UPGRADING)
    for server in servers:
        connection, path = connect(server, 3000), f"/e-{server.port}"
        operation = create(path, flags=EPHEMERAL)
        if how == "create":
            tree.must(connection, wire.CREATE, operation)
        else:
            tree.must(connection, wire.MULTI, multi((wire.CREATE, operation)))
        assert server.mntr()["local_sessions"] == "0"
        # It may go to another server now, and lives there.
        other = next(s for s in servers if s is not server)
        moved = connect(other, 3000, like=connection)
        assert moved.session == connection.session
        tree.must(moved, wire.CREATE, create(path + "-too", flags=EPHEMERAL))
        moved.socket.close()
        connection.socket.close()
        tree.wait_gone(server, path)
        tree.wait_gone(server, path + "-too")


def test_local_sessions_stay_where_they_are(lab, quorum_kind):
    servers = ensemble(lab, quorum_kind, LOCAL)
    for server in servers:
        connection = connect(server, 20000)
        connection.socket.close()
        for other in servers:
            if other is not server:
                assert connect(other, 20000, like=connection).session == 0
        again = connect(server, 20000, like=connection)
        assert again.session == connection.session
        tree.must(again, wire.CREATE, create(f"/back-{server.port}"))
        again.end()


def test_local_sessions_expire(lab, quorum_kind):
    for server in ensemble(lab, quorum_kind, LOCAL):
        silent = connect(server, 1000)
        assert server.mntr()["local_sessions"] == "1"
        zk.wait_for("expiry", lambda s=server: s.mntr()["local_sessions"] == "0")
        assert closed(silent)
        assert connect(server, 1000, like=silent).session == 0


def test_sessions_move(lab, quorum_kind):
    """The server that had the session closes at its next request; nothing is written twice."""
    servers = ensemble(lab, quorum_kind, {"tickTime": 500})
    for server in servers:
        for other in servers:
            if other is server:
                continue
            connection = connect(server)
            path = f"/{server.port}-{other.port}"
            tree.must(connection, wire.CREATE, create(path, flags=EPHEMERAL))
            moved = connect(other, like=connection)
            assert moved.session == connection.session
            tree.must(moved, wire.CREATE, create(path + "-moved", flags=EPHEMERAL))
            connection.send(wire.CREATE, create(path + "-late"))
            assert closed(connection)
            assert exists(moved, path) == 0
            tree.must(moved, wire.SYNC, string("/"))
            assert exists(moved, path + "-late") == -101
            # And back again.
            back = connect(server, like=connection)
            assert back.session == connection.session
            tree.must(back, wire.SET_DATA, string(path) + i32(0) + i32(-1))
            back.end()
            tree.wait_gone(other, path)

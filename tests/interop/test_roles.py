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


def read_only_server(lab, kind):
    """Three servers with some data; one is left, read-only. With it, connections made before."""
    servers = lab.ensemble([kind] * 3, LOCAL, ["-Dreadonlymode.enabled=true", *tree.FLAGS]).start()
    last, *others = servers
    writer = connect(last)
    tree.must(writer, wire.CREATE, create("/kept", b"data"))
    for server in others:
        server.kill()
    zk.wait_for("read-only mode", lambda: last.mode() == "read-only")
    return servers, last, writer


def test_read_only(lab, quorum_kind):
    servers, last, writer = read_only_server(lab, quorum_kind)
    assert closed(writer)
    assert last.word("isro") == "ro"
    assert connect(last) is None, "the client did not ask for a read-only server"
    reader = connect(last, 6000, read_only=True)
    assert reader.session != 0
    assert reader.log[-1][2].bytes[-1] == 1, "the response says that it is one"
    assert exists(reader, "/kept") == 0
    assert reader.call(wire.GET_DATA, string("/kept") + flag(True)) == 0
    path = string("/kept")
    for kind, body in [
        (wire.CREATE, create("/new")), (wire.CREATE, create("/new", flags=EPHEMERAL)),
        (wire.DELETE, path + i32(-1)), (wire.SET_DATA, path + i32(0) + i32(-1)),
        (wire.SYNC, path),
        (wire.MULTI, multi((wire.CHECK, path + i32(0)))),
    ]:  # fmt: skip
        assert reader.call(kind, body) == -119, kind
    assert reader.call(wire.PING, xid=wire.PING_XID) == 0
    ended = connect(last, read_only=True)
    assert ended.call(wire.CLOSE_SESSION) == 0
    assert closed(ended)
    # A leader ends it.
    servers[2].start(wait=False)
    assert closed(reader)
    zk.wait_for("a quorum", lambda: last.mode() in ("leader", "follower"))
    assert last.word("isro") == "rw"
    tree.must(connect(last), wire.CREATE, create("/new"))


def test_read_only_sessions(lab, quorum_kind):
    """They can come back and expire; a session of the ensemble is not judged."""
    servers, last, _ = read_only_server(lab, quorum_kind)
    reader = connect(last, 20000, read_only=True)
    reader.socket.close()
    again = connect(last, 20000, like=reader, read_only=True)
    assert again.session == reader.session
    assert exists(again, "/kept") == 0
    short = connect(last, 1000, read_only=True)
    assert closed(short)
    # Ours leaves the verdict to a leader: the session may be one of an ensemble out of reach.
    gone = connect(last, 1000, like=short, read_only=True)
    assert gone is None or gone.session == 0


def test_read_only_keeps_global_sessions(lab, quorum_kind):
    config = {"tickTime": 500}
    flags = ["-Dreadonlymode.enabled=true", *tree.FLAGS]
    servers = lab.ensemble([quorum_kind] * 3, config, flags).start()
    last = servers[1]
    owner = connect(last, 20000)
    tree.must(owner, wire.CREATE, create("/mine", flags=EPHEMERAL))
    servers[2].kill()
    servers[3].kill()
    zk.wait_for("read-only mode", lambda: last.mode() == "read-only")
    assert connect(last, 20000, like=owner, read_only=True) is None
    servers[2].start()
    zk.wait_for("a quorum", lambda: last.mode() in ("leader", "follower"))
    again = connect(last, 20000, like=owner)
    assert again.session == owner.session
    assert exists(again, "/mine") == 0


def with_observer(lab, kinds, config=None):
    """Voters and, last, an observer."""
    voters = {"tickTime": 500, "initLimit": 20} | (config or {})
    servers = lab.ensemble(kinds, voters, tree.FLAGS, observers=[len(kinds)]).start()
    assert servers[len(kinds)].mode() == "observer"
    return servers, servers[len(kinds)]


def write_through(server, path):
    connection = connect(server)
    tree.must(connection, wire.CREATE, create(path, flags=EPHEMERAL))
    return connection


def sees(server, path):
    connection = connect(server)
    tree.must(connection, wire.SYNC, string("/"))
    found = exists(connection, path) == 0
    connection.end()
    return found


@pytest.mark.parametrize("members", [zk.JAVA, "ours"])
def test_eager_acl_check(lab, quorum_kind, members):
    """A member refuses what its own tree forbids: then there is no zxid in the answer (C-111)."""
    kinds = [quorum_kind if members == "ours" else members] * 3
    eager = [*tree.FLAGS, "-Dzookeeper.enableEagerACLCheck=true"]
    servers = lab.ensemble(kinds, {"tickTime": 500, "initLimit": 20}, eager).start()
    reader = [(1, "world", "anyone")]
    write_through(servers.leader(), "/world")
    for number, server in enumerate(servers):
        owner = connect(server)
        top = f"/by{number}"
        tree.must(owner, wire.CREATE, create(top, acl=reader))

        def answer(kind, body, owner=owner):
            """Whether there is a zxid, and the error."""
            owner.send(kind, body)
            reply = wire.Reader(owner.read())
            reply.int()
            return reply.int(8) != 0, reply.int()

        nobody = [(31, "digest", "no colon")]
        assert answer(wire.CREATE, create(f"{top}/a")) == (False, -102)
        assert answer(wire.SET_DATA, string(top) + string("x") + i32(-1)) == (False, -102)
        assert answer(wire.SET_ACL, string(top) + wire.acls(reader) + i32(-1)) == (False, -102)
        assert answer(wire.DELETE, string(f"{top}/a") + i32(-1)) == (False, -102)
        assert answer(wire.CREATE, create("/invalid", acl=nobody)) == (False, -114)
        assert answer(wire.CREATE_CONTAINER, create(f"{top}/a", flags=4)) == (True, -102)
        assert answer(wire.SET_DATA, string("/none") + string("x") + i32(-1)) == (True, -101)
        assert answer(wire.DELETE, string("/zookeeper") + i32(-1)) == (True, -8)


@pytest.mark.parametrize("members", [zk.JAVA, "ours"])
def test_times_of_writes(lab, quorum_kind, members):
    """Which server counts which latency."""
    servers, watching = with_observer(lab, [quorum_kind if members == "ours" else members] * 4)
    leader = servers.leader()
    write_through(leader, "/a")
    for server in servers:
        assert sees(server, "/a")

    def counted(server):
        counters = server.mntr()
        names = ("quorum_ack_latency", "proposal_latency", "proposal_ack_creation_latency",
                 "commit_propagation_latency", "propagation_latency", "unavailable_time",
                 "leader_unavailable_time", "follower_sync_time", "observer_sync_time",
                 "election_time")  # fmt: skip
        return {name for name in names if int(float(counters[f"cnt_{name}"]))}

    everywhere = {"propagation_latency", "unavailable_time", "election_time"}
    logged = everywhere | {"proposal_ack_creation_latency"}
    assert counted(leader) == logged | {"quorum_ack_latency", "leader_unavailable_time"}
    follower = next(s for s in servers if s not in (leader, watching))
    follows = {"proposal_latency", "commit_propagation_latency", "follower_sync_time"}
    assert counted(follower) == logged | follows
    observes = {"propagation_latency", "unavailable_time", "commit_propagation_latency",
                "observer_sync_time"}  # fmt: skip
    # Ours logs what it is told, and takes part in elections as it does as a voter.
    more = set() if watching.kind != zk.OURS else {"proposal_ack_creation_latency", "election_time"}
    assert counted(watching) == observes | more


@pytest.mark.parametrize("observer", [zk.JAVA, "ours"])
@pytest.mark.parametrize("voters", [zk.JAVA, "ours"])
def test_observer(lab, quorum_kind, voters, observer):
    ours = lambda kind: quorum_kind if kind == "ours" else kind  # noqa: E731
    servers, watching = with_observer(lab, [ours(voters)] * 3 + [ours(observer)])
    leader = servers.leader()
    assert leader is not watching
    zk.wait_for("the leader to count it", lambda: leader.mntr().get("synced_observers") == "1")
    assert leader.mntr()["quorum_size"] == "3"
    mine = write_through(watching, "/by-observer")
    theirs = write_through(servers[1], "/by-follower")
    for server in servers:
        assert sees(server, "/by-observer") and sees(server, "/by-follower")
    # Away for a while, and back.
    watching.kill()
    theirs.call(wire.CREATE, create("/while-away"))
    watching.start()
    assert sees(watching, "/while-away")
    assert connect(watching, like=mine).session == mine.session
    # Another leader.
    leader.kill()
    zk.wait_for("another", lambda: any(s.mode() == "leader" for s in servers if s is not leader))
    watching.wait_serving()
    again = connect(watching, like=mine)
    assert again.session == mine.session
    again.end()
    tree.wait_gone(servers[1] if leader is not servers[1] else servers[2], "/by-observer")


def test_observer_does_not_vote(lab, quorum_kind):
    servers, watching = with_observer(lab, [quorum_kind] * 4)
    servers[1].kill()
    servers[2].kill()
    zk.wait_for("nobody to serve", lambda: servers[3].mode() is None and watching.mode() is None)


def test_observer_without_a_log(lab, quorum_kind):
    config = {"syncEnabled": "false"}
    servers, watching = with_observer(lab, [quorum_kind] * 4, config)
    for n in range(20):
        write_through(watching, f"/n{n}").end()
    assert not [f.name for f in watching.version_2.iterdir() if f.name.startswith("log.")]
    watching.kill()
    tree.must(connect(servers[1]), wire.CREATE, create("/while-away"))
    watching.start()
    assert sees(watching, "/while-away")
    write_through(watching, "/back").end()


def test_leader_that_does_not_serve(lab, quorum_kind):
    flags = ["-Dzookeeper.leaderServes=no", *tree.FLAGS]
    servers = lab.ensemble([quorum_kind] * 3, {"tickTime": 500}, flags).start(wait=False)
    zk.wait_for("followers", lambda: sum(s.mode() == "follower" for s in servers) == 2)
    leader = next(s for s in servers if s.mode() is None)
    assert connect(leader) is None
    follower = next(s for s in servers if s is not leader)
    write_through(follower, "/a").end()

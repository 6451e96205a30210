"""Limits and access that the configuration sets: whom the server turns away, and how, as on Java."""

import contextlib

import pytest
import tree
import wire
import zk
from wire import buffer, create, flag, i32, string

PROVIDERS = "org.apache.zookeeper.server.auth"
GET_ROOT = (wire.GET_DATA, string("/") + flag(False))


def dial(server):
    connection = wire.Connection(server.address, "c", [])
    connection.socket.settimeout(20)
    return connection


def accepted(server):
    """A connection with a session; None if there is none to be had."""
    with contextlib.suppress(OSError):
        return dial(server).connect()


def auth(connection, scheme, data):
    return connection.call(
        wire.AUTH, i32(0) + string(scheme) + buffer(data), xid=wire.AUTH_XID
    )


def hard_quota(server):
    client = tree.client(server)
    limits = b"count=-1,bytes=-1=;byteHardLimit=10;countHardLimit=2"
    for path, data in [
        ("/q", b""), ("/zookeeper/quota/q", b""),
        ("/zookeeper/quota/q/zookeeper_limits", limits), ("/zookeeper/quota/q/zookeeper_stats", b""),
        ("/q/1", b"12345"), ("/q/2", b""),
    ]:  # fmt: skip
        yield client.call(wire.CREATE, create(path, data))
    yield client.call(wire.SET_DATA, string("/q/1") + buffer(b"12345678901") + i32(-1))
    yield client.call(wire.MULTI, wire.multi((wire.CREATE, create("/q/3"))))
    yield {key: value for key, value in server.mntr().items() if "exceeded" in key}


def enforced_scheme(server):
    for scheme in ("digest", None):
        client = accepted(server)
        if scheme:
            yield auth(client, scheme, b"a:b")
        yield client.call(*GET_ROOT)
        yield client.call(wire.PING, xid=-2)


def named_ensemble(server):
    for name in (b"red", b"blue", b"", b"green"):
        client = accepted(server)
        yield auth(client, "ensemble", name)
        yield client.call(*GET_ROOT)
    guarded = create("/x", acl=[(31, "ensemble", "red")])
    yield accepted(server).call(wire.CREATE, guarded)
    yield auth(accepted(server), "own", b"")


def without_digest(server):
    yield auth(accepted(server), "digest", b"a:b")
    yield accepted(server).call(wire.CREATE, create("/x", acl=[(31, "digest", "a:b")]))


def three_connections(server):
    """One more than there may be; who goes makes room."""
    clients = [accepted(server) for _ in range(3)]
    yield [client is not None for client in clients]
    clients[0].end()
    zk.wait_for("a place", lambda: accepted(server))


def large_requests(server):
    client = accepted(server)
    yield client.call(wire.CREATE, create("/x", bytes(900)))
    yield client.call(wire.CREATE, create("/y", bytes(1500)))
    yield client.call(wire.CREATE, create("/z", bytes(2500)))
    yield server.mntr()["large_requests_rejected"]


def three_tokens(server):
    yield [accepted(server) is not None for _ in range(5)]
    yield server.mntr()["connection_rejected"]


def silence(server):
    client = dial(server)
    yield client.read()
    yield server.mntr()["sessionless_connections_expired"]


def longest_frame(server):
    for length in (2000 - 8, 2000 - 7):
        yield accepted(server).call(wire.EXISTS, buffer(b"x" * (length - 5)) + flag(False))


@pytest.mark.parametrize(
    ("play", "flags"),
    [
        (hard_quota, ["zookeeper.enforceQuota=true"]),
        (enforced_scheme, ["zookeeper.enforce.auth.enabled=true",
                           "zookeeper.enforce.auth.schemes=digest"]),
        (named_ensemble, [f"zookeeper.authProvider.1={PROVIDERS}.EnsembleAuthenticationProvider",
                          "zookeeper.authProvider.2=com.example.Own",
                          "zookeeper.ensembleAuthName=red,blue"]),
        (without_digest, ["zookeeper.DigestAuthenticationProvider.enabled=false"]),
        (three_connections, ["zookeeper.maxCnxns=2"]),
        (large_requests, ["zookeeper.largeRequestThreshold=1000",
                          "zookeeper.largeRequestMaxBytes=2000"]),
        (three_tokens, ["zookeeper.connection_throttle_tokens=3",
                        "zookeeper.connection_throttle_fill_time=1000000"]),
        (silence, ["zookeeper.nio.sessionlessCnxnTimeout=300"]),
        (longest_frame, ["jute.maxbuffer=2000"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)  # fmt: skip
def test_limits(lab, kind, play, flags):
    flags = [f"-D{flag}" for flag in flags]
    java, other = (list(play(lab.server(k, flags=flags).start())) for k in (zk.JAVA, kind))
    assert java == other

"""A tree with something of everything, written and read back over raw connections."""

import sys

import zk

sys.path.insert(0, str(zk.HERE.parent / "golden"))

import wire  # noqa: E402
from wire import ALL, WORLD, acls, buffer, create, flag, i32, i64, multi, string  # noqa: E402

SUPER = "-Dzookeeper.DigestAuthenticationProvider.superDigest=super:D/InIHSb7yEEbrWz8b9l71RjZJU="
FLAGS = [
    SUPER,
    "-Dzookeeper.extendedTypesEnabled=true",
    "-Dznode.container.checkIntervalMs=300",
    "-Dzookeeper.preAllocSize=64",
]
LONG_LIVED = 40000


def client(server, timeout=LONG_LIVED):
    connection = wire.Connection(server.address, "c", [])
    connection.socket.settimeout(20)
    assert connection.connect(timeout) is not None
    return connection


def authenticate(connection, user):
    auth = i32(0) + string("digest") + buffer(user.encode())
    assert connection.call(wire.AUTH, auth, xid=wire.AUTH_XID) == 0


def must(connection, kind, body, error=0):
    got = connection.call(kind, body)
    assert got == error, f"request of type {kind} answered with {got}, not {error}"


def wait_gone(server, path, deadline=30.0):
    """Waits until there is no such node."""
    reader = client(server)
    request = string(path) + flag(False)
    zk.wait_for(f"{path} to go", lambda: reader.call(wire.EXISTS, request) == -101, deadline)
    reader.end()


def write(server, top="/v", old=False):
    """Writes the tree below `top`; returns the connections whose sessions and ephemerals live.
    old: a 3.8.0 server follows. It drops a multi with a create2 that another server proposes."""
    a, b, bob = client(server), client(server), client(server)
    authenticate(bob, "bob:secret")
    must(a, wire.CREATE, create(top, b"top"))
    nodes(a, top)
    access(bob, top)
    quota(a, top)
    multis(a, top, wire.CREATE if old else wire.CREATE2)
    failures(a, top)
    for connection, name in ((a, "a"), (b, "b")):
        must(connection, wire.CREATE, create(f"{top}/eph-{name}", name.encode(), flags=1))
        must(connection, wire.CREATE, create(f"{top}/eph-", b"", flags=3))
    ended = client(server)
    must(ended, wire.CREATE, create(f"{top}/gone-with-session", b"", flags=1))
    ended.end()
    reaped(server, a, top)
    bob.end()
    return [a, b]


def nodes(a, top):
    must(a, wire.CREATE, create(f"{top}/null", None))
    must(a, wire.CREATE, create(f"{top}/empty", b""))
    must(a, wire.CREATE, create(f"{top}/big", bytes(range(256)) * 4))
    must(a, wire.CREATE, create(f"{top}/\u00e4\u4e16", b"name beyond ASCII"))
    for _ in range(3):
        must(a, wire.CREATE, create(f"{top}/seq-", b"s", flags=2))
    must(a, wire.CREATE_CONTAINER, create(f"{top}/box", b"", flags=4))
    must(a, wire.CREATE, create(f"{top}/box/inside", b"keeps it"))
    must(a, wire.CREATE_TTL, create(f"{top}/ttl", b"", flags=5) + i64(86400000))
    must(a, wire.CREATE_TTL, create(f"{top}/ttl-", b"", flags=6) + i64(86400000))
    must(a, wire.CREATE, create(f"{top}/many"))
    for n in range(150):
        must(a, wire.CREATE, create(f"{top}/many/n{n}", b"%d" % n))
    for n in range(0, 150, 3):
        must(a, wire.SET_DATA, string(f"{top}/many/n{n}") + buffer(b"set %d" % n) + i32(-1))
    for n in range(0, 150, 5):
        must(a, wire.DELETE, string(f"{top}/many/n{n}") + i32(-1))


def access(bob, top):
    must(bob, wire.CREATE, create(f"{top}/bob", b"mine", acl=[(ALL, "auth", "")]))
    must(bob, wire.CREATE, create(f"{top}/ip", b"", acl=[(ALL, "ip", "127.0.0.0/8")]))
    must(bob, wire.CREATE, create(f"{top}/two", b"", acl=[(1, "world", "anyone"),
                                                         (ALL, "auth", "")]))  # fmt: skip
    must(bob, wire.SET_ACL, string(f"{top}/two") + acls([(ALL, "auth", "")]) + i32(0))
    must(bob, wire.SET_ACL, string(f"{top}/two") + acls(WORLD) + i32(1))


def quota(a, top):
    below = f"/zookeeper/quota{top}"
    must(a, wire.CREATE, create(below))
    must(a, wire.CREATE, create(f"{below}/zookeeper_limits", b"count=1000,bytes=100000"))
    must(a, wire.CREATE, create(f"{below}/zookeeper_stats", b"count=0,bytes=0"))
    must(a, wire.CREATE, create(f"{top}/counted", b"12345"))
    must(a, wire.SET_DATA, string(f"{top}/counted") + buffer(b"123") + i32(-1))


def multis(a, top, create2):
    must(a, wire.MULTI, multi(
        (wire.CREATE, create(f"{top}/m", b"m")),
        (create2, create(f"{top}/m/2", b"2")),
        (wire.CREATE_CONTAINER, create(f"{top}/m/box", b"", flags=4)),
        (wire.CREATE, create(f"{top}/m/box/x")),
        (wire.CREATE_TTL, create(f"{top}/m/ttl", b"", flags=5) + i64(86400000)),
        (wire.CREATE, create(f"{top}/m/s-", b"", flags=2)),
        (wire.CREATE, create(f"{top}/m/e", b"", flags=1)),
        (wire.CHECK, string(f"{top}/m") + i32(0)),
        (wire.SET_DATA, string(f"{top}/m") + buffer(b"mm") + i32(0)),
        (wire.DELETE, string(f"{top}/m/2") + i32(-1)),
    ))  # fmt: skip
    must(a, wire.MULTI, multi((wire.CREATE, create(f"{top}/never")),
                              (wire.CHECK, string(f"{top}/nowhere") + i32(0))))  # fmt: skip


def failures(a, top):
    """Writes that fail leave a transaction of their own in the log."""
    must(a, wire.CREATE, create(top), error=-110)
    must(a, wire.DELETE, string(f"{top}/nowhere") + i32(-1), error=-101)
    must(a, wire.DELETE, string(f"{top}/many") + i32(-1), error=-111)
    must(a, wire.SET_DATA, string(top) + buffer(b"x") + i32(99), error=-103)


def reaped(server, a, top):
    """A container and a TTL node that the server itself deletes."""
    must(a, wire.CREATE_CONTAINER, create(f"{top}/reaped", b"", flags=4))
    must(a, wire.CREATE, create(f"{top}/reaped/x"))
    must(a, wire.DELETE, string(f"{top}/reaped/x") + i32(-1))
    must(a, wire.CREATE_TTL, create(f"{top}/expired", b"", flags=5) + i64(1))
    for name in ("reaped", "expired"):
        wait_gone(server, f"{top}/{name}")


def dump(server):
    """Every node by path, one line each: ACL, stat, data. It reads as the super user."""
    reader = client(server)
    authenticate(reader, "super:test")
    lines, paths = [], ["/"]
    while paths:
        path = paths.pop()
        lines.append(describe(reader, path))
        children = answer(reader, wire.GET_CHILDREN, string(path) + flag(False)).names()
        paths.extend(f"{path.rstrip('/')}/{child}" for child in children)
    reader.end()
    return sorted(lines)


class Answer(wire.Reader):
    """A reply's body, read field by field."""

    def text(self):
        length = self.int()
        if length < 0:
            return None
        self.at += length
        return self.body[self.at - length : self.at]

    def names(self):
        return [self.text().decode() for _ in range(self.int())]

    def acl(self):
        entries = []
        for _ in range(self.int()):
            perms = self.int()
            entries.append(f"{self.text().decode()}:{self.text().decode()}:{perms}")
        return ",".join(entries)

    def fields(self):
        names = "czxid mzxid ctime mtime version cversion aversion owner length children pzxid"
        widths = (8, 8, 8, 8, 4, 4, 4, 8, 4, 4, 8)
        return " ".join(f"{name}={self.int(w)}" for name, w in zip(names.split(), widths))


def answer(connection, kind, body):
    must(connection, kind, body)
    frame = connection.log[-1][2].bytes
    return Answer(frame[20:])


def describe(reader, path):
    data = answer(reader, wire.GET_DATA, string(path) + flag(False))
    content, stat = data.text(), data.fields()
    acl = answer(reader, wire.GET_ACL, string(path)).acl()
    shown = "null" if content is None else f"x{content.hex()}"
    return f"{path} {acl} {stat} {shown}"


def sessions(server):
    """Session ids that the server knows (the word `dump`), in hexadecimal without leading 0."""
    ids = set()
    for line in server.word("dump").split("ephemeral nodes dump")[0].splitlines():
        if line.startswith("\t0x"):
            ids.add(line.strip().removeprefix("0x"))
    return ids


def digests(server):
    """What the word `hash` lists: {zxid: digest} of the tree, every 128 transactions."""
    pairs = (line.split(": ") for line in server.word("hash").splitlines() if ": " in line)
    return {int(zxid, 16): digest for zxid, digest in pairs}

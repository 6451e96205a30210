"""What is said to a server so that every kind of request, reply and event passes over the wire.

Each scenario starts from an empty server, so that zxids are the same in every run.
"""

import wire
from wire import ALL, WORLD, acls, buffer, create, flag, i32, i64, multi, string, strings

SCENARIOS = []
DIGEST_BOB = (ALL, "digest", "bob:QYiKv0E+bwTkoSUiOTgOJQPjhJI=")


def scenario(function):
    SCENARIOS.append(function)
    return function


class Stage:
    """The connections of one scenario and the log of what passes over them."""

    def __init__(self, address):
        self.address = address
        self.log = []
        self.connections = {}

    def say(self, title):
        self.log.append((None, "@", title))

    def raw(self, name):
        self.connections[name] = wire.Connection(self.address, name, self.log)
        return self.connections[name]

    def client(self, name="a", **handshake):
        return self.raw(name).connect(**handshake)

    def each(self, name, requests):
        """Each (title, kind, body) on its own; a new client when one of them cost the old one."""
        client, lost = self.client(name), 0
        for title, kind, body in requests:
            self.say(title)
            if client.call(kind, body) is None:
                lost += 1
                client = self.client(f"{name}{lost}")
        return client

    def close(self):
        for connection in self.connections.values():
            connection.socket.close()


@scenario
def connect(s):
    s.say("new session")
    a = s.client("a", timeout=30000)
    s.say("time-out below the least: 2 ticks")
    s.client("b", timeout=10)
    s.say("time-out above the greatest: 20 ticks")
    s.client("c", timeout=1000000)
    s.say("handshake without the read-only flag, as before 3.4")
    s.client("d", read_only=None)
    s.say("handshake of a client that may talk to a read-only server")
    s.client("e", read_only=True)
    s.say("ping")
    a.call(wire.PING, xid=wire.PING_XID)
    s.say("session taken over by another connection")
    f = s.client("f", session=a.session, password=a.password)
    s.say("the old connection is closed")
    a.read()
    s.say("wrong password: session 0, then closed")
    g = s.client("g", session=f.session, password=b"0123456789abcdef")
    g.read()
    s.say("session that is not there: session 0, then closed")
    h = s.client("h", session=0x1234, password=b"0123456789abcdef")
    h.read()
    s.say("a client that has seen a later zxid is sent away unanswered")
    s.client("i", seen=1 << 33)
    s.say("close")
    f.end()


@scenario
def create_nodes(s):
    a = s.each("a", [
        ("create persistent", wire.CREATE, create("/p", b"data")),
        ("create2", wire.CREATE2, create("/p2", b"data")),
        ("create with null data", wire.CREATE2, create("/null", None)),
        ("create with empty data", wire.CREATE2, create("/empty", b"")),
        ("create a child", wire.CREATE2, create("/p/child", b"x")),
        ("create ephemeral", wire.CREATE, create("/e", b"data", flags=1)),
        ("create2 ephemeral", wire.CREATE2, create("/e2", b"data", flags=1)),
        ("create persistent sequential", wire.CREATE, create("/p/s-", b"", flags=2)),
        ("create2 persistent sequential", wire.CREATE2, create("/p/s-", b"", flags=2)),
        ("create ephemeral sequential", wire.CREATE2, create("/p/es-", b"", flags=3)),
        ("sequential with a name of numbers only", wire.CREATE2, create("/p/", b"", flags=2)),
        ("create container", wire.CREATE_CONTAINER, create("/c", b"", flags=4)),
        ("create with TTL", wire.CREATE_TTL, create("/t", b"", flags=5) + i64(600000)),
        ("create sequential with TTL", wire.CREATE_TTL, create("/t-", b"", flags=6) + i64(600000)),
        ("node exists", wire.CREATE, create("/p")),
        ("node exists, create2", wire.CREATE2, create("/p")),
        ("no parent", wire.CREATE, create("/none/x")),
        ("child of an ephemeral", wire.CREATE, create("/e/x")),
        ("the root", wire.CREATE, create("/")),
        ("path without slash", wire.CREATE, create("p")),
        ("empty path", wire.CREATE, create("")),
        ("path ending in a slash", wire.CREATE, create("/p/x/")),
        ("path with an empty name", wire.CREATE, create("/p//x")),
        ("path with a dot name", wire.CREATE, create("/p/./x")),
        ("path with a NUL character", wire.CREATE, create("/p/\0x")),
        ("path with a control character", wire.CREATE, create("/p/\x01x")),
        ("path with letters beyond ASCII", wire.CREATE2, create("/p/\u00e4\u4e16\U0001f600", b"x")),
        ("under /zookeeper", wire.CREATE, create("/zookeeper/x")),
        ("/zookeeper/quota/x", wire.CREATE, create("/zookeeper/quota/x")),
        ("empty ACL", wire.CREATE, create("/acl", acl=[])),
        ("null ACL", wire.CREATE, create("/acl", acl=None)),
        ("unknown scheme", wire.CREATE, create("/acl", acl=[(ALL, "nope", "x")])),
        ("bad ip id", wire.CREATE, create("/acl", acl=[(ALL, "ip", "1.2.3.400")])),
        ("bad digest id", wire.CREATE, create("/acl", acl=[(ALL, "digest", "x")])),
        ("scheme auth without auth", wire.CREATE, create("/acl", acl=[(ALL, "auth", "")])),
        ("ip ACL", wire.CREATE2, create("/ip", acl=[(ALL, "ip", "127.0.0.1/8")])),
        ("ACL given twice", wire.CREATE2, create("/twice", acl=WORLD + WORLD)),
        ("unknown create mode", wire.CREATE, create("/mode", flags=9)),
        ("TTL of 0", wire.CREATE_TTL, create("/t0", flags=5) + i64(0)),
        ("TTL below 0", wire.CREATE_TTL, create("/t1", flags=5) + i64(-1)),
        ("greatest TTL", wire.CREATE_TTL, create("/t2", flags=5) + i64((1 << 40) - 1)),
        ("TTL too great", wire.CREATE_TTL, create("/t3", flags=5) + i64(1 << 40)),
        ("TTL mode by plain create", wire.CREATE, create("/t4", flags=5)),
        ("container mode by plain create", wire.CREATE, create("/c2", flags=4)),
        ("persistent mode by createContainer", wire.CREATE_CONTAINER, create("/c3", flags=0)),
        ("child of a container", wire.CREATE2, create("/c/x")),
        ("child of a TTL node", wire.CREATE2, create("/t/x")),
    ])  # fmt: skip
    s.say("stats of all kinds of nodes")
    for path in ("/p", "/e", "/c", "/t", "/null", "/empty"):
        a.call(wire.GET_DATA, string(path) + flag(False))
    a.end()


@scenario
def read_nodes(s):
    a = s.client("maker")
    s.say("some nodes")
    for path, mode in [("/a", 0), ("/a/b", 0), ("/a/c", 0), ("/a/b/e", 1), ("/a/e", 1), ("/z", 1)]:
        a.call(wire.CREATE, create(path, path.encode(), flags=mode))
    a = s.each("a", [
        ("exists", wire.EXISTS, string("/a") + flag(False)),
        ("exists, the root", wire.EXISTS, string("/") + flag(False)),
        ("exists, no node", wire.EXISTS, string("/none") + flag(False)),
        ("exists, bad path", wire.EXISTS, string("none") + flag(False)),
        ("exists, null path", wire.EXISTS, string(None) + flag(False)),
        ("getData", wire.GET_DATA, string("/a/b") + flag(False)),
        ("getData of an ephemeral", wire.GET_DATA, string("/a/e") + flag(False)),
        ("getData, the root", wire.GET_DATA, string("/") + flag(False)),
        ("getData, no node", wire.GET_DATA, string("/none") + flag(False)),
        ("getData, empty path", wire.GET_DATA, string("") + flag(False)),
        ("getACL", wire.GET_ACL, string("/a")),
        ("getACL, no node", wire.GET_ACL, string("/none")),
        ("getChildren, none", wire.GET_CHILDREN, string("/a/c") + flag(False)),
        ("getChildren, one", wire.GET_CHILDREN, string("/a/b") + flag(False)),
        ("getChildren, no node", wire.GET_CHILDREN, string("/none") + flag(False)),
        ("getChildren2", wire.GET_CHILDREN2, string("/a/b") + flag(False)),
        ("getChildren2, no node", wire.GET_CHILDREN2, string("/none") + flag(False)),
        ("getAllChildrenNumber", wire.GET_ALL_CHILDREN_NUMBER, string("/a")),
        ("getAllChildrenNumber of the root", wire.GET_ALL_CHILDREN_NUMBER, string("/")),
        ("getAllChildrenNumber, no node", wire.GET_ALL_CHILDREN_NUMBER, string("/none")),
        ("getEphemerals under a prefix", wire.GET_EPHEMERALS, string("/a/b")),
        ("getEphemerals, none", wire.GET_EPHEMERALS, string("/none")),
        ("whoAmI", wire.WHO_AM_I, b""),
        ("sync", wire.SYNC, string("/a")),
        ("sync, no node", wire.SYNC, string("/none")),
        ("ping with a number of its own", wire.PING, b""),
        ("/zookeeper/config", wire.GET_DATA, string("/zookeeper/config") + flag(False)),
        ("/zookeeper/config's ACL", wire.GET_ACL, string("/zookeeper/config")),
        ("/zookeeper", wire.GET_CHILDREN2, string("/zookeeper") + flag(False)),
        ("/zookeeper/quota", wire.GET_DATA, string("/zookeeper/quota") + flag(False)),
    ])  # fmt: skip
    a.end()


@scenario
def write_nodes(s):
    a = s.client("maker")
    s.say("some nodes")
    for path, mode in [("/a", 0), ("/a/b", 0), ("/e", 1)]:
        a.call(wire.CREATE, create(path, b"first", flags=mode))
    a = s.each("a", [
        ("setData", wire.SET_DATA, string("/a") + buffer(b"second") + i32(0)),
        ("setData, any version", wire.SET_DATA, string("/a") + buffer(b"third") + i32(-1)),
        ("setData, null", wire.SET_DATA, string("/a") + buffer(None) + i32(-1)),
        ("setData, wrong version", wire.SET_DATA, string("/a") + buffer(b"x") + i32(7)),
        ("setData, version -2", wire.SET_DATA, string("/a") + buffer(b"x") + i32(-2)),
        ("setData, no node", wire.SET_DATA, string("/none") + buffer(b"x") + i32(-1)),
        ("setData, bad path", wire.SET_DATA, string("none") + buffer(b"x") + i32(-1)),
        ("setData, the root", wire.SET_DATA, string("/") + buffer(b"r") + i32(-1)),
        ("setData, /zookeeper/config", wire.SET_DATA,
         string("/zookeeper/config") + buffer(b"x") + i32(-1)),
        ("check outside a multi", wire.CHECK, string("/a") + i32(3)),
        ("setACL", wire.SET_ACL, string("/a") + acls([(1, "world", "anyone")] + WORLD) + i32(0)),
        ("getACL", wire.GET_ACL, string("/a")),
        ("setACL, wrong version", wire.SET_ACL, string("/a") + acls(WORLD) + i32(5)),
        ("setACL, no node", wire.SET_ACL, string("/none") + acls(WORLD) + i32(-1)),
        ("setACL, empty", wire.SET_ACL, string("/a") + acls([]) + i32(-1)),
        ("delete, not empty", wire.DELETE, string("/a") + i32(-1)),
        ("delete, wrong version", wire.DELETE, string("/a/b") + i32(4)),
        ("delete", wire.DELETE, string("/a/b") + i32(0)),
        ("delete, no node", wire.DELETE, string("/a/b") + i32(-1)),
        ("delete, the root", wire.DELETE, string("/") + i32(-1)),
        ("delete, bad path", wire.DELETE, string("x") + i32(-1)),
        ("delete /zookeeper", wire.DELETE, string("/zookeeper") + i32(-1)),
        ("delete an ephemeral", wire.DELETE, string("/e") + i32(-1)),
        ("the parent's stat", wire.EXISTS, string("/a") + flag(False)),
        ("the root's stat", wire.EXISTS, string("/") + flag(False)),
    ])  # fmt: skip
    a.end()


@scenario
def delete_container(s):
    a = s.client()
    a.call(wire.CREATE, create("/a"))
    s.say("deleteContainer from a client, of a plain node")
    a.call(wire.DELETE_CONTAINER, string("/a") + i32(-1))
    s.say("deleteContainer, no node")
    a.call(wire.DELETE_CONTAINER, string("/none") + i32(-1))
    a.end()


@scenario
def multi_operations(s):
    a = s.client()
    put = (wire.CREATE, create("/m", b"m"))
    s.say("every operation, all well")
    a.call(wire.MULTI, multi(
        put,
        (wire.CREATE2, create("/m/2", b"2")),
        (wire.CREATE, create("/m/s-", b"", flags=2)),
        (wire.CREATE_CONTAINER, create("/m/c", b"", flags=4)),
        (wire.CREATE_TTL, create("/m/t", b"", flags=5) + i64(60000)),
        (wire.CREATE2, create("/m/e", b"", flags=1)),
        (wire.CHECK, string("/m") + i32(0)),
        (wire.SET_DATA, string("/m") + buffer(b"mm") + i32(0)),
        (wire.CHECK, string("/m") + i32(1)),
        (wire.DELETE, string("/m/2") + i32(-1)),
    ))  # fmt: skip
    for title, operations in [
        ("first fails", [put, (wire.DELETE, string("/m/c") + i32(-1))]),
        ("middle fails", [(wire.SET_DATA, string("/m") + buffer(b"x") + i32(-1)),
                          (wire.CHECK, string("/none") + i32(0)),
                          (wire.DELETE, string("/m/c") + i32(-1))]),
        ("last fails", [(wire.DELETE, string("/m/c") + i32(-1)), put]),
        ("one create, one fails on what it made", [(wire.CREATE, create("/x")),
                                                   (wire.CREATE, create("/x"))]),
        ("create and delete again", [(wire.CREATE, create("/x")),
                                     (wire.DELETE, string("/x") + i32(0))]),
        ("one operation", [(wire.SET_DATA, string("/m") + buffer(b"1") + i32(-1))]),
        ("no operation", []),
        ("bad path inside", [(wire.CREATE, create("nope"))]),
        ("no such TTL", [(wire.CREATE_TTL, create("/tt", flags=5) + i64(-5))]),
    ]:  # fmt: skip
        s.say(title)
        a.call(wire.MULTI, multi(*operations))
    s.say("nothing of the failed ones is left")
    a.call(wire.GET_CHILDREN2, string("/m/c") + flag(False))
    a.call(wire.EXISTS, string("/x") + flag(False))
    a.call(wire.GET_DATA, string("/m") + flag(False))
    get, list_ = wire.GET_DATA, wire.GET_CHILDREN
    s.say("multiRead")
    a.call(wire.MULTI_READ, multi((get, string("/m") + flag(False)),
                                  (list_, string("/m/c") + flag(False))))  # fmt: skip
    s.say("multiRead, one fails")
    a.call(wire.MULTI_READ, multi((get, string("/m") + flag(False)),
                                  (get, string("/none") + flag(False)),
                                  (list_, string("/none") + flag(False)),
                                  (list_, string("/m/c") + flag(False))))  # fmt: skip
    s.say("multiRead of nothing")
    a.call(wire.MULTI_READ, multi())
    a.end()


@scenario
def multi_nonsense(s):
    for title, kind, operations in [
        ("a read in a multi", wire.MULTI, [(wire.GET_DATA, string("/") + flag(False))]),
        ("unknown operation in a multi", wire.MULTI, [(77, b"")]),
        ("a multi cut short", wire.MULTI, [(wire.CREATE, create("/x")[:-6])]),
    ]:
        s.say(title)
        a = s.client(title.replace(" ", "-"))
        a.call(kind, multi(*operations))


@scenario
def watches(s):
    a, b = s.client("a"), s.client("b")
    watch = flag(True)
    s.say("exists watch on no node; created")
    a.call(wire.EXISTS, string("/w") + watch)
    b.call(wire.CREATE, create("/w"))
    a.event()
    s.say("exists watch; data changed")
    a.call(wire.EXISTS, string("/w") + watch)
    b.call(wire.SET_DATA, string("/w") + buffer(b"1") + i32(-1))
    a.event()
    s.say("data watch; data changed")
    a.call(wire.GET_DATA, string("/w") + watch)
    b.call(wire.SET_DATA, string("/w") + buffer(b"2") + i32(-1))
    a.event()
    s.say("once only: this change tells nobody")
    b.call(wire.SET_DATA, string("/w") + buffer(b"3") + i32(-1))
    s.say("child watch; child created")
    a.call(wire.GET_CHILDREN, string("/w") + watch)
    b.call(wire.CREATE, create("/w/c"))
    a.event()
    s.say("child watch by getChildren2; child deleted")
    a.call(wire.GET_CHILDREN2, string("/w") + watch)
    b.call(wire.DELETE, string("/w/c") + i32(-1))
    a.event()
    s.say("data and child watch; node deleted: one event")
    a.call(wire.GET_DATA, string("/w") + watch)
    a.call(wire.GET_CHILDREN, string("/w") + watch)
    b.call(wire.DELETE, string("/w") + i32(-1))
    a.event()
    s.say("data watch on no node is an error and is not kept")
    a.call(wire.GET_DATA, string("/w") + watch)
    s.say("a client's own change reaches it before the reply")
    a.call(wire.CREATE, create("/own"))
    a.call(wire.GET_DATA, string("/own") + watch)
    a.call(wire.SET_DATA, string("/own") + buffer(b"x") + i32(-1))
    s.say("an ephemeral goes with its session")
    b.call(wire.CREATE, create("/e", flags=1))
    a.call(wire.EXISTS, string("/e") + watch)
    a.call(wire.GET_CHILDREN, string("/") + watch)
    b.end()
    a.event()
    a.event()
    s.say("a watch in a multi: events of all its parts")
    a.call(wire.EXISTS, string("/m1") + watch)
    a.call(wire.EXISTS, string("/m2") + watch)
    a.call(wire.MULTI, multi((wire.CREATE, create("/m1")), (wire.CREATE, create("/m2"))))
    a.end()


@scenario
def persistent_watches(s):
    a, b = s.client("a"), s.client("b")
    s.say("persistent watch: mode 0")
    a.call(wire.ADD_WATCH, string("/p") + i32(0))
    for operation in [
        (wire.CREATE, create("/p")),
        (wire.SET_DATA, string("/p") + buffer(b"1") + i32(-1)),
        (wire.SET_DATA, string("/p") + buffer(b"2") + i32(-1)),
        (wire.CREATE, create("/p/c")),
        (wire.DELETE, string("/p/c") + i32(-1)),
        (wire.DELETE, string("/p") + i32(-1)),
    ]:
        b.call(*operation)
        a.event()
    s.say("persistent recursive watch: mode 1")
    a.call(wire.ADD_WATCH, string("/r") + i32(1))
    for operation in [
        (wire.CREATE, create("/r")),
        (wire.CREATE, create("/r/c")),
        (wire.CREATE, create("/r/c/d")),
        (wire.SET_DATA, string("/r/c/d") + buffer(b"1") + i32(-1)),
        (wire.DELETE, string("/r/c/d") + i32(-1)),
        (wire.DELETE, string("/r/c") + i32(-1)),
    ]:
        b.call(*operation)
        a.event()
    s.say("unknown mode")
    a.call(wire.ADD_WATCH, string("/r") + i32(2))
    s.say("bad path")
    a.call(wire.ADD_WATCH, string("r") + i32(1))
    s.say("checkWatches: types children 1, data 2, any 3, persistent 4, recursive 5")
    for kind in range(7):
        a.call(wire.CHECK_WATCHES, string("/p") + i32(kind))
        a.call(wire.CHECK_WATCHES, string("/r") + i32(kind))
    a.call(wire.CHECK_WATCHES, string("/none") + i32(3))
    s.say("removeWatches")
    a.call(wire.GET_DATA, string("/r") + flag(True))
    a.call(wire.GET_CHILDREN, string("/r") + flag(True))
    for path, kind in [("/r", 2), ("/r", 2), ("/r", 1), ("/r", 4), ("/r", 5), ("/p", 3), ("/p", 3)]:
        a.call(wire.REMOVE_WATCHES, string(path) + i32(kind))
    s.say("removeWatches, unknown type")
    a.call(wire.REMOVE_WATCHES, string("/r") + i32(9))
    a.end()


@scenario
def set_watches(s):
    a = s.client("a")
    s.say("some nodes")
    for path in ("/same", "/changed", "/gone", "/children"):
        a.call(wire.CREATE, create(path))
    s.say("as of zxid 5; then things change")
    a.call(wire.SET_DATA, string("/changed") + buffer(b"x") + i32(-1))
    a.call(wire.CREATE, create("/children/x"))
    a.call(wire.CREATE, create("/new"))
    a.call(wire.DELETE, string("/gone") + i32(-1))
    every = strings(["/same", "/changed", "/gone"])
    s.say("setWatches tells what changed since")
    a.call(wire.SET_WATCHES,
           i64(5) + every + strings(["/new", "/later"]) + strings(["/same", "/children", "/gone"]),
           xid=wire.SET_WATCHES_XID)  # fmt: skip
    s.say("the unchanged ones are watched")
    a.call(wire.SET_DATA, string("/same") + buffer(b"x") + i32(-1))
    a.call(wire.CREATE, create("/later"))
    a.call(wire.CREATE, create("/same/x"))
    s.say("setWatches2")
    a.call(wire.SET_WATCHES2,
           i64(100) + strings(["/same"]) + strings([]) + strings([]) + strings(["/changed"])
           + strings(["/children"]), xid=wire.SET_WATCHES_XID)  # fmt: skip
    a.call(wire.SET_DATA, string("/same") + buffer(b"y") + i32(-1))
    a.call(wire.SET_DATA, string("/changed") + buffer(b"y") + i32(-1))
    a.call(wire.CREATE, create("/children/y"))
    a.end()


@scenario
def authentication(s):
    a, b = s.client("a"), s.client("b")
    s.say("digest")
    auth = i32(0) + string("digest") + buffer(b"bob:secret")
    a.call(wire.AUTH, auth, xid=wire.AUTH_XID)
    s.say("whoAmI")
    a.call(wire.WHO_AM_I)
    s.say("an ACL by scheme auth becomes the digest")
    a.call(wire.CREATE, create("/mine", b"x", acl=[(ALL, "auth", "")]))
    a.call(wire.GET_ACL, string("/mine"))
    s.say("nobody else may")
    for kind, body in [
        (wire.GET_DATA, string("/mine") + flag(False)),
        (wire.EXISTS, string("/mine") + flag(False)),
        (wire.GET_CHILDREN, string("/mine") + flag(False)),
        (wire.GET_CHILDREN2, string("/mine") + flag(False)),
        (wire.SET_DATA, string("/mine") + buffer(b"y") + i32(-1)),
        (wire.CREATE, create("/mine/x")),
        (wire.GET_ACL, string("/mine")),
        (wire.SET_ACL, string("/mine") + acls(WORLD) + i32(-1)),
        (wire.GET_ALL_CHILDREN_NUMBER, string("/mine")),
        (wire.SYNC, string("/mine")),
        (wire.ADD_WATCH, string("/mine") + i32(0)),
        (wire.MULTI, multi((wire.CHECK, string("/mine") + i32(-1)))),
        (wire.MULTI_READ, multi((wire.GET_DATA, string("/mine") + flag(False)))),
    ]:
        b.call(kind, body)
    s.say("an ACL with read only for the world hides the digest from getACL")
    a.call(wire.CREATE, create("/seen", acl=[(ALL, "auth", ""), (1, "world", "anyone")]))
    b.call(wire.GET_ACL, string("/seen"))
    a.call(wire.GET_ACL, string("/seen"))
    s.say("a read watch is not told of what may no longer be read")
    b.call(wire.GET_DATA, string("/seen") + flag(True))
    a.call(wire.SET_ACL, string("/seen") + acls([(ALL, "auth", "")]) + i32(-1))
    a.call(wire.SET_DATA, string("/seen") + buffer(b"z") + i32(-1))
    b.call(wire.EXISTS, string("/") + flag(False))
    s.say("the super user may")
    b.call(wire.AUTH, i32(0) + string("digest") + buffer(b"super:test"), xid=wire.AUTH_XID)
    b.call(wire.GET_DATA, string("/mine") + flag(False))
    s.say("a second identity is added")
    b.call(wire.AUTH, auth, xid=wire.AUTH_XID)
    b.call(wire.WHO_AM_I)
    s.say("delete needs the parent's permission only")
    b.call(wire.DELETE, string("/mine") + i32(-1))
    s.say("ip by an auth packet")
    b.call(wire.AUTH, i32(0) + string("ip") + buffer(b""), xid=wire.AUTH_XID)
    s.say("unknown scheme: failed, then closed")
    a.call(wire.AUTH, i32(0) + string("nope") + buffer(b"x"), xid=wire.AUTH_XID)
    a.read()
    b.end()


@scenario
def reconfiguration(s):
    a = s.client("a")
    body = string("server.2=127.0.0.1:1:2;3") + string(None) + string(None) + i64(-1)
    s.say("reconfig where reconfigEnabled is not set")
    a.call(wire.RECONFIG, body)
    s.say("and by the super user")
    a.call(wire.AUTH, i32(0) + string("digest") + buffer(b"super:test"), xid=wire.AUTH_XID)
    a.call(wire.RECONFIG, body)
    a.end()


@scenario
def quotas(s):
    a = s.client("a")
    s.say("a quota of 2 nodes and 10 bytes; nodes below it")
    for path, data in [
        ("/q", b"1"),
        ("/zookeeper/quota/q", b""),
        ("/zookeeper/quota/q/zookeeper_limits", b"count=2,bytes=10"),
        ("/zookeeper/quota/q/zookeeper_stats", b"count=1,bytes=1"),
        ("/q/x", b"12345"),
        ("/q/y", b"1234567890"),
        ("/q/z", b"1234567890"),
    ]:
        a.call(wire.CREATE, create(path, data))
    a.call(wire.SET_DATA, string("/q/x") + buffer(b"123") + i32(-1))
    a.call(wire.DELETE, string("/q/y") + i32(-1))
    s.say("the statistics")
    a.call(wire.GET_DATA, string("/zookeeper/quota/q/zookeeper_stats") + flag(False))
    a.end()


@scenario
def broken_clients(s):
    """And a multiRead that is none: what only a broken client sends."""
    s.each("a", [
        ("create", wire.CREATE, create(None)),
        ("exists", wire.EXISTS, string(None) + flag(False)),
        ("getData", wire.GET_DATA, string(None) + flag(False)),
        ("getChildren", wire.GET_CHILDREN, string(None) + flag(False)),
        ("delete", wire.DELETE, string(None) + i32(-1)),
        ("setData", wire.SET_DATA, string(None) + buffer(b"") + i32(-1)),
        ("sync", wire.SYNC, string(None)),
        ("addWatch", wire.ADD_WATCH, string(None) + i32(0)),
        ("a write in a multiRead", wire.MULTI_READ, multi((wire.CREATE, create("/x")))),
    ])  # fmt: skip


@scenario
def create_session(s):
    s.say("createSession from a client: a second answer to the handshake")
    a = s.client("session")
    a.send(wire.CREATE_SESSION, i32(30000))
    a.received(a.read(), [(8, 8), (20, 16)])


@scenario
def undecodable(s):
    """Writes whose body is no record."""
    s.each("a", [
        ("create without a body", wire.CREATE, b""),
        ("create cut short", wire.CREATE, create("/x")[:-1]),
        ("create with a negative length", wire.CREATE, i32(-5)),
        ("create with a length beyond the frame", wire.CREATE, i32(1 << 20) + b"x"),
        ("delete without a body", wire.DELETE, b""),
        ("setData without a body", wire.SET_DATA, b""),
        ("setACL cut short", wire.SET_ACL, string("/")),
        ("multi without a body", wire.MULTI, b""),
        ("createTTL without a TTL", wire.CREATE_TTL, create("/t", flags=5)),
        ("reconfig without a body", wire.RECONFIG, b""),
        ("a write after all that", wire.CREATE, create("/x")),
    ])  # fmt: skip


@scenario
def nonsense(s):
    s.each("a", [
        ("unknown type", 999, b""),
        ("type 10, taken out long ago", 10, b""),
        ("error from a client", wire.ERROR, i32(0)),
        ("notification from a client", 0, b""),
        ("SASL where there is none", wire.SASL, buffer(b"x")),
        ("getData without a body", wire.GET_DATA, b""),
        ("create with bytes too many", wire.CREATE, create("/long") + b"more"),
        ("exists with a path that is not UTF-8", wire.EXISTS, buffer(b"/\xff\xfe") + flag(False)),
        ("create with a path that is not UTF-8", wire.CREATE,
         buffer(b"/\xff\xfe") + buffer(b"") + acls(WORLD) + i32(0)),
        ("auth without a body", wire.AUTH, b""),
        ("setWatches without a body", wire.SET_WATCHES, b""),
    ])  # fmt: skip
    s.say("a frame of no bytes")
    a = s.client("empty")
    a.write(b"")
    a.read()
    s.say("a request of three bytes")
    a = s.client("short")
    a.write(b"\0\0\0")
    a.read()
    s.say("a first frame that is no handshake")
    a = s.raw("hello")
    a.write(b"hello")
    a.read()

"""What the tests of ensembles share: starting one, writing under load, comparing what all have."""

import re
import threading
import time

import tree
import zk
from kazoo.client import KazooClient, KazooState
from kazoo.exceptions import KazooException, NodeExistsError
from tree import wire
from wire import create, string

CONFIG = {"tickTime": 1000}
SHORT_LIVED = 2000


def begin(lab, kinds, flags=(), **options):
    """Started so that the highest id leads."""
    return lab.ensemble(kinds, CONFIG, [*tree.FLAGS, *flags], **options).start_led_by_last()


def synced(server):
    """A connection that has caught up with the leader."""
    connection = tree.client(server)
    tree.must(connection, wire.SYNC, string("/"))
    return connection


def put(connection, *paths):
    for path in paths:
        tree.must(connection, wire.CREATE, create(path, path.encode()))


def put_many(connection, paths):
    """As put, but without waiting for each answer."""
    last = [connection.send(wire.CREATE, create(path, path.encode())) for path in paths][-1]
    while True:
        reader = wire.Reader(connection.read())
        xid, _zxid, error = reader.int(), reader.int(8), reader.int()
        assert error == 0, f"request {xid} was answered with {error}"
        if xid == last:
            return


def comparable(lines):
    """Each server stamps the configuration node itself, with its own clock."""
    own = "/zookeeper/config "
    return [re.sub(r"mtime=\d+", "", line) if line.startswith(own) else line for line in lines]


def assert_one_tree(ensemble, at_least=()):
    """Every server that runs has the same tree, to the last stat; digests never differed."""
    alive = [server for server in ensemble if server.alive]
    dumps = []
    for server in alive:
        synced(server).end()
        dumps.append(comparable(tree.dump(server)))
    for server, lines in zip(alive[1:], dumps[1:]):
        different = sorted(set(dumps[0]) ^ set(lines))
        assert not different, (
            f"{alive[0].kind} {alive[0].address} and {server.kind} {server.address} differ: "
            f"{different[:6]}"
        )
    paths = {line.split(" ")[0] for line in dumps[0]}
    lost = [p for p in at_least if p not in paths]
    assert not lost, f"{len(lost)} lost: {lost[:10]}"
    known = {}
    for server in alive:
        assert server.mntr().get("digest_mismatches_count", "0") == "0", server.kind
        for zxid, digest in tree.digests(server).items():
            assert known.setdefault(zxid, digest) == digest, f"digests at {zxid:#x} differ"


def wait_leader_among(servers, deadline=40):
    def find():
        return next((s for s in servers if s.mode() == "leader"), None)

    return zk.wait_for("a new leader", find, deadline)


class Load(threading.Thread):
    """A kazoo client that writes all the while and keeps what was acknowledged, and whether its
    session ever expired."""

    def __init__(self, addresses, name):
        super().__init__(daemon=True)
        self.name, self.acknowledged, self.lost = name, [], False
        self.longest, self.stopping = 0.0, False
        self.client = KazooClient(addresses, timeout=20, randomize_hosts=True)
        self.client.add_listener(self.listen)
        self.client.start(30)
        self.session = self.client.client_id[0]
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


class Loads:
    """Several of them, each with its own session and an ephemeral node; ends them with `with`."""

    def __init__(self, ensemble, count=3):
        self.ensemble = ensemble
        self.loads = [Load(ensemble.addresses, f"load{n}") for n in range(count)]

    def __enter__(self):
        for load in self.loads:
            load.start()
        self.advance()
        return self

    def __exit__(self, kind, value, trace):
        for load in self.loads:
            load.end()

    def advance(self, count=30):
        """Waits until each has had `count` more writes acknowledged."""
        goals = [(load, len(load.acknowledged) + count) for load in self.loads]

        def done():
            return all(len(load.acknowledged) >= goal for load, goal in goals)

        zk.wait_for("writes to go on", done, 60)

    def assert_nobody_lost(self):
        """Call while they run: no session has expired, each ephemeral is on every server."""
        assert not any(load.lost for load in self.loads), "a session expired"
        for server in self.ensemble:
            reader = synced(server)
            for load in self.loads:
                stat = tree.answer(reader, wire.EXISTS, string(f"/{load.name}-ephemeral") + b"\0")
                assert f"owner={load.session} " in stat.fields()
            reader.end()

    def acknowledged(self):
        paths = [path for load in self.loads for path in load.acknowledged]
        gaps = [round(load.longest, 2) for load in self.loads]
        print(f"{len(paths)} writes, longest gaps {gaps} s")
        return paths

"""kill -9 under load, over and over: every acknowledged write is there after the restart."""

import threading

import tree
import zk
from tree import wire
from wire import buffer, create, flag, i32, string

WRITERS = 4
SETTINGS = ["-Dzookeeper.snapCount=500"]  # so that kills hit snapshots and log rolls, too


class Writer(threading.Thread):
    """Creates /w/NAME-0, -1, … and counts in /w/NAME, as fast as it is answered, until the server is
    gone. What was acknowledged stays in `created` and `counted` over all lives of the server."""

    def __init__(self, server, name, created, counted):
        super().__init__(daemon=True)
        self.name, self.created, self.counted = name, created, counted
        self.client = tree.client(server)

    def run(self):
        try:
            while self.write_one():
                pass
        except OSError:
            pass  # the server was killed

    def write_one(self):
        path = f"/w/{self.name}-{self.created}"
        error = self.client.call(wire.CREATE, create(path, path.encode()))
        # A create whose answer was lost in the last kill may have been done.
        if error not in (0, -110):
            return False
        self.created += 1
        data = str(self.counted + 1).encode()
        if self.client.call(wire.SET_DATA, string(f"/w/{self.name}") + buffer(data) + i32(-1)) != 0:
            return False
        self.counted += 1
        self.client.log.clear()
        return True


def test_acknowledged_writes_survive(lab, kind):
    kills = 50
    server = lab.server(kind, flags=[*tree.FLAGS, *SETTINGS]).start()
    setup = tree.client(server)
    tree.must(setup, wire.CREATE, create("/w"))
    for n in range(WRITERS):
        tree.must(setup, wire.CREATE, create(f"/w/w{n}", b"0"))
    writers = [Writer(server, f"w{n}", 0, 0) for n in range(WRITERS)]
    for life in range(kills):
        start = sum(w.created for w in writers)
        for writer in writers:
            writer.start()
        # Each life ends at another point: after some writes, also in the middle of snapshots.
        goal = start + 20 + 97 * life % 400
        zk.wait_for("writes", lambda g=goal: sum(w.created for w in writers) >= g, 60)
        server.kill()
        for writer in writers:
            writer.join(20)
            assert not writer.is_alive()
        server.start()
        assert_present(server, writers)
        writers = [Writer(server, w.name, w.created, w.counted) for w in writers]
    assert sum(w.created for w in writers) > 20 * kills


def assert_present(server, writers):
    reader = tree.client(server)
    listed = tree.answer(reader, wire.GET_CHILDREN, string("/w") + flag(False)).names()
    children = set(listed)
    for writer in writers:
        missing = [n for n in range(writer.created) if f"{writer.name}-{n}" not in children]
        assert not missing, f"acknowledged, but lost: {writer.name} {missing[:10]}"
        data = tree.answer(reader, wire.GET_DATA, string(f"/w/{writer.name}") + flag(False)).text()
        # One more than acknowledged is a write that was done but not answered any more.
        assert int(data) in (writer.counted, writer.counted + 1)
    reader.end()

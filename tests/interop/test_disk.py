"""Data directories both ways: what one server wrote before kill -9, another opens unchanged."""

import shutil

import javatools
import pytest
import tree
import zk

SNAPSHOTS_OFTEN = ["-Dzookeeper.snapCount=100"]
COMPRESSIONS = ["", "gz", "snappy"]


def flags(compression):
    method = f"-Dzookeeper.snapshot.compression.method={compression}"
    return tree.FLAGS + SNAPSHOTS_OFTEN + ([method] if compression else [])


def state(server):
    return tree.dump(server), tree.sessions(server)


def assert_same_after(server, other, before):
    """The other implementation opens the directory: same nodes, sessions and digests."""
    nodes, sessions = before
    digests = tree.digests(server)
    server.kill()
    server.become(other).start()
    assert tree.dump(server) == nodes
    assert tree.sessions(server) >= sessions
    assert server.mntr().get("digest_mismatches_count") == "0"
    # What both know of the tree's digest at some zxid is the same.
    now = tree.digests(server)
    common = digests.keys() & now.keys()
    assert {z: digests[z] for z in common} == {z: now[z] for z in common}



@pytest.mark.parametrize("compression", COMPRESSIONS, ids=lambda c: c or "plain")
@pytest.mark.parametrize("ours_first", [False, True], ids=["java-writes", "java-reads"])
def test_directory_after_kill(lab, kind, ours_first, compression):
    writer, reader = (kind, zk.JAVA) if ours_first else (zk.JAVA, kind)
    server = lab.server(writer, flags=flags(compression)).start()
    live = tree.write(server)
    before = state(server)
    assert {f"{c.session & (1 << 64) - 1:x}" for c in live} <= before[1]
    assert_same_after(server, reader, before)
    # And back again, after writes of the second server on top of the first one's: at its start
    # the first one replays these and checks the digest in each of them against its own tree.
    tree.write(server, "/second")
    assert_same_after(server, writer, state(server))


def test_sessions_live_on(lab, kind):
    """A session of one server is taken up on the other with its password, ephemerals in place."""
    for writer, reader in ((kind, zk.JAVA), (zk.JAVA, kind)):
        server = lab.server(writer, flags=tree.FLAGS).start()
        old = tree.write(server)[0]
        server.kill()
        server.become(reader).start()
        again = tree.wire.Connection(server.address, "again", [])
        again.socket.settimeout(20)
        again.connect(tree.LONG_LIVED, old.session, old.password)
        assert again.session == old.session
        request = tree.string("/v/eph-a") + tree.flag(False)
        assert again.call(tree.wire.EXISTS, request) == 0
        again.end()
        reader_client = tree.client(server)
        assert reader_client.call(tree.wire.EXISTS, request) == -101


@pytest.mark.parametrize("name", ["plain", "gz", "snappy", "no-digest"])
def test_golden_directory_opens(lab, kind, name):
    """The directories recorded from Java (tests/golden/disk) hold what was read from them there."""
    golden = zk.REPO / "tests/golden/disk" / name
    server = lab.server(kind, flags=[*tree.FLAGS, *record_flags(name)])
    shutil.copytree(golden / "version-2", server.version_2)
    server.start()
    assert without_reaped(tree.dump(server)) == without_reaped(
        (golden / "tree.txt").read_text().splitlines()
    )


def record_flags(name):
    return ["-Dzookeeper.digest.enabled=false"] if name == "no-digest" else []


def without_reaped(lines):
    """TTL nodes go when their time is up, and the recording is old; their parents' stats follow."""
    parents = ("/v ", "/v/m ")
    return [x for x in lines if "/ttl" not in x and not x.startswith(parents)]


@pytest.mark.parametrize("compression", COMPRESSIONS, ids=lambda c: c or "plain")
def test_java_s_tools_read_our_files(lab, kind, compression):
    server = lab.server(kind, flags=flags(compression)).start()
    tree.write(server)
    paths = {line.split(" ")[0] for line in tree.dump(server)}
    server.kill()
    logs = javatools.log_files(server.version_2, "log")
    texts = [javatools.dump_log(file) for file in logs]
    assert all("CRC ERROR" not in text for text in texts)
    for word in ("createSession", "closeSession", "create", "createContainer", "createTTL",
                 "delete", "deleteContainer", "setData", "setACL", "multi", "error"):  # fmt: skip
        assert any(f" {word} " in text or f" {word}\n" in text for text in texts), word
    snapshots = javatools.log_files(server.version_2, "snapshot")
    assert len(snapshots) > 1
    for file in snapshots[1:]:
        formatted = javatools.dump_snapshot(file)
        listed = [line for line in formatted.splitlines() if line.startswith("/")]
        # The formatter counts the root twice: as "" and as "/".
        assert f"ZNode Details (count={len(listed) + 1})" in formatted
        # Of what is listed, only what was deleted later is not there any more.
        assert {"/", "/v", "/zookeeper", "/v/big"} <= set(listed)
        assert {p for p in listed if not p.startswith("/v/many/")} <= paths

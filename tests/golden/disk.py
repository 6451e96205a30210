"""Data directories written by the Java server, for record.py: every transaction type, snapshots in
every compression, with and without digests, and one of an ensemble of one with a reconfig in it."""

import shutil

import javatools
import tree
import wire
import zk
from wire import buffer, create, i32, i64, string


def record(directory):
    shutil.rmtree(directory, ignore_errors=True)
    compression = "-Dzookeeper.snapshot.compression.method="
    standalone(directory / "plain", [])
    standalone(directory / "gz", [compression + "gz"])
    standalone(directory / "snappy", [compression + "snappy"])
    standalone(directory / "no-digest", ["-Dzookeeper.digest.enabled=false"])
    ensemble_of_one(directory / "reconfig")


def standalone(target, flags):
    """The varied tree, kill -9, a start (which writes a snapshot), a few writes more, kill -9."""
    with zk.Lab() as lab:
        server = lab.server(zk.JAVA, flags=tree.FLAGS + flags).start()
        tree.write(server)
        expire_a_session(server)
        server.kill()
        server.start()
        after = tree.client(server)
        tree.must(after, wire.CREATE, create("/after-restart", b"x"))
        tree.must(after, wire.SET_DATA, string("/v") + buffer(b"later") + i32(-1))
        tree.must(after, wire.CREATE, create("/after-eph", b"x", flags=1))
        server.kill()
        keep(server, target)


def expire_a_session(server):
    """A session that ends without closeSession, taking its ephemeral with it."""
    short = tree.client(server, timeout=4000)
    tree.must(short, wire.CREATE, create("/expires", b"", flags=1))
    short.socket.close()
    tree.wait_gone(server, "/expires")


def ensemble_of_one(target):
    config = {"standaloneEnabled": "false", "reconfigEnabled": "true"}
    with zk.Lab() as lab:
        server = lab.ensemble([zk.JAVA], config, tree.FLAGS).start()[1]
        a = tree.client(server)
        tree.authenticate(a, "super:test")
        tree.must(a, wire.CREATE, create("/before", b"x"))
        joiner = "server.2=127.0.0.1:1:2:observer;127.0.0.1:3"
        tree.must(a, wire.RECONFIG, string(joiner) + string(None) + string(None) + i64(-1))
        tree.must(a, wire.CREATE, create("/after", b"x"))
        server.kill()
        keep(server, target)


def keep(server, target):
    """Copies what the killed server left, then lets Java describe it."""
    target.mkdir(parents=True)
    shutil.copytree(server.version_2, target / "version-2")
    for file in javatools.log_files(target / "version-2", "log"):
        write(target / f"{file.name}.txt", javatools.dump_log(file), file)
    for file in javatools.log_files(target / "version-2", "snapshot"):
        name = ".".join(file.name.split(".")[:2])
        write(target / f"{name}.txt", javatools.dump_snapshot(file), file)
    server.start()
    (target / "tree.txt").write_text("\n".join(tree.dump(server)) + "\n")


def write(path, text, file):
    path.write_text(text.replace(str(file), file.name))

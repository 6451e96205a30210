"""Configurations with which no server starts: the process ends, with the same code as on Java."""

import socket

import pytest
import zk

MEMBERS = {"initLimit": 5, "syncLimit": 2, "server.1": "127.0.0.1:1:2"}

# Lines over those of zk.Server; None takes one out.
WRONG = {
    "no dataDir": {"dataDir": None},
    "dataDir is a file": {"dataDir": "/etc/hostname"},
    "dataDir cannot be made": {"dataDir": "/proc/nowhere"},
    "directories must be there": {"datadir.autocreate": "false"},
    "a tick of nothing": {"tickTime": 0},
    "a tick of words": {"tickTime": "long"},
    "a port of words": {"clientPort": "x"},
    "an address without a port": {"clientPort": None},
    "an address that has no such name": {"clientPortAddress": "no.such.host.invalid"},
    "an address of somebody else": {"clientPortAddress": "192.0.2.1"},
    "a TLS address without a port": {"secureClientPortAddress": "127.0.0.1"},
    "least above most": {"minSessionTimeout": 10_000, "maxSessionTimeout": 10},
    "a role that is none": {"peerType": "king"},
    "a flag that is none": {"syncEnabled": "perhaps"},
    "an election that is gone": {"electionAlg": 1},
    "an unknown metrics provider": {"metricsProvider.className": "no.such.Class"},
    "an escape that is none": {"x": "\\u00zz"},
    "a number of snapshots that is none": {"autopurge.snapRetainCount": "x"},
    "no dynamic file": {"dynamicConfigFile": "/no/such/file"},
    "half a member": {"server.1": "a"},
    "a member without a number": {"server.x": "127.0.0.1:1:2"},
    "members, but no myid": {**MEMBERS, "server.2": "127.0.0.1:3:4"},
    "nobody votes": {"server.1": "127.0.0.1:1:2:observer"},
    "SASL between servers by halves": {"quorum.auth.learnerRequireSasl": "true"},
    "a scheme to enforce, but which": {"enforce.auth.enabled": "true"},
    "an unknown scheme to enforce": {"enforce.auth.enabled": "true", "enforce.auth.schemes": "x"},
}


def exit_code(server):
    return server.start(wait=False).process.wait(30)


@pytest.mark.parametrize("lines", WRONG.values(), ids=WRONG.keys())
def test_exit_code(lab, kind, lines):
    java, other = (exit_code(lab.server(k, lines)) for k in (zk.JAVA, kind))
    assert java == other != 0


def test_port_is_taken(lab, kind):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        lines = {"clientPort": taken.getsockname()[1]}
        java, other = (exit_code(lab.server(k, lines)) for k in (zk.JAVA, kind))
    assert java == other != 0


def test_election_port_is_taken(lab, quorum_kind):
    """After as many tries as are set."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        lines = {
            "initLimit": 5,
            "syncLimit": 2,
            "server.1": f"127.0.0.1:{zk.free_port()}:{port}",
            "server.2": f"127.0.0.1:{zk.free_port()}:{zk.free_port()}",
        }
        flags = ["-Dzookeeper.electionPortBindRetry=2"]
        servers = [lab.server(k, lines, flags) for k in (zk.JAVA, quorum_kind)]
        for server in servers:
            (server.data / "myid").write_text("1\n")
        assert [exit_code(server) for server in servers] == [14, 14]

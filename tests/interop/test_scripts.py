"""bin/zkServer.sh with real servers: each role, started, asked and stopped by the script, with client
ports written in each of the forms that there are. (tests/scripts.rs has what needs no server.)"""

import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
import zk
from kazoo.client import KazooClient

ROLES = ["follower", "follower", "leader", "observer"]


def script(server, word):
    """What zkServer.sh prints for a server's directory."""
    server.config_file()
    done = subprocess.run(
        [zk.REPO / "bin/zkServer.sh", "--config", server.directory, word],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"ZOO_LOG_DIR": str(server.directory), "IRONKEEPER": str(zk.binary())},
        timeout=60,
    )
    config = f"Using config: {server.directory}/zoo.cfg\n"
    assert config in done.stdout
    return done.stdout.replace(config, "")


def status(server):
    """Address and mode that `zkServer.sh status` says; no mode when there is no answer."""
    said = script(server, "status")
    found = re.search(
        r"^Client port found: (\d+)\. Client address: (\S+)\. Client SSL: false\.\n"
        r"(Mode: (\w+)|Error contacting service\. It is probably not running\.)\n\Z",
        said,
        re.MULTILINE,
    )
    assert found, said
    port, address, _, mode = found.groups()
    return f"{address}:{port}", mode


def client_port(server):
    """clientPort in zoo.cfg, nothing about clients in the membership."""
    server.config["clientPort"] = server.port
    without_clients(server)
    return "localhost"


def client_port_address(server):
    server.config["clientPort"] = server.port
    server.config["clientPortAddress"] = "127.0.0.1"
    without_clients(server)
    return "127.0.0.1"


def without_clients(server):
    for key, line in members(server).items():
        server.config[key] = line.split(";")[0]


def members(server):
    return {key: line for key, line in server.config.items() if key.startswith("server.")}


def port_in_membership(server):
    for key, line in members(server).items():
        server.config[key] = re.sub(r";.*:", ";", line)
    return "localhost"


def address_in_membership(server):
    return "127.0.0.1"


def dynamic_file(server):
    lines = members(server)
    server.config.update(dict.fromkeys(lines))
    file = server.directory / "members"
    file.write_text("".join(f"{key}={line}\n" for key, line in lines.items()))
    server.config["dynamicConfigFile"] = file
    return "127.0.0.1"


FORMS = [
    client_port, client_port_address, port_in_membership, address_in_membership, dynamic_file,
]  # fmt: skip


@pytest.fixture
def four(lab, quorum_kind):
    """Three voters and an observer, not started."""
    if quorum_kind != zk.OURS:
        pytest.skip("these scripts start our server")
    ensemble = lab.ensemble([quorum_kind] * 4, {"tickTime": 500}, observers=[4])
    yield ensemble
    for server in ensemble:
        script(server, "stop")


def start_all(servers):
    with ThreadPoolExecutor() as threads:
        for said in threads.map(lambda server: script(server, "start"), servers):
            assert said == "Starting zookeeper ... STARTED\n"

    def roles():
        return sorted(str(status(server)[1]) for server in servers)

    zk.wait_for("each role", lambda: roles() == ROLES, 40)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_status_of_each_role(four, form):
    hosts = [form(server) for server in four]
    for server, host in zip(four, hosts):
        assert status(server) == (f"{host}:{server.port}", None)
    start_all(four)
    for server, host in zip(four, hosts):
        assert status(server) == (f"{host}:{server.port}", server.mode())
    leader = next(server for server in four if server.mode() == "leader")
    restarted = script(leader, "restart")
    assert restarted == "Stopping zookeeper ... STOPPED\nStarting zookeeper ... STARTED\n"
    zk.wait_for("it to be back", lambda: status(leader)[1] in ("leader", "follower"))
    for server in four:
        assert script(server, "stop") == "Stopping zookeeper ... STOPPED\n"
        assert status(server)[1] is None


def test_status_when_the_server_has_written_its_files(four):
    """With reconfiguration, the membership moves out of zoo.cfg, which then names another file
    each time."""
    for server in four:
        server.config |= {"reconfigEnabled": "true", "skipACL": "yes"}
        port_in_membership(server)
    start_all(four)
    for server in four:
        server.keeps_config = True
    admin = KazooClient(four[1].address)
    admin.start(30)
    version = admin.reconfig(joining=None, leaving="4", new_members=None)[1].mzxid
    admin.stop()
    admin.close()
    for server in list(four)[:3]:
        file = server.directory / "zoo.cfg"
        zk.wait_for("the file", lambda: f".dynamic.{version:x}" in file.read_text())
        assert status(server) == (f"0.0.0.0:{server.port}", server.mode())

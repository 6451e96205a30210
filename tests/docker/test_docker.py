"""The containers of conf/docker on a real Docker Engine; tests/docker/run makes the image first.

The tests of one ensemble come last, in order; each leaves it whole for the next.
"""

import os
import subprocess
import threading
import time
from pathlib import Path

import pytest
import zk
from kazoo.client import KazooClient
from kazoo.exceptions import ConnectionLoss, NodeExistsError
from kazoo.handlers.threading import KazooTimeoutError
from zk import wait_for

HERE = Path(__file__).resolve().parent
REPO = HERE.parent.parent
IMAGE = os.environ.get("IRONKEEPER_IMAGE", "ironkeeper-test")
SESSION_S = 6.0
MOUNTS = "{{range .Mounts}}{{.Name}} {{end}}"


def run(*words, env=None, check=True):
    """What the command prints, with its errors; fails when it does, unless check is false."""
    done = subprocess.run(
        [str(word) for word in words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | (env or {}),
        timeout=120,
    )
    assert not check or done.returncode == 0, f"{words}:\n{done.stdout}"
    return done.stdout


def docker(*words, check=True):
    return run("docker", *words, check=check)


def mode(name):
    """What `zkServer.sh status` inside the container says; None when it is not serving."""
    for line in docker("exec", name, "zkServer.sh", "status", check=False).splitlines():
        if line.startswith("Mode: "):
            return line.removeprefix("Mode: ")
    return None


def srvr(port):
    """The answer to the four-letter word; empty when there is none."""
    return run(REPO / "target/release/ironkeeper", "4lw", "127.0.0.1", port, "srvr", check=False)


class Compose:
    """A docker-compose project; `files` are compose files, the first decides about paths."""

    def __init__(self, project, *files, env):
        self.words = ["docker-compose", "-p", project]
        for file in files:
            self.words += ["-f", file]
        self.env = env

    def __call__(self, *words):
        return run(*self.words, *words, env=self.env)

    def down(self):
        run(*self.words, "down", "--volumes", "--timeout", "5", env=self.env, check=False)


class Ensemble:
    """docker-compose.yml, with ports of our own."""

    PROJECT = "ironkeeper-test"

    def __init__(self, *more):
        """more: compose files that change something for everybody."""
        self.ports = [zk.free_port() for _ in range(5)]
        env = {f"ZOO{n}_PORT": str(port) for n, port in enumerate(self.ports, 1)}
        compose = REPO / "conf/docker/docker-compose.yml"
        self.five = Compose(self.PROJECT, compose, HERE / "five.yml", *more, env=env)
        self.three = self.five if more else Compose(self.PROJECT, compose, env=env)
        self.names = ["zoo1", "zoo2", "zoo3"]

    def __enter__(self):
        self.three("up", "-d", *self.names)
        self.wait_whole()
        return self

    def __exit__(self, kind, value, trace):
        for name in self.names:
            print(f"--- {name}:\n{docker('logs', '--tail', 30, name, check=False)}")
        volumes = docker("inspect", "-f", MOUNTS, *self.names, check=False).split()
        self.five.down()
        # A container that was made anew leaves the volumes that it took over.
        docker("volume", "rm", *volumes, check=False)

    def address(self, name):
        return f"127.0.0.1:{self.ports[int(name[-1]) - 1]}"

    @property
    def addresses(self):
        return ",".join(self.address(name) for name in self.names)

    def modes(self):
        return {name: mode(name) for name in self.names}

    def wait_whole(self):
        """Waits until all serve, one of them leading; returns its name."""

        def whole():
            modes = self.modes()
            values = list(modes.values())
            if values.count("leader") == 1 and values.count("follower") == len(values) - 1:
                return next(name for name, what in modes.items() if what == "leader")
            return None

        return wait_for(f"one leader among {self.names}, the others following", whole, 40)


class Writer:
    """A client that creates nodes one after the other and notes which were acknowledged."""

    def __init__(self, addresses, root):
        self.client = connect(addresses)
        self.session = self.client.client_id
        self.root = root
        self.client.create(root)
        self.acknowledged = []
        self.longest_gap = 0.0
        self.error = None
        self.stopping = False
        self.thread = threading.Thread(target=self._write, daemon=True)
        self.thread.start()

    def _write(self):
        try:
            number, last = 0, time.monotonic()
            while not self.stopping:
                path = f"{self.root}/{number}"
                try:
                    self.client.create(path)
                except NodeExistsError:
                    pass  # An attempt before, whose answer was lost.
                except ConnectionLoss:
                    time.sleep(0.01)
                    continue
                self.acknowledged.append(path)
                self.longest_gap = max(self.longest_gap, time.monotonic() - last)
                number, last = number + 1, time.monotonic()
        except BaseException as error:
            self.error = error

    def progress(self):
        """Waits until more is written than was."""
        before = len(self.acknowledged)
        wait_for(
            f"writes to go on after {before} (error: {self.error!r})",
            lambda: self.error is None and len(self.acknowledged) > before + 10,
        )

    def finish(self, ensemble):
        """Nothing acknowledged is missing on any server, and the session is the same."""
        self.stopping = True
        self.thread.join(60)
        assert self.error is None, repr(self.error)
        assert self.client.client_id == self.session
        close(self.client)
        wanted = {path.rsplit("/", 1)[1] for path in self.acknowledged}
        assert len(wanted) > 10
        for name in ensemble.names:
            reader = connect(ensemble.address(name))
            reader.sync(self.root)
            assert wanted <= set(reader.get_children(self.root)), f"on {name}"
            close(reader)


def connect(addresses):
    patience = {"max_tries": -1, "delay": 0.05, "max_delay": 0.5}
    client = KazooClient(hosts=addresses, timeout=SESSION_S, connection_retry=patience)
    wait_for(f"a session with {addresses}", lambda: started(client), 30)
    return client


def started(client):
    try:
        client.start(timeout=5)
        return True
    except KazooTimeoutError:
        return False


def close(client):
    client.stop()
    client.close()


def in_container(*words, env=None):
    """Runs a command in a fresh container and returns what it prints."""
    variables = [word for item in (env or {}).items() for word in ("-e", "=".join(item))]
    return docker("run", "--rm", "--label", "ironkeeper-test", *variables, IMAGE, *words)


def test_zoo_cfg_from_the_environment():
    env = {
        "ZOO_MY_ID": "7",
        "ZOO_SERVERS": "server.7=a:1:2;3 server.8=b:1:2:observer;3",
        "ZOO_TICK_TIME": "100",
        "ZOO_INIT_LIMIT": "11",
        "ZOO_SYNC_LIMIT": "12",
        "ZOO_MAX_CLIENT_CNXNS": "13",
        "ZOO_STANDALONE_ENABLED": "false",
        "ZOO_ADMINSERVER_ENABLED": "false",
        "ZOO_AUTOPURGE_PURGEINTERVAL": "14",
        "ZOO_AUTOPURGE_SNAPRETAINCOUNT": "15",
        "ZOO_4LW_COMMANDS_WHITELIST": "srvr, mntr",
        "ZOO_CFG_EXTRA": "snapCount=16 preAllocSize=17",
    }
    said = in_container("cat", "/conf/zoo.cfg", "/data/myid", env=env)
    assert said.splitlines() == [
        "dataDir=/data",
        "dataLogDir=/datalog",
        "tickTime=100",
        "initLimit=11",
        "syncLimit=12",
        "autopurge.snapRetainCount=15",
        "autopurge.purgeInterval=14",
        "maxClientCnxns=13",
        "standaloneEnabled=false",
        "admin.enableServer=false",
        "4lw.commands.whitelist=srvr, mntr",
        "server.7=a:1:2;3",
        "server.8=b:1:2:observer;3",
        "snapCount=16",
        "preAllocSize=17",
        "7",
    ]


@pytest.mark.parametrize("user", [[], ["--user", "1000"]], ids=["root", "zookeeper"])
def test_a_server_on_its_own(user, tmp_path):
    config = tmp_path / "zoo.cfg"
    config.write_text("dataDir=/data\nclientPort=2181\nadmin.enableServer=false\n")
    mount = ["-v", f"{config}:/conf/zoo.cfg:ro"] if user else []
    flags = "-Dzookeeper.4lw.commands.whitelist=ruok"
    words = ["run", "-d", "--label", "ironkeeper-test", *user, *mount]
    container = docker(*words, "-e", f"JVMFLAGS={flags}", IMAGE).strip()
    try:
        wait_for("Mode: standalone", lambda: mode(container) == "standalone")
        said = docker("exec", container, "sh", "-c", "echo ruok | nc -w 2 127.0.0.1 2181")
        assert said == "imok"
        cli = docker("exec", container, "zkCli.sh", "ls", "/")
        assert "[zookeeper]" in cli
        started = time.monotonic()
        docker("stop", container)
        assert time.monotonic() - started < 8, "ends on SIGTERM"
        assert docker("inspect", "-f", "{{.State.ExitCode}}", container).strip() == "0"
    finally:
        docker("rm", "-f", "-v", container, check=False)


def test_one_server_a_host():
    """docker-compose.host.yml; the three hosts are this one, under different ports."""
    ports = [[zk.free_port() for _ in range(3)] for _ in range(3)]
    servers = " ".join(
        f"server.{n}=127.0.0.1:{quorum}:{election};127.0.0.1:{client}"
        for n, (quorum, election, client) in enumerate(ports, 1)
    )
    file = REPO / "conf/docker/docker-compose.host.yml"
    hosts = []
    try:
        for n in range(1, 4):
            env = {"ZOO_MY_ID": str(n), "ZOO_SERVERS": servers}
            hosts.append(Compose(f"{Ensemble.PROJECT}-host{n}", file, env=env))
            hosts[-1]("up", "-d")
        names = ["zoo1", "zoo2", "zoo3"]
        wait_for(
            "a leader and two followers",
            lambda: sorted(str(mode(n)) for n in names) == ["follower", "follower", "leader"],
            40,
        )
        client = connect(",".join(f"127.0.0.1:{client}" for _, _, client in ports))
        client.create("/here", b"x")
        close(client)
    finally:
        for host in hosts:
            host.down()


def test_growing_from_three_to_five_by_reconfig():
    with Ensemble(HERE / "reconfig.yml") as ensemble:
        writer = Writer(ensemble.addresses, "/reconfig")
        for number in (4, 5):
            name = f"zoo{number}"
            ensemble.five("up", "-d", "--no-deps", name)
            # Its files hold the leader's configuration by now, without a client port of its own for
            # zkServer.sh to find.
            port = ensemble.ports[number - 1]
            wait_for(f"{name} to follow", lambda port=port: "Mode: follower" in srvr(port), 40)
            line = f"server.{number}={name}:2888:3888:participant;0.0.0.0:2181"
            config, _ = writer.client.reconfig(joining=line, leaving=None, new_members=None)
            assert line in config.decode().splitlines()
            ensemble.names.append(name)
            ensemble.wait_whole()
            writer.progress()
        lose_two(writer, ensemble)
        # What they agreed on is in their files.
        docker("restart", *ensemble.names)
        ensemble.wait_whole()
        writer.progress()
        members = writer.client.get("/zookeeper/config")[0].decode()
        assert members.count("server.") == 5
        writer.finish(ensemble)


def lose_two(writer, ensemble):
    """Three of five are a quorum, which they are not by a configuration that has but three."""
    docker("kill", "zoo1", "zoo2")
    writer.progress()
    docker("start", "zoo1", "zoo2")
    ensemble.wait_whole()


@pytest.fixture(scope="module")
def ensemble():
    with Ensemble() as ensemble:
        yield ensemble


def test_up_and_status(ensemble):
    said = docker("exec", "zoo2", "zkServer.sh", "status")
    assert "Using config: /conf/zoo.cfg" in said and "Mode: " in said
    status = docker("exec", "zoo2", "cat", "/proc/1/status")
    assert "Uid:\t1000\t1000" in status, "the server runs as zookeeper"
    assert "zoo.cfg" in docker("exec", "zoo2", "cat", "/proc/1/cmdline")


def test_a_client_on_each_port(ensemble):
    clients = [connect(ensemble.address(name)) for name in ensemble.names]
    for number, client in enumerate(clients):
        client.create(f"/by-{number}", b"x" * number)
    for client in clients:
        client.sync("/")
        for number in range(3):
            assert client.get(f"/by-{number}")[0] == b"x" * number
        close(client)


def test_a_server_killed(ensemble):
    leader = ensemble.wait_whole()
    writer = Writer(ensemble.addresses, "/killed")
    writer.progress()
    docker("kill", leader)
    writer.progress()
    docker("start", leader)
    ensemble.wait_whole()
    writer.progress()
    writer.finish(ensemble)


def test_the_network_cut(ensemble):
    leader = ensemble.wait_whole()
    network = f"{Ensemble.PROJECT}_default"
    others = [name for name in ensemble.names if name != leader]
    writer = Writer(",".join(ensemble.address(name) for name in others), "/cut")
    writer.progress()
    docker("network", "disconnect", network, leader)
    wait_for(
        "the two others to go on without it",
        lambda: sorted(str(mode(name)) for name in others) == ["follower", "leader"],
        40,
    )
    wait_for("the one cut off to stop serving", lambda: mode(leader) is None, 40)
    writer.progress()
    docker("network", "connect", "--alias", leader, network, leader)
    ensemble.wait_whole()
    writer.progress()
    writer.finish(ensemble)


def test_rolling_restart(ensemble):
    ensemble.wait_whole()
    writer = Writer(ensemble.addresses, "/rolling")
    for name in ensemble.names:
        writer.progress()
        docker("restart", name)
        ensemble.wait_whole()
    writer.progress()
    writer.finish(ensemble)


def test_whole_restart_keeps_sessions(ensemble):
    ensemble.wait_whole()
    client = connect(ensemble.addresses)
    session = client.client_id
    client.create("/mine", ephemeral=True)
    ensemble.three("stop")
    # Longer than the session's time-out, during which nobody is there to count.
    gone = time.monotonic()
    wait_for("time to pass", lambda: time.monotonic() - gone > SESSION_S + 2, SESSION_S + 5, 0.5)
    ensemble.three("start")
    ensemble.wait_whole()
    assert client.retry(client.exists, "/mine").owner_session_id == session[0]
    assert client.client_id == session
    close(client)


def test_growing_from_three_to_five(ensemble):
    ensemble.wait_whole()
    writer = Writer(ensemble.addresses, "/growing")
    writer.progress()
    for name in ("zoo4", "zoo5", "zoo1", "zoo2", "zoo3"):
        ensemble.five("up", "-d", "--no-deps", name)
        ensemble.names = sorted({*ensemble.names, name})
        ensemble.wait_whole()
        writer.progress()
    lose_two(writer, ensemble)
    writer.finish(ensemble)

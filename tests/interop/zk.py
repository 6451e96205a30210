"""Servers for the tests: Apache's Java server or ours, alone or in ensembles.

A test names the kind of server ("java-3.9.5", "java-3.8.0", "ours") and gets the same object for
each. Every server has its own directory and ports, and dies with the test process whatever happens.
Nothing here sleeps in order to wait: `wait_for` polls a condition until a deadline.
"""

import ctypes
import functools
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPO = HERE.parent.parent
PEERS = HERE / "peers"
JAVA = "java-3.9.5"
OLD_JAVA = "java-3.8.0"
OURS = "ours"

_PR_SET_PDEATHSIG = 1
_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None)
_taken_ports = set()


def binary():
    """Our server's executable."""
    return Path(os.environ.get("IRONKEEPER_BIN", REPO / "target/release/ironkeeper"))


def cache():
    return Path(subprocess.check_output([PEERS, "cache"], text=True).strip())


@functools.cache
def classpath(version):
    return subprocess.check_output([PEERS, "classpath", version], text=True).strip()


def wait_for(what, condition, deadline=30.0, every=0.02):
    """Returns the first true value of condition(); fails, saying what, after deadline seconds."""
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {deadline} s in vain for {what}")
        time.sleep(every)


def enter(namespace):
    """Puts this process (its calling thread) into a network namespace: a path in /proc."""
    with open(namespace) as file:
        if _LIBC.setns(file.fileno(), _CLONE_NEWNET) != 0:
            raise OSError(f"cannot enter {namespace}")


def free_port(count=1):
    """The first of `count` consecutive TCP ports nobody listens on, outside the range that the
    kernel gives to clients."""
    while True:
        first = random.randrange(21000, 31000)
        ports = range(first, first + count)
        if _taken_ports.isdisjoint(ports) and all(is_free(port) for port in ports):
            _taken_ports.update(ports)
            return first


def is_free(port):
    with socket.socket() as s:
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def die_with_parent():
    """Run in a child before exec: the kernel kills it when the test's process ends."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Server:
    """One server: its directory (kept over restarts), its configuration, its process."""

    def __init__(self, kind, directory, config=None, flags=(), port=None):
        """config: lines of zoo.cfg as a dict, over the defaults below; a value None takes the
        line out. flags: words like -Dzookeeper.extendedTypesEnabled=true."""
        self.kind = kind
        self.directory = Path(directory)
        self.data = self.directory / "data"
        self.data.mkdir(parents=True, exist_ok=True)
        self.port = port or free_port()
        self.flags = list(flags)
        self.config = {
            "tickTime": 2000,
            "dataDir": self.data,
            "clientPort": self.port,
            "clientPortAddress": "127.0.0.1",
            "maxClientCnxns": 0,
            "admin.enableServer": "false",
            "4lw.commands.whitelist": "*",
        }
        self.config.update(config or {})
        self.host, self.namespace = "127.0.0.1", None
        # A server rewrites its own file when the ensemble is reconfigured.
        self.keeps_config = False
        self.process = None
        self.log = self.directory / "server.log"

    @property
    def address(self):
        return f"{self.host}:{self.port}"

    @property
    def version_2(self):
        """Where the log and snapshot files are."""
        return self.data / "version-2"

    def config_file(self):
        path = self.directory / "zoo.cfg"
        if self.keeps_config and path.exists():
            return path
        lines = [f"{k}={v}\n" for k, v in self.config.items() if v is not None]
        path.write_text("".join(lines))
        return path

    def command(self):
        if self.kind == OURS:
            return [str(binary()), "server", str(self.config_file())]
        version = self.kind.removeprefix("java-")
        return [
            "java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
            "-Dfile.encoding=UTF-8", *self.flags, "-cp", classpath(version),
            "org.apache.zookeeper.server.quorum.QuorumPeerMain", str(self.config_file()),
        ]  # fmt: skip

    def start(self, wait=True):
        assert not self.alive, f"server on {self.address} is already running"
        environment = dict(os.environ)
        if self.kind == OURS:
            environment["SERVER_JVMFLAGS"] = " ".join(self.flags)
        with open(self.log, "ab") as log:
            log.write(f"--- {self.kind} starts\n".encode())
            log.flush()
            self.process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                env=environment,
                preexec_fn=self._before_exec,
            )
        if wait:
            self.wait_serving()
        return self

    def _before_exec(self):
        die_with_parent()
        if self.namespace:
            enter(self.namespace)

    @property
    def alive(self):
        return self.process is not None and self.process.poll() is None

    def wait_serving(self, deadline=40.0):
        def serving():
            assert self.alive, f"server ended with {self.process.poll()}:\n{self.tail()}"
            return self.mode() is not None

        wait_for(f"{self.kind} on {self.address} to serve", serving, deadline)

    def mode(self):
        """standalone, leader, follower, observer, read-only; None while it does not serve."""
        for line in self.word("srvr").splitlines():
            if line.startswith("Mode: "):
                return line.removeprefix("Mode: ")
        return None

    def word(self, four_letters, timeout=5.0):
        """The answer to a four-letter word; empty when there is no server."""
        try:
            with socket.create_connection((self.host, self.port), timeout) as s:
                s.sendall(four_letters.encode())
                answer = b""
                while chunk := s.recv(65536):
                    answer += chunk
                return answer.decode()
        except OSError:
            return ""

    def mntr(self):
        """The answer to mntr as a dict, the prefix zk_ taken off."""
        lines = [line.split("\t", 1) for line in self.word("mntr").splitlines()]
        return {pair[0].removeprefix("zk_"): pair[1] for pair in lines if len(pair) == 2}

    def kill(self):
        """kill -9."""
        self.process.kill()
        self.process.wait()

    def stop(self):
        """SIGTERM and wait; a server that does not end in 20 s is killed and the test fails."""
        if not self.alive:
            return
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.kind} did not end on SIGTERM:\n{self.tail()}") from None

    def pause(self):
        """Returns when every thread stands still: one that ran on could still log something."""
        self.process.send_signal(signal.SIGSTOP)
        tasks = Path(f"/proc/{self.process.pid}/task")

        def stopped():
            stats = [(task / "stat").read_text() for task in tasks.iterdir()]
            return all(stat.rsplit(")", 1)[1].split()[0] in "tT" for stat in stats)

        wait_for("the process to stand still", stopped, 10)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def become(self, kind):
        """The next start is another implementation on the same directory and configuration."""
        self.kind = kind
        return self

    def tail(self, lines=30):
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


class Ensemble:
    """Servers 1..N that know each other; `kinds` has one kind for each."""

    def __init__(
        self, directory, kinds, config=None, flags=(), observers=(), network=None, apart=False
    ):
        """network: a test_network.Network with a host for each server, instead of 127.0.0.1.
        apart: each server has a loopback address of its own."""
        hosts = network.servers if network else [None] * len(kinds)
        lines = {"initLimit": 10, "syncLimit": 5}
        clients = [free_port() for _ in kinds]
        for number, (client, host) in enumerate(zip(clients, hosts), 1):
            role = "observer" if number in observers else "participant"
            quorum, election = free_port(), free_port()
            ip = host.ip if host else f"127.0.0.{number if apart else 1}"
            lines[f"server.{number}"] = f"{ip}:{quorum}:{election}:{role};{ip}:{client}"
        # The client ports stand in the server lines; both places would be one too many.
        lines |= {"clientPort": None, "clientPortAddress": None} | (config or {})
        self.servers = []
        for number, (kind, client, host) in enumerate(zip(kinds, clients, hosts), 1):
            own = dict(lines)
            if number in observers:
                own["peerType"] = "observer"
            server = Server(kind, Path(directory) / str(number), own, flags, client)
            if apart:
                server.host = f"127.0.0.{number}"
            if host:
                server.host, server.namespace = host.ip, host.namespace
            (server.data / "myid").write_text(f"{number}\n")
            self.servers.append(server)

    def __getitem__(self, number):
        """Server by its id, 1..N."""
        return self.servers[number - 1]

    def __iter__(self):
        return iter(self.servers)

    @property
    def addresses(self):
        return ",".join(s.address for s in self.servers)

    def start(self, wait=True):
        for server in self.servers:
            server.start(wait=False)
        if wait:
            self.wait_serving()
        return self

    def start_led_by_last(self):
        """The first start, such that the highest id leads: the smallest majority with it starts
        first."""
        voters = [s for s in self.servers if s.config.get("peerType") != "observer"]
        first = voters[-1 - len(voters) // 2 :]
        for server in first:
            server.start(wait=False)
        wait_for("the last server to lead", lambda: voters[-1].mode() == "leader", 40)
        for server in self.servers:
            if server not in first:
                server.start(wait=False)
        self.wait_serving()
        return self

    def wait_serving(self):
        for server in self.servers:
            server.wait_serving()

    def leader(self, deadline=30.0):
        def find():
            return next((s for s in self.servers if s.alive and s.mode() == "leader"), None)

        return wait_for("a leader", find, deadline)

    def stop(self):
        for server in self.servers:
            server.stop()

    def kill(self):
        for server in self.servers:
            if server.alive:
                server.kill()


class Lab:
    """Makes servers in a temporary directory of its own and leaves nothing behind."""

    def __init__(self):
        self.directory = Path(tempfile.mkdtemp(prefix="ironkeeper-"))
        self.servers = []

    def server(self, kind, config=None, flags=()):
        directory = self.directory / f"server-{len(self.servers)}"
        server = Server(kind, directory, config, flags)
        self.servers.append(server)
        return server

    def ensemble(self, kinds, config=None, flags=(), observers=(), **options):
        directory = self.directory / f"ensemble-{len(self.servers)}"
        ensemble = Ensemble(directory, kinds, config, flags, observers, **options)
        self.servers.extend(ensemble.servers)
        return ensemble

    def close(self, failed=False):
        for server in self.servers:
            if server.alive:
                server.kill()
            if failed:
                print(f"--- log of {server.kind} on {server.address}:\n{server.tail()}")
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.close(failed=kind is not None)

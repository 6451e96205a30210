"""Servers on a network of the test's own making (namespaces, joined by a bridge, without a way
out): cut off, cut in halves, cut one way, slowed down, paused and killed, while clients write, read
what they wrote, and watch."""

import itertools
import os
import random
import shutil
import subprocess
import threading
import time
from collections import deque

import pytest
import zk
from kazoo.client import KazooClient
from kazoo.exceptions import BadVersionError, KazooException
from tree import wire
from wire import flag, string

SUBNET = "10.213.77."
SECOND = "10.213.78."  # every host is in both, over the same wire
TICK = 500  # a lost leader is given up after syncLimit (5) ticks, a learner after initLimit (10)


class Host:
    """A network namespace, held by a process that does nothing."""

    def __init__(self):
        self.holder = subprocess.Popen(
            ["unshare", "--net", "sleep", "infinity"], preexec_fn=zk.die_with_parent
        )
        self.namespace = f"/proc/{self.holder.pid}/ns/net"
        own = os.readlink("/proc/self/ns/net")
        zk.wait_for("a network namespace", lambda: os.readlink(self.namespace) != own, 10)
        self.run("ip link set lo up")

    def run(self, command):
        words = ["nsenter", f"--net={self.namespace}", *command.split()]
        subprocess.run(words, check=True, capture_output=True)

    def end(self):
        self.holder.kill()
        self.holder.wait()


class Network:
    """Hosts .1, .2, … for servers and .100, in which the test itself is meanwhile."""

    def __init__(self, count):
        self.hub = Host()
        self.hub.run("ip link add br0 type bridge")
        self.hub.run("ip link set br0 up")
        self.servers = [self.host(n + 1) for n in range(count)]
        self.client = self.host(100)
        self.outside = os.open("/proc/self/ns/net", os.O_RDONLY)
        zk.enter(self.client.namespace)

    def host(self, number):
        host = Host()
        host.ip, host.link = f"{SUBNET}{number}", f"v{number}"
        self.hub.run(
            f"ip link add {host.link} type veth peer name eth0 netns {host.holder.pid}"
        )
        self.hub.run(f"ip link set {host.link} up master br0")
        host.run(f"ip addr add {host.ip}/24 dev eth0")
        host.run(f"ip addr add {SECOND}{number}/24 dev eth0")
        host.run("ip link set eth0 up")
        return host

    def drop(self, at, source, destination):
        """At host number `at`, packets that come from `source` to `destination` vanish."""
        host = self.servers[at - 1]
        host.run(f"iptables -A INPUT -s {SUBNET}{source} -d {SUBNET}{destination} -j DROP")

    def cut(self, one, other):
        """No packets between two servers, in both directions; nobody is told."""
        self.drop(one, other, one)
        self.drop(other, one, other)

    def swallow(self, subnet):
        """One of the two networks between servers is out of order."""
        servers = range(1, len(self.servers) + 1)
        for one, other in itertools.permutations(servers, 2):
            host = self.servers[one - 1]
            host.run(f"iptables -A INPUT -s {subnet}{other} -d {subnet}{one} -j DROP")

    def slow_down(self, number, rate):
        """What goes to a server has little room, and what there is no room for is lost."""
        link = self.servers[number - 1].link
        try:
            self.hub.run(f"tc qdisc add dev {link} root tbf rate {rate} burst 16kb limit 64kb")
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"this kernel cannot slow a link down: {error}")

    def heal(self):
        for host in self.servers:
            host.run("iptables -F")
            try:
                self.hub.run(f"tc qdisc del dev {host.link} root")
            except (OSError, subprocess.CalledProcessError):
                pass  # it is as fast as ever

    def close(self):
        zk.enter(f"/proc/self/fd/{self.outside}")
        os.close(self.outside)
        for host in [*self.servers, self.client, self.hub]:
            host.end()


@pytest.fixture
def size(request):
    """How many servers there are: three, or as `five` says."""
    return getattr(request, "param", 3)


five = pytest.mark.parametrize("size", [5], indirect=True, ids=["five"])


@pytest.fixture
def network(quorum_kind, size):
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    try:
        network = Network(size)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no network namespaces here: {error}")
    yield network
    network.close()


class Client(threading.Thread):
    """Counts one znode up by compare-and-set, reads back, and keeps a history to be checked."""

    def __init__(self, addresses):
        super().__init__(daemon=True)
        self.won, self.doubtful, self.faults = [], [], []
        self.stopping, self.last_version = False, -1
        self.client = KazooClient(addresses, timeout=10, randomize_hosts=True)
        self.client.start(30)

    def run(self):
        while not self.stopping:
            try:
                self.step()
            except BadVersionError:
                pass
            except KazooException:
                time.sleep(0.05)
            except Exception as error:
                self.faults.append(f"{type(error).__name__}: {error}")
                return

    def step(self):
        data, stat = self.client.get("/register")
        if stat.version < self.last_version:
            self.faults.append(f"read version {stat.version} after {self.last_version}")
        self.last_version = max(self.last_version, stat.version)
        if int(data) != stat.version:
            self.faults.append(f"version {stat.version} holds {data}")
        target = stat.version + 1
        try:
            self.client.set("/register", str(target).encode(), stat.version)
        except BadVersionError:
            raise
        except KazooException:
            self.doubtful.append(target)
            raise
        self.won.append(target)
        self.last_version = target

    def end(self):
        self.stopping = True
        self.join(40)
        self.client.stop()
        self.client.close()


class Watching(threading.Thread):
    """Watches the same znode over raw connections, so that it sees what comes in which order: no
    read may show a change before its event is there."""

    def __init__(self, ensemble):
        super().__init__(daemon=True)
        self.servers, self.faults = list(ensemble), []
        self.stopping, self.events = False, 0

    def run(self):
        while not self.stopping:
            try:
                self.watch(random.choice(self.servers).address)
            except OSError:
                time.sleep(0.05)

    def watch(self, address):
        connection = wire.Connection(address, "w", deque(maxlen=1))
        with connection.socket as socket:
            socket.settimeout(2)
            if connection.connect() is None:
                return
            while (armed := self.read(connection, True)) and not self.stopping:
                version, _ = armed
                told = False
                while not told and not self.stopping:
                    answer = self.read(connection, False)
                    if answer is None:
                        return
                    seen, told = answer
                    if seen > version and not told:
                        self.faults.append(f"{address}: {seen} seen before the change of {version}")
                    time.sleep(0.001)

    def read(self, connection, watch):
        """Version, and whether an event came before it; None when the connection is of no use."""
        xid = connection.send(wire.GET_DATA, string("/register") + flag(watch))
        told = False
        while (body := connection.read()) is not None:
            reader = wire.Reader(body)
            got, _zxid, error = reader.int(), reader.int(8), reader.int()
            if got == -1:
                self.events += 1
                told = True
            elif got == xid and error == 0:
                reader.buffer()
                reader.at += 32
                return reader.int(), told
            else:
                return None
        return None

    def end(self):
        self.stopping = True
        self.join(40)


def begin(ensemble):
    """Four clients that count, and one that watches them."""
    setup = KazooClient(ensemble.addresses)
    setup.start(30)
    setup.create("/register", b"0")
    setup.stop()
    setup.close()
    clients = [Client(ensemble.addresses) for _ in range(4)]
    for client in clients:
        client.start()
    writes(clients, 20)
    watching = Watching(ensemble)
    watching.start()
    return clients, watching


@pytest.fixture
def cluster(lab, quorum_kind, network, size):
    ensemble = lab.ensemble([quorum_kind] * size, {"tickTime": TICK}, network=network).start()
    clients, watching = begin(ensemble)
    yield ensemble, clients
    for client in [*clients, watching]:
        client.end()
    assert not watching.faults, watching.faults[:5]
    assert watching.events > 0


def writes(clients, count, deadline=60):
    goal = sum(len(c.won) for c in clients) + count
    zk.wait_for(f"{count} writes", lambda: sum(len(c.won) for c in clients) >= goal, deadline)


def settle(ensemble, clients):
    """Everything works again, and the history holds together."""
    for server in ensemble:
        server.wait_serving(60)
    writes(clients, 20)
    for client in clients:
        client.end()
    faults = [fault for client in clients for fault in client.faults]
    assert not faults, faults[:5]
    won = [version for client in clients for version in client.won]
    assert len(won) == len(set(won)), "two clients won the same version"
    doubtful = {version for client in clients for version in client.doubtful}
    for server in ensemble:
        reader = KazooClient(server.address)
        reader.start(30)
        reader.sync("/register")
        data, stat = reader.get("/register")
        reader.stop()
        reader.close()
        assert int(data) == stat.version >= max(won)
        # Every version up to the last was somebody's: acknowledged, or in doubt.
        assert set(range(1, stat.version + 1)) <= set(won) | doubtful


def number_of(ensemble, server):
    return ensemble.servers.index(server) + 1


def refuses(server):
    return "not currently serving" in server.word("srvr")


# Packets just stop: whoever is out of touch has noticed after syncLimit, and a little.
NOTICED = 2 * 5 * TICK / 1000 + 2


def test_leader_isolated(cluster, network):
    """The other two elect; the old leader, though its clients reach it, serves nobody any more."""
    ensemble, clients = cluster
    leader = ensemble.leader()
    number = number_of(ensemble, leader)
    others = [n for n in (1, 2, 3) if n != number]
    for other in others:
        network.cut(number, other)
    zk.wait_for("the isolated leader to step down", lambda: refuses(leader), NOTICED)
    zk.wait_for("a new leader", lambda: any(ensemble[n].mode() == "leader" for n in others), 40)
    writes(clients, 20)
    network.heal()
    settle(ensemble, clients)


def test_follower_isolated(cluster, network, quorum_kind, long):
    ensemble, clients = cluster
    leader = number_of(ensemble, ensemble.leader())
    follower = next(n for n in (1, 2, 3) if n != leader)
    for other in {1, 2, 3} - {follower}:
        network.cut(follower, other)
    zk.wait_for("it to stop serving", lambda: refuses(ensemble[follower]), NOTICED)
    writes(clients, 20)
    if long:
        # So long that the kernel tries to deliver old packets only every 10 seconds or so.
        end = time.monotonic() + 16
        zk.wait_for("a long cut", lambda: time.monotonic() > end)
    assert ensemble[leader].mode() == "leader"
    network.heal()
    ensemble[follower].wait_serving(8 if quorum_kind == zk.OURS else 60)
    settle(ensemble, clients)


@five
def test_halves(cluster, network):
    """The three serve, the two with the leader among them refuse, though all clients reach all."""
    ensemble, clients = cluster
    leader = number_of(ensemble, ensemble.leader())
    numbers = [leader, *({1, 2, 3, 4, 5} - {leader})]
    few, many = numbers[:2], numbers[2:]
    for one, other in itertools.product(few, many):
        network.cut(one, other)
    for number in few:
        zk.wait_for("the two to refuse", lambda n=number: refuses(ensemble[n]), NOTICED)
    zk.wait_for("a new leader", lambda: any(ensemble[n].mode() == "leader" for n in many), 40)
    writes(clients, 20)
    assert all(refuses(ensemble[number]) for number in few)
    network.heal()
    settle(ensemble, clients)


def test_one_of_two_networks(lab, quorum_kind, network):
    """Every server has an address in each. What goes into the first one vanishes; then that one
    works again, and the second does not."""
    flags = ["-Dzookeeper.multiAddress.enabled=true"]
    ensemble = lab.ensemble([quorum_kind] * 3, {"tickTime": TICK}, flags, network=network)
    for server, number in itertools.product(ensemble, (1, 2, 3)):
        between, clients = server.config[f"server.{number}"].split(";")
        second = between.replace(SUBNET, SECOND)
        server.config[f"server.{number}"] = f"{between}|{second};{clients}"
    network.swallow(SUBNET)
    ensemble.start()
    clients, watching = begin(ensemble)
    network.heal()
    network.swallow(SECOND)
    writes(clients, 20)
    network.heal()
    settle(ensemble, clients)
    watching.end()
    assert not watching.faults, watching.faults[:5]


def test_a_slow_link(lab, quorum_kind, network):
    """A follower without a disk gets everything over a link on which that takes longer than
    initLimit: as long as it comes on, nobody loses patience."""
    config = {"tickTime": TICK, "initLimit": 5}
    ensemble = lab.ensemble([quorum_kind] * 3, config, network=network).start()
    filler = KazooClient(ensemble.addresses)
    filler.start(30)
    for n in range(6):
        filler.create(f"/filler-{n}", random.randbytes(100_000))
    filler.stop()
    filler.close()
    leader = ensemble.leader()
    number = next(n for n in (1, 2, 3) if ensemble[n] is not leader)
    ensemble[number].kill()
    shutil.rmtree(ensemble[number].version_2)
    network.slow_down(number, "1mbit")
    snapshots = int(leader.mntr()["snap_count"])
    ensemble[number].start(wait=False)
    ensemble[number].wait_serving(40)
    network.heal()
    assert ensemble.leader() is leader
    assert int(leader.mntr()["snap_count"]) == snapshots + 1


def test_cut_one_way(cluster, network):
    """The leader hears nobody, but is heard."""
    ensemble, clients = cluster
    leader = number_of(ensemble, ensemble.leader())
    for other in {1, 2, 3} - {leader}:
        network.drop(leader, other, leader)
    zk.wait_for("it to step down", lambda: refuses(ensemble[leader]), NOTICED)
    writes(clients, 20)
    network.heal()
    settle(ensemble, clients)


def test_cut_between_two(cluster, network):
    """Two servers do not see each other, both see the third: service goes on."""
    ensemble, clients = cluster
    network.cut(1, 3)
    writes(clients, 20)
    network.heal()
    settle(ensemble, clients)


def test_leader_paused(cluster):
    ensemble, clients = cluster
    leader = ensemble.leader()
    leader.pause()
    others = [s for s in ensemble if s is not leader]
    zk.wait_for("a new leader", lambda: any(s.mode() == "leader" for s in others), 40)
    writes(clients, 20)
    leader.resume()
    settle(ensemble, clients)


def test_follower_paused(cluster):
    """For longer than the leader waits for it: it is missed by nobody, and comes back."""
    ensemble, clients = cluster
    leader = ensemble.leader()
    follower = next(s for s in ensemble if s is not leader)
    follower.pause()

    def followers(count):
        return lambda: leader.mntr().get("synced_followers") == str(count)

    zk.wait_for("the leader to give it up", followers(1), 30)
    writes(clients, 20)
    assert leader.mode() == "leader"
    follower.resume()
    zk.wait_for("it to come back", followers(2), 30)
    settle(ensemble, clients)


def test_killed_again_and_again(cluster, long):
    ensemble, clients = cluster
    for turn in range(20 if long else 4):
        victim = ensemble.servers[turn % 3] if turn % 2 else ensemble.leader()
        victim.kill()
        writes(clients, 10)
        victim.start()
    settle(ensemble, clients)

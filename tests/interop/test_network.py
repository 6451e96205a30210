"""Three servers on a network of the test's own making (namespaces, joined by a bridge, without a
way out): cut off, cut one way, paused and killed, while clients write and read what they wrote."""

import os
import subprocess
import threading
import time

import pytest
import zk
from kazoo.client import KazooClient
from kazoo.exceptions import BadVersionError, KazooException

SUBNET = "10.213.77."
TICK = 500  # a lost leader is given up after syncLimit (5) ticks


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
    """Hosts .1, .2, .3 for servers and .100, in which the test itself is meanwhile."""

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

    def heal(self):
        for host in self.servers:
            host.run("iptables -F")

    def close(self):
        zk.enter(f"/proc/self/fd/{self.outside}")
        os.close(self.outside)
        for host in [*self.servers, self.client, self.hub]:
            host.end()


@pytest.fixture
def network(quorum_kind):
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    try:
        network = Network(3)
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


@pytest.fixture
def cluster(lab, quorum_kind, network):
    ensemble = lab.ensemble([quorum_kind] * 3, {"tickTime": TICK}, network=network).start()
    setup = KazooClient(ensemble.addresses)
    setup.start(30)
    setup.create("/register", b"0")
    setup.stop()
    setup.close()
    clients = [Client(ensemble.addresses) for _ in range(4)]
    for client in clients:
        client.start()
    writes(clients, 20)
    yield ensemble, clients
    for client in clients:
        client.end()


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


def test_leader_isolated(cluster, network):
    """The other two elect; the old leader, though its clients reach it, serves nobody any more."""
    ensemble, clients = cluster
    leader = ensemble.leader()
    number = number_of(ensemble, leader)
    others = [n for n in (1, 2, 3) if n != number]
    for other in others:
        network.cut(number, other)
    zk.wait_for("the isolated leader to step down", lambda: leader.mode() is None, 30)
    zk.wait_for("a new leader", lambda: any(ensemble[n].mode() == "leader" for n in others), 40)
    writes(clients, 20)
    network.heal()
    settle(ensemble, clients)


def test_follower_isolated(cluster, network):
    ensemble, clients = cluster
    leader = number_of(ensemble, ensemble.leader())
    follower = next(n for n in (1, 2, 3) if n != leader)
    for other in {1, 2, 3} - {follower}:
        network.cut(follower, other)
    zk.wait_for("it to stop serving", lambda: ensemble[follower].mode() is None, 30)
    writes(clients, 20)
    assert ensemble[leader].mode() == "leader"
    network.heal()
    settle(ensemble, clients)


def test_cut_one_way(cluster, network):
    """The leader hears nobody, but is heard."""
    ensemble, clients = cluster
    leader = number_of(ensemble, ensemble.leader())
    for other in {1, 2, 3} - {leader}:
        network.drop(leader, other, leader)
    zk.wait_for("it to step down", lambda: ensemble[leader].mode() is None, 30)
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


def test_killed_again_and_again(cluster, long):
    ensemble, clients = cluster
    for turn in range(20 if long else 4):
        victim = ensemble.servers[turn % 3] if turn % 2 else ensemble.leader()
        victim.kill()
        writes(clients, 10)
        victim.start()
    settle(ensemble, clients)

"""Ensembles whose configuration changes while they run. Each scenario is played on an ensemble of
Java's servers, on one of the servers under test, and on mixed ones; what clients, files and modes
show must be the same, but for ports, versions and times."""

import re

import javatools
import pytest
import shells
import tree
import zk
from kazoo import exceptions
from kazoo.client import KazooClient

CONFIG = {"reconfigEnabled": "true", "tickTime": 500}
NODE = "/zookeeper/config"


class Cluster:
    """Five servers that could be an ensemble; the first `size` of them are one."""

    def __init__(self, lab, kinds, size, config=None, observers=()):
        self.names = {}
        self.versions = {}
        self.lines = []
        self.ensemble = lab.ensemble(kinds, CONFIG | (config or {}), tree.FLAGS, observers)
        self.specs = {}
        for number, server in enumerate(self.ensemble, 1):
            server.keeps_config = True
            self.specs[number] = server.config[f"server.{number}"]
            self.name(number, self.specs[number])
        for number, server in enumerate(self.ensemble, 1):
            strangers = set(self.specs) - set(range(1, size + 1)) - {number}
            server.config.update({f"server.{n}": None for n in strangers})
        self.started = list(range(1, size + 1))
        # Whoever has the greatest id leads, if it is there when the others come.
        election = int(self.specs[size].split(":")[2])
        for number in reversed(self.started):
            self.ensemble[number].start(wait=False)
            zk.wait_for("the election port", lambda: number != size or connects(election))
        for number in self.started:
            self.ensemble[number].wait_serving()
        self.admin = self.client(*range(1, size + 1))
        self.admin.add_auth("digest", "super:test")

    def __getitem__(self, number):
        return self.ensemble[number]

    def name(self, number, spec):
        """What stands for the ports of a server's line in the transcript."""
        ports = re.findall(r":(\d+)", spec)
        for kind, port in zip(("quorum", "election", "client"), ports):
            self.names[port] = f"<{kind}{number}>"

    def fresh(self, number, role="participant"):
        """Another line for a server, with ports of its own."""
        quorum, election, client = (zk.free_port() for _ in range(3))
        spec = f"127.0.0.1:{quorum}:{election}:{role};127.0.0.1:{client}"
        for kind, port in (("quorum", quorum), ("election", election), ("client", client)):
            self.names[str(port)] = f"<{kind}{number}b>"
        return spec

    def client(self, *numbers):
        addresses = ",".join(self.ensemble[n].address for n in numbers)
        client = KazooClient(addresses, timeout=20)
        client.start(30)
        return client

    def add(self, number):
        """Starts a joiner; it follows, without a vote."""
        self.ensemble[number].start()
        self.started.append(number)

    def neutral(self, text):
        def version(match):
            name = f"v{len(self.versions)}"
            return "version=" + self.versions.setdefault(match[1], name)

        text = re.sub(r"version=([0-9a-f]+)", version, text)
        return re.sub(r"(?<=:)\d+", lambda port: self.names.get(port[0], port[0]), text)

    def say(self, what, text):
        self.lines.append(f"{what}: {self.neutral(text)}")

    def reconfig(self, joining=None, leaving=None, members=None, version=-1, client=None):
        """The request, and its answer or error, for the transcript."""
        what = self.neutral(f"reconfig {joining} {leaving} {members} {version != -1}")
        try:
            answer, stat = (client or self.admin).reconfig(joining, leaving, members, version)
            self.say(what, answer.decode())
            assert f"version={stat.mzxid:x}" in answer.decode()
            assert stat.version == -1
        except exceptions.ZookeeperError as error:
            self.say(what, f"{type(error).__name__} {error.code}")

    def replace_leader(self, **change):
        """A reconfiguration that takes the leadership away: Java's client may lose its connection
        before the answer, so that only what it leads to is said."""
        before = self.config()
        try:
            self.admin.reconfig(*(change.get(k) for k in ("joining", "leaving", "members")))
        except exceptions.ConnectionLoss:
            pass
        zk.wait_for("the new configuration", lambda: self.config() != before)

    def config(self):
        """What the admin's connection reads, once it is there."""

        def read():
            try:
                return self.admin.get(NODE)[0]
            except exceptions.KazooException:
                return None

        return zk.wait_for("the configuration", read)

    def show(self, *numbers):
        """The configuration that a client of each server reads, once that server knows it."""
        expected = self.config()
        for number in numbers:
            reader = self.client(number)
            zk.wait_for("the configuration", lambda: reader.get(NODE)[0] == expected)
            self.say(f"config at {number}", expected.decode())
            stop(reader)

    def mode(self, number, expected):
        zk.wait_for(f"{number} to be {expected}", lambda: self[number].mode() == expected)
        self.say(f"mode of {number}", expected)

    def leader(self):
        """The id of the leader that serves."""

        def find():
            modes = {n: self[n].mode() for n in self.started if self[n].alive}
            return next((n for n, mode in modes.items() if mode == "leader"), None)

        return zk.wait_for("a leader", find)

    def write(self, path):
        """Made through the admin's connection, whoever serves it now; seen on every server."""

        def done():
            try:
                self.admin.create(path)
            except exceptions.NodeExistsError:
                pass
            except exceptions.KazooException:
                return False
            return True

        zk.wait_for(f"{path} to be written", done)
        for number in self.started:
            if self[number].alive:
                reader = self.client(number)
                zk.wait_for(f"{path} at {number}", lambda: reader.exists(path))
                stop(reader)
        self.say("written", path)

    def files(self, number):
        """The configuration files of a server; which version each holds is seen by its name."""
        directory = self[number].directory
        for path in sorted(directory.glob("zoo.cfg*")):
            name = path.name
            match = re.fullmatch(r"(zoo\.cfg\.dynamic\.)([0-9a-f]+)", name)
            if match:
                name = self.neutral(f"{match[1]}version={match[2]}")
            text = path.read_text().replace(str(directory), "DIR")
            text = re.sub(r"(dynamic\.)([0-9a-f]+)$", r"\1version=\2", text, flags=re.M)
            if name == "zoo.cfg":
                text = "\n".join(sorted(text.splitlines()))
            self.say(f"file {name} of {number}", text)

    def end(self):
        stop(self.admin)
        return self.lines


def stop(client):
    client.stop()
    client.close()


def members(cluster, *numbers, **roles):
    """A membership list; s4="observer" changes a role."""
    lines = []
    for number in numbers:
        spec = cluster.specs[number]
        role = roles.get(f"s{number}")
        lines.append(f"server.{number}=" + (spec.replace("participant", role) if role else spec))
    return ",".join(lines)


def grows_and_shrinks(cluster):
    """Three, four, five and back, incrementally and by list, with a watch."""
    seen = []
    cluster.admin.get(NODE, watch=seen.append)
    cluster.show(1, 2, 3)
    for number in (4, 5):
        cluster.add(number)
        cluster.reconfig(joining=members(cluster, number))
        cluster.mode(number, "follower")
        cluster.show(*cluster.started)
    zk.wait_for("the watch", lambda: seen)
    cluster.say("watch", f"{seen[0].type} {seen[0].path}")
    cluster.write("/five")
    cluster.reconfig(leaving="1,2")
    cluster.show(1, 3, 4, 5)
    cluster.write("/three")
    cluster.reconfig(members=members(cluster, 1, 2, 3, 4, 5, s1="observer"))
    cluster.mode(1, "observer")
    cluster.mode(2, "follower")
    cluster.show(*cluster.started)
    cluster.reconfig(joining=members(cluster, 1), leaving="4,5")
    cluster.mode(1, "follower")
    cluster.write("/again")
    cluster.show(1, 2, 3)
    for number in (1, 2, 3):
        cluster.files(number)


def leader_goes(cluster):
    """The leader is removed, comes back, is made an observer, and gets other ports."""
    first = cluster.leader()
    cluster.say("leader", str(first))
    cluster.replace_leader(leaving=str(first))
    cluster.mode(first, "follower")
    cluster.write("/without")
    second = cluster.leader()
    assert second != first
    cluster.reconfig(joining=members(cluster, first))
    cluster.write("/with")
    cluster.show(1, 2, 3)
    second = cluster.leader()
    role = f"server.{second}=" + cluster.specs[second].replace("participant", "observer")
    cluster.replace_leader(joining=role)
    cluster.mode(second, "observer")
    cluster.write("/observed")
    third = cluster.leader()
    assert third != second
    cluster.lines = [line for line in cluster.lines if str(second) not in line]


def errors(cluster):
    """What is refused, and with which code."""
    spec = cluster.specs
    outsider = cluster.client(1, 2, 3)
    cluster.reconfig(leaving="3", client=outsider)
    stop(outsider)
    for joining in (
        "server.7=127.0.0.1:1:2", "server.7", "server.x=127.0.0.1:1:2;3", "7=127.0.0.1:1:2;3",
        "server.7=127.0.0.1:1:1;3", "server.7=10.0.0.1:1:2:chief;3", "server.7=127.0.0.1:1:2;x",
    ):  # fmt: skip
        cluster.reconfig(joining=joining)
    cluster.reconfig(joining=f"server.7={spec[1]}")
    cluster.reconfig(leaving="x")
    cluster.reconfig(leaving="2,3")
    cluster.reconfig(leaving="1", version=5)
    cluster.reconfig(members="server.1=x")
    cluster.reconfig(members=f"server.1={spec[1]},nonsense=1")
    cluster.reconfig(members=members(cluster, 1))
    cluster.reconfig(joining=members(cluster, 4, 5) + f",server.6={cluster.fresh(6)}")
    cluster.reconfig(members=members(cluster, 3, 4, 5))
    cluster.reconfig(leaving="77")
    version = cluster.config().decode().rsplit("version=")[1]
    cluster.reconfig(joining=members(cluster, 4, s4="observer"), version=int(version, 16))
    cluster.write("/after-errors")
    cluster.show(1, 2, 3)


def ports_change(cluster):
    """A follower's client port, then its other ports, change while it runs; then the leader's."""
    leader = cluster.leader()
    follower = next(n for n in (1, 2, 3) if n != leader)
    stays = cluster.client(follower)
    old = cluster[follower].port
    quorum = cluster.specs[follower].split(";")[0]
    new = zk.free_port()
    cluster.names[str(new)] = "<another>"
    cluster.reconfig(joining=f"server.{follower}={quorum};127.0.0.1:{new}")
    cluster[follower].port = new
    cluster.mode(follower, "follower")
    zk.wait_for("the old port to close", lambda: not connects(old))
    stays.exists("/")
    stop(stays)
    cluster.reconfig(joining=f"server.{follower}={cluster.fresh(follower)}")
    cluster[follower].port = client_port(cluster, follower)
    cluster.mode(follower, "follower")
    cluster.write("/follower-moved")
    cluster.replace_leader(joining=f"server.{leader}={cluster.fresh(leader)}")
    cluster[leader].port = client_port(cluster, leader)
    zk.wait_for("the old leader to serve", lambda: cluster[leader].mode() is not None)
    cluster.admin.set_hosts(cluster.ensemble.addresses)
    cluster.write("/leader-moved")
    cluster.show(1, 2, 3)
    restart(cluster)
    cluster.show(1, 2, 3)


def client_port(cluster, number):
    text = cluster.config().decode()
    return int(re.search(rf"server\.{number}=.*:(\d+)$", text, re.M)[1])


def connects(port):
    try:
        zk.socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def restart(cluster):
    """All of them, with the files they have written."""
    for number in cluster.started:
        cluster[number].stop()
    for number in cluster.started:
        cluster[number].start(wait=False)
    for number in cluster.started:
        cluster[number].wait_serving()


def one_becomes_three(cluster):
    """A single server of an ensemble, and two that join it."""
    cluster.mode(1, "leader")
    cluster.show(1)
    cluster.files(1)
    for number in (2, 3):
        cluster.add(number)
        cluster.reconfig(joining=members(cluster, number))
        cluster.mode(number, "follower")
    cluster.write("/three")
    restart(cluster)
    cluster.show(1, 2, 3)
    cluster.write("/restarted")
    cluster.reconfig(leaving="1")
    cluster.write("/two")
    cluster.reconfig(leaving="2")
    cluster.show(3)


def one_was_away(cluster):
    """A server that was down does not know its leader; the vote of one that was removed, and still
    follows, tells it."""
    cluster[1].stop()
    cluster.add(4)
    cluster.add(5)
    cluster.reconfig(joining=members(cluster, 4, 5))
    cluster.mode(5, "follower")
    cluster.replace_leader(leaving="2,3")
    cluster.write("/away")
    cluster[2].stop()
    cluster[1].start()
    cluster.mode(1, "follower")
    cluster.show(1, 4, 5)
    cluster.files(1)


def hierarchy(cluster):
    """Groups and weights: by list only."""
    cluster.show(1, 2, 3)
    cluster.reconfig(leaving="1")
    groups = ",group.1=1:2:3,weight.1=1,weight.2=2,weight.3=1"
    cluster.reconfig(members=members(cluster, 1, 2, 3) + groups)
    cluster.show(1, 2, 3)
    cluster[1].stop()
    cluster.write("/two-and-three")
    cluster[1].start()
    cluster.reconfig(members=members(cluster, 1, 2, 3))
    cluster.reconfig(leaving="1")
    cluster.show(2, 3)


GROUPS = {"group.1": "1:2:3", "weight.1": 1, "weight.2": 1, "weight.3": 1}
SCENARIOS = {
    grows_and_shrinks: (5, 3, {}),
    leader_goes: (3, 3, {}),
    errors: (5, 3, {}),
    ports_change: (3, 3, {}),
    one_becomes_three: (3, 1, {"standaloneEnabled": "false"}),
    one_was_away: (5, 3, {}),
    hierarchy: (3, 3, GROUPS),
}


def play(lab, scenario, kinds):
    total, size, config = SCENARIOS[scenario]
    cluster = Cluster(lab, kinds[:total], size, config)
    scenario(cluster)
    return cluster.end()


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.__name__)
def test_as_java(lab, quorum_kind, scenario):
    expected = play(lab, scenario, [zk.JAVA] * 5)
    if any("ConnectionLoss" in step for step in expected):
        # Java's leader went before it had answered: no example to hold ours to.
        expected = play(lab, scenario, [zk.JAVA] * 5)
    assert expected == play(lab, scenario, [quorum_kind] * 5)


@pytest.mark.parametrize("leads", (zk.JAVA, "under test"))
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.__name__)
def test_mixed(lab, quorum_kind, scenario, leads, long):
    """The highest id leads at first. In the short form the scenario with most steps alone."""
    if not long and scenario is not grows_and_shrinks:
        pytest.skip("only in the long form")
    one, other = (quorum_kind, zk.JAVA) if leads == zk.JAVA else (zk.JAVA, quorum_kind)
    assert play(lab, scenario, [one, one, other, one, other])


def test_oracle(lab, quorum_kind):
    """One of two servers is lost: the other goes on if the oracle lets it, as Java's does."""

    def program(kind):
        oracle = lab.directory / f"oracle-{kind}"
        oracle.write_text("0")
        cluster = Cluster(lab, [kind] * 2, 2, {"oraclePath": oracle})
        cluster.write("/both")
        cluster[1].stop()
        zk.wait_for("2 to give up", lambda: cluster[2].mode() is None)
        oracle.write_text("1")
        cluster.mode(2, "leader")
        cluster.write("/alone")
        oracle.write_text("0")
        cluster[1].start()
        cluster.mode(1, "follower")
        cluster.write("/both-again")
        oracle.write_text("1")
        cluster[1].kill()
        cluster.write("/alone-again")
        cluster.mode(2, "leader")
        return cluster.end()

    assert program(zk.JAVA) == program(quorum_kind)


def test_removed_server_restarts(lab, quorum_kind):
    """Who is no member does not start; nor does it on Java."""

    def program(kind):
        cluster = Cluster(lab, [kind] * 3, 3)
        cluster.reconfig(leaving="1")
        cluster.mode(1, "follower")
        cluster.show(1, 2, 3)
        cluster[1].stop()
        cluster[1].start(wait=False)
        cluster[1].process.wait(30)
        cluster.say("exit", str(cluster[1].process.returncode))
        assert "My id 1 not in the peer list" in cluster[1].tail()
        cluster.files(1)
        return cluster.end()

    assert program(zk.JAVA) == program(quorum_kind)


def test_nobody_is_left_whom_it_knew(lab, quorum_kind):
    """A server that was down while all others were replaced: they keep looking for it. (Java's
    servers do not, once they have a leader.)"""
    if quorum_kind != zk.OURS:
        pytest.skip("Java waits for somebody who asks")
    cluster = Cluster(lab, [quorum_kind] * 5, 3)
    cluster[1].stop()
    for number in (4, 5):
        cluster.add(number)
    cluster.reconfig(joining=members(cluster, 4, 5))
    cluster.reconfig(leaving="2,3")
    cluster.write("/others")
    cluster[2].stop()
    cluster[3].stop()
    cluster[1].start()
    cluster.mode(1, "follower")
    cluster.show(1, 4, 5)


# Files for `reconfig -file` in which something is wrong.
WRONG_FILES = {
    "unknown": "server.1=a:1:2;3\nclientPort=2181",
    "line": "server.1=a:1;3",
    "role": "server.1=a:1:2:chief;3",
    "port": "server.1=a:1:99999;3",
    "observers": "server.1=a:1:2:observer;3",
    "one-observer": "server.1=a:1:2;3\nserver.2=b:1:2:observer;3",
    "one": "server.1=a:1:2;3",
}


def typed(cluster):
    """What somebody types who looks, may not, gets the right, errs, and changes the membership."""
    one, two, three, four = (f"server.{n}={cluster.specs[n]}" for n in range(1, 5))
    directory = cluster.ensemble[1].directory
    file = directory / "members"
    file.write_text(f"# three of them\n{one}\n\n{two}\n{three}\n")
    for name, text in WRONG_FILES.items():
        (directory / name).write_text(text)
    wrong = "".join(f"reconfig -file {directory / name}\n" for name in [*WRONG_FILES, "none", ""])
    return f"""
        config
        config -s
        config -c
        config -w -c -s
        config -x
        reconfig -remove 3
        reconfig -file {file}
        addauth digest super:test
        reconfig -add {four}
        config -c
        reconfig -add {four}
        reconfig -s -remove 4
        reconfig -remove 4
        reconfig -remove 1,2,3
        reconfig -remove x
        reconfig -remove 4 -add {four}
        reconfig -add SERVER.4={four.split("=")[1].upper()} -remove 2
        config
        reconfig -add server.7=127.0.0.1:1:2
        reconfig -add server.7
        reconfig -v 1 -remove 3
        reconfig -v x -remove 3
        reconfig -members {one},{three},{four.replace("participant", "observer")}
        reconfig -members x
        reconfig -members {one} -add {two}
        reconfig -members {one} -file {file}
        {wrong}
        reconfig -file {file} -s
        reconfig
        config
        setAcl /zookeeper/config world:anyone:cdrwa
        """


def by_shell(cluster, shell):
    cluster.add(4)
    lines = "\n".join(line.strip() for line in typed(cluster).strip().splitlines())
    say_run(cluster, shell, "-waitforconnection", typed=f"{lines}\nquit\n")
    # One command each, as from a script; everybody may by now.
    version = cluster.config().decode().rsplit("version=")[1]
    file = str(cluster.ensemble[1].directory / "members")
    for words in (
        ["reconfig", "-remove", "4", "-v", version],
        ["reconfig", "-add", f"server.4={cluster.specs[4]}", "-v", version],
        ["config", "-c"],
        ["reconfig", "-file", file],
        ["reconfig", "-v", version, "-remove", "2"],
        ["reconfig", "-add"],
    ):
        say_run(cluster, shell, "-waitforconnection", *words)
    cluster.write("/shell")
    cluster.show(1, 2, 3)


def say_run(cluster, shell, *words, **typed):
    """A run of a shell, connected to a follower, for the transcript."""
    server = cluster.ensemble[1]
    ran = shells.run(shell, server.address, *words, **typed)
    out, seen = shells.events(shells.plain(ran.stdout, "no address"))
    errors = shells.plain(ran.stderr, "no address").splitlines()
    for line in [*out, *seen, *errors, str(ran.returncode)]:
        line = cluster.neutral(line.replace(str(server.directory), "DIR"))
        cluster.say("shell", re.sub(r"^([0-9a-f]{9,}) (127.*)", client_addresses, line))


def client_addresses(match):
    """What `config -c` prints: a version, and addresses, which Java takes from a hash table."""
    return f"version={match[1]} " + ",".join(sorted(match[2].split(",")))


@pytest.fixture(scope="module")
def javas_shell_on_java():
    with zk.Lab() as lab:
        cluster = Cluster(lab, [zk.JAVA] * 4, 3)
        by_shell(cluster, shells.java_shell())
        yield cluster.end()


@pytest.mark.parametrize("shell", (shells.java_shell, shells.our_shell), ids=("javas", "ours"))
def test_by_shell(lab, quorum_kind, shell, javas_shell_on_java):
    cluster = Cluster(lab, [quorum_kind] * 4, 3)
    by_shell(cluster, shell())
    assert javas_shell_on_java == cluster.end()


def test_zookeeper_admin(lab, quorum_kind):
    """Apache's class for programs that change the membership."""

    def program(kind):
        cluster = Cluster(lab, [kind] * 4, 3)
        cluster.add(4)
        addresses = ",".join(cluster[n].address for n in (1, 2, 3))
        lines = [f"server.{n}={cluster.specs[n]}" for n in range(1, 5)]
        text = javatools.ours("Administration", addresses, *lines)
        for line in text.splitlines():
            cluster.say("admin", line)
        return cluster.end()

    assert program(zk.JAVA) == program(quorum_kind)

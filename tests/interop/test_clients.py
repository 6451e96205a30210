"""Apache's Java client, its shell, Curator and the C client: on the server under test they print
what they print on Java 3.9.5, on fresh servers both."""

import difflib
import re
import subprocess
import time

import ensembles
import javatools
import pytest
import tree
import zk

FLAGS = [*tree.FLAGS, "-Dzookeeper.enforceQuota=true"]
SHELL = "org.apache.zookeeper.ZooKeeperMain"
C_CLIENT = "/usr/lib/zookeeper/bin/cli_mt"

# Times, ports and session ids, which differ from run to run.
VARYING = [
    (re.compile(r"\w{3} \w{3} +\d+ \d\d:\d\d:\d\d (\w+ )?\d{4}"), "TIME"),
    (re.compile(r"127\.0\.0\.1:\d+"), "ADDRESS"),
    (re.compile(r"0x1[0-9a-f]{14}\b"), "SESSION"),
    (re.compile(r"\b1[0-9]{12}\b"), "MILLISECONDS"),
]


def normalised(text):
    for pattern, name in VARYING:
        text = pattern.sub(name, text)
    return text.splitlines()


def assert_same_transcript(lab, kind, program):
    """program(server) -> text; the same on Java and on the server under test."""
    java, other = (
        normalised(program(lab.server(k, flags=FLAGS).start())) for k in (zk.JAVA, kind)
    )
    assert len(java) > 5, java
    difference = list(difflib.unified_diff(java, other, zk.JAVA, kind, n=3, lineterm=""))
    assert not difference, "\n".join(difference[:80])


@pytest.mark.parametrize("program", ["Operations", "Reconnect"])
def test_java_client(lab, kind, program):
    assert_same_transcript(lab, kind, lambda s: javatools.ours(program, s.address))


def test_curator_recipes(lab, kind):
    server = lab.server(kind, flags=FLAGS).start()
    text = javatools.ours("Recipes", server.address)
    assert "FAILED" not in text
    assert text.count("ok ") == 19, text


def test_curator_recipes_on_three_servers(lab, quorum_kind):
    ensemble = lab.ensemble([quorum_kind] * 3, flags=FLAGS).start()
    text = javatools.ours("Recipes", ensemble.addresses)
    assert text.count("ok ") == 19, text


def test_curator_recipes_while_leaders_are_killed(lab, quorum_kind, long):
    """Held locks are held, ephemerals stay, counts are exact, nobody's session is lost."""
    rounds = 10 if long else 3
    ensemble = lab.ensemble([quorum_kind] * 3, ensembles.CONFIG, FLAGS).start()
    program = javatools.command(
        "LeaderLoss", ensemble.addresses, rounds, classpath=javatools.compiled()
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(program, **pipes, preexec_fn=zk.die_with_parent) as running:
        said = []
        for line in running.stdout:
            said.append(line.strip())
            if line == "ready\n":
                leader = ensemble.leader()
                leader.kill()
                running.stdin.write("go\n")
                running.stdin.flush()
            elif line == "ok mutex handed on\n":
                leader.start()
    assert running.returncode == 0, said
    assert said.count("ok mutex handed on") == rounds and said[-1] == "ok turns"


SHELL_LINES = """create /a first
create -s /a/s- x
create -e /a/e x
create -c /a/box x
create -t 600000 /a/t x
create /a again
create /none/x y
ls /
ls -s /a
ls -R /a
get /a
get -s /a
set /a second
set -v 9 /a third
set -s /a third
stat /a
stat /none
getAcl /a
getAcl -s /a
setAcl /a world:anyone:cdrwa
whoami
addauth digest bob:secret
create /bob x auth::cdrwa
getAcl /bob
setquota -n 5 /a
setquota -b 100 /a
listquota /a
listquota /none
delquota -n /a
delquota -b /a
getEphemerals /a
getAllChildrenNumber /a
delete /a
delete -v 7 /bob
delete /bob
delete /bob
config
reconfig -remove 5
sync /a
deleteall /a
ls /
version
nonsense
quit
"""


def test_shell_session(lab, kind):
    """Many commands typed into one shell."""

    def program(server):
        text = javatools.java(
            SHELL, "-server", server.address, "-waitforconnection", standard_input=SHELL_LINES,
            check=False, errors_too=True,
        )  # fmt: skip
        # The watcher's thread prints when it likes.
        return WATCHER.sub("", text)

    assert_same_transcript(lab, kind, program)


def test_shell_one_command(lab, kind):
    """One command in the arguments: what it prints and its exit code."""

    def program(server):
        text = ""
        for words in (["create", "/a", "x"], ["get", "/a"], ["get", "/none"], ["ls", "/"]):
            text += f"$ {words}\n"
            text += javatools.java(
                SHELL, "-server", server.address, *words, check=False, errors_too=True
            )
        return WATCHER.sub("", text)

    assert_same_transcript(lab, kind, program)


def our_shell(server, *words, typed=None):
    run = subprocess.run(
        [zk.binary(), "cli", "-server", server.address, *words],
        input=typed, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    errors = [line for line in run.stderr.splitlines() if not javatools.LOG_LINE.match(line)]
    return run.stdout + "\n".join(["-- errors:", *errors, f"-- exit code {run.returncode}\n"])


WATCHER = re.compile(r"\nWATCHER::\n\nWatchedEvent .*\n")


def test_our_shell_prints_what_java_s_does(lab):
    """Both shells, each on a fresh Java server."""
    if not zk.binary().exists():
        pytest.skip(f"no {zk.binary()}")
    servers = [lab.server(zk.JAVA, flags=FLAGS).start() for _ in range(2)]
    typed = SHELL_LINES.replace("version\n", "")
    java = javatools.java(
        SHELL, "-server", servers[0].address, "-waitforconnection", standard_input=typed,
        check=False, errors_too=True,
    )  # fmt: skip
    ours = our_shell(servers[1], "-waitforconnection", typed=typed)
    for words in (["create", "/z", "x"], ["get", "/z"], ["get", "/none"], ["ls", "/"]):
        java += javatools.java(
            SHELL, "-server", servers[0].address, *words, check=False, errors_too=True
        )
        ours += our_shell(servers[1], *words)
    java, ours = (normalised(WATCHER.sub("", text)) for text in (java, ours))
    difference = list(difflib.unified_diff(java, ours, "Java", "ours", n=3, lineterm=""))
    assert not difference, "\n".join(difference[:80])


C_LINES = [
    "create /a", "create +e /e", "create +s /a/s-", "create2 /b", "create +c /box",
    "create +t=600000 /t", "create /a", "create /none/x", "set /a data", "get /a", "get /none",
    "exists /a", "exists /none", "ls /a", "ls2 /a", "ls /none", "sync /a", "wexists /w",
    "create /w", "delete /w", "delete /none", "delete /a", "addauth digest bob:secret",
    "config", "ls /",
]  # fmt: skip


def test_c_client(lab, kind):
    assert_same_transcript(lab, kind, c_session)


def c_session(server):
    """The C client's completions come in order, so when the marker's is there, the line's is."""
    shell = subprocess.Popen(
        [C_CLIENT, server.address],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=zk.die_with_parent,
        bufsize=0,
    )
    try:
        text = ""
        for number, line in enumerate(C_LINES):
            marker = f"/marker-{number}"
            shell.stdin.write(f"{line}\nget {marker}\n".encode())
            printed = read_until(shell, f"{marker}: rc = -101\n")
            text += f"$ {line}\n" + settled(printed)
        shell.stdin.write(b"quit\n")
        shell.wait(20)
    finally:
        shell.kill()
    return text


def settled(printed):
    """Without log lines and timings, and sorted, as two threads print: also the end of what the
    marker before this command printed (`Stat:`, `null`) comes when it likes."""
    varying = re.compile(r"time = \d+ msec|\d{4}-\d\d-\d\d .*|Stat:|null|")
    lines = [line for line in printed.splitlines() if not varying.fullmatch(line)]
    return "".join(f"{line}\n" for line in sorted(lines))


def read_until(shell, end):
    text, deadline = b"", time.monotonic() + 30
    while not text.decode(errors="replace").endswith(end):
        assert time.monotonic() < deadline and shell.poll() is None, text
        text += shell.stdout.read(1)
    return text.decode(errors="replace")

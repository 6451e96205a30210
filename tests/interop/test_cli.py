"""The shell against Apache's: the same lines typed into both, each against a fresh Java server, give
the same text on standard output and standard error, the same events and the same exit codes."""

import pytest
import zk
from shells import events, java_shell, our_shell, plain, run

SESSION = r"""
help
ls
ls /
ls -s /
ls -z /
ls -?
create /a foo
create /a foo
printwatches
printwatches off
printwatches on
create
create /null
get /null
create -e /a/e x
create -e /a/e/f x
create -s /a/s x
create -c /a/c
create -t 5000 /a/ttl x
create -t x /a/ttl2
create -t 5 -e /q
create -t -5 /q
create -e -c /q
create /bad acl foo
create /bad acl ip:bogus:r
create /é 'grüße 你好'
get /é
get /a
get -s /nope
get -b /a
get -x /a
get /nope
get a
get /a/
get /a//b
get "/a" watch
get -q=1 /
get -sb /a
set /a 'hello world'
get /a
set /a
set -s /a b
set -v 77 /a b
set /a b -v
set -b /a aGk=
get /a
delete /a
delete /nope 3
delete -v 9 /a/s0000000001
stat /a
stat /nope
stat -w /nope
create /nope now
getAcl /a
getAcl -s /a
getAcl /missing
setAcl /a world:anyone:cdrwa
setAcl /a foo
setAcl /a world:anyone:xcdrwa
setAcl -R /a world:anyone:cdrwa
setAcl -s /missing world:anyone:r
addauth digest u:p
create /private x auth::cdrwa
getAcl /private
whoami
sync /a
sync x
setquota -n 5 /a
setquota -b 1 /a
setquota -N 50 /a
setquota -n 5 /a/e
setquota -n 5 /missing
setquota -n 0 /a
setquota -n x /a
setquota -n 1 -b 2 /a
setquota /a
setquota -n 1 /zookeeper/quota/x
listquota /a
listquota /missing
delquota -n /a
listquota /a
delquota /a
delquota /a
getEphemerals
getEphemerals /a
getEphemerals x
getAllChildrenNumber /a
getAllChildrenNumber /missing
addWatch /a
addWatch -m PERSISTENT /b
addWatch -m foo /b
create /a/w x
set /a/w y
delete /a/w
removewatches /a
removewatches /a
removewatches /b -p
removewatches
ls -w /a
get -w /a
create /a/w y
set /a zz
history
redo 6
redo 9999
redo
config
config -s
config -c
reconfig -add x
reconfig -remove 3
reconfig
reconfig -add x -members y
ls -R /
ls -R /missing
deleteall /a
deleteall /missing
deleteall
version x
foo
close
ls /
connect
ls /
quit
"""

# Apart from the long session, and never switched on again: Java's shell prints an event when its
# other thread gets to it, whatever was typed since.
QUIET = """
addWatch /
printwatches off
create /a foo
ls /
quit
"""

ONE_SHOTS = [
    ("ls", "/"),
    ("get", "/missing"),
    ("create", "-s", "/one", "shot"),
    ("nonsense",),
    ("get",),
    ("-waitforconnection", "stat", "/"),
]


@pytest.fixture
def transcripts(tmp_path):
    def both(*words, typed=""):
        results = []
        for name, shell in [("java", java_shell()), ("ours", our_shell())]:
            directory = tmp_path / f"{name}-{len(list(tmp_path.iterdir()))}"
            server = zk.Server(zk.JAVA, directory).start()
            try:
                result = run(shell, server.address, *words, typed=typed)
            finally:
                server.kill()
            out, seen = events(plain(result.stdout, server.address))
            err = plain(result.stderr, server.address).splitlines()
            results.append({"out": out, "events": seen, "err": err, "rc": result.returncode})
        return results

    return both


@pytest.mark.parametrize("typed", [SESSION, QUIET], ids=["long", "quiet"])
def test_a_session_reads_like_javas(transcripts, typed):
    java, ours = transcripts(typed=typed.lstrip())
    for part in java:
        assert ours[part] == java[part], part


@pytest.mark.parametrize("words", ONE_SHOTS, ids=" ".join)
def test_one_command_ends_like_javas(transcripts, words):
    java, ours = transcripts(*words)
    for part in java:
        assert ours[part] == java[part], part


def test_a_server_that_is_not_there():
    server = f"127.0.0.1:{zk.free_port()}"
    java, ours = [run(shell, server, "ls", "/") for shell in (java_shell(), our_shell())]
    for result in (java, ours):
        last = plain(result.stderr, server).splitlines()[-1]
        assert last == "KeeperErrorCode = ConnectionLoss for /"
        assert (result.returncode, result.stdout) == (1, f"Connecting to {server}\n")

"""Apache's shell and ours: run on the same lines, and what they print made comparable."""

import os
import re
import subprocess

import zk


def java_shell():
    return ["java", "-XX:TieredStopAtLevel=1", "-Dfile.encoding=UTF-8", "-cp", zk.classpath("3.9.5"),
            "org.apache.zookeeper.ZooKeeperMain"]  # fmt: skip


def our_shell():
    return [str(zk.binary()), "cli"]


def run(shell, server, *words, typed=""):
    command = [*shell, "-server", server, *words]
    env = {**os.environ, "LC_ALL": "C.UTF-8", "TZ": "UTC"}
    return subprocess.run(command, input=typed, capture_output=True, text=True, timeout=120, env=env)


def events(text):
    """Takes the events out of the output: they come from another thread, whenever they come."""
    found = sorted(re.findall(r"WatchedEvent .*", text))
    # How often a session's own beginning and end are seen depends on when threads end.
    found = [event for event in found if "type:None" not in event]
    lines = [line for line in text.splitlines() if line.strip() and line != "WATCHER::"]
    return [line for line in lines if not line.startswith("WatchedEvent ")], found


def plain(text, server):
    """Without log lines and what differs from run to run: addresses, zxids, sessions, dates."""
    text = re.sub(r"(?m)^\d{4}-\d\d-\d\d .* (ERROR|WARN) .*\n", "", text)
    text = text.replace(server, "SERVER")
    text = re.sub(r"0x[0-9a-f]{3,}", "0xID", text)
    return re.sub(r"\w{3} \w{3} \d\d \d\d:\d\d:\d\d UTC 20\d\d", "DATE", text)

"""Apache's own programs, run in a JVM: the formatters of files, the shell, and our test clients."""

import functools
import os
import re
import subprocess
from pathlib import Path

import zk

LOG_LINE = re.compile(r"\d{4}-\d\d-\d\d |\s+at |[a-z]+\.[\w.$]+(Exception|Error)")


def command(main, *words, classpath=None):
    return [
        "java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Duser.timezone=UTC",
        "-Dfile.encoding=UTF-8", "-Dstdout.encoding=UTF-8", "-Dsun.stdout.encoding=UTF-8",
        "-cp", classpath or zk.classpath("3.9.5"), main, *map(str, words),
    ]  # fmt: skip


def java(
    main, *words, classpath=None, timeout=300, check=True, standard_input=None, errors_too=False
):
    """Runs a main class of Apache's jars; returns what it printed. errors_too adds standard error
    (but for log lines) and the exit code."""
    run = subprocess.run(
        command(main, *words, classpath=classpath),
        input=standard_input,
        stdin=None if standard_input is not None else subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout,
        env=os.environ | {"LC_ALL": "C.UTF-8"},
        preexec_fn=zk.die_with_parent,
    )
    if check and run.returncode != 0:
        raise AssertionError(f"{main} ended with {run.returncode}:\n{run.stdout}\n{run.stderr}")
    if errors_too:
        errors = [x for x in run.stderr.splitlines() if not LOG_LINE.match(x)]
        return run.stdout + "\n".join(["-- errors:", *errors, f"-- exit code {run.returncode}\n"])
    return run.stdout


def dump_log(path):
    """TxnLogToolkit's text for a transaction log."""
    return java("org.apache.zookeeper.server.persistence.TxnLogToolkit", "-d", path)


def dump_snapshot(path):
    """SnapshotFormatter's text for a snapshot, data included."""
    return java("org.apache.zookeeper.server.SnapshotFormatter", "-d", path)


@functools.cache
def compiled():
    """The class path with our Java programs (java/*.java), compiled once when they change."""
    sources = sorted((zk.HERE / "java").glob("*.java"))
    classes = zk.cache() / "classes"
    newest = max(s.stat().st_mtime for s in sources)
    stamp = classes / ".stamp"
    names = "\n".join(str(s) for s in sources)
    if not stamp.exists() or stamp.stat().st_mtime < newest or stamp.read_text() != names:
        classes.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            ["javac", "-nowarn", "-d", str(classes), "-cp", zk.classpath("3.9.5"), *sources],
            check=True,
        )
        stamp.write_text(names)
    return f"{classes}:{zk.classpath('3.9.5')}"


def ours(name, *words, timeout=300):
    """Runs java/NAME.java's main; returns what it printed."""
    return java(name, *words, classpath=compiled(), timeout=timeout)


def log_files(directory, prefix):
    """Files like log.1a of a version-2 directory, in order of zxid."""
    files = [f for f in Path(directory).iterdir() if f.name.startswith(prefix + ".")]
    return sorted(files, key=lambda f: int(f.name.split(".")[1], 16))

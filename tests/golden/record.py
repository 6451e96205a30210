#!/usr/bin/env python3
"""Records golden bytes from Apache's Java server 3.9.5 (README.md says what the files are).

    record.py wire [SCENARIO...]    tests/golden/wire/*.txt, one file a scenario
    record.py disk                  tests/golden/disk/*, data directories and Java's dumps of them

Run by hand when a scenario is added; the tests read the files.
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "interop"))
sys.path.insert(0, str(HERE))

import scenarios  # noqa: E402
import wire  # noqa: E402
import zk  # noqa: E402

# super:test
SUPER = "-Dzookeeper.DigestAuthenticationProvider.superDigest=super:D/InIHSb7yEEbrWz8b9l71RjZJU="
FLAGS = [SUPER, "-Dzookeeper.extendedTypesEnabled=true"]


def play(scenario, kind):
    """Runs one scenario on a fresh server of that kind; returns its log."""
    with zk.Lab() as lab:
        server = lab.server(kind, flags=FLAGS).start()
        stage = scenarios.Stage(server.address)
        try:
            scenario(stage)
        finally:
            stage.close()
        return stage.log


def text(log):
    """The log as lines of a wire file."""
    lines = []
    for name, sign, what in log:
        if sign == "@":
            lines.append(f"\n@ {what}")
        elif what is None:
            lines.append(f"{name}{sign}")
        else:
            line = f"{name}{sign} {what.bytes.hex()}"
            if what.varying:
                line += " ~" + ",".join(f"{o}:{n}" for o, n in what.varying)
            lines.append(line)
    return "\n".join(lines) + "\n"


def masked(lines):
    """A wire file's lines made comparable between two runs: every run-dependent byte replaced, and
    lists in which the Java server has no order (children, identities) sorted."""
    out, kinds = [], {}
    for line in lines:
        head, _, varying = line.partition(" ~")
        name, _, digits = head.partition(" ")
        if name.endswith(">"):
            kinds[name[:-1], digits[8:16]] = int(digits[16:24] or "0", 16)
        elif name.endswith("<"):
            digits = in_order(digits, kinds.get((name[:-1], digits[8:16])))
        if varying and not name.startswith("@"):
            for part in varying.split(","):
                offset, length = (2 * int(n) for n in part.split(":"))
                digits = digits[:offset] + "?" * length + digits[offset + length :]
        out.append(f"{name} {digits}".strip())
    return out


def in_order(digits, kind):
    """A reply with the strings of its list sorted, if it is one that has no order of its own."""
    strings_each = {wire.GET_CHILDREN: 1, wire.GET_CHILDREN2: 1, wire.WHO_AM_I: 2}.get(kind)
    frame = bytes.fromhex(digits)
    if not strings_each or len(frame) <= 24:
        return digits
    reader = wire.Reader(frame)
    reader.at = 20
    items = []
    for _ in range(reader.int()):
        start = reader.at
        for _ in range(strings_each):
            reader.buffer()
        items.append(frame[start : reader.at])
    return (frame[:24] + b"".join(sorted(items)) + frame[reader.at :]).hex()


def record_wire(names):
    (HERE / "wire").mkdir(exist_ok=True)
    for scenario in scenarios.SCENARIOS:
        if names and scenario.__name__ not in names:
            continue
        first, second = (text(play(scenario, zk.JAVA)) for _ in range(2))
        if masked(first.splitlines()) != masked(second.splitlines()):
            raise SystemExit(f"{scenario.__name__}: two runs on Java differ")
        (HERE / "wire" / f"{scenario.__name__}.txt").write_text(first)
        print(f"{scenario.__name__}: {len(first)} characters")


def main():
    what, names = (sys.argv[1:] or [""])[0], sys.argv[2:]
    if what == "wire":
        record_wire(names)
    elif what == "disk":
        import disk

        disk.record(HERE / "disk")
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main()

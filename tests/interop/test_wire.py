"""Every request, reply and event, byte for byte as the Java server 3.9.5 was recorded."""

import difflib

import pytest
import record
import scenarios
import zk


# Where we differ on purpose: src/ARCHITECTURE.md, "Divergences".
DIFFERS = {
    "create_session": "only a handshake makes a session",
    "broken_clients": "null paths, a write in a multiRead: no client sends them",
}


@pytest.mark.parametrize("scenario", scenarios.SCENARIOS, ids=lambda s: s.__name__)
def test_bytes_are_java_s(kind, scenario):
    name = scenario.__name__
    if kind == zk.OURS and name in DIFFERS:
        pytest.skip(DIFFERS[name])
    golden = (zk.REPO / "tests/golden/wire" / f"{name}.txt").read_text()
    played = record.text(record.play(scenario, kind))
    java, other = (record.masked(t.splitlines()) for t in (golden, played))
    difference = list(difflib.unified_diff(java, other, zk.JAVA, kind, n=4, lineterm=""))
    assert not difference, "\n".join(difference[:60])

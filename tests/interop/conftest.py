"""Fixtures of the interop tests: `lab` makes servers, `kind` is the server under test."""

import subprocess
import sys

import pytest
import zk

sys.path.insert(0, str(zk.HERE.parent / "golden"))


def pytest_addoption(parser):
    parser.addoption(
        "--server",
        default=zk.OURS,
        choices=(zk.OURS, zk.JAVA, zk.OLD_JAVA),
        help="the server under test; a Java one proves the tests themselves",
    )
    parser.addoption("--long", action="store_true", help="the long forms of the tests")


def serves():
    """Can our binary run a server at all? One that can complains of a missing configuration."""
    if not zk.binary().exists():
        return False
    probe = subprocess.run(
        [zk.binary(), "server", "/nonexistent.cfg"], capture_output=True, text=True, timeout=20
    )
    return probe.returncode != 0


@pytest.fixture(scope="session")
def kind(request):
    kind = request.config.getoption("--server")
    if kind == zk.OURS and not serves():
        pytest.skip(f"{zk.binary()} has no `server` command yet")
    return kind


@pytest.fixture
def long(request):
    return request.config.getoption("--long")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    item.failed = call.excinfo is not None or getattr(item, "failed", False)
    return outcome


@pytest.fixture
def lab(request):
    lab = zk.Lab()
    yield lab
    lab.close(failed=getattr(request.node, "failed", False))

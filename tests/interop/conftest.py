"""Fixtures of the interop tests: `lab` makes servers, `kind` is the server under test."""

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


NOT_THERE = "not there yet"


def missing(start):
    """Does our server say, when started by start(lab), that it cannot do this yet?"""
    if not zk.binary().exists():
        return True
    with zk.Lab() as lab:
        server = start(lab)
        try:
            server.wait_serving(15)
        except AssertionError:
            return NOT_THERE in server.tail()
    return False


@pytest.fixture(scope="session")
def kind(request):
    kind = request.config.getoption("--server")
    if kind == zk.OURS and missing(lambda lab: lab.server(kind).start(wait=False)):
        pytest.skip("the server is not there yet")
    return kind


@pytest.fixture(scope="session")
def quorum_kind(kind):
    """The server under test, if it can be one of an ensemble."""
    config = {"standaloneEnabled": "false"}
    if kind == zk.OURS and missing(lambda lab: lab.ensemble([kind], config).start(wait=False)[1]):
        pytest.skip("ensembles are not there yet")
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

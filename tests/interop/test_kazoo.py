"""kazoo 2.11.0's own test suite (see kazoo_suite): no failure that Java does not have."""

import subprocess

import pytest
import zk


@pytest.mark.timeout(1800)
def test_kazoo_suite_standalone(kind):
    run_suite("--server", kind, "--size", "1")


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("observers", [-1, 3], ids=["participants", "observers"])
def test_kazoo_suite_of_three(quorum_kind, observers):
    run_suite("--server", quorum_kind, "--size", "3", "--observers", str(observers))


def run_suite(*words):
    run = subprocess.run([zk.HERE / "kazoo_suite", *words], capture_output=True, text=True)
    print(run.stdout[-8000:], run.stderr[-2000:])
    assert run.returncode == 0, run.stdout.splitlines()[-1:]

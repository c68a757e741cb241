"""KATO's contract suite passes through the server's KATO-shaped routes; what differs is listed, and differs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.integration.http.server import HttpServer
from tests.integration.recovering import THREADS
from tests.integration.system import CHECKOUT, System


@pytest.fixture
def reading_back(system: System) -> Iterator[System]:
    """A system that reads back each session's last event, so that an answer of KATO's that was not saved is noticed."""
    with system.workers(THREADS):
        yield system


@pytest.mark.heavy
@pytest.mark.timeout(300)
def test_the_contract_suite_of_kato_passes_through_this_server(reading_back: System, server: HttpServer) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", "tests/contract/kato"]
    environment = os.environ | {"KATO_FRONT": "1", "KATO_URL": server.url, "PYTHONPATH": CHECKOUT}
    environment.pop("PYTEST_XDIST_WORKER", None)
    done = subprocess.run(
        command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stdout[-6_000:]
    passed, differing = map(int, re.findall(r"(\d+) passed, (\d+) xfailed", done.stdout)[0])
    assert passed > 3 * differing
    assert "Traceback" not in server.text()
    assert system_overlaps(reading_back) == 0


def system_overlaps(system: System) -> int:
    """How often two calls on one node overlapped at KATO."""
    return int(system.ask("stats")["overlaps"])

"""The KATO that the contract suite asks: the embedded one, or the one at KATO_URL.

With KATO_FRONT=1 that is no KATO but a `kato-tasks serve`, and what differs by design (differences.py) must differ.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.contract.kato.client import Kato, KatoSession, connected
from tests.contract.kato.differences import WAITING, reason_of

CHECKOUT = Path(__file__).resolve().parents[3]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not os.environ.get("KATO_FRONT"):
        return
    for item in items:
        why = reason_of(item.name)
        if why is not None:
            waits = item.name.partition("[")[0] in WAITING
            item.add_marker(pytest.mark.xfail(reason=why, strict=True, run=not waits))


@pytest.fixture(scope="session")
def contract_url() -> Iterator[str]:
    given = os.environ.get("KATO_URL")
    if given:
        yield given.rstrip("/")
        return
    paths = os.pathsep.join(filter(None, [str(CHECKOUT), os.environ.get("PYTHONPATH")]))
    with subprocess.Popen(
        [sys.executable, "-m", "kato_tasks.embedded", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": paths},
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("embedded KATO on http://"), f"no address in {line!r}"
            yield line.split()[-1]
        finally:
            process.terminate()
            process.wait(10)


@pytest.fixture(scope="session")
def contract_http(contract_url: str) -> Iterator[httpx.Client]:
    with connected(contract_url, timeout=60) as http:
        yield http


@pytest.fixture
def kato(contract_http: httpx.Client) -> Kato:
    return Kato(contract_http)


@pytest.fixture
def session(kato: Kato) -> KatoSession:
    return kato.session()

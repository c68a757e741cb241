"""`python -m kato_tasks.embedded` as a process."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

CHECKOUT = Path(__file__).resolve().parents[3]
COMMAND = [sys.executable, "-m", "kato_tasks.embedded"]


def environment() -> dict[str, str]:
    paths = os.pathsep.join(filter(None, [str(CHECKOUT), os.environ.get("PYTHONPATH")]))
    return os.environ | {"PYTHONPATH": paths}


@contextmanager
def served(*options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    with subprocess.Popen(
        [*COMMAND, "--port", "0", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("embedded KATO on http://127.0.0.1:")
            yield process, line.split()[-1]
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_cleanly_on_a_signal(number: signal.Signals) -> None:
    with served() as (process, url):
        assert httpx.get(f"{url}/health", trust_env=False).status_code == 200
        process.send_signal(number)
        output, errors = process.communicate(timeout=10)
    assert (process.returncode, output, errors) == (0, "", "")


def test_a_call_that_is_held_does_not_hold_the_stop() -> None:
    with served() as (process, url), httpx.Client(base_url=url, timeout=30, trust_env=False) as http:
        session_id = http.post("/sessions", json={"node_id": "n"}).json()["session_id"]
        http.post("/_embedded/faults", json={"rules": [{"kind": "delay", "route": "stm", "seconds": 60}]})
        with pytest.raises(httpx.ReadTimeout):
            http.get(f"/sessions/{session_id}/stm", timeout=0.2)
        began = time.monotonic()
        process.terminate()
        process.communicate(timeout=10)
    assert process.returncode == 0
    assert time.monotonic() - began < 5


def test_a_port_that_is_taken_is_said_in_one_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ended = subprocess.run(
            [*COMMAND, "--port", port],
            capture_output=True,
            text=True,
            env=environment(),
            timeout=20,
            check=False,
        )
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.startswith("the embedded KATO cannot start: ")
    assert ended.stderr.count("\n") == 1


def test_a_ranking_of_the_environment_that_cannot_be_is_said_in_one_sentence() -> None:
    ended = subprocess.run(
        [*COMMAND, "--port", "0"],
        capture_output=True,
        text=True,
        env=environment() | {"RANK_SORT_ALGO": "nope"},
        timeout=20,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith("the embedded KATO cannot start: rank_sort_algo is 'nope'; predictions rank by ")
    assert ended.stderr.count("\n") == 1


def test_latency_is_added_to_every_call() -> None:
    with served("--latency-ms", "100") as (_, url):
        assert httpx.get(f"{url}/health", trust_env=False).elapsed.total_seconds() >= 0.1


def test_an_access_log_goes_to_stderr_or_nowhere_near_stdout() -> None:
    with served("--access-log") as (process, url):
        httpx.get(f"{url}/health", trust_env=False)
        process.terminate()
        output, errors = process.communicate(timeout=10)
    assert "GET /health" in errors + output


def test_it_starts_without_the_rest_of_the_package() -> None:
    code = (
        "import sys, kato_tasks.embedded.__main__, kato_tasks.embedded.kato.server as server;"
        "allowed = ('kato_tasks.embedded', 'kato_tasks.kato_wire', 'kato_tasks.loading', 'kato_tasks.version');"
        "print([name for name in sys.modules if name.startswith('kato_tasks.')"
        " and not name.startswith(allowed)])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=20,
        check=True,
    )
    assert ended.stdout.strip() == "[]"

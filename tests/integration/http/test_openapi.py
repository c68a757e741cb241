"""The served OpenAPI document is true: schemathesis asks everything that it allows, and what it does not allow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.http.server import HttpServer
from tests.integration.system import CHECKOUT, System

HOOKS = "tests.integration.http.schemathesis_hooks"


def made(system: System) -> str:
    environment = HttpServer(system.directory, system.environment).environment()
    command = [sys.executable, "-m", "kato_tasks", "keys", "create", "--scope", "admin"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.heavy
@pytest.mark.timeout(300)
@pytest.mark.parametrize("examples", [10, pytest.param(100, marks=pytest.mark.variant)])
def test_schemathesis_finds_no_difference_between_the_document_and_the_server(
    system: System, tmp_path: Path, examples: int
) -> None:
    key = made(system)
    # No worker runs here, so nothing that is waited for would come.
    server = HttpServer(tmp_path / "server", system.environment, http_wait_seconds="0")
    server.start()
    program = str(Path(sys.executable).with_name("schemathesis"))
    command = [
        program,
        "--config-file",
        str(Path(__file__).with_name("schemathesis.toml")),
        "run",
        f"{server.url}/openapi.json",
        "--max-examples",
        str(examples),
    ]
    command += ["-H", f"Authorization: Bearer {key}", "--no-color"]
    # Of how fast examples are made, which a busy machine decides, nothing follows.
    command += ["--suppress-health-check", "all"]
    environment = os.environ | {"SCHEMATHESIS_HOOKS": HOOKS, "PYTHONPATH": CHECKOUT}
    try:
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=280, check=False
        )
    finally:
        server.stop()
    assert done.returncode == 0, done.stdout[-6_000:]
    assert "Traceback" not in server.text()


def test_the_document_has_an_example_and_problems_on_every_route_and_says_which_need_a_key(system: System) -> None:
    server = HttpServer(system.directory / "openapi", system.environment)
    server.start()
    try:
        with server.client() as client:
            document = client.get("/openapi.json").json()
            page = client.get("/docs")
    finally:
        server.stop()
    paths = document["paths"].items()
    operations = {f"{method} {path}": one for path, methods in paths for method, one in methods.items()}
    assert operations.keys() >= {"post /v1/events", "get /healthz", "get /readyz", "get /metrics"}
    assert [name for name, one in operations.items() if "security" not in one] == [
        "get /healthz",
        "get /readyz",
        "get /health",
    ]
    assert [name for name, one in operations.items() if "503" not in one["responses"]] == []
    assert [name for name, one in operations.items() if '"example' not in json.dumps(one)] == []
    assert "script-src 'unsafe-inline' https://cdn.jsdelivr.net" in page.headers["content-security-policy"]

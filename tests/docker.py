"""The Docker engine for tests, and docker-compose.yml as Compose reads it."""

import functools
import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.services import unreachable

CHECKOUT = Path(__file__).resolve().parents[1]


def require_engine() -> None:
    """Leave the test out if no Docker engine answers; in CI, fail it."""
    if (
        shutil.which("docker") is None
        or subprocess.run(["docker", "info"], capture_output=True, check=False).returncode
    ):
        unreachable("docker", "no engine answers")


def compose(*arguments: str, environment: Mapping[str, str] | None = None, timeout: float = 300) -> str:
    """Run `docker compose` on this checkout and return what it printed on stdout.

    Raises AssertionError, with everything that it printed, when it fails.
    """
    done = subprocess.run(
        ["docker", "compose", "--progress", "plain", *arguments],
        cwd=CHECKOUT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, f"docker compose {' '.join(arguments)}\n{done.stdout}{done.stderr}"[-6000:]
    return done.stdout


@functools.cache
def composed(service: str) -> dict[str, Any]:
    """Return what docker-compose.yml says of a service, with every reference resolved."""
    described: dict[str, Any] = json.loads(compose("config", "--format", "json"))["services"][service]
    return described


def grace_seconds(service: str) -> float:
    """Return how long docker-compose.yml lets a service take to end before it is killed."""
    spelled = composed(service)["stop_grace_period"]
    found = re.fullmatch(r"(?:(\d+)m)?(?:(\d+)s)?", spelled)
    assert found, spelled
    minutes, seconds = (int(number or 0) for number in found.groups())
    return 60.0 * minutes + seconds

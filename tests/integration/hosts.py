"""Applications with a Celery app of their own beside a system of ours: their workers, and programs that call."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import redis

from tests.integration.system import CHECKOUT, System, Worker

APPLICATION = "tests.integration.hosted_app"


class Host:
    """`tests.integration.hosted_app` on this system. ``installed``: our tasks are on its app."""

    def __init__(self, system: System, *, installed: bool, broker: str = "", backend: str = "") -> None:
        at = system.store.url.removesuffix("/0")
        self.system = system
        self.notes_url = f"{at}/4"
        self.environment = {
            **system.environment,
            "HOST_BROKER": broker or system.environment["KATO_TASKS_BROKER_URL"],
            "HOST_BACKEND": backend or system.environment["KATO_TASKS_RESULT_BACKEND"],
            "HOST_NOTES": self.notes_url,
            "HOSTED": "1" if installed else "",
        }

    def worker(self, name: str, *options: str) -> Worker:
        made = Worker(self.system.directory / name, self.environment, *options)
        made.application = APPLICATION
        return made

    def told(self, program: str, *words: str, **more: str) -> Any:
        """What a program of the application's prints (JSON)."""
        begun = f"import json, sys\nfrom {APPLICATION} import app\nimport kato_tasks\n"
        done = run([sys.executable, "-W", "error", "-c", begun + program, *words], self.environment | more)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def noted(self, name: str) -> list[Any]:
        with redis.Redis.from_url(self.notes_url) as client:
            return [json.loads(row) for row in client.lrange(name, 0, -1)]


def run(
    command: list[str], environment: dict[str, str], directory: Path | None = None
) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("KATO_TASKS_")}
    path = os.pathsep.join(filter(None, [str(directory) if directory else "", CHECKOUT]))
    return subprocess.run(
        command,
        env=inherited | {"PYTHONPATH": path} | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=directory,
    )

"""`kato-tasks serve` in a process of its own, and what is sent to it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import httpx

from kato_tasks.testing.services import LOOPBACK, Service
from tests.integration.system import CHECKOUT

Json = dict[str, Any]


class HttpServer(Service):
    """The server on its port of 127.0.0.1, or at another address."""

    name = "http"
    host = LOOPBACK

    def __init__(self, directory: Path, environment: dict[str, str], **more: str) -> None:
        super().__init__(directory)
        self._environment = environment | {f"KATO_TASKS_{name.upper()}": value for name, value in more.items()}

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def command(self) -> list[str]:
        return [sys.executable, "-m", "kato_tasks", "serve", "--host", self.host, "--port", str(self.port)]

    def environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("KATO_TASKS_")}
        return inherited | {"PYTHONPATH": CHECKOUT, "PYTHONUNBUFFERED": "1"} | self._environment

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/healthz", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    def text(self) -> str:
        """What it has printed so far."""
        return self._log().read_text(errors="replace")

    def client(self, key: str = "", **options: Any) -> httpx.Client:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        return httpx.Client(base_url=self.url, headers=headers, trust_env=False, **{"timeout": 30, **options})

    def rss(self) -> int:
        """Bytes of memory that its process holds."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        return 1024 * int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


def event(session: str, event_id: str | None = None, *strings: str, **more: Any) -> Json:
    one: Json = {"session_id": session, "observation": {"strings": list(strings) or ["x"]}, **more}
    return one if event_id is None else {**one, "event_id": event_id}


def post(client: httpx.Client, events: Any, **headers: str) -> httpx.Response:
    return client.post("/v1/events", json=events, headers=headers)

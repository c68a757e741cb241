"""A plain client of KATO for its contract suite: every answer as it came."""

import uuid
from collections.abc import Sequence
from typing import Any

import httpx

from kato_tasks.testing.waiting import wait_until

QUIET = {"process_predictions": False, "max_pattern_length": 0}


def fresh_node() -> str:
    """A node id that nobody has used."""
    return f"contract_{uuid.uuid4().hex[:12]}"


def connected(url: str, limits: httpx.Limits | None = None, **options: Any) -> httpx.Client:
    """A client of the KATO at `url`. KATO closes a connection that was idle for 5 s, and, unsaid, one after a 500."""
    limits = limits or httpx.Limits(keepalive_expiry=1)
    hooks: dict[str, list[Any]] = {"response": [_leave_after_an_error]}
    return httpx.Client(base_url=url, limits=limits, trust_env=False, event_hooks=hooks, **options)


def _leave_after_an_error(response: httpx.Response) -> None:
    if response.status_code == 500:
        response.read()
        response.extensions["network_stream"].close()


class KatoSession:
    """One session of KATO. The named calls expect 200 and return the body; `ask` returns whatever came."""

    def __init__(self, http: httpx.Client, created: dict[str, Any]) -> None:
        self.http = http
        self.created = created
        self.id: str = created["session_id"]
        self.node: str = created["node_id"]

    def ask(self, method: str, action: str = "", **arguments: Any) -> httpx.Response:
        path = f"/sessions/{self.id}/{action}" if action else f"/sessions/{self.id}"
        return self.http.request(method, path, **arguments)

    def observe(self, *strings: str, **rest: Any) -> dict[str, Any]:
        return body_of(self.ask("POST", "observe", json={"strings": list(strings), **rest}))

    def sequence(self, *events: Sequence[str], **rest: Any) -> dict[str, Any]:
        observations = [{"strings": list(event)} for event in events]
        return body_of(self.ask("POST", "observe-sequence", json={"observations": observations, **rest}))

    def learn(self) -> dict[str, Any]:
        return body_of(self.ask("POST", "learn"))

    def clear(self) -> dict[str, Any]:
        return body_of(self.ask("POST", "clear-stm"))

    def stm(self) -> list[list[str]]:
        stm: list[list[str]] = body_of(self.ask("GET", "stm"))["stm"]
        return stm

    def time(self) -> int:
        time: int = self.cognition()["time"]
        return time

    def cognition(self) -> dict[str, Any]:
        data: dict[str, Any] = body_of(self.ask("GET", "cognition-data"))["cognition_data"]
        return data

    def predictions(self) -> list[dict[str, Any]]:
        predictions: list[dict[str, Any]] = body_of(self.ask("GET", "predictions"))["predictions"]
        return predictions

    def learned(self, *events: Sequence[str]) -> str:
        """Learn `events` from a clean STM, wait until the pattern is seen, and return its name."""
        self.clear()
        self.sequence(*events)
        name: str = self.learn()["pattern_name"]
        self.clear()
        wait_until(lambda: self.pattern(name), 5, f"{name} is seen")
        return name

    def pattern(self, name: str) -> dict[str, Any] | None:
        """The pattern as KATO reads it, or None."""
        answer = body_of(self.http.get(f"/pattern/{name}", params={"node_id": self.node}))["pattern"]
        pattern: dict[str, Any] | None = answer["pattern"] if answer["status"] == "okay" else None
        return pattern


class Kato:
    """A KATO at some address."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http

    def session(self, node: str | None = None, **rest: Any) -> KatoSession:
        """A new session, predictions and auto-learning off unless `config` says otherwise."""
        body = {"node_id": node or fresh_node(), "config": QUIET, **rest}
        return KatoSession(self.http, body_of(self.http.post("/sessions", json=body)))


def body_of(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 200, f"{response.status_code}: {response.text[:500]}"
    body: dict[str, Any] = response.json()
    return body

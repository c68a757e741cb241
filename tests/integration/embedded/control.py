"""The routes beside KATO's own, as the tests use them."""

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx

from kato_tasks.testing.waiting import wait_until
from tests.contract.kato.client import Kato, KatoSession, body_of


def stats(kato: Kato) -> dict[str, Any]:
    return body_of(kato.http.get("/_embedded/stats"))


def faults(kato: Kato, *rules: dict[str, Any], seed: int = 1) -> None:
    body_of(kato.http.post("/_embedded/faults", json={"rules": list(rules), "seed": seed}))


def journal(kato: Kato, node: str) -> dict[str, Any]:
    return body_of(kato.http.get("/_embedded/journal", params={"node": node}))


def history(session: KatoSession) -> dict[str, Any]:
    return body_of(session.http.get(f"/_embedded/sessions/{session.id}"))


def in_flight(kato: Kato, number: int) -> None:
    """Wait until so many calls are in flight."""
    wait_until(lambda: stats(kato)["in_flight"] == number, 5, f"{number} calls in flight", every=0.005)


def apart(pool: ThreadPoolExecutor, session: KatoSession, string: str, timeout: float = 10) -> Future[httpx.Response]:
    """Observe `string` on a connection of its own; answers the future of the response."""

    def call() -> httpx.Response:
        return httpx.post(
            session.http.base_url.join(f"/sessions/{session.id}/observe"),
            json={"strings": [string]},
            timeout=timeout,
            trust_env=False,
        )

    return pool.submit(call)

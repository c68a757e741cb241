"""A gateway stands before KATO and misbehaves in every way in turn, under a running load with learns."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from kato_tasks import append_events
from kato_tasks.testing.services import KatoServer, RedisServer
from kato_tasks.testing.waiting import wait_until
from tests.gateway import HTML, Gateway, Rule
from tests.integration.recovering import THREADS, a_system, history, hold_to_the_oracle, new_name, nobody_waits
from tests.integration.system import Json, System, drained

PHASES: dict[str, list[Rule]] = {
    "401": [Rule(status=401)],
    "403": [Rule(status=403)],
    "503 and 429 after applying": [
        Rule(status=503, forward=True, share=0.25),
        Rule(status=429, forward=True, share=0.25, headers={"retry-after": "0.2"}),
        Rule(status=503, share=0.1),
    ],
    "a maintenance page": [Rule(status=200, body=HTML)],
    "another answer in JSON": [
        Rule(status=200, body=b'{"status":"maintenance"}', headers={"content-type": "application/json"}, share=0.3),
        Rule(status=200, body=b"null", headers={"content-type": "application/json"}, forward=True, share=0.2),
    ],
    "403 after applying": [Rule("learn", status=403, forward=True, share=0.5)],
    "1xx": [Rule(informational=(100, 103))],
    "closing": [Rule(close=True, share=0.5), Rule(close_silently=True)],
    "dropping": [Rule(drop=True, share=0.2), Rule(status=307, headers={"location": "https://user:secret@elsewhere/"})],
}


@pytest.fixture
def gateway(kato_url: str) -> Iterator[Gateway]:
    with Gateway(kato_url) as gateway:
        yield gateway


@pytest.fixture
def system(
    redis_server: RedisServer, kato: KatoServer, gateway: Gateway, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    directory = tmp_path_factory.mktemp("gateway")
    with a_system(redis_server, directory, kato, kato_urls=gateway.url, max_retries="1") as system:
        yield system


class Load(threading.Thread):
    """Appends histories with learns, each of a session and a node of its own, until it is told to end."""

    def __init__(self) -> None:
        super().__init__(name="load", daemon=True)
        self.appended: dict[str, list[Json]] = {}
        self._done = threading.Event()

    def run(self) -> None:
        while not self._done.wait(0.1):
            session = new_name("guest")
            events = history(session, session)
            append_events(events)
            self.appended[session] = events

    def end(self) -> None:
        self._done.set()
        self.join(30)


def met(gateway: Gateway, calls: int, phase: str) -> None:
    """Wait until so many more calls of workers, and a probe or two, were treated so."""
    due = gateway.ruled.total() + calls
    wait_until(lambda: gateway.ruled.total() >= due, 60, f"calls met {phase}")


@pytest.mark.timeout(400)
def test_a_gateway_that_misbehaves_in_every_way_loses_doubles_and_buries_nothing(
    system: System, gateway: Gateway
) -> None:
    """Invariants 3 and 4. Every learn is counted once, or counted as unknown."""
    load = Load()
    with system.workers(THREADS) as (worker,):
        load.start()
        try:
            for phase, rules in PHASES.items():
                gateway.rules(rules)
                met(gateway, 12, phase)
                gateway.clear()
                # What came before is applied, so that each kind of trouble meets calls of every kind.
                drained(list(load.appended)[:1], timeout=60)
        finally:
            gateway.clear()
            load.end()
        drained(list(load.appended), timeout=200)
        said = worker.text()
    nobody_waits(system)
    hold_to_the_oracle(system, [event for events in load.appended.values() for event in events])
    lines = [line for line in said.splitlines() if "kato.misdirected" in line]
    for status in ("401", "403", "200", "307"):
        # One process: once when it begins, and once more where the answers had been KATO's again meanwhile.
        assert 1 <= sum(f"status={status} " in line for line in lines) <= 3, lines
    assert any("KATO_TASKS_KATO_URLS redirects to https://elsewhere/;" in line for line in lines)
    assert "secret" not in said

"""The embedded KATO without a network keeps the promises of the transport's port."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from kato_tasks.embedded.kato.app import create_app
from kato_tasks.embedded.kato.control import answer
from kato_tasks.embedded.kato.kato import Request
from kato_tasks.errors import LeaseLost, OutcomeUnknown
from kato_tasks.ports.kato import KatoRequest
from kato_tasks.testing.kato_in_process import KatoInProcess

URL = "http://kato"


@pytest.fixture
def kato() -> Iterator[KatoInProcess]:
    transport = KatoInProcess(create_app(), timeout_seconds=5)
    yield transport
    transport.close()


def asked(path: str = "/health", method: str = "GET", body: Any = None, **more: Any) -> KatoRequest:
    return KatoRequest(URL, method, path, "route", None if body is None else json.dumps(body).encode(), **more)


def delays(kato: KatoInProcess, seconds: float, kind: str = "delay_after") -> None:
    rules = {"rules": [{"kind": kind, "route": "create", "seconds": seconds}], "seed": 1}
    assert answer(kato.app.state, Request("POST", "/_embedded/faults", b"", json.dumps(rules).encode())).status == 200


def create(node: str, **more: Any) -> KatoRequest:
    return asked("/sessions", "POST", {"node_id": node}, **more)


def test_an_answer_has_its_status_its_body_and_its_form(kato: KatoInProcess) -> None:
    found = kato.send(create("n"))
    assert (found.status, found.content_type) == (200, "application/json")
    assert json.loads(found.body)["node_id"] == "n"
    gone = kato.send(asked("/sessions/no%20such/stm"))
    assert (gone.status, json.loads(gone.body)["error"]["session_id"]) == (404, "no such")


def test_calls_overlap(kato: KatoInProcess) -> None:
    delays(kato, 0.3)
    calls = kato.calls()
    began = time.monotonic()
    for i in range(5):
        calls.begin(create(f"n{i}"), i)
    ended: list[Any] = []
    while len(calls):
        ended += calls.wait()
    assert sorted(tag for tag, _, error in ended if error is None) == [0, 1, 2, 3, 4]
    assert time.monotonic() - began < 1.2


def test_a_late_answer_and_a_broken_call_leave_the_outcome_unknown(kato: KatoInProcess) -> None:
    delays(kato, 5)
    with pytest.raises(OutcomeUnknown, match="in time"):
        kato.send(create("n", timeout_seconds=0.1))
    delays(kato, 0, "drop_after")
    with pytest.raises(OutcomeUnknown, match="no answer"):
        kato.send(create("n"))


def test_nothing_is_sent_once_the_lease_may_be_lost(kato: KatoInProcess) -> None:
    with pytest.raises(LeaseLost):
        kato.send(create("n", may_send=lambda: False))
    assert kato.app.state.requests == {}


def test_calls_under_way_are_taken_over_by_another(kato: KatoInProcess) -> None:
    delays(kato, 0.3)
    mine, other = kato.calls(wakeable=True), kato.calls()
    other.begin(create("n"), "tag")
    mine.adopt(other)
    assert (len(mine), len(other)) == (1, 0)
    ((tag, reply, error),) = mine.wait()
    assert (tag, error) == ("tag", None)
    assert reply is not None


def test_a_wait_ends_with_its_time_or_when_somebody_wakes_it(kato: KatoInProcess) -> None:
    calls = kato.calls(wakeable=True)
    assert calls.wait(0.05) == []
    threading.Timer(0.1, calls.wake).start()
    assert calls.wait() == []

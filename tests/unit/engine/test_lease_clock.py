"""A holder asks its own clock before each call to KATO: a process that was stopped must not go on where it was."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from kato_tasks.domain.kato_session import Binding
from kato_tasks.domain.log_entry import Logged
from kato_tasks.engine.drain.context import KatoSessionOptions
from kato_tasks.engine.running import drainer as running
from kato_tasks.engine.running import lease_renewal
from kato_tasks.engine.running.drainer import Drainer, Token
from kato_tasks.engine.running.lease_renewal import LeaseRenewer
from kato_tasks.engine.running.slices import DrainOptions
from kato_tasks.errors import LeaseLost
from kato_tasks.ports.effects import Effect
from kato_tasks.ports.kato import KatoReply, KatoRequest
from kato_tasks.ports.lanes import Commit, NextWork, Work, WriteIntent

URL = "http://kato"
BODY = '{"strings":["a"],"vectors":[],"emotives":{},"metadata":{},"unique_id":"e1"}'


class Clock:
    """Monotonic seconds that pass only when told."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Store:
    """Answers every write; the process is stopped for that time when the intent's answer comes."""

    def __init__(self, clock: Clock, stopped_seconds: float) -> None:
        self._clock, self._stopped = clock, stopped_seconds
        self.asked: list[type] = []

    def run(self) -> str:
        return "run"

    def execute(self, operations: Sequence[Effect[Any]]) -> list[Any]:
        out: list[Any] = []
        for operation in operations:
            self.asked.append(type(operation))
            if isinstance(operation, WriteIntent):
                self._clock.now += self._stopped
            out.append(NextWork(-1, None, ()) if isinstance(operation, Commit) else None)
        return out


class Kato:
    """Counts what is sent, and applies it."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self._ended: list[tuple[Any, KatoReply | None, Exception | None]] = []

    def calls(self, *, wakeable: bool = False) -> Kato:
        return self

    def __len__(self) -> int:
        return len(self._ended)

    def begin(self, request: KatoRequest, tag: Any) -> None:
        if request.may_send is not None and not request.may_send():
            self._ended.append((tag, None, LeaseLost("too late")))
            return
        self.sent.append(request.route)
        answer = {"observations_processed": 1, "results": [{"time": 1}], "final_stm_length": 1}
        self._ended.append((tag, KatoReply(200, json.dumps(answer).encode()), None))

    def wait(self, timeout: float | None = None) -> list[tuple[Any, KatoReply | None, Exception | None]]:
        ended, self._ended = self._ended, []
        return ended

    def adopt(self, other: object) -> None:
        raise AssertionError("nothing is left to the background here")

    def withdraw(self, url: str) -> list[Any]:
        return []

    def wake(self) -> None:
        raise AssertionError("nobody waits in another thread here")

    def close(self) -> None:
        return None

    def send(self, request: KatoRequest) -> KatoReply:
        raise AssertionError(request)


def drained(monkeypatch: pytest.MonkeyPatch, stopped_seconds: float) -> tuple[Store, Kato]:
    """Drain one observation under a lease of 5 s."""
    clock = Clock()
    for module in (lease_renewal, running):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=clock, time=time.time))
    store, kato = Store(clock, stopped_seconds), Kato()
    drainer = Drainer(store, kato, LeaseRenewer(store, 3_600), DrainOptions(KatoSessionOptions((URL,)), lease_ms=5_000))
    work = Work(
        lane="l",
        session="s",
        node="l",
        head=1,
        cursor=0,
        stm_start=0,
        binding=Binding(URL, "kato-session", "l", 0, 0, 1, 10_000_000, run="run"),
        intent=None,
        attempts=0,
        unsent_in_a_row=0,
        create_lost=False,
        predict_id="",
        now_ms=1_000,
        entries=(Logged(1, "o", False, "e1", "{}", BODY, "s"),),
    )
    drainer.drain_claimed(work, Token("token", clock.now), "s", "e1")
    return store, kato


def test_nothing_is_sent_to_kato_once_the_lease_can_have_run_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Invariant 2. Falls when `_watch_lease` in drainer.py does not hand `still` on with a request to KATO."""
    store, kato = drained(monkeypatch, stopped_seconds=5.0)
    assert kato.sent == []
    assert store.asked == [WriteIntent]


def test_a_holder_that_is_in_time_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    store, kato = drained(monkeypatch, stopped_seconds=4.9)
    assert kato.sent == ["observe-sequence"]
    assert store.asked == [WriteIntent, Commit]

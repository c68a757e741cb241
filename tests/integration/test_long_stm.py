"""Sessions past the 1000 events that KATO's STM keeps: at the embedded KATO, and at the one at KATO_URL."""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from typing import Any
from urllib.parse import quote

import pytest

from kato_tasks.adapters.kato_http.pool import Calls, HttpKato
from kato_tasks.adapters.redis.keys import prefix
from kato_tasks.bootstrap import Runtime, build, terms_of
from kato_tasks.domain.ids import PARTITIONS, lane_of, partition_of
from kato_tasks.domain.kato_session import Binding
from kato_tasks.domain.log_entry import Entry
from kato_tasks.domain.stm import Stm, pattern_name
from kato_tasks.engine.running.drainer import Drainer
from kato_tasks.engine.running.lease_renewal import LeaseRenewer
from kato_tasks.ports.kato import KatoRequest
from kato_tasks.ports.lanes import ReadSession
from kato_tasks.settings import Settings
from kato_tasks.testing.waiting import wait_until
from tests.unit.engine.world import observed, plain


class ListeningKato(HttpKato):
    """The real client of KATO, which remembers every request."""

    def __init__(self) -> None:
        super().__init__(connections=4, timeout_seconds=60)
        self.asked: list[KatoRequest] = []

    def calls(self, *, wakeable: bool = False) -> Calls[Any]:
        return ListeningCalls(self, wakeable=wakeable)


class ListeningCalls(Calls[Any]):
    def __init__(self, kato: ListeningKato, *, wakeable: bool = False) -> None:
        super().__init__(kato, wakeable=wakeable)
        self._asked = kato.asked

    def begin(self, request: KatoRequest, tag: Any) -> None:
        self._asked.append(request)
        super().begin(request, tag)


class Long:
    """One session on a node of its own, drained in this process."""

    def __init__(self, runtime: Runtime, kato: ListeningKato) -> None:
        self.session = f"long{uuid.uuid4().hex[:12]}"
        self.kato = kato
        self._runtime = runtime
        self._drainer = Drainer(runtime.store, kato, LeaseRenewer(runtime.store, 1.0), terms_of(runtime.settings))
        self._lane = lane_of(self.session)
        self._length = 0

    def apply(self, *entries: Entry) -> list[str]:
        """Append these, apply everything, and return the routes that KATO was asked, equal neighbours as one."""
        self.kato.asked.clear()
        self._runtime.mailbox.append([replace(entry, session_id=self.session) for entry in entries])
        self._length += len(entries)
        wait_until(self._applied, 120, "everything is applied", every=0.001)
        return [route for route, _ in groupby(request.route for request in self.kato.asked)]

    def _applied(self) -> bool:
        self._drainer.drain_partitions(range(PARTITIONS))
        at = f"{prefix(partition_of(self._lane))}s:{self.session}"
        return self._runtime.redis.hget(at, "cur") == str(self._length)

    @property
    def binding(self) -> Binding:
        ((binding, intent),) = self._runtime.store.execute([ReadSession(self._lane, self.session)])
        assert intent is None
        assert isinstance(binding, Binding)
        return binding

    def stm(self) -> Stm:
        """What KATO holds."""
        binding = self.binding
        reply = self.kato.send(KatoRequest(binding.url, "GET", f"/sessions/{binding.kato_session}/stm", "stm"))
        stm: Stm = json.loads(reply.body)["stm"]
        return stm

    def lose(self) -> None:
        """KATO forgets the session, as after an expiry."""
        binding = self.binding
        gone = KatoRequest(binding.url, "DELETE", f"/sessions/{binding.kato_session}", "delete")
        assert self.kato.send(gone).status == 200


@pytest.fixture(params=["embedded", "real"])
def long(request: pytest.FixtureRequest, redis_url: str) -> Iterator[Long]:
    url = os.environ.get("KATO_URL") if request.param == "real" else request.getfixturevalue("kato_url")
    if not url:
        pytest.skip("KATO_URL names no real KATO")
    with contextlib.ExitStack() as stack:
        runtime = build(Settings(store_url=redis_url, kato_urls=url))
        stack.callback(runtime.close)
        kato = ListeningKato()
        stack.callback(kato.close)
        yield Long(runtime, kato)


def numbered(first: int, last: int) -> list[Entry]:
    """One observation for each number, of which every tenth has emotives and no string."""
    return [
        observed(f"e{n}", emotives={"joy": 0.5}) if n % 10 == 9 else observed(f"e{n}", f"n{n:05}")
        for n in range(first, last)
    ]


def strings_of(first: int, last: int) -> Stm:
    return [[f"n{n:05}"] for n in range(first, last) if n % 10 != 9][-1000:]


def test_a_session_of_2500_events_is_never_read_back(long: Long) -> None:
    """Falls when the check of a call's answer takes KATO's count of it for the length of the STM that is kept."""
    for first, last in ((0, 1050), (1050, 1170), (1170, 1173), (1173, 2500)):
        routes = long.apply(*numbered(first, last))
        assert routes == (["sessions"] if first == 0 else []) + ["observe-sequence"]
        binding = long.binding
        assert (binding.time, binding.stm_length) == (last, len(strings_of(0, last)))
        assert binding.epoch == 1
    assert long.stm() == strings_of(0, 2500)


def test_an_stm_of_1000_events_that_kato_lost_is_rebuilt_in_batches_and_read_once(long: Long) -> None:
    long.apply(*numbered(0, 1300))
    long.lose()
    routes = long.apply(*numbered(1300, 1310))
    # 404; the fence's DELETE, a new session with the STM, one comparison, proof that 404 meant gone; the call again.
    rebuilding = ["delete", "sessions", "observe-sequence", "cognition-data", "delete"]
    assert routes == ["observe-sequence", *rebuilding, "observe-sequence"]
    sequences = [request for request in long.kato.asked if request.route == "observe-sequence"]
    counts = [len(json.loads(request.body or b"")["observations"]) for request in sequences]
    assert counts == [10, 400, 400, 330, 10], "the newest 1000 strings, and 130 emotives, which have a cap of their own"
    assert long.binding.stm_length == 1000
    assert long.stm() == strings_of(0, 1310)
    assert long.apply(*numbered(1310, 1320)) == ["observe-sequence"]


def test_the_pattern_of_a_long_stm_is_that_of_its_newest_1000_events(long: Long) -> None:
    long.apply(*numbered(0, 1300))
    routes = long.apply(plain("learn", "learn", wanted=False))
    assert routes.count("cognition-data") == 1
    assert "learn" in routes
    asked = {request.path for request in long.kato.asked if request.route == "pattern"}
    assert asked == {f"/pattern/{quote(pattern_name(strings_of(0, 1300)))}?node_id={long.session}"}
    assert long.stm() == []
    assert long.apply(*numbered(1300, 1302)) == ["observe-sequence"]

"""An event store on the log: names go to KATO, data stays in the history, and projections follow."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import pytest

from kato_tasks import (
    Appended,
    EventConflict,
    InvalidEvent,
    NodeConflict,
    PositionConflict,
    StoreUnavailable,
    append_event,
    append_event_async,
    append_events,
    events_by_node,
    events_by_time,
    history,
    session_status,
    subscribe,
)
from kato_tasks.testing.services import KatoServer, RedisServer
from kato_tasks.testing.waiting import wait_until
from tests.integration.recovering import THREADS, a_system, new_name
from tests.integration.system import Json, System, drained

SECRET = "4111 1111"


@pytest.fixture(scope="module")
def system(redis_server: RedisServer, kato: KatoServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    directory = tmp_path_factory.mktemp("event store")
    with a_system(redis_server, directory, kato) as system, system.workers(THREADS):
        yield system


def test_kato_sees_the_names_of_events_and_the_history_keeps_their_data(system: System) -> None:
    order = new_name("order")
    append_event(order, "order_placed", {"card": SECRET, "total": 12.5})
    append_event(order, "learn", MappingProxyType({"lines": (1, 2)}), metadata={"by": "ann"})
    append_event(order, "order_paid", timestamp=datetime(2026, 1, 2, tzinfo=UTC), event_id="paid")
    drained([order])
    assert system.stm(order) == [["order_placed"], ["learn"], ["order_paid"]]
    status = session_status(order)
    assert status is not None
    assert status.binding is not None
    at_kato = json.dumps(system.ask(f"sessions/{status.binding.kato_session_id}"))
    assert "order_placed" in at_kato
    assert SECRET not in at_kato, "the data went to KATO"
    placed, learned, paid = history(order)
    assert (placed["observation"]["strings"], placed["data"]) == (["order_placed"], {"card": SECRET, "total": 12.5})
    assert (learned["data"], learned["metadata"], learned["position"]) == ({"lines": [1, 2]}, {"by": "ann"}, 2)
    assert (paid["data"], paid["timestamp"], paid["event_id"]) == ({}, "2026-01-02T00:00:00Z", "paid")


def test_an_event_of_a_history_may_be_appended_again_as_it_is(system: System) -> None:
    order, other = new_name("order"), new_name("order")
    append_event(order, "placed", {"total": 1})
    (copy,) = history(order)
    again: Any = append_events([copy, {**copy, "session_id": other, "node_id": None}])
    assert [one.duplicate for one in again] == [True, False]
    assert [event["data"] for event in history(other)] == [{"total": 1}]


def test_the_second_of_two_that_know_the_same_history_is_refused(system: System) -> None:
    order = new_name("order")
    first = append_event(order, "placed", expected_position=0, event_id="1")
    assert first == Appended(event_id="1", session_id=order, position=1, duplicate=False)
    with pytest.raises(PositionConflict, match=r"stands at position 1, not at the expected 0.* read its history") as no:
        append_event(order, "placed twice", expected_position=0)
    assert (no.value.session_id, no.value.expected, no.value.actual) == (order, 0, 1)
    assert append_event(order, "placed", expected_position=0, event_id="1") == first.model_copy(
        update={"duplicate": True}
    )
    assert append_event(order, "paid", expected_position=1).position == 2
    assert [event["observation"]["strings"] for event in history(order)] == [["placed"], ["paid"]]


def test_the_same_id_with_other_data_is_the_same_event_and_with_another_name_a_conflict(system: System) -> None:
    order = new_name("order")
    append_event(order, "placed", {"total": 1}, event_id="1")
    assert append_event(order, "placed", {"total": 2}, event_id="1").duplicate
    assert [event["data"] for event in history(order)] == [{"total": 1}]
    with pytest.raises(EventConflict, match="another body"):
        append_event(order, "paid", event_id="1")


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("aggregate_id", {"aggregate_id": ""}),
        ("event_type", {"event_type": ""}),
        ("event_type", {"event_type": 7}),
        ("event_type", {"event_type": "x" * 20_001}),
        ("data", {"data": [1]}),
        ("data.at", {"data": {"at": datetime(2026, 1, 1, tzinfo=UTC)}}),
        ("data.much", {"data": {"much": float("inf")}}),
        ("event", {"data": {str(i): "x" * 90_000 for i in range(3)}}),
        ("expected_position", {"expected_position": -1}),
        ("expected_position", {"expected_position": True}),
        ("timestamp", {"timestamp": "soon"}),
        ("node_id", {"node_id": "it's"}),
    ],
)
def test_what_cannot_be_kept_is_refused_by_the_callers_own_name(
    system: System, field: str, arguments: dict[str, Any]
) -> None:
    given: dict[str, Any] = {"aggregate_id": "refused", "event_type": "placed"} | arguments
    with pytest.raises(InvalidEvent) as refused:
        append_event(**given)
    assert refused.value.field == field
    with pytest.raises(InvalidEvent) as refused:
        asyncio.run(append_event_async(**given))
    assert refused.value.field == field
    assert list(history("refused")) == []


def test_an_aggregate_belongs_to_its_node_for_life(system: System) -> None:
    order, node = new_name("order"), new_name("shop")
    append_event(order, "placed", node_id=node)
    with pytest.raises(NodeConflict):
        append_event(order, "paid", node_id="another")
    assert [event["node_id"] for event in history(order)] == [node]


def test_an_event_loop_appends_as_a_thread_does_and_of_a_race_one_wins(system: System) -> None:
    order = new_name("order")

    async def race() -> list[Any]:
        calls = (append_event_async(order, f"placed by {i}", {"by": i}, expected_position=0) for i in range(20))
        return await asyncio.gather(*calls, return_exceptions=True)

    answers = asyncio.run(race())
    (won,) = [one for one in answers if isinstance(one, Appended)]
    assert won.position == 1
    assert [type(one) for one in answers if one is not won] == [PositionConflict] * 19
    (event,) = history(order)
    assert event["observation"]["strings"] == [f"placed by {event['data']['by']}"]
    drained([order])
    assert system.stm(order) == [event["observation"]["strings"]]


# ------------------------------------------------------------------------------- projections


class Projection(threading.Thread):
    """Counts what it is told, until it was told so many events; it keeps each place, as a real one would."""

    def __init__(self, wanted: int, **what: Any) -> None:
        super().__init__(daemon=True)
        self.wanted, self.what, self.seen = wanted, what, list[Json]()
        self.stop = threading.Event()

    def run(self) -> None:
        for event in subscribe(**self.what, poll_seconds=0.01, stop=self.stop):
            self.seen.append(event)
            if len(self.seen) >= self.wanted:
                return

    def comes_to(self, count: int) -> None:
        wait_until(lambda: len(self.seen) == count, 30, f"{count} events were told")

    def done(self) -> list[Json]:
        self.join(60)
        self.stop.set()
        assert not self.is_alive(), f"it was told {len(self.seen)} of {self.wanted} events"
        return self.seen


def withdraw(account: str, worker: int, times: int) -> int:
    """Withdraw 1 as often as that, each time only if the balance that was read is still the balance."""
    conflicts = 0
    for i in range(times):
        while True:
            events = list(history(account))
            balance = sum(event["data"]["amount"] for event in events)
            try:
                append_event(
                    account,
                    "withdrawn",
                    {"amount": -1, "left": balance - 1},
                    expected_position=len(events),
                    event_id=f"{worker}-{i}",
                )
                break
            except PositionConflict:
                conflicts += 1
    return conflicts


def test_a_projection_follows_a_session_for_which_two_producers_race(system: System) -> None:
    account, times = new_name("account"), 60
    projection = Projection(2 * times + 1, session_id=account)
    projection.start()
    append_event(account, "deposited", {"amount": 200, "left": 200})
    with ThreadPoolExecutor(2) as pool:
        conflicts = sum(pool.map(lambda worker: withdraw(account, worker, times), range(2)))
    seen = projection.done()
    assert [event["position"] for event in seen] == list(range(1, 2 * times + 2))
    assert [event["data"]["left"] for event in seen] == list(range(200, 200 - 2 * times - 1, -1)), "a lost update"
    assert conflicts > 0, "nobody raced"
    drained([account])
    assert len(system.stm(account)) == 2 * times + 1
    assert seen == list(history(account))


def test_a_projection_of_a_node_gets_what_is_applied_in_the_order_in_which_it_is(system: System) -> None:
    node, sessions = new_name("shop"), [new_name("order") for _ in range(3)]
    projection = Projection(90, node_id=node)
    projection.start()

    def produce(session: str) -> Sequence[Appended]:
        return [append_event(session, f"step {i}", {"i": i}, node_id=node) for i in range(30)]

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(produce, sessions))
    drained(sessions)
    seen = projection.done()
    assert [event["lane_order"] for event in seen] == list(range(1, 91))
    for session in sessions:
        mine = [event for event in seen if event["session_id"] == session]
        assert [event["data"]["i"] for event in mine] == list(range(30))
        assert system.applied(session)[-1] == mine[-1]["event_id"]
    assert list(events_by_node(node)) == seen
    assert list(events_by_node(node, after=85)) == seen[85:]


def test_a_projection_survives_restarts_of_the_store_and_goes_on_where_it_was(system: System) -> None:
    order = new_name("order")
    projection = Projection(40, session_id=order)
    projection.start()
    for i in range(40):
        if i in (10, 25):
            projection.comes_to(i)
            system.store.stop()
        while True:
            try:
                append_event(order, "ticked", {"i": i}, event_id=str(i))
                break
            except StoreUnavailable:
                system.store.start()
    assert [event["data"]["i"] for event in projection.done()] == list(range(40))
    resumed = Projection(10, session_id=order, after=30)
    resumed.start()
    assert [event["data"]["i"] for event in resumed.done()] == list(range(30, 40))


def test_what_happened_in_a_span_of_time_is_found_in_the_store_alone(system: System) -> None:
    node, sessions = new_name("shop"), [new_name("order") for _ in range(3)]
    for day in (5, 1, 4, 2, 3):
        append_event(sessions[day % 3], f"day {day}", node_id=node, timestamp=f"2031-01-0{day}T12:00:00Z")
    found = list(events_by_time("2031-01-02", "2031-01-04T12:00:00+00:00", node_id=node))
    assert [event["observation"]["strings"] for event in found] == [["day 2"], ["day 3"]]
    everything = Counter(event["session_id"] for event in events_by_time("2031-01-01", "2031-02-01"))
    assert everything == {sessions[0]: 1, sessions[1]: 2, sessions[2]: 2}

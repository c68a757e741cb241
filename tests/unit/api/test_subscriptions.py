"""A subscription yields each event once, in order, over outages and restarts of the projection."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from kato_tasks import InvalidEvent, StoreWentBack, subscribe
from tests.unit.api.doubles import Kept, Store

SOON = 0.001


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    store = Store()
    rt = SimpleNamespace(sessions=store, store=store, archive=Kept(store))
    monkeypatch.setattr("kato_tasks.api.subscription.runtime", lambda: rt)
    monkeypatch.setattr("kato_tasks.api.subscription.MOST_SECONDS", 0.01)
    return store


def taken(store: Store, wanted: int, **what: Any) -> list[dict[str, Any]]:
    """The events of a subscription that ends after so many; one comes whenever nothing is left to read."""
    stop = threading.Event()
    found = []
    for event in subscribe(**what, poll_seconds=SOON, stop=stop):
        found.append(event)
        store.append(event["session_id"])
        if len(found) == wanted:
            stop.set()
    return found


def test_events_come_in_order_of_position_and_new_ones_as_they_are_appended(store: Store) -> None:
    store.append("s", 3)
    assert [event["position"] for event in taken(store, 9, session_id="s")] == list(range(1, 10))
    assert [event["position"] for event in taken(store, 3, session_id="s", after=4)] == [5, 6, 7]


def test_a_nodes_events_come_in_the_order_of_the_lane(store: Store) -> None:
    store.append("a", node="team")
    store.append("b", node="team")
    assert [event["lane_order"] for event in taken(store, 8, node_id="team", after=1)] == list(range(2, 10))


def test_a_store_that_is_away_is_asked_again_and_nothing_is_lost_or_told_twice(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    store.append("s", 2)
    stop = threading.Event()
    seen = []
    for event in subscribe("s", poll_seconds=SOON, stop=stop):
        seen.append(event["position"])
        store.append("s")
        store.away = 3
        if len(seen) == 6:
            stop.set()
    assert seen == [1, 2, 3, 4, 5, 6]
    assert "subscription.interrupted" in caplog.text


def test_a_session_that_does_not_exist_yet_is_waited_for(store: Store) -> None:
    came = threading.Event()
    stop = threading.Event()

    def follow() -> None:
        for event in subscribe("late", poll_seconds=SOON, stop=stop):
            assert event["position"] == 1
            came.set()

    thread = threading.Thread(target=follow)
    thread.start()
    store.append("late")
    assert came.wait(10)
    stop.set()
    thread.join(10)
    assert not thread.is_alive()


def test_other_events_in_the_place_of_those_that_were_told_are_an_error(store: Store) -> None:
    """A store that lost events gives their positions a second time. Falls without the comparison in ``_behind``."""
    store.append("s", 3)
    events = subscribe("s", poll_seconds=SOON)
    assert [next(events)["event_id"] for _ in range(3)] == ["s-1", "s-2", "s-3"]
    store.logs["s"][3] = store.logs["s"][3].replace("s-3", "another")
    store.append("s")
    with pytest.raises(StoreWentBack, match=r"position 3 was event 's-3', and is another one now"):
        next(events)


def test_a_subscription_that_is_stopped_before_it_begins_yields_nothing(store: Store) -> None:
    store.append("s", 3)
    stop = threading.Event()
    stop.set()
    assert list(subscribe("s", stop=stop)) == []


def test_wrong_arguments_are_refused_at_the_call(store: Store) -> None:
    neither: dict[str, Any] = {}
    for both in (neither, {"session_id": "s", "node_id": "n"}):
        with pytest.raises(TypeError, match="either session_id or node_id"):
            subscribe(**both)
    wrong: Any
    for field, wrong in {"after": -1, "poll_seconds": 0, "session_id": 7, "node_id": ""}.items():
        whom: dict[str, Any] = {} if field in ("session_id", "node_id") else {"session_id": "s"}
        with pytest.raises(InvalidEvent) as refused:
            subscribe(**whom, **{field: wrong})
        assert refused.value.field == field

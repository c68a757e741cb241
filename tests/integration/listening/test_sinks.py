"""Predictions for a sink: one for each event, in its session's order, whatever dies, with ids that stay."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import redis

from kato_tasks import append_events, learn, observe, predict
from kato_tasks.adapters.redis_streams.sender import RedisStreamSender
from kato_tasks.api import dead_letters as letters
from kato_tasks.bootstrap import runtime
from kato_tasks.errors import SourceUnavailable
from kato_tasks.listeners.options import ListenOptions
from kato_tasks.ports.listening import CountPredictions
from kato_tasks.ports.senders import Outgoing
from kato_tasks.ports.sources import Message
from kato_tasks.sinks.prediction_events import Encoder
from kato_tasks.sinks.publishing import PredictionPublisher
from kato_tasks.testing.services import KatoServer, RedisServer
from kato_tasks.testing.waiting import wait_until
from tests.integration.listening.scripted import ScriptedSource, all_acknowledged, listening, message, observation
from tests.integration.system import System

SINK = "redis:predicted"


@pytest.fixture(scope="module")
def system(redis_server: RedisServer, kato: KatoServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    redis_server.start()
    kato.start()
    system = System(redis_server, redis_server, kato, tmp_path_factory.mktemp("sinks"))
    with system.here():
        system.empty()
        with system.workers(["--pool", "threads", "--concurrency", "2"]):
            yield system


@contextlib.contextmanager
def publishing(url: str, stream: str, encoder: Encoder | None = None) -> Iterator[PredictionPublisher]:
    """A publisher of the sink into a Redis stream, until the end of the block."""
    stop = threading.Event()
    sender = RedisStreamSender(url, stream)
    publisher = PredictionPublisher(runtime(), SINK, sender, encoder=encoder, encoder_name="shop:encode", stop=stop)
    thread = threading.Thread(target=publisher.run)
    thread.start()
    try:
        yield publisher
    finally:
        stop.set()
        thread.join(20)
        assert not thread.is_alive()


def published(url: str, stream: str, count: int) -> list[dict[str, Any]]:
    """What the stream has, once it has as many."""
    with redis.Redis.from_url(url, decode_responses=True) as client:
        wait_until(lambda: client.xlen(stream) >= count, 30, f"{count} predictions are published")
        return [fields for _, fields in client.xrange(stream)]


def feed(source: ScriptedSource, session: str, *pages: str, first: int = 0) -> None:
    for number, page in enumerate(pages, first):
        event = {
            "session_id": session,
            "observation": {"strings": [page]},
            "metadata": {"correlation_id": f"r{number}"},
        }
        source.feed(message(number, event, mark=f"kafka/{session}/0", event_id=f"kafka:{session}/0/{number}"))


def test_each_events_prediction_is_published_in_the_guides_form(system: System, request: pytest.FixtureRequest) -> None:
    stream = request.node.name
    for page in ("home", "search", "cart"):
        observe.delay("teacher", {"strings": [page]}, node_id="shop").get(timeout=30)
    learn.delay("teacher").get(timeout=30)
    source = ScriptedSource()
    source.feed(
        *(
            message(n, observation("ann", 0, node_id="shop") | {"observation": {"strings": [page]}}, event_id=f"k{n}")
            for n, page in enumerate(("home", "search"))
        )
    )
    with listening(source, ListenOptions(sink=SINK)), publishing(system.store.url, stream):
        found = published(system.store.url, stream, 2)
    assert [row["event_id"] for row in found] == ["k0~prediction", "k1~prediction"]
    assert {(row["event_type"], row["session_id"], row["node_id"]) for row in found} == {("prediction", "ann", "shop")}
    originals = [json.loads(row["original_event"]) for row in found]
    assert [(one["event_id"], one["position"], one["observation"]["strings"]) for one in originals] == [
        ("k0", 1, ["home"]),
        ("k1", 2, ["search"]),
    ]
    assert [row["timestamp"] for row in found] == [one["timestamp"] for one in originals]
    predicted = [json.loads(row["predictions"]) for row in found]
    assert [one[0]["future"] for one in predicted] == [["search", "cart"], [["cart"]]]  # as KATO has it


def test_the_correlation_id_of_the_event_is_the_predictions(system: System, request: pytest.FixtureRequest) -> None:
    source = ScriptedSource()
    feed(source, "correlated", "home")
    with listening(source, ListenOptions(sink=SINK)), publishing(system.store.url, request.node.name):
        (found,) = published(system.store.url, request.node.name, 1)
    assert found["correlation_id"] == "r0"


def test_a_broker_that_is_away_loses_no_prediction_and_keeps_their_order(
    system: System, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fails before and after it took them, so some come twice; their ids tell."""
    send, calls = RedisStreamSender.send, [0]

    def failing(self: RedisStreamSender, messages: Any) -> None:
        calls[0] += 1
        if calls[0] % 3 == 1:
            raise SourceUnavailable("away")
        send(self, messages)
        if calls[0] % 3 == 2:
            raise SourceUnavailable("no answer")

    monkeypatch.setattr(RedisStreamSender, "send", failing)
    source, stream = ScriptedSource(), request.node.name
    for session in ("a", "b"):
        feed(source, f"away {session}", *map(str, range(20)))
    with listening(source, ListenOptions(sink=SINK)), publishing(system.store.url, stream):
        wait_until(lambda: owed() == 0 and len(seen(system, stream)) == 40, 60, "all are published")
    for session in ("away a", "away b"):
        ids = [row["event_id"] for row in published(system.store.url, stream, 40) if row["session_id"] == session]
        assert list(dict.fromkeys(ids)) == [f"kafka:{session}/0/{n}~prediction" for n in range(20)]


def owed() -> int:
    """How many predictions wait in the store."""
    return sum(runtime().store.execute([CountPredictions(p, SINK) for p in range(256)]))


def seen(system: System, stream: str) -> set[str]:
    with redis.Redis.from_url(system.store.url, decode_responses=True) as client:
        return {fields["event_id"] for _, fields in client.xrange(stream)}


def test_an_encoder_makes_an_applications_own_payload_or_leaves_it_out(
    system: System, request: pytest.FixtureRequest
) -> None:
    def encode(event: Mapping[str, Any]) -> Mapping[str, Any] | None:
        (page,) = event["original_event"]["observation"]["strings"]
        return None if page == "secret" else {"user": event["session_id"], "page": page}

    source = ScriptedSource()
    feed(source, "encoded", "home", "secret", "cart")
    with listening(source, ListenOptions(sink=SINK)), publishing(system.store.url, request.node.name, encode):
        found = published(system.store.url, request.node.name, 2)
        wait_until(lambda: owed() == 0, 10, "nothing waits")
    assert found == [{"user": "encoded", "page": "home"}, {"user": "encoded", "page": "cart"}]


def test_what_an_encoder_fails_at_becomes_a_dead_letter_and_the_others_go_on(
    system: System, request: pytest.FixtureRequest
) -> None:
    def encode(event: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"page": {"home": "h", "cart": "c"}[event["original_event"]["observation"]["strings"][0]]}

    source = ScriptedSource()
    feed(source, "failing", "home", "search", "cart")
    with listening(source, ListenOptions(sink=SINK)), publishing(system.store.url, request.node.name, encode):
        found = published(system.store.url, request.node.name, 2)
        wait_until(lambda: owed() == 0, 10, "nothing waits")
    assert found == [{"page": "h"}, {"page": "c"}]
    (letter,) = letters.dead_letters(runtime())
    letters.discard(runtime(), letter)
    assert (letter.event_id, letter.reason) == (
        "kafka:failing/0/1~prediction",
        "prediction: the encoder shop:encode failed: KeyError: 'search'",
    )


def test_a_prediction_after_the_sessions_last_event_comes_once_for_what_came_at_once(
    system: System, request: pytest.FixtureRequest
) -> None:
    source = ScriptedSource()
    feed(source, "last", *map(str, range(200)))
    with listening(source, ListenOptions(sink=SINK, predict="last")), publishing(system.store.url, request.node.name):
        wait_until(lambda: "kafka:last/0/199~prediction" in seen(system, request.node.name), 30, "the last is there")
    assert len(seen(system, request.node.name)) <= 3


def test_predictions_on_demand_come_after_the_events_that_ask_for_them(
    system: System, request: pytest.FixtureRequest
) -> None:
    source = ScriptedSource()
    for number in range(4):
        event = observation("asked", number, metadata={"predict": number == 2})
        source.feed(message(number, event, mark="kafka/asked/0", event_id=f"kafka:asked/0/{number}"))
    with listening(source, ListenOptions(sink=SINK, predict="asked")), publishing(system.store.url, request.node.name):
        all_acknowledged(source)
        (found,) = published(system.store.url, request.node.name, 1)
    assert found["event_id"] == "kafka:asked/0/2~prediction"


def test_a_kato_that_fails_for_longer_than_a_caller_is_patient_costs_a_sink_nothing(
    system: System, request: pytest.FixtureRequest
) -> None:
    """A caller of predict is refused after 5 s; a sink is owed its prediction."""
    source = ScriptedSource()
    with listening(source, ListenOptions(sink=SINK)), publishing(system.store.url, request.node.name):
        system.faults({"kind": "error_before", "route": "predictions"})
        feed(source, "patient", "home")
        all_acknowledged(source)
        threading.Event().wait(7)  # longer than PREDICT_PATIENCE_SECONDS: nothing else shows that it is not refused
        system.faults()
        (found,) = published(system.store.url, request.node.name, 1)
    assert "error" not in found


def test_a_caller_who_predicts_in_between_is_answered_and_the_sink_too(
    system: System, request: pytest.FixtureRequest
) -> None:
    source = ScriptedSource()
    with listening(source, ListenOptions(sink=SINK)), publishing(system.store.url, request.node.name):
        feed(source, "both", "home", "search")
        all_acknowledged(source)
        assert predict.delay("both").get(timeout=30)["after"] == 2
        found = published(system.store.url, request.node.name, 2)
    assert [row["event_id"] for row in found] == ["kafka:both/0/0~prediction", "kafka:both/0/1~prediction"]


def test_a_sink_that_is_not_emptied_holds_its_listener_up(system: System) -> None:
    source = ScriptedSource()
    options = ListenOptions(sink=SINK, sink_backlog=5, batch=10)
    with listening(source, options) as listener:
        feed(source, "held up", *map(str, range(10)))
        all_acknowledged(source)
        wait_until(lambda: listener.state == "held up", 30, "it is held up")
        feed(source, "held up", "more", first=10)
        before = source.idled
        wait_until(lambda: source.idled > before + 3, 10, "it goes on idling")
        assert len(source.acknowledged) == 10
        runtime().redis.delete(*runtime().redis.keys(f"kt:*:sink:{SINK}"))
        all_acknowledged(source)
    wait_until(lambda: owed() == 1, 30, "the last is predicted")
    runtime().redis.delete(*runtime().redis.keys(f"kt:*:sink:{SINK}"))


def test_a_batch_that_is_in_the_log_is_acknowledged_although_the_sink_is_full(system: System) -> None:
    """Falls where a listener that is held up waits for the sink before it acknowledges."""
    source, held = ScriptedSource(), [False]
    read = source.read

    def read_and_fill(most: int, seconds: float) -> list[Message]:
        """The next look at the sink comes while this batch is under way."""
        found = read(most, seconds)
        held[0] = held[0] or bool(found)
        return found

    source.read = read_and_fill  # type: ignore[method-assign]
    with listening(source, ListenOptions(sink=SINK)) as listener:
        listener._is_held_up = lambda: held[0]  # type: ignore[method-assign]
        feed(source, "in the log", "home")
        all_acknowledged(source)
    assert held == [True]


def test_a_publisher_that_meets_what_waiting_does_not_mend_goes_on_trying(
    system: System, request: pytest.FixtureRequest
) -> None:
    key = f"kt:{{p002}}:sink:{SINK}"
    runtime().redis.rpush(key, "no JSON")
    source = ScriptedSource()
    with listening(source, ListenOptions(sink=SINK)), publishing(system.store.url, request.node.name) as publisher:
        wait_until(lambda: publisher._failed > 1, 20, "it tries again")
        runtime().redis.delete(key)
        feed(source, "goes on", "home")
        published(system.store.url, request.node.name, 1)


def test_the_archives_event_goes_with_a_prediction_that_comes_late(system: System) -> None:
    """Where the log has given it away. What has no archive is told without it."""
    append_events([{"session_id": "late", "event_id": "e", "observation": {"strings": ["home"]}}])
    sent: list[Outgoing] = []

    class Sender:
        name = "kafka t"

        def send(self, messages: Any) -> None:
            sent.extend(messages)

        def close(self) -> None:
            pass

    stop = threading.Event()
    publisher = PredictionPublisher(runtime(), "kafka:late", Sender(), stop=stop)
    row = json.dumps(["e~prediction", "late", 1, 1_790_000_000_000, "", '{"predictions": [], "node_id": "late"}'])
    runtime().redis.rpush("kt:{p001}:sink:kafka:late", row)
    thread = threading.Thread(target=publisher.run)
    thread.start()
    wait_until(lambda: sent, 10, "it is sent")
    stop.set()
    thread.join()
    assert json.loads(sent[0].value)["original_event"]["event_id"] == "e"

"""What a publisher makes of an event at the call: checked, with an id and a time, in the guide's form."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

import kato_tasks
from kato_tasks.domain.events import Event, parse_event
from kato_tasks.domain.observations import Observation
from kato_tasks.errors import ConfigurationError, InvalidEvent, KatoTasksError, SourceUnavailable
from kato_tasks.publishers.buffer import Buffering
from kato_tasks.publishers.encoding import as_fields, as_json
from kato_tasks.publishers.publisher import Publisher
from kato_tasks.settings import Settings, use
from tests.unit.publishers.fake_sender import FakeSender, Outage

SEEN = {"strings": ["login", "dashboard"], "vectors": [], "emotives": {}}
SECRET = "pw-7f3a"


@pytest.fixture
def sender() -> FakeSender:
    return FakeSender()


@pytest.fixture
def publisher(sender: FakeSender) -> Publisher:
    return Publisher(sender, as_json, Buffering(first_wait_seconds=0.01))


def bodies(sender: FakeSender) -> list[dict[str, Any]]:
    return [json.loads(one.value) for one in sender.arrived]


def test_an_observation_has_the_form_of_the_guides_producers(sender: FakeSender, publisher: Publisher) -> None:
    event_id = publisher.publish_observation(session_id="user-123", observation=SEEN, metadata={"source": "web-app"})
    publisher.flush()
    (body,) = bodies(sender)
    assert body.pop("event_id") == event_id
    assert datetime.fromisoformat(body.pop("timestamp")) - datetime.now(UTC) < timedelta(seconds=30)
    assert body == {
        "event_type": "observation",
        "session_id": "user-123",
        "observation": SEEN,
        "metadata": {"source": "web-app"},
    }
    assert (sender.arrived[0].key, sender.arrived[0].message_id) == ("user-123", event_id)
    assert sender.arrived[0].headers == {}


def test_in_a_stream_the_observation_is_json_text_and_so_is_every_other_object() -> None:
    event = parse_event(
        {
            "session_id": "ü",
            "node_id": "shop",
            "observation": {"strings": ["a"], "emotives": {"joy": 1}},
            "metadata": {"by": "us"},
            "event_id": "e",
            "timestamp": "2025-11-13T10:30:00",
        }
    )
    assert as_fields(event).fields == {
        "event_type": "observation",
        "session_id": "ü",
        "node_id": "shop",
        "timestamp": "2025-11-13T10:30:00Z",
        "observation": '{"strings":["a"],"vectors":[],"emotives":{"joy":1.0}}',
        "metadata": '{"by":"us"}',
        "event_id": "e",
    }
    learn = as_fields(Event(event_type="learn", session_id="s", event_id="e")).fields
    assert learn == {"event_type": "learn", "session_id": "s", "event_id": "e"}


def test_everything_that_an_event_says_is_kept_and_reads_as_the_same_event(
    sender: FakeSender, publisher: Publisher
) -> None:
    events = [
        Event(
            session_id="s",
            node_id="shop",
            observation=Observation(strings=["ä"], vectors=[[0.5, 1]], emotives={"joy": 0.1}, metadata={"m": [1]}),
            metadata={"deep": {"er": [None, True]}},
            data={"total": 3},
            event_id="mine",
            timestamp=datetime(2025, 11, 13, 10, 30, 0, 123456, tzinfo=timezone(timedelta(hours=2))),
        ),
        Event(event_type="learn", session_id="s", event_id="l", timestamp=datetime(2025, 1, 1, tzinfo=UTC)),
        Event(event_type="clear_stm", session_id="s", event_id="c", timestamp=datetime(2025, 1, 1, tzinfo=UTC)),
    ]
    for event in events:
        assert publisher.publish(event) == event.event_id
    publisher.publish(events[0].model_dump())
    publisher.flush()
    assert [parse_event(body) for body in bodies(sender)] == [*events, events[0]]


def test_an_event_gets_its_id_and_its_time_once_however_often_it_is_sent(
    sender: FakeSender, publisher: Publisher
) -> None:
    outage = Outage(sender, share=1.0)
    event_id = publisher.publish_learn("s")
    with pytest.raises(SourceUnavailable):
        publisher.flush(0.1)
    outage.end()
    publisher.flush()
    assert len(sender.arrived) > 1
    assert len(set(map(str, bodies(sender)))) == 1
    assert {one.message_id for one in sender.arrived} == {event_id}
    assert publisher.publish_learn("s") != event_id


@pytest.mark.parametrize(
    ("publish", "told"),
    [
        (lambda p: p.publish({"observation": SEEN}), "session_id: is missing"),
        (lambda p: p.publish({"session_id": "s"}), "observation: is missing; an event of type observation needs one"),
        (
            lambda p: p.publish({"session_id": "s", "observation": SEEN, "metadat": {}}),
            "metadat: is not a known key; did you mean",
        ),
        (lambda p: p.publish([1]), "event: must be an object with the standard event's fields, not list"),
        (lambda p: p.publish_observation("", SEEN), "session_id: must not be empty"),
        (lambda p: p.publish_observation("s", {"strings": [1]}), "observation.strings[0]: must be text, not int"),
        (lambda p: p.publish_observation("s", SEEN, timestamp="noon"), "timestamp: must be ISO 8601 text such as"),
        (lambda p: p.publish_observation("s", SEEN, node_id="o'neil"), "node_id: holds a ' (apostrophe)"),
        (lambda p: p.publish_observation("s", SEEN, metadata={"n": float("nan")}), "metadata.n: is nan; only finite"),
        (lambda p: p.publish_learn(7), "session_id: must be text, not int; write str(…)"),
        (
            lambda p: p.publish_observation("s", {"strings": ["x" * 15_000] * 20}),
            " bytes, at most 262144 are allowed",
        ),
    ],
)
def test_what_is_no_valid_event_is_refused_at_the_call_with_its_field(
    sender: FakeSender, publisher: Publisher, publish: Callable[[Publisher], object], told: str
) -> None:
    with pytest.raises(InvalidEvent) as refused:
        publish(publisher)
    assert told in str(refused.value)
    publisher.flush()
    assert sender.arrived == []


def test_the_limits_are_those_of_the_settings(sender: FakeSender) -> None:
    use(Settings(max_strings=2, unknown_keys="pass"))
    try:
        publisher = Publisher(sender, as_json, Buffering())
    finally:
        use(None)
    with pytest.raises(InvalidEvent, match="has 3 strings, at most 2 are allowed"):
        publisher.publish_observation("s", {"strings": ["a", "b", "c"]})
    publisher.publish({"session_id": "s", "observation": {"strings": ["a"]}, "unknown": 1})
    publisher.close()
    assert "unknown" not in bodies(sender)[0]


def test_a_block_closes_its_publisher(sender: FakeSender, publisher: Publisher) -> None:
    with publisher as one:
        one.publish_learn("s")
    assert len(sender.arrived) == 1
    with pytest.raises(RuntimeError, match="is closed"):
        publisher.publish_learn("s")


def test_an_error_in_a_block_is_not_replaced_and_what_was_published_before_it_is_sent(
    sender: FakeSender, publisher: Publisher
) -> None:
    with pytest.raises(ZeroDivisionError):
        _fail_in(publisher)
    assert len(sender.arrived) == 1


def _fail_in(publisher: Publisher) -> None:
    with publisher:
        publisher.publish_learn("s")
        raise ZeroDivisionError


def test_an_error_in_a_block_stays_the_first_where_the_broker_is_away_too(
    sender: FakeSender, publisher: Publisher, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(_timeout: float | None) -> None:
        raise SourceUnavailable("away")

    monkeypatch.setattr(publisher._buffer, "close", away)
    with pytest.raises(ZeroDivisionError), publisher:
        raise ZeroDivisionError
    assert "publisher.left to=fake place waiting=0 reason=away" in caplog.text


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: kato_tasks.KafkaPublisher("kafka://h"), "the address of Kafka 'kafka://h' is no broker of Kafka"),
        (lambda: kato_tasks.KafkaPublisher("h:1", config={"acks": 1}), "the Kafka property 'acks' cannot be set"),
        (lambda: kato_tasks.RabbitMQPublisher(f"http://u:{SECRET}@h"), "'http://u:***@h' is not the address of a Rab"),
        (lambda: kato_tasks.RedisStreamPublisher("localhost"), "'localhost' is not the address of a Redis"),
        (
            lambda: kato_tasks.RedisStreamPublisher("redis://h", batch_events=0),
            "batch_events must be at least 1, not 0",
        ),
        (
            lambda: kato_tasks.RabbitMQPublisher("amqp://h", cloud_events=True, source="my shop"),
            "'my shop' is no source of CloudEvents: it must be a URI reference, such as /shop",
        ),
    ],
)
def test_a_publisher_that_cannot_work_is_refused_when_it_is_made(make: Callable[[], object], told: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        make()
    assert told in str(refused.value)
    assert isinstance(refused.value, KatoTasksError)


def test_publishers_take_the_addresses_of_the_settings() -> None:
    use(Settings(kafka_bootstrap="h:1", rabbitmq_url="amqp://h:2//", streams_url="redis://h:3/0"))
    try:
        made = [kato_tasks.KafkaPublisher(), kato_tasks.RabbitMQPublisher(), kato_tasks.RedisStreamPublisher()]
    finally:
        use(None)
    names = [one._buffer.sender.name for one in made]
    assert names == ["kafka kato-observations", "rabbitmq kato-events", "redis kato:observations"]

"""The listener's loop on a real store: nothing is acknowledged before it is in the log, and nothing is in it twice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from kato_tasks import Settings, forget_session, make_app
from kato_tasks.api import dead_letters as letters
from kato_tasks.api.history import history
from kato_tasks.bootstrap import forget_runtime, runtime
from kato_tasks.errors import InvalidEvent, StoreFailed, StoreFull, StoreUnavailable
from kato_tasks.listeners.bodies import Bodies
from kato_tasks.listeners.intake import Intake
from kato_tasks.listeners.options import ListenOptions
from kato_tasks.ports.listening import HoldReader
from kato_tasks.ports.sources import Message
from kato_tasks.testing.waiting import wait_until
from tests.integration.listening.scripted import ScriptedSource, all_acknowledged, listening, message, observation


@pytest.fixture(autouse=True)
def store(redis_url: str) -> Iterator[None]:
    at = redis_url.removesuffix("/0")
    forget_runtime(close=True)
    limited = Settings(broker_url=redis_url, result_backend=f"{at}/1", store_url=f"{at}/2", max_event_bytes=50_000)
    with make_app(limited):
        yield
        forget_runtime(close=True)


def strings(session: str) -> list[str]:
    """What the session's log has been given, in its order."""
    return [event["observation"]["strings"][0] for event in history(session) if event["event_type"] == "observation"]


def fails_once(monkeypatch: pytest.MonkeyPatch, error: Exception, times: int = 1) -> None:
    """The next appends raise this, after they were carried out: the answer was lost."""
    append = Intake.append
    left = [times]

    def failing(self: Intake, batch: Any) -> None:
        append(self, batch)
        if left[0]:
            left[0] -= 1
            raise error

    monkeypatch.setattr(Intake, "append", failing)


def test_messages_are_in_the_log_in_their_order_when_they_are_acknowledged() -> None:
    source = ScriptedSource()
    source.feed(*(message(i, observation(f"s{i % 3}", i)) for i in range(3_000)))
    with listening(source) as listener:
        all_acknowledged(source)
    assert [strings(f"s{n}") for n in range(3)] == [[str(i) for i in range(n, 3_000, 3)] for n in range(3)]
    assert [one.offset for one in source.acknowledged] == list(range(3_000))
    assert (listener.figures.read, listener.figures.appended, listener.figures.duplicates) == (3_000, 3_000, 0)


def test_a_source_that_begins_again_adds_nothing() -> None:
    """Not by its ids, which are not remembered where there is a mark: by the mark."""
    source = ScriptedSource()
    source.feed(*(message(i, observation("s", i)) for i in range(50)))
    for _ in range(2):
        source.acknowledged.clear()
        with listening(source) as listener:
            all_acknowledged(source)
    assert listener.figures.duplicates == 50
    assert strings("s") == [str(i) for i in range(50)]


def test_an_append_whose_answer_is_lost_is_tried_again_and_adds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    fails_once(monkeypatch, StoreUnavailable("no answer"), times=3)
    source = ScriptedSource()
    source.feed(*(message(i, observation("s", i), mark="") for i in range(20)))
    with listening(source):
        all_acknowledged(source)
    assert strings("s") == [str(i) for i in range(20)]
    assert source.idled >= 3


def test_a_full_store_holds_the_listener_up_and_nothing_is_acknowledged_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    room = [False]
    append = Intake.append

    def without_room(self: Intake, batch: Any) -> None:
        if not room[0]:
            raise StoreFull("no room")
        append(self, batch)

    monkeypatch.setattr(Intake, "append", without_room)
    source = ScriptedSource()
    source.feed(message(0, observation("s", 0)))
    with listening(source) as listener:
        wait_until(lambda: source.idled >= 3, 5, "the listener idles")
        assert (source.acknowledged, listener.state) == ([], "held up")
        room[0] = True
        all_acknowledged(source)
    assert strings("s") == ["0"]


def test_what_a_rebalance_takes_away_while_the_store_is_away_is_neither_appended_nor_acknowledged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    append = Intake.append
    source = ScriptedSource()

    def away_until_lost(self: Intake, batch: Any) -> None:
        if not source.lost:
            source.lost = {0, 1}
            raise StoreUnavailable("away")
        append(self, batch)

    monkeypatch.setattr(Intake, "append", away_until_lost)
    source.feed(*(message(i, observation("s", i)) for i in range(4)))
    with listening(source):
        wait_until(lambda: len(source.acknowledged) == 2, 5, "the others are acknowledged")
    assert strings("s") == ["2", "3"]


def test_a_broker_that_is_away_is_connected_to_again_and_what_was_not_acknowledged_comes_again() -> None:
    source = ScriptedSource()
    source.feed(*(message(i, observation("s", i)) for i in range(10)))
    source.away = 2
    with listening(source):
        all_acknowledged(source)
        source.away = 1
        wait_until(lambda: source.opened >= 4, 10, "it is opened again")
        source.feed(*(message(i, observation("s", i)) for i in range(10, 20)))
        all_acknowledged(source)
    assert strings("s") == [str(i) for i in range(20)]
    assert source.opened == source.closed


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"not json", "message: is no JSON"),
        ({"session_id": "s"}, "observation: is missing"),
        ({"observation": {"strings": ["x"]}}, "session_id: is missing"),
        (observation("s", 1, schema_version=99), "schema_version: is 99, and this kato_tasks knows versions up to"),
        (observation("s", 1, typo=1), "typo"),
        (observation("s", 1, metadata={"long": "x" * 90_000}), "takes 90"),
        (b"x" * 2_000_000, "message: takes 2000000 bytes, at most 1048576 are read"),
        (observation("known", 1, node_id="another"), "belongs to node"),
    ],
)
def test_a_message_that_is_no_valid_event_becomes_a_dead_letter_and_the_others_go_on(body: Any, reason: str) -> None:
    source = ScriptedSource()
    headers = (("source", b"web"),)
    source.feed(message(0, observation("known", 0)))
    with listening(source) as listener:
        all_acknowledged(source)
        source.feed(message(1, body, key=b"k", headers=headers), message(2, observation("known", 2)))
        all_acknowledged(source)
    assert strings("known") == ["0", "2"]
    assert listener.figures.dead_letters == 1
    (letter,) = letters.dead_letters(runtime())
    assert reason in letter.reason
    assert letter.message is not None
    assert (letter.event_id, letter.position, letter.event) == ("kafka:t/0/1", None, {})
    assert letter.message["place"] == "t/0 offset 1"
    assert letter.message["key"] == "k"
    assert letter.message["headers"] == [["source", "web"]]


def test_a_refused_message_that_comes_again_is_one_dead_letter() -> None:
    source = ScriptedSource()
    source.feed(message(0, b"not json"))
    for _ in range(2):
        source.acknowledged.clear()
        with listening(source):
            all_acknowledged(source)
    assert len(list(letters.dead_letters(runtime()))) == 1


def test_equal_messages_that_are_refused_are_dead_letters_of_their_own() -> None:
    source = ScriptedSource()
    source.feed(*(message(i, b"not json", mark="") for i in range(3)))
    with listening(source):
        all_acknowledged(source)
    assert len(list(letters.dead_letters(runtime()))) == 3


def test_a_dead_letter_is_read_again_once_its_decoder_is_mended(monkeypatch: pytest.MonkeyPatch) -> None:
    def decoder(seen: Message) -> dict[str, Any]:
        return {"session_id": seen.json()["user"], "observation": {"strings": [seen.json()["page"]]}}

    monkeypatch.setattr("kato_tasks.api.refused_messages.load_function", {"shop:pages": decoder}.__getitem__)
    broken = ListenOptions(decoder=lambda seen: seen.json()["no such key"], decoder_name="shop:pages")
    source = ScriptedSource()
    source.feed(message(0, {"user": "ann", "page": "home"}))
    with listening(source, broken):
        all_acknowledged(source)
    (letter,) = letters.dead_letters(runtime())
    done = letters.redrive(runtime(), letter)
    assert (done.session_id, done.position, done.events) == ("ann", 1, 1)
    assert list(letters.dead_letters(runtime())) == []
    # The topic is read from its beginning, with the mended decoder: its event is known.
    source.acknowledged.clear()
    with listening(source, ListenOptions(decoder=decoder, decoder_name="shop:pages")) as listener:
        all_acknowledged(source)
    assert listener.figures.duplicates == 1
    assert strings("ann") == ["home"]


def test_a_dead_letter_is_appended_with_a_body_that_a_person_mended() -> None:
    source = ScriptedSource()
    source.feed(message(0, b'{"session_id": "ann"'))
    with listening(source):
        all_acknowledged(source)
    (letter,) = letters.dead_letters(runtime())
    with pytest.raises(InvalidEvent, match="message: is no JSON"):
        letters.redrive(runtime(), letter)
    letters.redrive(runtime(), letter, body=b'{"session_id": "ann", "observation": {"strings": ["home"]}}')
    assert strings("ann") == ["home"]
    assert list(letters.dead_letters(runtime())) == []


def test_a_forgotten_sessions_refused_messages_are_forgotten_with_it() -> None:
    source = ScriptedSource()
    source.feed(message(0, observation("ann", 0)), message(1, {"session_id": "ann"}), message(2, {"session_id": "bob"}))
    with listening(source):
        all_acknowledged(source)
    (key,) = runtime().redis.keys("kt:*:s:ann")
    runtime().redis.hset(key, "cur", 1)  # as if it was applied
    runtime().redis.zrem(str(key).replace("s:ann", "pend:ann"), "ann")
    forget_session("ann")
    assert [letter.session_id for letter in letters.dead_letters(runtime())] == ["bob"]


def test_a_session_whose_rows_are_broken_keeps_no_other_back() -> None:
    source = ScriptedSource()
    source.feed(*(message(i, observation(f"s{i}", 0)) for i in range(5)))
    with listening(source):
        all_acknowledged(source)
        client = runtime().redis
        (key,) = client.keys("kt:*:s:s2")
        client.hset(key, "head", "broken")
        source.feed(*(message(i, observation(f"s{i % 5}", 1)) for i in range(5, 15)))
        all_acknowledged(source)
    client.hset(key, "head", 1)
    assert [strings(f"s{i}") for i in (0, 1, 3, 4)] == [["0", "1", "1"]] * 4
    refused = [letter.reason for letter in letters.dead_letters(runtime())]
    assert len(refused) == 2
    assert all("is broken" in reason for reason in refused)


def test_equal_messages_without_an_id_or_a_time_are_different_facts() -> None:
    """Falls where a body's hash alone makes the id."""
    source = ScriptedSource("rabbitmq q")
    source.feed(*(message(i, observation("s", 7), mark="") for i in range(5)))
    with listening(source):
        all_acknowledged(source)
    assert strings("s") == ["7"] * 5
    assert runtime().redis.keys("kt:{listening}:bodies:*") == []


def test_equal_messages_with_the_same_time_are_the_same_fact() -> None:
    source = ScriptedSource("rabbitmq q")
    timed = observation("s", 7, timestamp="2026-11-30T12:00:00.000001")
    source.feed(*(message(i, timed, mark="") for i in range(3)))
    with listening(source):
        all_acknowledged(source)
    assert strings("s") == ["7"]


def test_of_equal_messages_without_an_id_those_that_were_appended_are_known_when_they_come_again() -> None:
    """A reader appended two of three and died. The broker hands out all three again, marked, and then new ones."""
    rt = runtime()
    dead = Intake(rt, "rabbitmq q", ListenOptions(), listening_figures())
    dead.bodies.load()
    dead.append(dead.read([message(i, observation("s", 7), mark="") for i in range(2)]))
    source = ScriptedSource("rabbitmq q")
    source.feed(*(message(i, observation("s", 7), mark="", redelivered=True) for i in range(3)))
    source.feed(*(message(i, observation("s", 7), mark="") for i in range(3, 5)))
    with listening(source, ListenOptions(batch=3)) as listener:
        all_acknowledged(source)
    assert strings("s") == ["7"] * 5
    assert (listener.figures.appended, listener.figures.duplicates) == (3, 2)
    assert rt.redis.keys("kt:{listening}:bodies:*") == []


def test_what_a_dead_reader_had_acknowledged_is_forgotten_when_the_first_new_message_comes() -> None:
    bodies = Bodies(runtime().store, "rabbitmq q")
    bodies.keep([("acknowledged", message(0, b"x", mark=""))])
    after = Bodies(runtime().store, "rabbitmq q")
    after.load()
    fresh = after.identify(message(1, b"x", mark=""))
    assert fresh != "acknowledged"
    after.keep([(fresh, message(1, b"x", mark=""))])
    after.drop([fresh], all_new=True)
    assert after.identify(message(2, b"x", mark="", redelivered=True)) != "acknowledged"
    assert runtime().redis.keys("kt:{listening}:bodies:*") == []


def test_a_second_listener_stands_by_until_the_reader_is_gone() -> None:
    rt = runtime()
    rt.store.execute([HoldReader("redis s", "another", 60_000)])
    source = ScriptedSource("redis s", lease="redis s")
    source.feed(message(0, observation("s", 0)))
    with listening(source) as listener:
        wait_until(lambda: listener.state == "standing by", 5, "it stands by")
        assert source.opened == 0
        rt.redis.delete("kt:{listening}:reader:redis s")
        all_acknowledged(source)
    assert rt.redis.get("kt:{listening}:reader:redis s") is None


def test_a_reader_whose_time_is_over_reads_nothing_more_until_it_has_the_source_again() -> None:
    rt = runtime()
    source = ScriptedSource("redis s", lease="redis s")
    source.feed(message(0, observation("s", 0)))
    with listening(source) as listener:
        all_acknowledged(source)
        rt.redis.set("kt:{listening}:reader:redis s", "another")
        wait_until(lambda: listener.state == "standing by", 10, "it stands by")
        closed = source.closed
        assert closed == source.opened
        source.feed(message(1, observation("s", 1)))
        rt.redis.delete("kt:{listening}:reader:redis s")
        all_acknowledged(source)
    assert source.opened == closed + 1


def test_a_message_with_more_events_than_one_call_takes_loses_none_beside_others() -> None:
    """Its events have one offset; in two calls the second would be taken for known."""
    source = ScriptedSource()
    source.feed(*(message(i, [observation("s", 300 * i + n) for n in range(300)]) for i in range(7)))
    source.feed(message(7, [observation("s", 0)] * 1_001))
    with listening(source):
        all_acknowledged(source)
    assert strings("s") == [str(i) for i in range(2_100)]
    (letter,) = letters.dead_letters(runtime())
    assert letter.reason == "message: holds 1001 events, at most 1000 are taken from one"


def test_a_store_that_fails_for_good_in_every_append_makes_dead_letters_of_the_messages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(self: Intake, mark: str, group: Any) -> tuple[int, int]:
        raise StoreFailed("it is broken")

    monkeypatch.setattr(Intake, "_append_group", refuse)
    source = ScriptedSource()
    source.feed(message(0, observation("s", 0)))
    with listening(source):
        all_acknowledged(source)
    (letter,) = letters.dead_letters(runtime())
    assert letter.reason == "the store refuses it: it is broken"
    assert letter.session_id == "s"


def listening_figures() -> Any:
    from kato_tasks.listeners.figures import ListenerFigures

    return ListenerFigures()

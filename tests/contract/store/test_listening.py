"""What listeners and sinks ask of the store: what an append does beside, a source's one reader, predictions to send."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from kato_tasks import ports
from kato_tasks.adapters.redis.keys import prefix
from kato_tasks.domain.ids import lane_of, partition_of
from kato_tasks.domain.log_entry import Entry, also_done
from kato_tasks.engine.drain.context import new_call_id
from kato_tasks.errors import StoreFull
from tests.contract.store.log import Log, binding, new_token, observation

SINK = "kafka:user-predictions"
TOPIC = f"{ports.LISTENED}kafka/t/0"


def followed(session: str, event_id: str, *, every: int | None = 1, learn_every: int = 0, own: bool = False) -> Entry:
    also = also_done(own_id=own, predict_every=every, learn_every=learn_every)
    return replace(observation(session, event_id), also=also)


def append(log: Log, node: str, *entries: Entry, source: str = "", sink: str = SINK) -> list[tuple[str, int]]:
    rows = [(lane_of(node), node, entry, at) for at, entry in enumerate(entries, 1)]
    batch = log.do(ports.Append(partition_of(lane_of(node)), rows, source, sink=sink))
    return [(status.status, status.position) for status in batch.statuses]


def asked(log: Log, node: str, session: str) -> list[str]:
    root = prefix(partition_of(lane_of(node)))
    return [str(row) for row in log.redis.lrange(f"{root}asks:{session}", 0, -1)]


def answer(log: Log, node: str, session: str, text: str = "{}") -> ports.Work:
    """Apply what comes first in the lane: a run of events, or a prediction that a sink is owed."""
    token = new_token()
    work = log.taken(node, token)
    held = log.held(node, token)
    to = work.cursor + len(work.entries)
    done = ports.Commit(
        held,
        session,
        new_call_id(),
        work.cursor,
        to,
        binding(node, time=to),
        predict_id=work.predict_id,
        sink=work.sink,
        prediction=text if work.sink else "",
        go_on=False,
    )
    log.do(done)
    return work


def test_predictions_for_a_sink_come_after_each_event_and_before_the_next(log: Log) -> None:
    assert append(log, "n", followed("s", "a"), followed("s", "b")) == [("n", 1), ("n", 2)]
    order = [answer(log, "n", "s", json.dumps({"after": i})) for i in range(4)]
    assert [(len(work.entries), work.predict_id, work.sink, work.read) for work in order] == [
        (1, "", "", ""),
        (0, "a~prediction", SINK, ""),
        (1, "", "", ""),
        (0, "b~prediction", SINK, ""),
    ]
    owed = log.do(ports.ReadPredictions(partition_of("n"), SINK, 10))
    assert [(row.id, row.session, row.position, row.answer) for row in owed] == [
        ("a~prediction", "s", 1, '{"after": 1}'),
        ("b~prediction", "s", 2, '{"after": 3}'),
    ]
    assert [row.entry.split("\n")[1] for row in owed] == ["a", "b"]


def test_a_prediction_for_a_sink_has_no_event_with_it_once_the_log_has_given_that_to_the_archive(log: Log) -> None:
    append(log, "n", followed("s", "a"))
    answer(log, "n", "s")
    log.redis.hset(f"{prefix(partition_of('n'))}s:s", "tr", 1)
    log.redis.delete(f"{prefix(partition_of('n'))}log:s")
    answer(log, "n", "s")
    (owed,) = log.do(ports.ReadPredictions(partition_of("n"), SINK, 10))
    assert (owed.id, owed.entry) == ("a~prediction", "")


def test_a_commit_that_is_sent_twice_owes_the_sink_one_prediction(log: Log) -> None:
    append(log, "n", followed("s", "a"))
    answer(log, "n", "s")
    token = new_token()
    work = log.taken("n", token)
    done = ports.Commit(
        log.held("n", token), "s", "call", 1, 1, binding("n"), predict_id=work.predict_id, sink=SINK, prediction="{}"
    )
    log.all(done, done)
    assert log.do(ports.CountPredictions(partition_of("n"), SINK)) == 1


def test_every_nth_position_and_no_other_is_predicted_after(log: Log) -> None:
    append(log, "n", *(followed("s", f"e{i}", every=3) for i in range(1, 8)))
    assert asked(log, "n", "s") == ["3\ne3~prediction", "6\ne6~prediction"]


def test_of_predictions_after_a_sessions_last_event_only_the_newest_waits(log: Log) -> None:
    append(log, "n", *(followed("s", f"e{i}", every=0) for i in range(1, 8)))
    append(log, "n", followed("s", "e8", every=0))
    assert asked(log, "n", "s") == ["8\ne8~prediction"]
    assert log.redis.hgetall(f"{prefix(partition_of('n'))}until:s") == {"e8~prediction": f"0 >{SINK}"}


def test_predictions_for_a_sink_do_not_count_among_those_that_callers_wait_for(log: Log) -> None:
    """Where a session is parked, its events' predictions wait with them, and its source is not held up."""
    assert {status for status, _ in append(log, "n", *(followed("s", f"e{i}") for i in range(300)))} == {"n"}
    assert len(asked(log, "n", "s")) == 300


def test_an_event_that_comes_again_is_not_predicted_after_again(log: Log) -> None:
    append(log, "n", followed("s", "a"))
    assert append(log, "n", followed("s", "a")) == [("d", 1)]
    assert asked(log, "n", "s") == ["1\na~prediction"]


def test_a_learn_follows_as_many_events_as_are_asked_for_in_the_same_step(log: Log) -> None:
    append(log, "n", *(followed("s", f"e{i}", every=None, learn_every=2) for i in range(1, 6)))
    entries = log.do(ports.ReadLog("n", "s", 1, 10))
    assert [(one.kind, one.event_id) for one in entries] == [
        ("o", "e1"),
        ("o", "e2"),
        ("l", "e2~learn"),
        ("o", "e3"),
        ("o", "e4"),
        ("l", "e4~learn"),
        ("o", "e5"),
    ]
    learned, before = entries[2].event("s"), entries[1].event("s")
    assert learned["event_type"] == "learn"
    assert learned["timestamp"] == before["timestamp"]


def test_what_lies_at_or_below_a_sources_mark_is_known_although_its_id_is_forgotten(log: Log) -> None:
    append(log, "n", followed("s", "a"), followed("s", "b"), source=TOPIC)
    assert log.redis.keys("*ids:*") == []
    again = append(log, "n", followed("s", "a"), followed("s", "b"), followed("s", "c"), source=TOPIC)
    assert [status for status, _ in again] == ["m", "m", "n"]


def test_a_listeners_mark_is_kept_for_a_year_and_a_replays_for_a_month(log: Log) -> None:
    day = 86_400_000
    append(log, "n", followed("s", "a"), source=TOPIC)
    append(log, "n", followed("t", "a"), source="replay")
    root = prefix(partition_of("n"))
    assert 364 * day < log.redis.pttl(f"{root}mark:{TOPIC}") <= 365 * day
    assert 29 * day < log.redis.pttl(f"{root}mark:replay") <= 30 * day


def test_an_events_own_id_is_remembered_although_its_source_has_a_mark(log: Log) -> None:
    """Two messages of a topic may bring it, as where a producer sends it again."""
    append(log, "n", followed("s", "a", own=True), source=TOPIC)
    assert append(log, "n", followed("s", "x"), followed("s", "a", own=True), source=TOPIC) == [("m", 0), ("d", 1)]
    assert append(log, "n", followed("s", "a", own=True)) == [("d", 1)]


def test_one_reader_has_a_source_at_a_time_until_its_time_is_over(log: Log) -> None:
    assert log.all(
        ports.HoldReader("redis s", "a", 60_000),
        ports.HoldReader("redis s", "b", 60_000),
        ports.HoldReader("redis s", "a", 60_000),
        ports.HoldReader("redis t", "b", 60_000),
    ) == [True, False, True, True]
    assert log.redis.pttl("kt:{listening}:reader:redis s") > 50_000
    log.do(ports.GiveReaderBack("redis s", "b"))
    assert log.do(ports.HoldReader("redis s", "b", 60_000)) is False
    log.do(ports.GiveReaderBack("redis s", "a"))
    assert log.do(ports.HoldReader("redis s", "b", 60_000)) is True


def test_bodies_are_remembered_by_their_events_ids_until_they_are_dropped(log: Log) -> None:
    log.do(ports.KeepBodies("rabbitmq q", [("one", "d"), ("two", "d"), ("three", "e")]))
    assert log.do(ports.ReadBodies("rabbitmq q")) == {"one": "d", "two": "d", "three": "e"}
    assert log.do(ports.ReadBodies("rabbitmq other")) == {}
    log.do(ports.DropBodies("rabbitmq q", ["one", "three"]))
    assert log.do(ports.ReadBodies("rabbitmq q")) == {"two": "d"}


def test_a_full_store_refuses_bodies_and_letters_of_messages_as_it_refuses_events(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log.store, "_full", lambda: StoreFull("no room"))
    answers = log.all(ports.KeepBodies("q", [("one", "d")]), ports.KeepRefusedMessage("q", "message one", "{}"))
    assert [type(answer) for answer in answers] == [StoreFull, StoreFull]


def test_a_refused_message_is_kept_once_with_its_first_reason(log: Log) -> None:
    log.all(
        ports.KeepRefusedMessage("q", "message one", "first"), ports.KeepRefusedMessage("q", "message one", "second")
    )
    assert log.redis.hgetall(f"{prefix(partition_of('q'))}dead") == {"message one": "first"}


def test_predictions_are_dropped_only_by_who_sent_those_that_come_first(log: Log) -> None:
    append(log, "n", *(followed("s", f"e{i}") for i in range(3)))
    for _ in range(6):
        answer(log, "n", "s")
    part = partition_of("n")
    assert log.do(ports.DropPredictions(part, SINK, "e0~prediction", 2)) is True
    assert log.do(ports.DropPredictions(part, SINK, "e0~prediction", 2)) is False
    assert [row.id for row in log.do(ports.ReadPredictions(part, SINK, 10))] == ["e2~prediction"]
    assert log.do(ports.CountPredictions(part, "kafka:other")) == 0

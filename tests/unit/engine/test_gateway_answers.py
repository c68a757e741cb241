"""Answers that are not KATO's: nothing is buried, halved or counted as an attempt; what may be applied is found out."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from typing import Any

import pytest

from kato_tasks import ports
from kato_tasks.domain.stm import pattern_name
from kato_tasks.engine.drain import kato_api, misdirection
from kato_tasks.engine.drain.misdirection import Misdirections
from kato_tasks.engine.drain.retry import RetryPolicy
from kato_tasks.errors import GatewayAnswered, KatoMisdirected
from tests.unit.engine.world import (
    GONE,
    LOST,
    OK,
    URL,
    World,
    bound_at,
    context,
    created,
    forgotten,
    frequency,
    holds,
    learned,
    letters,
    logged,
    plain,
    reply,
    sequence,
    stm_of,
)

HTML = b"<html>no</html>"
NAME = pattern_name(stm_of("ab"))
GATEWAYS = [
    ports.KatoReply(503, HTML),
    ports.KatoReply(503, b"Service Unavailable"),
    ports.KatoReply(429, HTML),
    ports.KatoReply(202, b"{}"),
    reply({"status": "maintenance"}),
    reply(None),
    reply([]),
]
MISDIRECTED = [ports.KatoReply(status, HTML) for status in (301, 307, 400, 401, 403, 404, 405, 407, 413, 415, 422, 431)]
by_status = [str(r.status) for r in MISDIRECTED]


# ------------------------------------------------------------- refused before it reached KATO


@pytest.mark.parametrize("refused", MISDIRECTED, ids=by_status)
def test_what_something_before_kato_refuses_waits_and_is_never_buried_halved_or_counted(
    refused: ports.KatoReply,
) -> None:
    world = World(logged(letters("ab")), bound_at(0), attempts=1)
    for _ in range(30):
        world.kato("observe-sequence", refused)
        world.turn(context(retry=RetryPolicy(max_retries=2)))
    assert set(world.trace) == {"intent observe", "observe-sequence old", "defer"}
    assert (world.cursor, world.intent, world.attempts) == (0, None, 1)
    assert all(d.events_at_most == 0 for d in world.of(ports.Defer))
    assert max(d.wait_ms for d in world.of(ports.Defer)) > 5_000, "the waits grow"
    assert f"{URL} answers {refused.status}: " in world.of(ports.Defer)[-1].error


def test_a_single_event_that_something_before_kato_refuses_is_no_dead_letter() -> None:
    world = World(logged(letters("a")), bound_at(0)).kato("observe-sequence", ports.KatoReply(401, HTML))
    world.turn(context(retry=RetryPolicy(max_retries=0)))
    assert world.of(ports.Commit) == []
    assert "KATO_TASKS_KATO_TOKEN or KATO_TASKS_KATO_HEADERS" in world.the(ports.Defer).error


@pytest.mark.parametrize("refused", [r for r in MISDIRECTED if r.status != 403], ids=lambda r: str(r.status))
def test_a_learn_that_something_before_kato_refuses_is_withdrawn_and_asked_again(refused: ports.KatoReply) -> None:
    world = World(logged([*letters("ab"), plain("learn", "l")]), bound_at(2), cursor=2, known="PTRN|known")
    world.kato("cognition-data", holds(stm_of("ab"))).kato("pattern", frequency(2)).kato("learn", refused)
    world.turn()
    assert world.trace[-3:] == ["intent learn", "learn old", "defer"]
    assert world.intent is None


def test_a_learn_that_was_answered_403_is_settled_since_a_filter_of_answers_says_so_after_it_counted() -> None:
    """Invariant 3. Falls when learning.learn takes a 403 for a learn that never reached KATO."""
    world = World(logged([*letters("ab"), plain("learn", "l")]), bound_at(2), cursor=2)
    world.kato("cognition-data", holds(stm_of("ab"))).kato("pattern", frequency(2))
    world.kato("learn", ports.KatoReply(403, HTML)).kato("delete", OK)
    world.turn()
    assert world.trace[-3:] == ["delete old", "intent settle", "defer"]
    _settled(world, 3)
    assert (world.cursor, world.counts.get("learns_unknown", 0)) == (3, 0)


def test_a_read_that_something_before_kato_refuses_leaves_the_open_call_open() -> None:
    world = World(logged(letters("ab")), bound_at(0))
    world.kato("observe-sequence", LOST).kato("cognition-data", ports.KatoReply(401, HTML))
    world.turn()
    assert world.intent is not None
    assert world.intent.kind == "observe"
    assert world.the(ports.Defer).withdraw == ""


def test_a_create_that_is_answered_with_a_404_is_about_the_address_and_leaves_nothing_over() -> None:
    for answer in (GONE, ports.KatoReply(404, b'{"detail":"Not Found"}')):
        world = World(logged(letters("a"))).kato("sessions", answer)
        world.turn()
        assert world.trace == ["sessions", "defer"]
        assert world.counts == {}
        assert "check the host and the path in KATO_TASKS_KATO_URLS" in world.the(ports.Defer).error


def test_a_pattern_that_is_answered_with_a_404_is_not_taken_for_one_that_was_never_learned() -> None:
    world = World(logged([*letters("ab"), plain("learn", "l")]), bound_at(2), cursor=2)
    world.kato("cognition-data", holds(stm_of("ab"))).kato("pattern", GONE)
    world.turn()
    assert world.trace == ["cognition-data old", "pattern", "defer"]


# ----------------------------------------------------------------- perhaps passed on first


@pytest.mark.parametrize("answer", GATEWAYS)
def test_an_observation_that_a_gateway_answered_is_read_back_and_committed_when_it_was_applied(
    answer: ports.KatoReply,
) -> None:
    world = World(logged(letters("ab")), bound_at(0))
    world.kato("observe-sequence", answer).kato("cognition-data", holds(stm_of("ab")))
    world.turn()
    assert world.trace == ["intent observe", "observe-sequence old", "cognition-data old", "commit 2"]


@pytest.mark.parametrize("answer", GATEWAYS)
def test_an_observation_that_a_gateway_answered_and_kato_has_not_is_fenced_and_nobodys_attempt(
    answer: ports.KatoReply,
) -> None:
    """Invariant 4. Falls when drain.unsettled blames the event for what a gateway answered."""
    for text in ("a", "ab"):
        world = World(logged(letters(text)), bound_at(0), attempts=1)
        world.kato("observe-sequence", replace(answer, retry_after=7.0)).kato("cognition-data", holds([]))
        world.kato("delete", OK)
        world.turn(context(retry=RetryPolicy(max_retries=1)))
        assert world.trace[-3:] == ["delete old", "bind none", "defer"]
        assert world.attempts == 1
        assert world.the(ports.Bind).events_at_most == 0
        if answer.status in (429, 503):
            assert world.the(ports.Defer).wait_ms >= 7_000


@pytest.mark.parametrize("answer", GATEWAYS)
def test_a_gateway_that_answers_for_an_hour_uses_no_attempt_up(answer: ports.KatoReply) -> None:
    """Invariant 4. Falls when observing.excused does not note on the intent that a gateway answered."""
    world = World(logged(letters("a")), bound_at(0))
    for _ in range(20):
        world.kato("observe-sequence", answer).kato("cognition-data", ports.KatoReply(503, HTML))
        world.turn(context(retry=RetryPolicy(max_retries=2)))
        assert world.intent is not None
        world.kato("cognition-data", holds([])).kato("delete", OK)
        world.turn(context(retry=RetryPolicy(max_retries=2)))
        world.binding = bound_at(0)
    assert "park" not in world.trace
    assert (world.cursor, world.attempts) == (0, 0)


@pytest.mark.parametrize("answer", GATEWAYS)
@pytest.mark.parametrize("after", [2, 3])
def test_a_learn_that_a_gateway_answered_is_settled_by_its_frequency_and_never_sent_blindly_again(
    answer: ports.KatoReply, after: int
) -> None:
    """Invariant 3. Falls when engine.answers takes every 503 for KATO's own."""
    world = World(logged([*letters("ab"), plain("learn", "l")]), bound_at(2), cursor=2)
    world.kato("cognition-data", holds(stm_of("ab"))).kato("pattern", frequency(2))
    world.kato("learn", answer).kato("delete", OK)
    world.turn()
    assert world.trace[-4:] == ["learn old", "delete old", "intent settle", "defer"]
    _settled(world, after)
    if after == 3:
        assert world.sent("learn") == [""], "once"
        assert (world.cursor, world.intent, world.counts.get("learns_unknown", 0)) == (3, None, 0)
    else:
        assert world.sent("learn") == ["", ""], "the first left no trace"
        assert world.intent is not None
        assert world.intent.kind == "verify"


def _settled(world: World, after: int) -> None:
    """The next turn rebuilds, and reads the pattern's frequency."""
    world.kato("sessions", created()).kato("observe-sequence", sequence(2, time=2, stm_length=2))
    world.kato("cognition-data", holds(stm_of("ab"))).kato("predictions", OK).kato("pattern", frequency(after))
    if after == 3:
        world.kato("delete", OK)
    else:
        world.kato("learn", learned(NAME))
    world.turn()


@pytest.mark.parametrize("answer", GATEWAYS)
def test_a_clear_that_a_gateway_answered_ends_in_a_deleted_session(answer: ports.KatoReply) -> None:
    world = World(logged([*letters("ab"), plain("clear_stm", "c")]), bound_at(2), cursor=2)
    world.kato("clear-stm", answer).kato("delete", OK)
    world.turn()
    assert world.trace[-2:] == ["delete old", "commit 3"]
    assert world.binding is None


@pytest.mark.parametrize("answer", GATEWAYS)
def test_a_delete_that_a_gateway_answered_leaves_the_fence_open(answer: ports.KatoReply) -> None:
    world = World(logged(letters("ab")), bound_at(0))
    world.kato("observe-sequence", LOST).kato("cognition-data", holds([])).kato("delete", answer)
    world.turn()
    assert world.intent is not None
    assert world.intent.kind == "fence"
    assert world.trace[-1] == "defer"


@pytest.mark.parametrize("answer", GATEWAYS)
def test_a_create_that_a_gateway_answered_is_counted_as_left_over(answer: ports.KatoReply) -> None:
    world = World(logged(letters("a"))).kato("sessions", answer)
    world.turn()
    assert world.trace == ["sessions", "defer"]
    assert world.counts == {"leftovers": 1}
    assert world.attempts == 0


@pytest.mark.parametrize("answer", GATEWAYS)
def test_a_read_that_a_gateway_answered_is_asked_again_later_and_costs_a_predict_no_attempt(
    answer: ports.KatoReply,
) -> None:
    world = World(logged(letters("ab")), bound_at(2), cursor=2, asked="p", attempts=2)
    for _ in range(5):
        world.kato("cognition-data", holds(stm_of("ab"))).kato("predictions", replace(answer, retry_after=3.0))
        world.turn(context(retry=RetryPolicy(max_retries=2)))
    assert world.asked == "p"
    assert (world.attempts, world.of(ports.Commit)) == (2, [])


# ------------------------------------------------------------------------------- shapes

SHAPES: list[Any] = [None, [], 7, "ok", {}, {"status": "maintenance"}, {"status": None}]
WRONG: dict[str, list[Any]] = {
    "sessions": [
        *SHAPES,
        {"session_id": None, "session_config": {}},
        {"session_id": "", "session_config": {}},
        {"session_id": "x", "session_config": None},
        {"session_id": 7, "session_config": {}},
    ],
    "delete": [*SHAPES, {"status": "okay"}],
    "extend": [*SHAPES, {"status": "deleted"}],
    "observe-sequence": [
        *SHAPES,
        {"observations_processed": 1, "results": [], "final_stm_length": 1},
        {"observations_processed": 1, "results": ["x"], "final_stm_length": 1},
        {"observations_processed": 1, "results": None, "final_stm_length": 1},
        {"observations_processed": 1, "results": [{"time": None}], "final_stm_length": 1},
        {"observations_processed": 1, "results": [{"time": "1"}], "final_stm_length": 1},
        {"observations_processed": True, "results": [{"time": 1}], "final_stm_length": 1},
        {"observations_processed": 1, "results": [{"time": 1}], "final_stm_length": 1.0},
    ],
    "learn": [*SHAPES, {"status": "learned"}, {"status": "learned", "pattern_name": None}, {"pattern_name": "x"}],
    "clear-stm": [*SHAPES, {"status": "okay"}],
    "cognition-data": [
        *SHAPES,
        {"cognition_data": None},
        {"cognition_data": []},
        {"cognition_data": {"time": 1, "short_term_memory": None}},
        {"cognition_data": {"time": 1, "short_term_memory": ["a"]}},
        {"cognition_data": {"time": 1, "short_term_memory": [[1]]}},
        {"cognition_data": {"time": None, "short_term_memory": []}},
    ],
    "predictions": [
        *SHAPES,
        {"predictions": None},
        {"predictions": {}},
        {"predictions": ["x"]},
        {"predictions": [], "future_potentials": {"a": 1}},
    ],
    "pattern": [
        *SHAPES,
        {"pattern": None},
        {"pattern": []},
        {"pattern": {}},
        {"pattern": {"status": "maintenance"}},
        {"pattern": {"status": "okay"}},
        {"pattern": {"status": "okay", "pattern": None}},
        {"pattern": {"status": "okay", "pattern": {"frequency": None}}},
        {"pattern": {"status": "okay", "pattern": {"frequency": "3"}}},
    ],
}
STEPS: dict[str, Any] = {
    "sessions": lambda: kato_api.create_session(URL, "n", 60, {}),
    "delete": lambda: kato_api.delete_session(URL, "old"),
    "extend": lambda: kato_api.keep_alive(URL, "old", 60),
    "observe-sequence": lambda: kato_api.observe_sequence(URL, "old", ["{}"]),
    "learn": lambda: kato_api.learn(URL, "old"),
    "clear-stm": lambda: kato_api.clear_stm(URL, "old"),
    "cognition-data": lambda: kato_api.read_back(URL, "old"),
    "predictions": lambda: kato_api.read_predictions(URL, "old"),
    "pattern": lambda: kato_api.read_frequency(URL, "n", "PTRN|x"),
}
READS = ("cognition-data", "predictions", "pattern")


@pytest.mark.parametrize(
    ("route", "body"),
    [
        *((route, json.dumps(body).encode()) for route, bodies in WRONG.items() for body in bodies),
        *((route, body) for route in STEPS for body in (b"", HTML, b"[" * 100_000, b"\xff{}")),
    ],
)
def test_a_200_of_another_shape_than_katos_is_neither_a_success_nor_an_exception_out_of_a_lane(
    route: str, body: bytes
) -> None:
    """Invariant 5. Falls when kato_api._call does not guard the reading of an answer."""
    step = STEPS[route]()
    assert next(step).route == route
    with pytest.raises(KatoMisdirected if route in READS else GatewayAnswered, match=f"{route}: .* answers 200"):
        step.send(ports.KatoReply(200, body))


def test_an_unknown_pattern_is_still_one_that_was_never_learned() -> None:
    world = World(logged([*letters("ab"), plain("learn", "l")]), bound_at(2), cursor=2)
    world.kato("cognition-data", holds(stm_of("ab"))).kato("pattern", forgotten()).kato("predictions", OK)
    world.kato("pattern", forgotten()).kato("learn", learned(NAME)).kato("clear-stm", OK)
    world.turn()
    assert world.cursor == 3


# ------------------------------------------------------------------------------- the log


def test_one_line_says_what_to_mend_when_it_begins_and_one_that_kato_answers_again(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    url = "http://user:secret@kato_api.example:8000"
    seen = Misdirections()
    for _ in range(50):
        for route in ("observe-sequence", "cognition-data"):
            seen.record_wrong_answer(url, route, ports.KatoReply(401, HTML))
    assert seen.describe(url).startswith(
        "cognition-data: http://kato_api.example:8000 answers 401: set KATO_TASKS_KATO_TOKEN"
    )
    seen.record_katos_answer(url, "cognition-data")
    seen.record_wrong_answer(url, "observe-sequence", ports.KatoReply(403, HTML))
    seen.record_katos_answer(url, "learn")
    for _ in range(2):
        seen.record_katos_answer(url, "observe-sequence")
    assert seen.describe(url) == ""
    for _ in range(5):
        # A gateway that lets every second call through is told of once in AGAIN_SECONDS.
        seen.record_wrong_answer(url, "observe-sequence", ports.KatoReply(401, HTML))
        seen.record_katos_answer(url, "observe-sequence")
    monkeypatch.setattr(misdirection, "AGAIN_SECONDS", 0.0)
    seen.record_wrong_answer(url, "observe-sequence", ports.KatoReply(401, HTML))
    assert [
        (r.levelname, r.__dict__["kato_event"], r.__dict__["kato_fields"].get("status")) for r in caplog.records
    ] == [
        ("ERROR", "kato.misdirected", 401),
        ("ERROR", "kato.misdirected", 403),
        ("INFO", "kato.found", None),
        ("ERROR", "kato.misdirected", 401),
    ]
    assert "secret" not in caplog.text

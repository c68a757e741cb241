"""KATO's API as typed steps. Each sends one request, and returns its answer or raises what the answer means.

What any of them may raise: KatoUnavailable (nothing was applied, or read), OutcomeUnknown (a changing call may have
been applied), KatoSessionGone (404) and KatoRejected (a definite refusal that changed nothing).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote

from kato_tasks.domain.stm import Stm
from kato_tasks.engine.drain import kato_answers
from kato_tasks.engine.drain.misdirection import MISDIRECTIONS
from kato_tasks.errors import (
    ConfigurationError,
    GatewayAnswered,
    KatoFailed,
    KatoMisdirected,
    KatoRejected,
    KatoSessionGone,
    KatoUnavailable,
    OutcomeUnknown,
)
from kato_tasks.ports.effects import Program, perform
from kato_tasks.ports.kato import KatoRequest

T = TypeVar("T")
PREDICTION_BYTES = 16 * 1024 * 1024
"""How many bytes of an answer to a predict are read at most. It is parsed, kept and sent on, several times its size."""


def _call(
    request: KatoRequest, read: Callable[[dict[str, Any]], T], *, changes: bool, of_session: bool = True
) -> Program[T]:
    """Send a request and read KATO's answer to it, or raise what the answer means.

    ``changes`` says whether the call changes anything at KATO, and ``of_session`` whether its path names a KATO
    session, so that a 404 can be KATO's. ``read`` takes the answer apart; whatever it raises says that it is not
    KATO's.

    Raises KatoUnavailable where nothing was applied or read (KatoMisdirected: something before KATO refused it);
    KatoSessionGone and KatoRejected, which are KATO's own; OutcomeUnknown where a changing call may have been applied.
    """
    reply = yield from perform(request)
    url, route, kind = request.url, request.route, kato_answers.find_meaning(reply)
    if kind == "answer":
        try:
            answer = read(_object(json.loads(reply.body)))
        except Exception as exc:  # any shape can stand in the place of KATO's answer
            told = MISDIRECTIONS.record_wrong_answer(url, route, reply)
            raise (GatewayAnswered(told) if changes else KatoMisdirected(told, reply.status)) from exc
        MISDIRECTIONS.record_katos_answer(url, route)
        return answer
    if kind == "misdirected" or (kind == "gone" and not of_session):
        raise KatoMisdirected(MISDIRECTIONS.record_wrong_answer(url, route, reply), reply.status)
    text = reply.body[:500].decode("utf-8", "replace")
    if kind == "gateway":
        why = f"{route}: something before KATO answered {reply.status} {text}"
        raise GatewayAnswered(why, reply.retry_after) if changes else KatoUnavailable(why, reply.retry_after)
    if kind == "unknown":
        why = f"{route}: KATO answered {reply.status} {text}"
        raise KatoFailed(why) if kato_answers.is_katos_500(reply) else OutcomeUnknown(why)
    MISDIRECTIONS.record_katos_answer(url, route)
    if kind == "gone":
        raise KatoSessionGone(f"{route}: {text}")
    if kind == "busy":
        raise KatoUnavailable(f"{route}: KATO answered {reply.status}", reply.retry_after)
    raise KatoRejected(reply.status, text)


class _Other(ValueError):
    """The answer is not one that KATO gives to this call."""


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _Other(value)
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise _Other(value)
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise _Other(value)
    return value


def _number(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _Other(value)
    return value


def _status(answer: dict[str, Any], due: str) -> None:
    if answer["status"] != due:
        raise _Other(answer["status"])


def _session(kato_session: str, rest: str = "") -> str:
    return f"/sessions/{quote(kato_session, safe='')}{rest}"


def create_session(url: str, node: str, ttl_seconds: int, config: Mapping[str, Any]) -> Program[str]:
    """Create a KATO session on a node, and return its id.

    KATO drops the whole ``config`` silently where one value is out of range (measured on 3.10.1), so what comes back is
    compared with what was asked. Where it differs the KATO session is deleted, and ConfigurationError is raised. This
    is the last guard; ``config_check`` asked before.
    """
    kato_session, got = yield from make_session(url, node, ttl_seconds, config)
    differing = find_changed_keys(config, got)
    if unfit := find_server_fault(got):
        yield from delete_session(url, kato_session)
        raise ConfigurationError(f"KATO at {kato_answers.strip_address(url)} cannot be used: {unfit}")
    if differing:
        yield from delete_session(url, kato_session)
        raise ConfigurationError(
            f"KATO did not take session_config {', '.join(differing)}; "
            "one value out of range makes it drop all of them: check KATO_TASKS_KATO_SESSION_CONFIG"
        )
    return kato_session


def find_changed_keys(config: Mapping[str, Any], got: Mapping[str, Any]) -> list[str]:
    """Return the keys of a session config that did not come back as they were asked for."""
    return [name for name, wanted in config.items() if got.get(name) != wanted]


def find_server_fault(got: Mapping[str, Any]) -> str:
    """Return why a server cannot be used whose sessions have this config without being asked for it; '' if it can."""
    if got.get("sort_symbols", True):
        return ""
    return (
        "it was started with SORT_SYMBOLS=false, and what a session is rebuilt from stands on sorted symbols; "
        "start it with SORT_SYMBOLS=true"
    )


def make_session(
    url: str, node: str, ttl_seconds: int, config: Mapping[str, Any]
) -> Program[tuple[str, dict[str, Any]]]:
    """Create a KATO session, and return its id and the config that KATO made of ``config``."""
    body = json.dumps({"node_id": node, "ttl_seconds": ttl_seconds, "config": dict(config)}).encode()

    def read(answer: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        kato_session = _text(answer["session_id"])
        if not kato_session:
            raise _Other(kato_session)
        return kato_session, _object(answer["session_config"])

    request = KatoRequest(url, "POST", "/sessions", "sessions", body)
    return (yield from _call(request, read, changes=True, of_session=False))


def delete_session(url: str, kato_session: str) -> Program[bool]:
    """Delete a KATO session. Returns False where KATO answered 404."""
    request = KatoRequest(url, "DELETE", _session(kato_session), "delete")
    try:
        yield from _call(request, lambda answer: _status(answer, "deleted"), changes=True)
    except KatoSessionGone:
        return False
    return True


def keep_alive(url: str, kato_session: str, ttl_seconds: int) -> Program[None]:
    """Put off a KATO session's expiry by its own time to live.

    Only writes put it off, and this one changes neither STM nor time nor config, so it may be repeated (measured on
    KATO 3.10.1, where a write of the config would log a line at ERROR each time). ``ttl_seconds`` must be the session's
    own: its next access would undo another.
    """
    path = _session(kato_session, f"/extend?ttl_seconds={ttl_seconds}")
    request = KatoRequest(url, "POST", path, "extend", b"")
    yield from _call(request, lambda answer: _status(answer, "extended"), changes=True)


@dataclass(frozen=True, slots=True)
class SequenceAnswer:
    """KATO's answer to a sequence: how many events it processed, and its time and STM length after the last."""

    processed: int
    time: int
    stm_length: int


def observe_sequence(url: str, kato_session: str, bodies: Sequence[str]) -> Program[SequenceAnswer]:
    """Apply observations in one call. A refusal leaves nothing behind, because KATO saves once, at the end."""
    text = '{"observations":[' + ",".join(bodies) + '],"learn_after_each":false,"learn_at_end":false}'
    path = _session(kato_session, "/observe-sequence")
    request = KatoRequest(url, "POST", path, "observe-sequence", text.encode())
    return (yield from _call(request, _sequence_answer, changes=True))


def _sequence_answer(answer: dict[str, Any]) -> SequenceAnswer:
    last = _object(_list(answer["results"])[-1])
    return SequenceAnswer(
        _number(answer["observations_processed"]), _number(last["time"]), _number(answer["final_stm_length"])
    )


@dataclass(frozen=True, slots=True)
class ReadBack:
    """KATO's time and STM."""

    time: int
    stm: Stm


def read_back(url: str, kato_session: str) -> Program[ReadBack]:
    """Read KATO's time and STM. cognition-data is the only read that has both."""
    request = KatoRequest(url, "GET", _session(kato_session, "/cognition-data"), "cognition-data")
    return (yield from _call(request, _read_back, changes=False))


def _read_back(answer: dict[str, Any]) -> ReadBack:
    data = _object(answer["cognition_data"])
    stm = [[_text(symbol) for symbol in _list(event)] for event in _list(data["short_term_memory"])]
    return ReadBack(_number(data["time"]), stm)


def learn(url: str, kato_session: str) -> Program[str]:
    """Turn the STM into a pattern; returns its name (empty: one symbol in all, nothing stored)."""

    def read(answer: dict[str, Any]) -> str:
        _status(answer, "learned")
        return _text(answer["pattern_name"])

    return (
        yield from _call(KatoRequest(url, "POST", _session(kato_session, "/learn"), "learn", b""), read, changes=True)
    )


def clear_stm(url: str, kato_session: str) -> Program[None]:
    """Empty the STM, with its emotives and metadata, and put KATO's time back to 0."""
    request = KatoRequest(url, "POST", _session(kato_session, "/clear-stm"), "clear-stm", b"")
    yield from _call(request, lambda answer: _status(answer, "cleared"), changes=True)


def clear_all(url: str, kato_session: str) -> Program[None]:
    """Empty the session's node of all its patterns."""
    request = KatoRequest(url, "POST", _session(kato_session, "/clear-all"), "clear-all", b"")
    yield from _call(request, lambda answer: _status(answer, "cleared"), changes=True)


def read_predictions(url: str, kato_session: str) -> Program[dict[str, Any]]:
    """Read KATO's predictions for the STM, as KATO answers them."""

    def read(answer: dict[str, Any]) -> dict[str, Any]:
        for one in _list(answer["predictions"]):
            _object(one)
        _list(answer.get("future_potentials") or [])
        return answer

    path = _session(kato_session, "/predictions")
    request = KatoRequest(url, "GET", path, "predictions", most_bytes=PREDICTION_BYTES)
    return (yield from _call(request, read, changes=False))


def read_data(url: str, kato_session: str, what: str) -> Program[dict[str, Any]]:
    """Read a session's ``cognition-data`` or ``percept-data``, as KATO answers it."""
    request = KatoRequest(url, "GET", _session(kato_session, f"/{what}"), what, most_bytes=PREDICTION_BYTES)
    return (yield from _call(request, lambda answer: _object(answer[what.replace("-", "_")]), changes=False))


def finalize_training(url: str, kato_session: str) -> Program[dict[str, Any]]:
    """Have KATO write down what it learned on the session's node and compute its figures; returns KATO's answer.

    It changes no pattern, so it may be repeated.
    """
    request = KatoRequest(url, "POST", _session(kato_session, "/finalize-training"), "finalize-training", b"")

    def read(answer: dict[str, Any]) -> dict[str, Any]:
        _status(answer, "completed")
        return answer

    return (yield from _call(request, read, changes=False))


def read_pattern(url: str, node: str, pattern: str) -> Program[dict[str, Any]]:
    """Read a pattern of a node, as KATO answers it; an unknown one has the status ``error``."""
    path = f"/pattern/{quote(pattern, safe='')}?node_id={quote(node, safe='')}"
    request = KatoRequest(url, "GET", path, "pattern", most_bytes=PREDICTION_BYTES)
    return (yield from _call(request, lambda answer: _object(answer["pattern"]), changes=False, of_session=False))


def read_frequency(url: str, node: str, pattern: str) -> Program[int]:
    """Read how often KATO counts a pattern. 0 is an unknown pattern, and also how a failing ClickHouse looks."""
    path = f"/pattern/{quote(pattern, safe='')}?node_id={quote(node, safe='')}"
    return (yield from _call(KatoRequest(url, "GET", path, "pattern"), _frequency, changes=False, of_session=False))


def _frequency(answer: dict[str, Any]) -> int:
    found = _object(answer["pattern"])
    if found["status"] == "error":
        return 0
    _status(found, "okay")
    return _number(_object(found["pattern"])["frequency"])

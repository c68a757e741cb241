"""KATO's API as typed steps. Each yields one request; statuses become errors that say what may be done next."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from kato_tasks.domain.stm import Stm
from kato_tasks.engine import answers
from kato_tasks.errors import ConfigurationError, KatoRejected, KatoSessionGone, KatoUnavailable, OutcomeUnknown
from kato_tasks.ports import KatoReply, KatoRequest, Step, ask

counts_as_failure = answers.counts_as_failure
REFUSED = frozenset({400, 401, 403, 405, 413, 414, 415, 422, 431})


def checked(reply: KatoReply, route: str) -> Any:
    """The JSON of a 200, else KatoUnavailable, KatoSessionGone, KatoRejected or OutcomeUnknown."""
    if reply.status == 200:
        try:
            return json.loads(reply.body)
        except ValueError:
            raise OutcomeUnknown(f"{route}: KATO answered 200 with a body that is no JSON") from None
    text = reply.body[:500].decode("utf-8", "replace")
    if reply.status == 404:
        raise KatoSessionGone(f"{route}: {text}")
    if reply.status in (429, 503):
        raise KatoUnavailable(f"{route}: KATO answered {reply.status}", reply.retry_after)
    if reply.status in REFUSED:
        raise KatoRejected(reply.status, text)
    raise OutcomeUnknown(f"{route}: KATO answered {reply.status} {text}")


def _call(url: str, method: str, path: str, route: str, body: bytes | None = None) -> Step[Any]:
    return checked((yield from ask(KatoRequest(url, method, path, route, body))), route)


def _session(kato_session: str, rest: str = "") -> str:
    return f"/sessions/{quote(kato_session, safe='')}{rest}"


def create_session(url: str, node: str, ttl_seconds: int, config: Mapping[str, Any]) -> Step[str]:
    """A new KATO session on a node; returns its id.

    KATO drops the whole ``config`` silently when one value is out of range, so what comes back is compared
    with what was asked: ConfigurationError if it differs (measured on 3.10.1).
    """
    body = json.dumps({"node_id": node, "ttl_seconds": ttl_seconds, "config": dict(config)}).encode()
    answer = yield from _call(url, "POST", "/sessions", "sessions", body)
    try:
        got: Mapping[str, Any] = answer["session_config"]
        kato_session = str(answer["session_id"])
    except (KeyError, TypeError):
        raise OutcomeUnknown("sessions: KATO's answer has no session_id or session_config") from None
    differing = [name for name, wanted in config.items() if got.get(name) != wanted]
    if differing:
        yield from delete_session(url, kato_session)
        raise ConfigurationError(
            f"KATO did not take session_config {', '.join(differing)}; "
            "one value out of range makes it drop all of them: check KATO_TASKS_KATO_SESSION_CONFIG"
        )
    return kato_session


def delete_session(url: str, kato_session: str) -> Step[bool]:
    """Delete a KATO session; False when KATO answered 404."""
    try:
        yield from _call(url, "DELETE", _session(kato_session), "delete")
    except KatoSessionGone:
        return False
    return True


def keep_alive(url: str, kato_session: str) -> Step[None]:
    """Slide a KATO session's expiry: only writes do, and this one writes what is there already."""
    body = b'{"config":{"process_predictions":false}}'
    yield from _call(url, "POST", _session(kato_session, "/config"), "config", body)


@dataclass(frozen=True, slots=True)
class SequenceAnswer:
    """What KATO says of a sequence: events processed, and its time and STM length after the last."""

    processed: int
    time: int
    stm_length: int


def observe_sequence(url: str, kato_session: str, bodies: Sequence[str]) -> Step[SequenceAnswer]:
    """Apply observations in one call; a refusal leaves nothing behind (KATO saves once, at the end)."""
    text = '{"observations":[' + ",".join(bodies) + '],"learn_after_each":false,"learn_at_end":false}'
    path = _session(kato_session, "/observe-sequence")
    answer = yield from _call(url, "POST", path, "observe-sequence", text.encode())
    try:
        return SequenceAnswer(
            int(answer["observations_processed"]), int(answer["results"][-1]["time"]), int(answer["final_stm_length"])
        )
    except (KeyError, IndexError, TypeError, ValueError):
        raise OutcomeUnknown("observe-sequence: KATO's answer lacks its fields") from None


@dataclass(frozen=True, slots=True)
class ReadBack:
    time: int
    stm: Stm


def read_back(url: str, kato_session: str) -> Step[ReadBack]:
    """KATO's time and STM: the only read that has both is cognition-data."""
    answer = yield from _call(url, "GET", _session(kato_session, "/cognition-data"), "cognition-data")
    try:
        data = answer["cognition_data"]
        return ReadBack(int(data["time"]), data["short_term_memory"])
    except (KeyError, TypeError, ValueError):
        raise OutcomeUnknown("cognition-data: KATO's answer lacks time or short_term_memory") from None


def learn(url: str, kato_session: str) -> Step[str]:
    """Turn the STM into a pattern; returns its name (empty: one symbol in all, nothing stored)."""
    answer = yield from _call(url, "POST", _session(kato_session, "/learn"), "learn", b"")
    return str(answer.get("pattern_name") or "")


def clear_stm(url: str, kato_session: str) -> Step[None]:
    """Empty the STM, its emotives and metadata, and put time back to 0."""
    yield from _call(url, "POST", _session(kato_session, "/clear-stm"), "clear-stm", b"")


def predictions(url: str, kato_session: str) -> Step[dict[str, Any]]:
    """KATO's predictions for the STM, as it answers them."""
    answer = yield from _call(url, "GET", _session(kato_session, "/predictions"), "predictions")
    return dict(answer)


def frequency(url: str, node: str, pattern: str) -> Step[int]:
    """How often KATO counts a pattern; 0 when it is unknown, which is also how a failing ClickHouse looks."""
    path = f"/pattern/{quote(pattern, safe='')}?node_id={quote(node, safe='')}"
    try:
        answer = yield from _call(url, "GET", path, "pattern")
    except KatoSessionGone:
        return 0
    pattern_status = answer.get("pattern") or {}
    if pattern_status.get("status") != "okay":
        return 0
    return int((pattern_status.get("pattern") or {}).get("frequency", 0))

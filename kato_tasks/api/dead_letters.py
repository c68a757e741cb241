"""Read dead letters, put their events back in order, or discard them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from kato_tasks.api.append import append_entries
from kato_tasks.api.parking import parked_sessions, resume
from kato_tasks.api.refused_messages import append_again
from kato_tasks.api.sessions import iso_time, session_status
from kato_tasks.bootstrap import Runtime
from kato_tasks.domain.events import parse_event
from kato_tasks.domain.ids import MAX_ID_CHARS
from kato_tasks.domain.log_entry import entry_of
from kato_tasks.domain.refused_message import RefusedMessage
from kato_tasks.domain.results import Appended
from kato_tasks.engine.store_retry import raise_errors
from kato_tasks.errors import InvalidEvent, KatoTasksError, NodeConflict
from kato_tasks.ports.dead_letters import DeadLetterRow
from kato_tasks.ports.operating import DropDeadLetter

_REDRIVEN = re.compile(r"^(.*)~redriven-(\d+)$", re.DOTALL)
_TRIES = 100


class NoSuchDeadLetter(KatoTasksError):
    """No dead letter has this id, or several have it."""


UNREDRIVABLE = (NoSuchDeadLetter, InvalidEvent, NodeConflict)
"""What redriving a dead letter can raise, so that it stays one: a limit that its event exceeds was lowered, say."""


class DeadLetter(BaseModel):
    """An event that was refused for good, with everything that a person needs to decide about it.

    ``id`` is short, and is computed from the place where the event is kept. ``position`` is None if the event never got
    a position in its session's log. ``first_at`` and ``last_at`` are ISO 8601 times. A message that a listener read and
    that is no valid event has no ``event`` but a ``message``: its body (``{"base64": …}`` where it is no UTF-8), key
    and headers, and ``source`` and ``place`` where it stood.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    session_id: str
    node_id: str
    lane: str
    position: int | None
    event_id: str
    reason: str
    last_answer: str
    attempts: int
    first_at: str
    last_at: str
    event: dict[str, Any]
    message: dict[str, Any] | None = None
    kept_as: str = Field(exclude=True)


class Redriven(BaseModel):
    """What became of a dead letter: its session goes on at it (``resumed``), or its event was appended again.

    A message with several events names the last of them, and ``events`` how many there were.
    """

    model_config = ConfigDict(frozen=True)

    session_id: str
    event_id: str
    position: int | None
    resumed: bool
    events: int = 1


def dead_letters(rt: Runtime) -> Iterator[DeadLetter]:
    """Iterate over all dead letters, those of each session in the order of their positions.

    Raises StoreUnavailable.
    """
    return map(_letter, rt.dead_letters.rows())


def _letter(row: DeadLetterRow) -> DeadLetter:
    return DeadLetter(
        id=hashlib.sha1(row.kept_as.encode(), usedforsecurity=False).hexdigest()[:12],
        session_id=row.session,
        node_id=row.node,
        lane=row.lane,
        position=row.position,
        event_id=row.event_id,
        reason=row.reason,
        last_answer=row.last_answer,
        attempts=row.attempts,
        first_at=iso_time(row.first_ms),
        last_at=iso_time(row.last_ms),
        event=dict(row.event),
        message=None if row.message is None else dict(row.message),
        kept_as=row.kept_as,
    )


def find(rt: Runtime, wanted: str) -> DeadLetter:
    """Return the dead letter whose id or event_id is ``wanted``.

    Raises NoSuchDeadLetter if there is none, or if several have that event_id, and StoreUnavailable.
    """
    found = [letter for letter in dead_letters(rt) if wanted in (letter.id, letter.event_id)]
    exact = [letter for letter in found if letter.id == wanted]
    if len(exact) == 1:
        return exact[0]
    if not found:
        raise NoSuchDeadLetter(f"no dead letter has the id {wanted!r}; kato-tasks dead-letters list shows them")
    if len(found) > 1:
        ids = ", ".join(letter.id for letter in found[:5])
        raise NoSuchDeadLetter(f"{len(found)} dead letters have the event_id {wanted!r}; say which by id: {ids}")
    return found[0]


def discard(rt: Runtime, letter: DeadLetter) -> None:
    """Delete a dead letter. Raises StoreUnavailable."""
    raise_errors(rt.store.execute([DropDeadLetter(letter.lane, letter.kept_as)]))


def redrive(rt: Runtime, letter: DeadLetter, *, body: bytes | None = None, decoder: str | None = None) -> Redriven:
    """Give a dead letter another chance, then delete it.

    A message that was no valid event is read again, by the decoder that its listener had or by ``decoder``
    (``module:function``, '' for the standard form), and ``body`` is read in place of its own if it is given.

    If the session is parked at this very event, the session is resumed and goes on at it. Otherwise the session has
    already gone on, and the event is appended again at the end of its log as ``<event_id>~redriven-<n>``. A call that
    is repeated after a failure appends nothing twice. Raises InvalidEvent, NoSuchDeadLetter if the event was redriven
    too often, and StoreUnavailable; ConfigurationError if the decoder cannot be loaded.
    """
    if letter.message is not None:
        return _read_again(rt, letter, body, decoder)
    if body is not None or decoder is not None:
        raise InvalidEvent("body", "and a decoder can be given only for a message that a listener read")
    status = session_status(letter.session_id)
    at = (status.parked or {}).get("position") if status is not None else None
    if letter.position is not None and at == letter.position:
        resume(rt, letter.session_id)
        discard(rt, letter)
        return Redriven(session_id=letter.session_id, event_id=letter.event_id, position=letter.position, resumed=True)
    appended = _append_again(rt, letter)
    discard(rt, letter)
    return Redriven(
        session_id=appended.session_id, event_id=appended.event_id, position=appended.position, resumed=False
    )


def _read_again(rt: Runtime, letter: DeadLetter, body: bytes | None, decoder: str | None) -> Redriven:
    kept = RefusedMessage.of_json(letter.message or {})
    done = append_again(rt, kept, letter.event_id, body, decoder)
    discard(rt, letter)
    last = done[-1] if done else None
    return Redriven(
        session_id=last.session_id if last else "",
        event_id=last.event_id if last else letter.event_id,
        position=last.position if last else None,
        resumed=False,
        events=len(done),
    )


def redrive_parked(rt: Runtime, event_id: str) -> Redriven | None:
    """Resume the session that is parked at this event. Return None if no session is parked at it.

    Raises StoreUnavailable.
    """
    for session in parked_sessions(rt):
        status = session_status(session)
        if status is not None and status.parked is not None and status.parked.get("event_id") == event_id:
            resume(rt, session)
            return Redriven(session_id=session, event_id=event_id, position=status.parked.get("position"), resumed=True)
    return None


def _append_again(rt: Runtime, letter: DeadLetter) -> Appended:
    # The event was accepted once, so an unknown key is no reason to refuse it now.
    event = parse_event(letter.event, replace(rt.settings.limits, unknown_keys="pass"))
    before = _REDRIVEN.match(letter.event_id)
    base, n = (before[1], int(before[2])) if before else (letter.event_id, 0)
    for tried in range(n + 1, n + 1 + _TRIES):
        suffix = f"~redriven-{tried}"
        entry = entry_of(event, event_id=f"{base[: MAX_ID_CHARS - len(suffix)]}{suffix}", limits=rt.settings.limits)
        (appended,) = append_entries(rt, [entry])
        if appended.error is None:
            return appended
        # An event with another body was redriven under this id, so the append kept this event as a dead letter. It is a
        # copy of the letter that is being redriven, and is dropped here.
        kept_as = f"{entry.session_id}\n{entry.event_id} {entry.digest}"
        raise_errors(rt.store.execute([DropDeadLetter(letter.lane, kept_as)]))
    raise NoSuchDeadLetter(f"{letter.event_id!r} was redriven {_TRIES} times under other bodies; append it by hand")

"""What became of entries that were to be appended, in the words of their callers."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

from kato_tasks.domain.ids import node_id_of
from kato_tasks.domain.log_entry import Entry
from kato_tasks.domain.refusals import BuriedEvent, Refusal
from kato_tasks.domain.results import Appended
from kato_tasks.errors import NodeConflict
from kato_tasks.ports.log import AppendLetter
from kato_tasks.ports.operating import KeepDeadLetter


@dataclass(frozen=True, slots=True)
class AppendedEntry:
    """What became of an entry, and its lane."""

    appended: Appended
    lane: str
    conflict: bool = False
    """its event_id is known with another body, so it became a dead letter"""
    too_many: bool = False
    """it was not accepted, because too many predicts of its session wait already"""
    stands_at: int | None = None
    """it was not accepted, because its session stands at this position and not at the expected one"""
    other_node: NodeConflict | None = None
    """it was not accepted, because it names another node than the one that its session belongs to"""


@dataclass(frozen=True, slots=True)
class AppendResult:
    """What became of a batch: of each entry, in the order of the call."""

    placed: tuple[AppendedEntry, ...]
    wake: frozenset[int]
    """partitions with a lane that waits for a wake-up"""
    shared_names: frozenset[str]
    """lanes that more than one node_id falls on"""


def describe_appended(entry: Entry, lane: str, status: AppendLetter, position: int) -> AppendedEntry:
    """Say what became of an entry, by its status (see ``ports.AppendStatus``) and position."""
    if status == "c":
        error = (
            f"event_id {entry.event_id!r} is known in session {entry.session_id!r} with another body "
            f"(position {position}); it was kept as a dead letter: give a new fact a new event_id"
        )
        return AppendedEntry(
            Appended(event_id=entry.event_id, session_id=entry.session_id, position=None, duplicate=False, error=error),
            lane,
            conflict=True,
        )
    if status == "w":
        error = (
            f"session {entry.session_id!r} has as many waiting predicts as it may have (MAX_WAITING_PREDICTS); "
            "ask again when some are answered"
        )
        return AppendedEntry(
            Appended(event_id=entry.event_id, session_id=entry.session_id, position=None, duplicate=False, error=error),
            lane,
            too_many=True,
        )
    if status == "x":
        error = f"session {entry.session_id!r} stands at position {position}, not at the expected one"
        return AppendedEntry(
            Appended(event_id=entry.event_id, session_id=entry.session_id, position=None, duplicate=False, error=error),
            lane,
            stands_at=position,
        )
    appended = Appended(
        event_id=entry.event_id,
        session_id=entry.session_id,
        position=None if status == "m" else position,
        duplicate=status in ("d", "m"),
    )
    return AppendedEntry(appended, lane)


def node_conflict(entry: Entry, node: str, where: str) -> NodeConflict:
    """Return the error that says that the session belongs to another node than the entry's; ``where`` is its field."""
    return NodeConflict(
        where,
        f"is {entry.node_id!r}, and session {entry.session_id!r} belongs to node "
        f"{node_id_of(entry.session_id, node)!r} for life; leave node_id out or use another session_id",
    )


def refused_node(entry: Entry, lane: str, why: NodeConflict) -> AppendedEntry:
    """Say that an entry was not accepted, because it names another node than its session's; ``lane`` is that one's."""
    appended = Appended(
        event_id=entry.event_id, session_id=entry.session_id, position=None, duplicate=False, error=str(why)
    )
    return AppendedEntry(appended, lane, other_node=why)


def make_dead_letter(entry: Entry, lane: str, node: str, position: int) -> KeepDeadLetter:
    """Make the dead letter of an entry whose id is known with another body, at ``position``."""
    now_ms = int(time.time() * 1000)
    reason = f"event_id {entry.event_id!r} is known with another body at position {position}"
    refusal = Refusal(reason, None, attempts=0, first_ms=now_ms, last_ms=now_ms)
    letter = BuriedEvent(entry.session_id, node_id_of(entry.session_id, node), lane, refusal, raw=entry.text)
    name = f"{entry.session_id}\n{entry.event_id} {entry.digest}"
    return KeepDeadLetter(lane, name, json.dumps(letter.as_letter()))

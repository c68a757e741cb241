"""Operations for tasks that wait for an event's result, and for their messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from kato_tasks.ports.effects import Effect
from kato_tasks.ports.lanes import Batch, WaitingTask, Work

PARKED_AT_MOST = 100
"""Requests that may wait for one event."""
MarkOf = Literal["wake-up", "overtaking", "sweep"]
"""What a mark says: a wake-up of the shard is outstanding; so is one that overtakes its queue; a sweep had its turn."""


@dataclass(frozen=True, slots=True)
class Waits:
    """Why a task's event is not in KATO yet: how its session stands.

    ``cursor``: how far it was applied. ``error``: what its last try met, or ''. ``parked``: it waits for a person.
    ``now_ms`` by the store's clock, and ``due_ms``: when the session is due (0: it is at work, or has nothing to do).
    """

    cursor: int
    error: str
    parked: bool
    now_ms: int
    due_ms: int


@dataclass(frozen=True, slots=True)
class Found:
    """What a task found on arrival: exactly one of these; with none of them it waits.

    ``applied``: the event is in KATO and its result has expired; ``node`` is its session's. ``dead``: it is a dead
    letter (JSON, empty when that was discarded). ``unknown``: the store has no such event, or no longer.
    ``full``: so many tasks wait for this event that no other may. ``waits``: it waits, and was only looked for.
    """

    result: str | None = None
    applied: bool = False
    work: Work | None = None
    node: str = ""
    dead: str | None = None
    unknown: bool = False
    full: bool = False
    waits: Waits | None = None


@dataclass(frozen=True, slots=True)
class TakeOrWait(Effect[Found]):
    """Find a task's result, take its lane (unless ``token`` is empty), or park its request: one atomic step.

    ``kind`` tells what has no position (0): ``p`` a predict, ms an event that is appended then.
    """

    lane: str
    session: str
    event_id: str
    position: int
    task_id: str
    request: str
    token: str
    lease_ms: int
    batch: Batch
    kind: str = ""
    parked_at_most: int = PARKED_AT_MOST


@dataclass(frozen=True, slots=True)
class SetMark(Effect[bool]):
    """Set a mark that expires after ``ms``; False: it stands already."""

    of: MarkOf
    shard: int
    ms: int


@dataclass(frozen=True, slots=True)
class ClearMark(Effect[None]):
    """Take a mark away before it expires."""

    of: MarkOf
    shard: int


@dataclass(frozen=True, slots=True)
class KeepUnpublished(Effect[None]):
    """Keep a task message that could not be published."""

    lane: str
    message: str


@dataclass(frozen=True, slots=True)
class UnpublishedMessages(Effect[list[str]]):
    """The oldest messages that could not be published."""

    partition: int
    limit: int


@dataclass(frozen=True, slots=True)
class DropUnpublished(Effect[None]):
    partition: int
    message: str


@dataclass(frozen=True, slots=True)
class DropWaitingTask(Effect[None]):
    lane: str
    session: str
    event_id: str
    task_id: str


@dataclass(frozen=True, slots=True)
class NoteDelivery(Effect[None]):
    """A task was told its event's result: the store need not keep it for long any more."""

    lane: str
    session: str
    event_id: str


@dataclass(frozen=True, slots=True)
class OrphanedTasks(Effect[list[WaitingTask]]):
    """Parked requests that nobody completed.

    Those whose result has been there for ``age_ms``; and, with an empty result, those whose event is not where they
    look for it (each is looked at every ``look_ms``).
    """

    partition: int
    age_ms: int
    limit: int
    look_ms: int = 10_000


@dataclass(frozen=True, slots=True)
class LookSoon(Effect[None]):
    """Have the requests that are parked for an event looked at in the next round."""

    lane: str
    session: str
    event_id: str

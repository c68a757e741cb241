"""Operations for tasks that wait for an event's result, and for their messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from kato_tasks.ports.effects import Effect
from kato_tasks.ports.lanes import Batch, WaitingTask, Work

MAX_WAITING_TASKS = 100
"""How many tasks may wait for one event."""
MarkOf = Literal["wake-up", "overtaking", "sweep", "archiving"]
"""What a mark says: a wake-up of the shard is outstanding; so is one that overtakes its queue; a sweep had its turn;
a task that archives what the shard applied is on its way or running."""


@dataclass(frozen=True, slots=True)
class SessionProgress:
    """How the session of a waiting task's event stands.

    ``cursor`` is how far the session was applied, and ``error`` what its last try met ('' for nothing). ``parked``
    says that it waits for a person. It is due at ``due_ms`` (0: it is at work, or has nothing to do); ``now_ms`` is
    the time by the same clock, the store's.
    """

    cursor: int
    error: str
    parked: bool
    now_ms: int
    due_ms: int


@dataclass(frozen=True, slots=True)
class Found:
    """What a task found on arrival: one of these, or none of them, and then it waits.

    ``result``: the event's result (JSON). ``work``: its lane was free, and the caller holds it now. ``applied``: the
    event is in KATO and its result has expired; ``node`` is its session's. ``dead``: it is a dead letter (JSON, '' if
    that was discarded). ``unknown``: the store has no such event. ``full``: as many tasks wait for this event as may.
    ``progress``: it would wait, and was only looked for.
    """

    result: str | None = None
    applied: bool = False
    work: Work | None = None
    node: str = ""
    dead: str | None = None
    unknown: bool = False
    full: bool = False
    progress: SessionProgress | None = None


@dataclass(frozen=True, slots=True)
class TakeOrWait(Effect[Found]):
    """Find a task's result, take its lane, or leave its request waiting there: one atomic step.

    An empty ``token`` takes no lane, and an empty ``task_id`` leaves no request. ``position`` is the event's place in
    the log. For an event without one it is 0, and ``kind`` says why: ``p`` for a predict, or the time (ms) at which
    the event is going to be appended.
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
    max_waiting: int = MAX_WAITING_TASKS


@dataclass(frozen=True, slots=True)
class SetMark(Effect[bool]):
    """Set a mark that expires after ``ms``. Answers False if it stands already."""

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
    """Read the oldest messages of a partition that could not be published, ``limit`` at most."""

    partition: int
    limit: int


@dataclass(frozen=True, slots=True)
class DropUnpublished(Effect[None]):
    """Forget a kept message, once it was published or became a dead letter."""

    partition: int
    message: str


@dataclass(frozen=True, slots=True)
class DropWaitingTask(Effect[None]):
    """Forget a waiting task, once it was told its event's result."""

    lane: str
    session: str
    event_id: str
    task_id: str


@dataclass(frozen=True, slots=True)
class NoteDelivery(Effect[None]):
    """Note that a task was told its event's result, so the store need not keep the result for long."""

    lane: str
    session: str
    event_id: str


@dataclass(frozen=True, slots=True)
class ReadResults(Effect[list[str | None]]):
    """Read the results (JSON) of events of a session, in their order; None where there is none, or it has expired."""

    lane: str
    session: str
    event_ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class ReadDeadLettersAt(Effect[list[str | None]]):
    """Read the dead letters (JSON) of a session at these positions, in their order; None where there is none."""

    lane: str
    session: str
    positions: Sequence[int]


@dataclass(frozen=True, slots=True)
class OrphanedTasks(Effect[list[WaitingTask]]):
    """Find waiting tasks that nothing completed.

    These are tasks whose result has been there for ``age_ms``, and, with an empty result, tasks whose event is not
    where they look for it. Each of the latter is looked at every ``look_ms``.
    """

    partition: int
    age_ms: int
    limit: int
    look_ms: int = 10_000


@dataclass(frozen=True, slots=True)
class LookSoon(Effect[None]):
    """Have the tasks that wait for an event looked at in the next round of the sweep."""

    lane: str
    session: str
    event_id: str

"""Operations on the logs: append, read, and events that are kept until they are due."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kato_tasks.domain.log_entry import Entry, Logged
from kato_tasks.ports.effects import Effect


@dataclass(frozen=True, slots=True)
class AppendStatus:
    status: str
    position: int


@dataclass(frozen=True, slots=True)
class AppendedBatch:
    wake: bool
    statuses: tuple[AppendStatus, ...]


@dataclass(frozen=True, slots=True)
class Append(Effect[AppendedBatch]):
    """Append entries to one partition's lanes. ``source`` and each entry's offset give a high-water mark.

    Operations of one ``execute`` may fail one by one, so what must come after an append waits for its answer.
    """

    partition: int
    entries: Sequence[tuple[str, str, Entry, int]]
    """lane, node, entry, offset in the source (0 without one)"""
    source: str = ""
    run: str = ""
    """the run of the store that the nodes were read from: another one answers StoreWentBack (empty: any will do)"""


@dataclass(frozen=True, slots=True)
class BindNodes(Effect[list[str]]):
    """The node of each session for life: (session, wanted or '', default). ``run``: see ``Append``."""

    partition: int
    sessions: Sequence[tuple[str, str, str]]
    run: str = ""


@dataclass(frozen=True, slots=True)
class ReadLog(Effect[list[Logged]]):
    """Entries at positions ``first`` to ``last``, both included."""

    lane: str
    session: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class LastEvent(Effect[int | None]):
    """When the last event of a session was appended, or applied where its log does not hold it any more (ms)."""

    lane: str
    session: str


@dataclass(frozen=True, slots=True)
class KeepScheduled(Effect[None]):
    """Keep an event that is to be appended at ``due_ms``; the same payload is kept once, equal times in call order."""

    lane: str
    due_ms: int
    payload: str


@dataclass(frozen=True, slots=True)
class DueScheduled(Effect[list[str]]):
    """Payloads kept for later that are due at ``now_ms``, as they are to be dropped: white space may come first."""

    partition: int
    now_ms: int
    limit: int


@dataclass(frozen=True, slots=True)
class DropScheduled(Effect[None]):
    partition: int
    payload: str


@dataclass(frozen=True, slots=True)
class NodeOf(Effect[str | None]):
    """The node that a session belongs to; None: the session does not exist (asking makes nothing)."""

    session: str

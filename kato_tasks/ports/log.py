"""Operations on the logs: append, read, and events that are kept until they are due."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from kato_tasks.domain.log_entry import Entry, Logged
from kato_tasks.ports.effects import Effect

AppendLetter = Literal["n", "a", "d", "m", "c", "w", "x", "e", "g"]


class AppendStatus(NamedTuple):
    """What became of one entry: a letter, and its place in the log (0 where it has none).

    ``n``: appended. ``a``: appended, and another node id has the same name in KATO. ``d``: known before, with the same
    body. ``m``: at or below its source's mark. ``c``: known before, with another body. ``w``: not appended, because too
    many predicts of its session wait. ``x``: not appended, because its session stands at another position (which
    ``position`` is) than was expected. ``e``: not appended, because its session's rows are broken. ``g``: not
    appended, because its session is gone: its node has to be written down again.
    """

    status: AppendLetter
    position: int


@dataclass(frozen=True, slots=True)
class AppendedBatch:
    """What became of each entry, in their order. ``wake`` says that a lane became due, so its shard needs a wake-up."""

    wake: bool
    statuses: tuple[AppendStatus, ...]


@dataclass(frozen=True, slots=True)
class Append(Effect[AppendedBatch]):
    """Append entries to the logs of one partition's lanes, in their order.

    Each entry comes with its lane, its node and its offset in the source (0 without one). ``source`` and the offsets
    keep a high-water mark, below which nothing is appended again. ``run`` is the run of the store that the nodes were
    read from: another run answers StoreWentBack ('' allows any). Operations of one ``execute`` may fail one by one,
    so an operation that must come after an append waits for its answer. ``expected``, unless it is -1, is the position
    at which the session of each new entry must stand.
    """

    partition: int
    entries: Sequence[tuple[str, str, Entry, int]]
    """lane, node ('': the caller has appended to the session before), entry, offset in the source (0 without one)"""
    source: str = ""
    run: str = ""
    """the run of the store that the nodes were read from: another one answers StoreWentBack (empty: any will do)"""
    expected: int = -1
    """the position at which a session must stand for a new entry to be appended (-1: any)"""
    sink: str = ""
    """where predictions after these entries go that ``Entry.also`` asks for"""


@dataclass(frozen=True, slots=True)
class BindNodes(Effect[list[str]]):
    """Write down the node of each session for life, and answer the nodes.

    Each session comes with the node that was asked for ('' for none) and its default node. ``run``: see ``Append``.
    """

    partition: int
    sessions: Sequence[tuple[str, str, str]]
    run: str = ""


@dataclass(frozen=True, slots=True)
class ReadLog(Effect[list[Logged]]):
    """Read the entries at positions ``first`` to ``last``, both included."""

    lane: str
    session: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class LastEvent(Effect[int | None]):
    """Read when a session's last event was appended (ms), or applied if its log does not hold it any more."""

    lane: str
    session: str


@dataclass(frozen=True, slots=True)
class KeepScheduled(Effect[None]):
    """Keep an event until ``due_ms``, when it is appended.

    The same payload is kept once. Events with the same due time are appended in the order of these calls.
    """

    lane: str
    due_ms: int
    payload: str


@dataclass(frozen=True, slots=True)
class DueScheduled(Effect[list[str]]):
    """Read up to ``limit`` payloads that are due at ``now_ms``.

    White space may come first in a payload; it is dropped under the same text.
    """

    partition: int
    now_ms: int
    limit: int


@dataclass(frozen=True, slots=True)
class DropScheduled(Effect[None]):
    """Forget a scheduled event, once it was appended or became a dead letter."""

    partition: int
    payload: str


@dataclass(frozen=True, slots=True)
class NodeOf(Effect[str | None]):
    """Read the node that a session belongs to; None if the session does not exist. Asking makes no session."""

    session: str

"""Operations of those who move applied events from the store to the archive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kato_tasks.ports.archive import ArchivedEvent
from kato_tasks.ports.effects import Effect


@dataclass(frozen=True, slots=True)
class UnarchivedLane:
    """The first commits of a lane that are not archived yet.

    ``first_seq`` is the place of the first of them in the lane's order, and ``commits`` how many there are. ``events``
    are the events that they applied, in the lane's order. ``missing`` names sessions whose log does not hold what a
    commit says that it applied.
    """

    lane: str
    first_seq: str
    commits: int
    events: tuple[ArchivedEvent, ...]
    missing: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ReadUnarchived(Effect[list[UnarchivedLane]]):
    """Read what is applied and not archived in up to ``lanes`` lanes of a partition: about ``events`` events."""

    partition: int
    lanes: int
    events: int


@dataclass(frozen=True, slots=True)
class DropArchived(Effect[bool]):
    """Forget a lane's first commits, because they are archived, and trim the logs of their sessions.

    ``sessions`` are sessions of the lane, each with the position up to which it is archived. Its log keeps what is not
    applied, and the newest ``stm_cap`` events of its STM. Answers False if ``first_seq`` is no longer the lane's first
    commit, in which case nothing is changed.
    """

    lane: str
    first_seq: str
    commits: int
    sessions: Sequence[tuple[str, int]]
    stm_cap: int


@dataclass(frozen=True, slots=True)
class NoteUnarchived(Effect[None]):
    """Note lanes that may have commits that are not archived. A lane that has none is dropped when it is read."""

    partition: int
    lanes: Sequence[str]

"""Describe the record of replays, and the operations with which a lane's history is copied into a shadow lane.

A shadow lane holds copies of a lane's sessions under ids of their own, on a physical node of its own. Drains apply it
like any lane, so a copy is applied in order and once, whatever dies; nothing of it goes to the archive.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from kato_tasks.domain.replays import LaneReplay, Replay
from kato_tasks.ports.archive import ArchivedEvent
from kato_tasks.ports.effects import Effect


@dataclass(frozen=True, slots=True)
class LanePage:
    """Applied events of a lane that its store still holds, in the lane's order.

    ``first_seq`` is the place of the first event that the store holds (0: it holds none), and ``applied`` how many
    events were ever applied in the lane. All up to the place ``reached`` were looked at: those of a session that was
    forgotten are not among ``events``.
    """

    first_seq: int
    applied: int
    events: tuple[ArchivedEvent, ...]
    reached: int


@dataclass(frozen=True, slots=True)
class ReadLane(Effect[LanePage]):
    """Read about ``limit`` applied events of a lane after a place in its order, as far as the store holds them.

    Answers UnreadableRow where a session's log lacks some of them.
    """

    lane: str
    after: int
    limit: int


@dataclass(frozen=True, slots=True)
class ReadLaneState(Effect[tuple[int, str]]):
    """Read how many events were ever applied in a lane, and which replay it is the shadow lane of ('' for none)."""

    lane: str


@dataclass(frozen=True, slots=True)
class OpenShadow(Effect[None]):
    """Mark a lane as a replay's shadow lane, which these sessions belong to, so that nothing of it is archived."""

    lane: str
    replay_id: str
    sessions: Sequence[str]


@dataclass(frozen=True, slots=True)
class ShadowSessions(Effect[list[str]]):
    """Read the sessions of a shadow lane."""

    lane: str


@dataclass(frozen=True, slots=True)
class DropShadow(Effect[None]):
    """Erase these sessions of a shadow lane, and with ``whole`` the lane itself.

    ``source`` is the name of the source from which its events were appended. A lane that is no shadow lane is left
    alone.
    """

    lane: str
    sessions: Sequence[str]
    source: str
    whole: bool


@dataclass(frozen=True, slots=True)
class UnbindSession(Effect[bool]):
    """Make a session's KATO session be rebuilt from its log, now. Answers False if it has an open intent or is leased.

    The binding stays written and counts as expired, so that the next drain fences it.
    """

    lane: str
    session: str


class Replays(Protocol):
    """Keeps the record of replays. Every method raises StoreUnavailable if the store does not answer."""

    @abstractmethod
    def create(self, replay: Replay, parts: Sequence[Sequence[LaneReplay]]) -> dict[str, str]:
        """Keep a new replay with the lanes of each part.

        Answers the lanes that another replay has, each with that replay's id; if there are any, nothing is kept.
        """

    @abstractmethod
    def read(self, replay_id: str) -> Replay | None:
        """Return a replay, or None if there is none of that id."""

    @abstractmethod
    def change(self, replay_id: str, **fields: object) -> Replay:
        """Change fields of a replay that has not ended, and return it. One that has ended stays as it is."""

    @abstractmethod
    def reopen(self, replay_id: str, task_id: str) -> Replay:
        """Let a replay that failed or was cancelled run again under this task, and return it."""

    @abstractmethod
    def all(self) -> list[Replay]:
        """Return all replays that are kept, the newest first."""

    @abstractmethod
    def lanes(self, replay_id: str, part: int) -> dict[str, LaneReplay]:
        """Return the lanes of one part by their names."""

    @abstractmethod
    def all_lanes(self, replay_id: str) -> Iterator[LaneReplay]:
        """Iterate over the lanes of all parts."""

    @abstractmethod
    def note_lanes(self, replay_id: str, part: int, lanes: Sequence[LaneReplay]) -> None:
        """Keep how far these lanes of a part are."""

    @abstractmethod
    def take(self, replay_id: str, lanes: Sequence[str]) -> dict[str, str]:
        """Take these lanes for a replay, or none if another replay has one of them.

        Answers the lanes that another replay has, each with that replay's id.
        """

    @abstractmethod
    def release(self, replay_id: str, lanes: Sequence[str]) -> None:
        """Let other replays have these lanes."""

    @abstractmethod
    def holders(self, lanes: Sequence[str]) -> Mapping[str, str]:
        """Return which of these lanes a replay has, each with that replay's id."""

    @abstractmethod
    def lease_part(self, replay_id: str, part: int, token: str, seconds: float) -> bool:
        """Take or renew the right to work on a part. Answers False if another process has it."""

    @abstractmethod
    def free_part(self, replay_id: str, part: int, token: str) -> None:
        """Give that right back."""

    @abstractmethod
    def take_share(self, events: int, per_second: int) -> float:
        """Count events against what all replays together may copy per second.

        Answers 0.0 if they may be copied now, and otherwise after how many seconds to ask again.
        """

    @abstractmethod
    def retire(self, replay_id: str, seconds: int) -> None:
        """Let the record of a replay expire after ``seconds`` (0: now)."""

"""Figures of the whole: how much there is to do in each partition, what does not go on, who gives signs of life.

Nothing here changes anything. Every method raises StoreUnavailable when the store does not answer. Times are
milliseconds since 1970 by the store's clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from kato_tasks.ports.operating import SignOf

Place = tuple[int, str]
"""A partition, and a session in it."""


@dataclass(frozen=True, slots=True)
class PartitionFigures:
    """One partition's figures.

    ``oldest_unapplied_seconds`` is the age of the oldest event that is not applied; None: there is none.
    ``moved_seconds`` is how long ago something was applied there last; None: never, or not known.
    """

    partition: int
    appended: int
    applied: int
    oldest_unapplied_seconds: float | None
    moved_seconds: float | None
    sessions_unapplied: int
    lanes_due: int
    """lanes that are leased, due, or wait for a due time"""
    dead_letters: int
    parked: int
    scheduled: int
    """events kept for a later append"""
    unpublished: int
    """task messages that wait for the broker"""
    fenced: int
    rebuilt: int
    reordered: int
    leftovers: int
    learns_unknown: int
    ltm_lost: int
    """lanes whose patterns KATO lost, and that is not acknowledged"""
    unreadable_lanes: int

    @property
    def backlog(self) -> int:
        """Events that are appended and not applied."""
        return max(0, self.appended - self.applied)


@dataclass(frozen=True, slots=True)
class SweepFigures:
    """What a partition has for the sweep: how many of each."""

    partition: int
    lanes_due: int
    lanes_overdue: int
    """lanes that have been due for as long as a wake-up takes at most"""
    lanes_too_far_ahead: int
    """lanes whose due time lies further ahead than any is set to"""
    owed: int
    """parked requests whose result has been there for a while"""
    scheduled_due: int
    waiting_unseen: int
    """events that tasks wait for, and that were not looked at lately"""
    unpublished: int


@dataclass(frozen=True, slots=True)
class Stalled:
    """What does not go on in a partition.

    ``failing``: the sessions whose tries fail, the oldest first, each with the time of the first of these tries; of all
    ``failing_count`` a few. ``oldest``: the sessions whose events wait longest, each with the time of its oldest one.
    """

    partition: int
    failing: Sequence[tuple[str, float]]
    failing_count: int
    oldest: Sequence[tuple[str, float]]


@dataclass(frozen=True, slots=True)
class WaitingFigures:
    """``messages``: the oldest message of each partition that was asked for, as it was kept; None where none is."""

    now_ms: int
    stalled: Sequence[Stalled]
    messages: Sequence[str | None]


@dataclass(frozen=True, slots=True)
class LifeSign:
    """What a process said of itself (JSON), and when it gave its last sign."""

    about: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class WholeFigures:
    """What is kept of the whole, beside the partitions' figures.

    ``acknowledged``: what a person acknowledged of the whole, by its id (JSON). ``lost_lanes``: a few of the lanes
    whose patterns KATO lost; ``losses_acknowledged``: how many more of these a person has acknowledged, by partition.
    """

    now_ms: int
    workers: Sequence[LifeSign]
    beats: Sequence[LifeSign]
    acknowledged: Mapping[str, str]
    lost_lanes: Sequence[str]
    losses_acknowledged: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class LostLanes:
    """Lanes whose patterns KATO lost: those that are not acknowledged, and the others with what was said (JSON)."""

    open: frozenset[str]
    acknowledged: Mapping[str, str]


class Figures(Protocol):
    """Reads figures."""

    def now_ms(self) -> int:
        """The store's clock, which due times are compared with."""
        ...

    def persistence_problem(self) -> str | None:
        """What the store would lose when its process ends, and what to set; None when it keeps everything."""
        ...

    def partitions(self) -> list[PartitionFigures]:
        """Every partition's figures, in their order, in one round trip."""
        ...

    def sweep(self, *, overdue_ms: int, owed_ms: int, unseen_ms: int, ahead_ms: int) -> list[SweepFigures]:
        """What there is for the sweep in every partition, in their order.

        A lane is overdue that was due ``overdue_ms`` ago, and too far ahead that is due more than ``ahead_ms`` from
        now. A request is owed whose result has been there for ``owed_ms``, and an event unseen that was not looked at
        for ``unseen_ms``.
        """
        ...

    def waiting(
        self, busy: Sequence[int], standing: frozenset[int], unpublished: Sequence[int], most: int
    ) -> WaitingFigures:
        """What does not go on in the ``busy`` partitions, in one round trip: of each, ``most`` sessions of a kind.

        The sessions whose events wait longest are read of those that are ``standing``, and the oldest message of those
        that are ``unpublished``.
        """
        ...

    def errors_of(self, places: Sequence[Place]) -> dict[Place, str]:
        """What the last try of these sessions met, '' where it met nothing, in one round trip.

        Sessions that are parked, and those whose rows cannot be read, are left out.
        """
        ...

    def whole(self, lost: Sequence[int], most: int) -> WholeFigures:
        """What is kept of the whole, in one round trip; up to ``most`` lanes are named of each partition ``lost``."""
        ...

    def acknowledged_losses(self, partitions: Sequence[int], most: int) -> dict[str, str]:
        """Lost lanes that are acknowledged, about ``most`` of each of these partitions, with what was said (JSON)."""
        ...

    def lost_lanes(self) -> LostLanes:
        """Every lane whose patterns KATO lost, in one round trip."""
        ...

    def last_sign_ms(self, of: SignOf) -> int | None:
        """When the last sign of any worker, or of any beat, was given; None: there is none."""
        ...

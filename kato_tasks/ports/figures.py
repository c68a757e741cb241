"""Read figures: how much there is to do in each partition, what does not go on, and which processes give signs of life.

Nothing here changes anything. Every method raises StoreUnavailable if the store does not answer. Times are
milliseconds since 1970 by the store's clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from kato_tasks.ports.operating import SignOf

Place = tuple[int, str]
"""A partition, and the id of a session in it."""


@dataclass(frozen=True, slots=True)
class PartitionFigures:
    """The figures of one partition.

    ``oldest_unapplied_seconds`` is the age of the oldest event that is not applied, or None if every event is applied.
    ``moved_seconds`` is how long ago an event was last applied there, or None if that never happened or is not known.
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
    """lanes whose patterns KATO lost, where the loss is not acknowledged"""
    rebuild_wanted: int
    """lanes whose patterns are in doubt, because the outcome of a learn could not be found out"""
    unreadable_lanes: int

    @property
    def backlog(self) -> int:
        """Return the number of events that are appended and not applied yet."""
        return max(0, self.appended - self.applied)


@dataclass(frozen=True, slots=True)
class SweepFigures:
    """How much a partition has for the sweep to do, counted by kind."""

    partition: int
    lanes_due: int
    lanes_overdue: int
    """lanes that have been due for at least the longest time that a wake-up takes"""
    lanes_too_far_ahead: int
    """lanes whose due time lies further ahead than due times are ever set"""
    owed: int
    """parked requests whose result has been available for a while"""
    scheduled_due: int
    waiting_unseen: int
    """events for which tasks wait, and which were not looked at lately"""
    unpublished: int
    lanes_unarchived: int
    """lanes that have applied events which are not archived yet; 0 without an archive"""


@dataclass(frozen=True, slots=True)
class Stalled:
    """What does not go on in a partition.

    ``failing`` lists a few of the ``failing_count`` sessions whose tries fail, each with the time of the first try that
    failed; the one that has failed longest comes first. ``oldest`` lists the sessions whose events have waited longest,
    each with the time of its oldest event.
    """

    partition: int
    failing: Sequence[tuple[str, float]]
    failing_count: int
    oldest: Sequence[tuple[str, float]]


@dataclass(frozen=True, slots=True)
class WaitingFigures:
    """What does not go on in several partitions.

    ``messages`` has, for each partition that was asked for, its oldest message as it was kept, or None if it has no
    message.
    """

    now_ms: int
    stalled: Sequence[Stalled]
    messages: Sequence[str | None]


@dataclass(frozen=True, slots=True)
class LifeSign:
    """What a process said of itself (``about``, JSON), and when it gave its last sign of life."""

    about: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class WholeFigures:
    """What is kept about the whole system, apart from the partitions' figures.

    ``acknowledged`` holds, by its id, what a person acknowledged about the whole system (JSON). ``lost_lanes`` lists a
    few of the lanes whose patterns KATO lost, and ``doubtful_lanes`` a few of those whose patterns are in doubt.
    ``losses_acknowledged`` is, by partition, how many more such losses a person has acknowledged.
    """

    now_ms: int
    workers: Sequence[LifeSign]
    beats: Sequence[LifeSign]
    listeners: Sequence[LifeSign]
    acknowledged: Mapping[str, str]
    lost_lanes: Sequence[str]
    doubtful_lanes: Sequence[str]
    losses_acknowledged: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class LostLanes:
    """The lanes whose patterns KATO lost.

    ``open`` has those whose loss is not acknowledged. ``acknowledged`` has the others, each with its acknowledgement
    (JSON).
    """

    open: frozenset[str]
    acknowledged: Mapping[str, str]


class Figures(Protocol):
    """Reads figures."""

    def now_ms(self) -> int:
        """Return the time of the store's clock, with which due times are compared."""
        ...

    def persistence_problem(self) -> str | None:
        """Return what the store would lose if its process ended, and what to set; None if it would keep everything."""
        ...

    def partitions(self) -> list[PartitionFigures]:
        """Return the figures of every partition, in the order of the partitions. This takes one round trip."""
        ...

    def sweep(self, *, overdue_ms: int, owed_ms: int, unseen_ms: int, ahead_ms: int) -> list[SweepFigures]:
        """Return what there is for the sweep to do in every partition, in the order of the partitions.

        A lane is overdue if it was due ``overdue_ms`` ago, and too far ahead if it is due more than ``ahead_ms`` from
        now. A request is owed if its result has been available for ``owed_ms``. An event is unseen if it has not been
        looked at for ``unseen_ms``.
        """
        ...

    def waiting(
        self, busy: Sequence[int], standing: frozenset[int], unpublished: Sequence[int], most: int
    ) -> WaitingFigures:
        """Return what does not go on in the ``busy`` partitions: for each, at most ``most`` sessions of each kind.

        The sessions whose events have waited longest are read only for the partitions in ``standing``, and the oldest
        message only for those in ``unpublished``. This takes one round trip.
        """
        ...

    def errors_of(self, places: Sequence[Place]) -> dict[Place, str]:
        """Return the error that the last try of each of these sessions met, or '' if it met no error.

        Sessions that are parked, and those whose rows cannot be read, are left out. This takes one round trip.
        """
        ...

    def whole(self, lost: Sequence[int], most: int, doubtful: Sequence[int] = ()) -> WholeFigures:
        """Return what is kept about the whole system. This takes one round trip.

        Up to ``most`` lanes are named for each partition in ``lost``, whose patterns KATO lost, and in ``doubtful``,
        whose patterns are in doubt.
        """
        ...

    def acknowledged_losses(self, partitions: Sequence[int], most: int) -> dict[str, str]:
        """Return lanes whose loss is acknowledged, about ``most`` of each partition, each with its acknowledgement.

        The acknowledgements are JSON.
        """
        ...

    def lost_lanes(self) -> LostLanes:
        """Return every lane whose patterns KATO lost. This takes one round trip."""
        ...

    def doubtful_lanes(self) -> frozenset[str]:
        """Return every lane whose patterns are in doubt, and which was not rebuilt since. This takes one round trip."""
        ...

    def call_counts(self) -> dict[str, int]:
        """Return the counts of calls to KATO of all processes, by name (``engine/running/call_figures.py``)."""
        ...

    def open_circuits(self, urls: Sequence[str]) -> dict[str, str]:
        """Return which of these KATO instances no calls are sent to now, each with what it failed with last."""
        ...

    def last_sign_ms(self, of: SignOf) -> int | None:
        """Return when any worker, or any beat, last gave a sign of life, or None if there is no sign."""
        ...

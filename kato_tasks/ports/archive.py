"""Describe the archive, which holds history once it is applied: the log's own bytes, with columns to query by.

The store holds what is not archived yet, and the tail that a rebuild of a session's STM needs. ``api/history.py`` reads
both as one log.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol


class ArchivedEvent(NamedTuple):
    """One applied event, as it is kept.

    ``node`` is the node as KATO is told it, without a generation, and ``lane`` the lane of that node. ``position``
    counts the session's events, and ``lane_order`` those of the lane, in the order in which they were applied.
    ``applied_ms`` is when that was, in milliseconds since 1970. ``dead`` says that the event became a dead letter, so
    KATO never had it. ``entry`` is the text of the log (``domain.log_entry``), from which event id, type and timestamp
    are taken.
    """

    session: str
    position: int
    node: str
    lane: str
    lane_order: int
    applied_ms: int
    entry: str
    dead: bool = False


@dataclass(frozen=True, slots=True)
class ArchiveConflict:
    """A position of a session at which the archive holds another event (``known_id``) than the store (``event_id``)."""

    session: str
    position: int
    event_id: str
    known_id: str


@dataclass(frozen=True, slots=True)
class LanePlace:
    """A place in a lane's order, after which up to ``limit`` events are wanted."""

    lane: str
    after: int
    limit: int


@dataclass(frozen=True, slots=True)
class ArchivedLane:
    """What the archive holds of one lane: how many events of how many sessions, and its last place in lane order."""

    lane: str
    events: int
    sessions: int
    last_order: int


class Archive(Protocol):
    """Keeps history for good. Every method raises ArchiveUnavailable if the database does not answer or refuses.

    Times are milliseconds since 1970. A time of None, and a ``limit`` of None, set no bound.
    """

    def check(self) -> None:
        """Raise ConfigurationError if the database's schema is one that this version cannot work with.

        It works with its own schema, the one before and the one after; the sentence says to run `kato-tasks db upgrade`
        if the schema is missing or too old.
        """

    def write(self, events: Sequence[ArchivedEvent]) -> list[ArchiveConflict]:
        """Keep events, in one transaction. An event that is kept already stays as it is, so writing twice is harmless.

        Answers the positions at which another event is kept; the events of all other positions are kept.
        """

    def heads(self, sessions: Sequence[str]) -> Mapping[str, int]:
        """Return the highest archived position of each of these sessions that has any."""

    def of_session(self, session: str, after: int = 0, limit: int | None = None) -> Iterator[ArchivedEvent]:
        """Iterate over a session's events after a position, in their order. They are read in pages."""

    def of_lane(self, lane: str, after: int = 0, limit: int | None = None) -> Iterator[ArchivedEvent]:
        """Iterate over a lane's events after a place in lane order, in that order. They are read in pages."""

    def of_lanes(self, places: Sequence[LanePlace]) -> list[tuple[ArchivedEvent, ...]]:
        """Return for each place the events that follow it in its lane's order, up to its limit.

        Where events are large there are fewer of them, but at least one if there is any.
        """

    def of_time(
        self, since_ms: int | None, until_ms: int | None, *, lane: str | None = None, limit: int | None = None
    ) -> Iterator[ArchivedEvent]:
        """Iterate over the events whose timestamps lie from ``since_ms`` to before ``until_ms``, oldest first.

        Events of one time come in the order of session and position. They are read in pages.
        """

    def lanes(self, after: str = "", limit: int = 1_000) -> list[ArchivedLane]:
        """Return the lanes after this one by name, up to ``limit``, in the order of their names."""

    def sessions_of_lane(self, lane: str) -> Mapping[str, int]:
        """Return the sessions of a lane, each with its highest archived position."""

    def first_time(self, session: str) -> int | None:
        """Return the timestamp of a session's first event; None if nothing of it is archived."""

    def first_gap(self, lane: str) -> tuple[str, int] | None:
        """Return a session of the lane whose beginning was pruned, with its first position that is left, or None.

        This takes time in proportion to what is kept of the lane.
        """

    def forget(self, session: str) -> int:
        """Erase everything of a session, and return how many events that were."""

    def prune(self, *, before_ms: int | None = None, keep: int | None = None, limit: int = 10_000) -> int:
        """Erase up to ``limit`` events by age and by count, and return how many.

        Erases events that were applied before ``before_ms``, and of each session those before its newest ``keep``. The
        newest event of a session always stays, so that its head is known.
        """

    def count(self) -> int:
        """Return about how many events are kept (the database's own estimate will do)."""

    def close(self) -> None:
        """Give every connection back."""

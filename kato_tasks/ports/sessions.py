"""What is known of sessions: which there are, how each stands, and what its log holds.

An adapter answers from the store; one that stands before it can add what an archive holds. Nothing here changes
anything. Every method raises StoreUnavailable when the store does not answer.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from kato_tasks.domain.ids import default_node, lane_of, node_id_of
from kato_tasks.domain.kato_session import Binding
from kato_tasks.domain.log_entry import Logged

Which = Literal["all", "unapplied", "parked"]
"""Which sessions are looked for: all, those with something that is not applied, those that wait for a person."""
Nodes = Mapping[str, str]
"""Sessions, each with its node as KATO is told it."""


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A session as it stands.

    ``node`` is what KATO is told. ``head`` counts the events in its log, ``cursor`` those that are applied.
    ``attempts`` counts the tries of its next event, and ``last_error`` says what the last one met, or why the rows of
    this session cannot be read. ``parked`` says why it waits for a person. ``reordered`` counts the events with vectors
    that KATO holds in another order than it made them in. ``due_in_seconds`` is below 0 for a session that is overdue,
    and None for one that has nothing to do; ``leased`` says whether a worker holds its lane. ``last_event_ms`` is when
    its last event was appended, in milliseconds since 1970; None where that is not known.
    """

    session: str
    node: str
    head: int = 0
    cursor: int = 0
    binding: Binding | None = None
    attempts: int = 0
    last_error: str | None = None
    parked: Mapping[str, Any] | None = None
    reordered: int = 0
    due_in_seconds: float | None = None
    leased: bool = False
    last_event_ms: int | None = None

    @property
    def node_id(self) -> str:
        """The node as callers know it."""
        return node_id_of(self.session, self.node)

    @property
    def lane(self) -> str:
        """The lane that the session belongs to."""
        return lane_of(self.node)


@dataclass(frozen=True, slots=True)
class KeptForLater:
    """An event that waits for its time.

    ``due_ms`` is when it is due, in milliseconds since 1970. ``payload`` is the text that was kept of it, before which
    white space may come.
    """

    due_ms: int
    payload: str


class Sessions(Protocol):
    """Reads sessions."""

    @abstractmethod
    def nodes(self, sessions: Iterable[str]) -> dict[str, str]:
        """The nodes of those of the sessions that are known, as KATO is told them. Takes one round trip."""

    def node_of(self, session: str) -> str | None:
        """The node that a session belongs to for life, as KATO is told it; None when the session is not known."""
        return self.nodes([session]).get(session)

    def lane_of(self, session: str) -> str:
        """The lane of a session; one that is not known has the lane of its default node."""
        node = self.node_of(session)
        return lane_of(default_node(session) if node is None else node)

    @abstractmethod
    def pages(self, which: Which = "all", prefix: str = "", at_most: int = 500) -> Iterator[dict[str, str]]:
        """Go through the sessions with their nodes, up to ``at_most`` at a time, in no order.

        ``prefix``: what their ids begin with. Every session that is there from the first page to the last is met,
        perhaps twice. Pages are read as they are asked for.
        """

    @abstractmethod
    def read(self, nodes: Nodes) -> list[SessionRow]:
        """How these sessions stand, in their order. Takes two round trips, however many they are.

        A session whose rows are broken says so in ``last_error``, and does not hide the others.
        """

    @abstractmethod
    def backlogs(self, nodes: Nodes) -> list[int]:
        """How many events of each session are not applied yet, in one round trip; 0 where that cannot be read."""

    @abstractmethod
    def last_event_times(self, nodes: Nodes) -> list[int | None]:
        """When the last event of each session was appended (milliseconds since 1970), in one round trip."""

    @abstractmethod
    def events(self, session: str, node: str, after: int = 0, limit: int = 1_000) -> list[Logged]:
        """The entries of a session's log from the position after ``after``. Raises UnreadableRow for a broken one."""

    @abstractmethod
    def parked(self) -> list[str]:
        """The sessions that wait for a person, sorted, in one round trip."""

    @abstractmethod
    def scheduled(self, session: str | None = None) -> Iterator[KeptForLater]:
        """What waits for its time, the next one first, read as it is asked for.

        ``session`` narrows it to where events of that session can lie; those of others may lie there too.
        """

    @abstractmethod
    def remembers(self, session: str, event_id: str) -> bool:
        """Whether this session knows the event id, so that appending it again would be a duplicate.

        Ids are known for DEDUPE_DAYS at least. Takes three round trips.
        """

"""List sessions page by page: in an order, and if wanted only those in one state or of one node.

The store keeps no order over all sessions, because keeping one would make every append slower. A page is therefore
found by looking at all candidates, some hundred at a time, and keeping the first of them. This needs memory for one
page only, and time that grows with the number of sessions. An order by id or node reads only the names, an order by
backlog or time reads the row of each session.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from kato_tasks.api.sessions import session_statuses
from kato_tasks.bootstrap import Runtime
from kato_tasks.domain.ids import node_id_of
from kato_tasks.domain.results import SessionStatus
from kato_tasks.errors import KatoTasksError
from kato_tasks.ports.sessions import Sessions, Which

STATES = ("idle", "pending", "running", "waiting", "parked")
Sort = Literal["id", "node", "backlog", "last"]
SORTS: tuple[Sort, ...] = ("id", "node", "backlog", "last")
AT_ONCE = 500
"""How many sessions are looked at in one round trip."""
Key = tuple[Any, ...]
_LOOKED_FOR: dict[str | None, Which] = {
    "parked": "parked",
    "pending": "unapplied",
    "running": "unapplied",
    "waiting": "unapplied",
}
"""Which sessions to look through for those in a given state. For all other states it is every session."""


class NoSuchSession(KatoTasksError):
    """The session after which a page should begin is not known."""


@dataclass(frozen=True, slots=True)
class SessionFilter:
    """Which sessions to list: those in this state, of this node, whose ids begin with this prefix.

    A condition that is None or '' is not applied.
    """

    state: str | None = None
    node: str | None = None
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """The sessions of a page in their order. ``more`` says whether others follow."""

    sessions: list[SessionStatus]
    more: bool


@dataclass(frozen=True, slots=True)
class _Row:
    """A session that may stand on the page. Its status is read later if its place does not depend on the status."""

    key: Key
    node: str
    status: SessionStatus | None


@dataclass(slots=True)
class _Kept:
    """Keeps the first ``most`` of the rows that are offered to it, in the order of their keys."""

    most: int
    rows: dict[str, _Row] = field(default_factory=dict)
    bound: Key | None = None
    """a row whose key is this one, or comes after it, has no place any more"""

    def has_place(self, session: str, key: Key) -> bool:
        return session not in self.rows and (self.bound is None or key < self.bound)

    def keep(self, session: str, row: _Row) -> None:
        self.rows[session] = row
        if len(self.rows) >= 2 * self.most + AT_ONCE:
            self.rows = self.first()
            self.bound = list(self.rows.values())[-1].key

    def first(self) -> dict[str, _Row]:
        return dict(sorted(self.rows.items(), key=lambda one: one[1].key)[: self.most])


def list_sessions(
    rt: Runtime, only: SessionFilter | None = None, *, sort: Sort = "id", after: str | None = None, limit: int = 100
) -> Page:
    """Return the first ``limit`` sessions in the order ``sort``, or those that follow the session ``after`` (its id).

    The order is by ``id``; by ``node``, then id; by ``backlog`` (the number of events not applied), largest first; or
    by ``last``, the time of the last event, newest first. The last two orders change while pages are turned, so that a
    session can be met twice, or missed. Raises NoSuchSession if the place of ``after`` is not known, and
    StoreUnavailable.
    """
    only, sessions = only or SessionFilter(), rt.sessions
    kept = _Kept(limit + 1)
    behind = _key_of_last(sessions, sort, after) if after is not None else None
    for page in sessions.pages(_LOOKED_FOR.get(only.state, "all"), only.prefix, AT_ONCE):
        nodes = {
            session: node
            for session, node in page.items()
            if session.startswith(only.prefix) and only.node in (None, node, node_id_of(session, node))
        }
        _look(sessions, only.state, sort, behind, kept, nodes)
    first = kept.first()
    read = _statuses(sessions, {session: row.node for session, row in first.items() if row.status is None})
    found = [row.status or read[session] for session, row in first.items()]
    return Page(found[:limit], len(found) > limit)


def _look(
    sessions: Sessions, state: str | None, sort: Sort, behind: Key | None, kept: _Kept, nodes: Mapping[str, str]
) -> None:
    """Keep those of the sessions in ``nodes`` that are in this state and have a place on the page."""

    def has_place(session: str, key: Key) -> bool:
        return (behind is None or key > behind) and kept.has_place(session, key)

    rows = {s: _Row(key, nodes[s], None) for s, key in _keys(sessions, sort, nodes).items() if has_place(s, key)}
    if state is None:
        for session, row in rows.items():
            kept.keep(session, row)
        return
    for session, status in _statuses(sessions, {session: row.node for session, row in rows.items()}).items():
        if status.state == state:
            kept.keep(session, replace(rows[session], status=status))


def _keys(sessions: Sessions, sort: Sort, nodes: Mapping[str, str]) -> dict[str, Key]:
    """Return the key of each session in ``nodes``, by which it is sorted. Only what the order needs is read."""
    if sort == "id":
        return {session: (session,) for session in nodes}
    if sort == "node":
        return {session: (node_id_of(session, node), session) for session, node in nodes.items()}
    if sort == "last":
        times = sessions.last_event_times(nodes)
        return {session: (-(ms or 0), session) for session, ms in zip(nodes, times, strict=True)}
    backlogs = sessions.backlogs(nodes)
    return {session: (-backlog, session) for session, backlog in zip(nodes, backlogs, strict=True)}


def _key_of_last(sessions: Sessions, sort: Sort, session: str) -> Key:
    """Return the key of a session in this order. In the order by id, the session need not be known.

    Raises NoSuchSession.
    """
    node = session if sort == "id" else sessions.node_of(session)
    if node is None:
        raise NoSuchSession(f"session {session!r} is not known, so no page begins behind it; leave --after out")
    return _keys(sessions, sort, {session: node})[session]


def _statuses(sessions: Sessions, nodes: Mapping[str, str]) -> dict[str, SessionStatus]:
    return dict(zip(nodes, session_statuses(sessions, nodes), strict=True))

"""Which sessions there are: in an order, in one state or of one node, page by page.

The store keeps no order over all sessions, and making one for every append would cost each append. So a page is found
by looking at all candidates (HSCAN, some hundred at a time: Redis is never held up) and keeping the first of them.
Memory is that of a page; time grows with the number of sessions: an order by id or node asks for the names alone, one
by backlog or time for each session's row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Literal, TypeVar

import redis

from kato_tasks.adapters.redis.keys import prefix
from kato_tasks.api.sessions import session_statuses
from kato_tasks.bootstrap import Runtime
from kato_tasks.domain.ids import PARTITIONS, lane_of, node_id_of, partition_of
from kato_tasks.domain.results import SessionStatus
from kato_tasks.engine.store_retry import raise_errors
from kato_tasks.errors import KatoTasksError, StoreUnavailable
from kato_tasks.ports.log import LastEvent

STATES = ("idle", "pending", "running", "waiting", "parked")
Sort = Literal["id", "node", "backlog", "last"]
SORTS: tuple[Sort, ...] = ("id", "node", "backlog", "last")
AT_ONCE = 500
"""How many sessions are looked at in one round trip."""
Key = tuple[Any, ...]
T = TypeVar("T")


class NoSuchSession(KatoTasksError):
    """The session behind which a page should begin is not known."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which sessions: in this state, of this node, with an id that begins with this; None and '' leave it open."""

    state: str | None = None
    node: str | None = None
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """Sessions in their order, and whether others follow."""

    sessions: list[SessionStatus]
    more: bool


@dataclass(frozen=True, slots=True)
class _Row:
    """A session that may stand on the page; its status is read later where its place does not depend on it."""

    key: Key
    node: str
    status: SessionStatus | None


@dataclass(slots=True)
class _Kept:
    """The first ``most`` of what was offered, by their keys."""

    most: int
    rows: dict[str, _Row] = field(default_factory=dict)
    bound: Key | None = None
    """what comes at or behind this key has no place any more"""

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
    rt: Runtime, wanted: Wanted | None = None, *, sort: Sort = "id", after: str | None = None, limit: int = 100
) -> Page:
    """The first ``limit`` sessions in this order, or those that follow ``after`` (a session's id).

    Orders: by id; by node, then id; by backlog (events not applied), largest first; by the time of the last event,
    newest first. The last two move while one turns the pages: a session can then be met twice, or missed.
    Raises NoSuchSession, StoreUnavailable.
    """
    wanted = wanted or Wanted()
    kept = _Kept(limit + 1)
    try:
        behind = _key_of_last(rt, sort, after) if after is not None else None
        for some in _chunks(_candidates(rt.redis, wanted), AT_ONCE):
            nodes = {
                session: node
                for session, node in _with_nodes(rt.redis, dict(some)).items()
                if session.startswith(wanted.prefix) and wanted.node in (None, node, node_id_of(session, node))
            }
            _look(rt, wanted.state, sort, behind, kept, nodes)
        first = kept.first()
        read = _statuses(rt, {session: row.node for session, row in first.items() if row.status is None})
    except redis.RedisError as exc:
        raise StoreUnavailable(f"Redis does not answer: {exc}") from exc
    found = [row.status or read[session] for session, row in first.items()]
    return Page(found[:limit], len(found) > limit)


def _look(
    rt: Runtime, state: str | None, sort: Sort, behind: Key | None, kept: _Kept, nodes: Mapping[str, str]
) -> None:
    """Keep those of some sessions, given with their nodes, that are in this state and have a place on the page."""

    def has_place(session: str, key: Key) -> bool:
        return (behind is None or key > behind) and kept.has_place(session, key)

    rows = {s: _Row(key, nodes[s], None) for s, key in _keys(rt, sort, nodes).items() if has_place(s, key)}
    if state is None:
        for session, row in rows.items():
            kept.keep(session, row)
        return
    for session, status in _statuses(rt, {session: row.node for session, row in rows.items()}).items():
        if status.state == state:
            kept.keep(session, replace(rows[session], status=status))


def _keys(rt: Runtime, sort: Sort, nodes: Mapping[str, str]) -> dict[str, Key]:
    """Where sessions, given with their nodes, stand in an order. Only what the order needs is read of their rows."""
    if sort == "id":
        return {session: (session,) for session in nodes}
    if sort == "node":
        return {session: (node_id_of(session, node), session) for session, node in nodes.items()}
    if sort == "last":
        times = raise_errors(rt.store.execute([LastEvent(lane_of(node), session) for session, node in nodes.items()]))
        return {session: (-(ms or 0), session) for session, ms in zip(nodes, times, strict=True)}
    pipe = rt.redis.pipeline(transaction=False)
    for session, node in nodes.items():
        pipe.hmget(f"{prefix(partition_of(lane_of(node)))}s:{session}", "head", "cur")
    rows = pipe.execute(raise_on_error=False)
    return {session: (_left(row), session) for session, row in zip(nodes, rows, strict=True)}


def _left(row: Any) -> int:
    """How many events are not applied, as a number below 0; a row that cannot be read comes last."""
    numbers = [int(text or 0) for text in row if str(text or 0).isdigit()] if isinstance(row, list) else []
    return numbers[1] - numbers[0] if len(numbers) == 2 else 0


def _key_of_last(rt: Runtime, sort: Sort, session: str) -> Key:
    """Where a session stands in this order; in the one by id also one that is not known."""
    node = session if sort == "id" else rt.node_of_session(session)
    if node is None:
        raise NoSuchSession(f"session {session!r} is not known, so no page begins behind it; leave --after out")
    return _keys(rt, sort, {session: node})[session]


def _statuses(rt: Runtime, nodes: Mapping[str, str]) -> dict[str, SessionStatus]:
    return dict(zip(nodes, session_statuses(rt, nodes), strict=True)) if nodes else {}


def _with_nodes(client: redis.Redis, some: Mapping[str, str | None]) -> dict[str, str]:
    """The sessions with their nodes, those that were found without are asked for; what is not known is left out."""
    unknown = [session for session, node in some.items() if node is None]
    pipe = client.pipeline(transaction=False)
    for session in unknown:
        pipe.hget(f"{prefix(partition_of(session))}nodes", session)
    told = dict(zip(unknown, pipe.execute(), strict=True)) if unknown else {}
    both = {session: node if node is not None else told[session] for session, node in some.items()}
    return {session: str(node) for session, node in both.items() if node is not None}


def _candidates(client: redis.Redis, wanted: Wanted) -> Iterator[tuple[str, str | None]]:
    """Sessions that may be meant, some with their nodes: the parked, those with something unapplied, or all."""
    match = f"{_literal(wanted.prefix)}*" if wanted.prefix else None
    for partition in range(PARTITIONS):
        p = prefix(partition)
        if wanted.state == "parked":
            yield from ((str(one), None) for one in client.sscan_iter(f"{p}parked", match=match, count=500))
        elif wanted.state in ("pending", "running", "waiting"):
            yield from ((one, None) for one in _pending(client, p, match))
        else:
            yield from ((str(one), str(node)) for one, node in client.hscan_iter(f"{p}nodes", match=match, count=500))


def _pending(client: redis.Redis, p: str, match: str | None) -> Iterator[str]:
    """The sessions of a partition's lanes that have something to do; one round trip for some hundred lanes."""
    lanes = (str(lane) for lane, _ in client.zscan_iter(f"{p}ready", count=500))
    for some in _chunks(lanes, AT_ONCE):
        pipe = client.pipeline(transaction=False)
        for lane in some:
            pipe.zscan(f"{p}pend:{lane}", match=match, count=500)
        for lane, (cursor, rows) in zip(some, pipe.execute(), strict=True):
            yield from (str(session) for session, _ in rows)
            if cursor:
                more = client.zscan_iter(f"{p}pend:{lane}", match=match, count=500)
                yield from (str(session) for session, _ in more)


def _literal(text: str) -> str:
    """A text for MATCH, whose characters stand for themselves."""
    return "".join(f"\\{char}" if char in "*?[]^\\" else char for char in text)


def _chunks(rows: Iterable[T], size: int) -> Iterator[list[T]]:
    rows = iter(rows)
    while some := list(islice(rows, size)):
        yield some

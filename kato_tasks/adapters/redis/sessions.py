"""The port ``Sessions`` on Redis."""

from __future__ import annotations

import heapq
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

from redis.exceptions import ConnectionError as RedisConnectionError

from kato_tasks.adapters.redis.answers import all_answered, answers_of, chunks, ms_of, no_answer, redis_errors
from kato_tasks.adapters.redis.keys import BINDING_FIELDS, literal, prefix, prefix_of_node, text_in
from kato_tasks.adapters.redis.store import RedisStore
from kato_tasks.domain.ids import PARTITIONS, default_node, lane_of, partition_of
from kato_tasks.domain.kato_session import Binding
from kato_tasks.domain.log_entry import Logged
from kato_tasks.errors import LogArchived, UnreadableRow
from kato_tasks.ports.log import LastEvent, ReadLog
from kato_tasks.ports.sessions import KeptForLater, Nodes, SessionRow, Sessions, Which

SCAN_COUNT = 500
"""How many elements Redis looks at in one answer of a scan, so that it is never held up."""
LATER_AT_ONCE = 20
"""How many scheduled events of a partition are read in one round trip, for a person to look at."""


class RedisSessions(Sessions):
    """Reads sessions from the store; each is in the partition of its lane, and its node in that of its own name."""

    def __init__(self, store: RedisStore) -> None:
        self._store = store
        self._redis = store.redis

    def nodes(self, sessions: Iterable[str]) -> dict[str, str]:
        """See ``Sessions.nodes``."""
        by_partition: dict[int, list[str]] = defaultdict(list)
        for session in sessions:
            by_partition[partition_of(session)].append(session)
        if not by_partition:
            return {}
        pipe = self._redis.pipeline(transaction=False)
        for partition, names in by_partition.items():
            pipe.hmget(f"{prefix(partition)}nodes", names)
        return {
            session: str(node)
            for names, nodes in zip(by_partition.values(), answers_of(pipe), strict=True)
            for session, node in zip(names, nodes, strict=True)
            if node is not None
        }

    def node_of(self, session: str) -> str | None:
        """See ``Sessions.node_of``; a single command, which is asked often."""
        with redis_errors():
            node = self._redis.hget(f"{prefix(partition_of(session))}nodes", session)
        return None if node is None else str(node)

    def pages(self, which: Which = "all", prefix: str = "", at_most: int = 500) -> Iterator[dict[str, str]]:
        """See ``Sessions.pages``."""
        with redis_errors():
            for some in chunks(self._candidates(which, prefix, at_most), at_most):
                found = dict(some)
                told = self.nodes(session for session, node in found.items() if node is None)
                both = {session: node if node is not None else told.get(session) for session, node in found.items()}
                yield {session: node for session, node in both.items() if node is not None}

    def _candidates(self, which: Which, begin: str, at_most: int) -> Iterator[tuple[str, str | None]]:
        """Return the sessions that are meant, some with their nodes."""
        match = f"{literal(begin)}*" if begin else None
        for partition in range(PARTITIONS):
            p = prefix(partition)
            if which == "parked":
                members = self._redis.sscan_iter(f"{p}parked", match=match, count=SCAN_COUNT)
                yield from ((str(session), None) for session in members)
            elif which == "unapplied":
                yield from ((session, None) for session in self._unapplied(p, match, at_most))
            else:
                rows = self._redis.hscan_iter(f"{p}nodes", match=match, count=SCAN_COUNT)
                yield from ((str(session), str(node)) for session, node in rows)

    def _unapplied(self, p: str, match: str | None, at_most: int) -> Iterator[str]:
        """Return the sessions of a partition's lanes that have something to do, some hundred lanes in a round trip."""
        lanes = (str(lane) for lane, _ in self._redis.zscan_iter(f"{p}ready", count=SCAN_COUNT))
        for some in chunks(lanes, at_most):
            pipe = self._redis.pipeline(transaction=False)
            for lane in some:
                pipe.zscan(f"{p}pend:{lane}", match=match, count=SCAN_COUNT)
            for lane, (cursor, rows) in zip(some, pipe.execute(), strict=True):
                yield from (str(session) for session, _ in rows)
                if cursor:
                    more = self._redis.zscan_iter(f"{p}pend:{lane}", match=match, count=SCAN_COUNT)
                    yield from (str(session) for session, _ in more)

    def read(self, nodes: Nodes) -> list[SessionRow]:
        """See ``Sessions.read``."""
        if not nodes:
            return []
        pipe = self._redis.pipeline(transaction=False)
        pipe.time()
        for session, node in nodes.items():
            lane, p = lane_of(node), prefix_of_node(node)
            pipe.hgetall(f"{p}s:{session}")
            pipe.zscore(f"{p}pend:{lane}", session)
            pipe.exists(f"{p}lease:{lane}")
            pipe.hget(f"{p}lane:{lane}", "gen")
        time, *rows = answers_of(pipe, raise_on_error=False)
        last = self.last_event_times(nodes)
        now_ms = ms_of(time)
        return [
            _row(session, node, *rows[4 * i : 4 * i + 4], last_ms=last[i], now_ms=now_ms)
            for i, (session, node) in enumerate(nodes.items())
        ]

    def backlogs(self, nodes: Nodes) -> list[int]:
        """See ``Sessions.backlogs``."""
        pipe = self._redis.pipeline(transaction=False)
        for session, node in nodes.items():
            pipe.hmget(f"{prefix_of_node(node)}s:{session}", "head", "cur")
        return [_backlog(row) for row in answers_of(pipe, raise_on_error=False)]

    def last_event_times(self, nodes: Nodes) -> list[int | None]:
        """See ``Sessions.last_event_times``."""
        return all_answered(self._store.execute([LastEvent(lane_of(node), session) for session, node in nodes.items()]))

    def events(self, session: str, node: str, after: int = 0, limit: int = 1_000) -> list[Logged]:
        """See ``Sessions.events``."""
        (found,) = self._store.execute([ReadLog(lane_of(node), session, after + 1, after + limit)])
        if isinstance(found, LogArchived):
            return list(found.entries)
        if isinstance(found, Exception):
            raise found
        return list(found)

    def heads(self, nodes: Nodes) -> list[int]:
        """See ``Sessions.heads``."""
        if not nodes:
            return []
        pipe = self._redis.pipeline(transaction=False)
        for session, node in nodes.items():
            pipe.hget(f"{prefix_of_node(node)}s:{session}", "head")
        heads = answers_of(pipe, raise_on_error=False)
        return [_head(session, head) for session, head in zip(nodes, heads, strict=True)]

    def parked(self) -> list[str]:
        """See ``Sessions.parked``."""
        pipe = self._redis.pipeline(transaction=False)
        for partition in range(PARTITIONS):
            pipe.smembers(f"{prefix(partition)}parked")
        return sorted(str(session) for members in answers_of(pipe) for session in members)

    def scheduled(self, session: str | None = None) -> Iterator[KeptForLater]:
        """See ``Sessions.scheduled``."""
        partitions: Iterable[int] = range(PARTITIONS)
        if session is not None:
            partitions = {partition_of(self.lane_of(session)), partition_of(lane_of(default_node(session)))}
        pipe = self._redis.pipeline(transaction=False)
        for partition in partitions:
            pipe.zcard(f"{prefix(partition)}later")
        held = [partition for partition, held in zip(partitions, answers_of(pipe), strict=True) if held]
        with redis_errors():
            yield from heapq.merge(*map(self._later, held), key=lambda one: one.due_ms)

    def _later(self, partition: int) -> Iterator[KeptForLater]:
        first, key = 0, f"{prefix(partition)}later"
        while rows := self._redis.zrange(key, first, first + LATER_AT_ONCE - 1, withscores=True):
            first += len(rows)
            for payload, due in cast(list[tuple[str, float]], rows):
                yield KeptForLater(int(due), payload)

    def remembers(self, session: str, event_id: str) -> bool:
        """See ``Sessions.remembers``."""
        node = self.node_of(session)
        if node is None:
            return False
        p = prefix_of_node(node)
        with redis_errors():
            windows = str(self._redis.get(f"{p}windows") or "")
        pipe = self._redis.pipeline(transaction=False)
        # A window writes to its newest bucket, and reads that bucket and the one before.
        for bucket in {int(window.rpartition(":")[2]) - back for window in windows.split() for back in (0, 1)}:
            pipe.hexists(f"{p}ids:{bucket}", f"{event_id}\n{session}")
        return any(answers_of(pipe))


def _row(
    session: str,
    node: str,
    state: Mapping[str, str] | Exception,
    due: float | Exception | None,
    leased: int | Exception,
    generation: str | Exception | None,
    *,
    last_ms: int | None,
    now_ms: int,
) -> SessionRow:
    if isinstance(state, Exception) or isinstance(due, Exception):
        reason = f"its rows in the store cannot be read ({state if isinstance(state, Exception) else due})"
        state, due = {"err": reason}, None
    binding, error = None, state.get("err") or None
    try:
        binding = Binding.load(text_in(state, BINDING_FIELDS))
    except UnreadableRow as exc:
        error = str(exc)
    return SessionRow(
        session=session,
        node=node,
        head=_number(state.get("head")),
        cursor=_number(state.get("cur")),
        binding=binding,
        attempts=_number(state.get("att")),
        last_error=error,
        parked=_parked(state["pk"]) if "pk" in state else None,
        reordered=_number(state.get("ro")),
        due_in_seconds=(float(due) - now_ms) / 1000 if due is not None else None,
        leased=leased == 1,
        last_event_ms=last_ms,
        generation=generation if isinstance(generation, str) else "",
    )


def _head(session: str, head: Any) -> int:
    """Return a session's head as Redis answered it. Raises StoreUnavailable or UnreadableRow."""
    if isinstance(head, RedisConnectionError):
        raise no_answer(head) from head
    if isinstance(head, Exception) or not str(head or 0).isdigit():
        raise UnreadableRow(f"the row of session {session!r} cannot be read ({head})")
    return int(head or 0)


def _number(text: str | None) -> int:
    return int(text) if text and text.isdigit() else 0


def _parked(text: str) -> dict[str, Any]:
    """Return why a session is parked, whatever version wrote it."""
    try:
        why = json.loads(text)
    except ValueError:
        why = None
    return why if isinstance(why, dict) else {"reason": text}


def _backlog(row: Any) -> int:
    numbers = [int(text or 0) for text in row if str(text or 0).isdigit()] if isinstance(row, list) else []
    return numbers[0] - numbers[1] if len(numbers) == 2 else 0


__all__ = ["RedisSessions"]

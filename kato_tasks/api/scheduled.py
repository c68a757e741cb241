"""Events that wait in the store for their due time."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import redis

from kato_tasks.adapters.redis.keys import prefix
from kato_tasks.bootstrap import Runtime
from kato_tasks.domain.ids import PARTITIONS, default_node, lane_of, partition_of
from kato_tasks.domain.log_entry import TYPES, Entry
from kato_tasks.errors import StoreUnavailable, UnreadableRow

READ_AT_ONCE = 20
"""How many of a partition are read in one round trip for a person to look at."""


@dataclass(frozen=True, slots=True)
class Scheduled:
    """An event that waits for its time. ``task_id`` is None where a version kept it that did not write that down."""

    session_id: str
    node_id: str | None
    event_type: str
    event_id: str
    task_id: str | None
    due_ms: int


def later_payload(entry: Entry, task_id: str | None = None) -> str:
    """An entry as it is kept until it is due: version 1, a list to whose end later versions may append."""
    row = [entry.session_id, entry.node_id, entry.event_id, entry.kind, entry.wanted, entry.digest, entry.text]
    return json.dumps(row if task_id is None else [*row, task_id])


def read_later(payload: str) -> Entry:
    """The entry that was kept, by this version or another. Raises UnreadableRow."""
    try:
        row = json.loads(payload)
    except ValueError as exc:
        raise UnreadableRow(f"an event kept for later is no JSON ({exc})") from None
    if not isinstance(row, list) or len(row) < 7:
        raise UnreadableRow("an event kept for later is of another version or broken")
    session, node, event_id, kind, wanted, digest, text = row[:7]
    texts = (session, event_id, digest, text, node or "")
    if not all(isinstance(one, str) for one in texts) or not isinstance(wanted, bool) or kind not in TYPES:
        raise UnreadableRow("an event kept for later is of another version or broken")
    return Entry(session, node, event_id, kind, wanted, digest, text)


def scheduled_events(rt: Runtime, session_id: str | None = None) -> Iterator[Scheduled]:
    """The events that wait for their time, of one session or all, the next one first; read as they are asked for.

    What cannot be read is left out: it becomes a dead letter when it is due. Raises StoreUnavailable.
    """
    partitions: set[int] = set(range(PARTITIONS))
    if session_id is not None:
        partitions = {partition_of(rt.lane_of_session(session_id)), partition_of(lane_of(default_node(session_id)))}
    try:
        pipe = rt.redis.pipeline(transaction=False)
        for partition in partitions:
            pipe.zcard(f"{prefix(partition)}later")
        held = [partition for partition, held in zip(partitions, pipe.execute(), strict=True) if held]
        for event in heapq.merge(*(_scheduled(rt, partition) for partition in held), key=lambda one: one.due_ms):
            if session_id in (None, event.session_id):
                yield event
    except redis.RedisError as exc:
        raise StoreUnavailable(f"Redis does not answer: {exc}") from exc


def _scheduled(rt: Runtime, partition: int) -> Iterator[Scheduled]:
    first = 0
    key = f"{prefix(partition)}later"
    while rows := rt.redis.zrange(key, first, first + READ_AT_ONCE - 1, withscores=True):
        first += len(rows)
        for payload, due in cast(list[tuple[str, float]], rows):
            try:
                entry = read_later(payload)
            except UnreadableRow:
                continue
            task_id = next(iter(json.loads(payload)[7:8]), None)
            yield Scheduled(
                entry.session_id,
                entry.node_id,
                TYPES[entry.kind],
                entry.event_id,
                task_id if isinstance(task_id, str) else None,
                int(due),
            )

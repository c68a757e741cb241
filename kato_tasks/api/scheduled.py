"""Events that wait in the store for their due time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from kato_tasks.bootstrap import Runtime
from kato_tasks.domain.log_entry import TYPES, Entry
from kato_tasks.errors import UnreadableRow
from kato_tasks.ports.sessions import KeptForLater


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
    row = [entry.session_id, entry.node_id, entry.event_id, entry.kind, entry.wants_result, entry.digest, entry.text]
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
    for kept in rt.sessions.scheduled(session_id):
        event = _scheduled(kept)
        if event is not None and session_id in (None, event.session_id):
            yield event


def _scheduled(kept: KeptForLater) -> Scheduled | None:
    try:
        entry = read_later(kept.payload)
    except UnreadableRow:
        return None
    task_id = next(iter(json.loads(kept.payload)[7:8]), None)
    return Scheduled(
        entry.session_id,
        entry.node_id,
        TYPES[entry.kind],
        entry.event_id,
        task_id if isinstance(task_id, str) else None,
        kept.due_ms,
    )

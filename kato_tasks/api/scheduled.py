"""Read and write the events that wait in the store for their due time."""

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
    """An event that waits for its due time, ``due_ms`` (milliseconds since 1970).

    ``task_id`` is None if the event was kept by a version that did not write the task's id down.
    """

    session_id: str
    node_id: str | None
    event_type: str
    event_id: str
    task_id: str | None
    due_ms: int


def later_payload(entry: Entry, task_id: str | None = None) -> str:
    """Return the text in which an entry is kept until it is due: version 1, a list that later versions may extend."""
    row = [entry.session_id, entry.node_id, entry.event_id, entry.kind, entry.wants_result, entry.digest, entry.text]
    return json.dumps(row if task_id is None else [*row, task_id])


def read_later(payload: str) -> Entry:
    """Return the entry that this version or another one kept as ``payload``. Raises UnreadableRow."""
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
    """Iterate over the events that wait for their time, of one session or of all, the next one due first.

    The events are read as the iterator reaches them. An event that cannot be read is left out; it becomes a dead letter
    when it is due. Raises StoreUnavailable.
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

"""Read what happened in a span of time: from the archive, and from the store what only the store holds."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from kato_tasks.api.history import check_range, read_entries
from kato_tasks.api.node_history import check_node, node_as_told
from kato_tasks.bootstrap import runtime
from kato_tasks.domain.ids import lane_of, node_id_of
from kato_tasks.domain.known_names import shown
from kato_tasks.domain.log_entry import Logged
from kato_tasks.errors import InvalidEvent
from kato_tasks.ports.archive import Archive
from kato_tasks.ports.sessions import Sessions

Key = tuple[int, str, int]
"""The timestamp of an event (ms since 1970), its session and its position."""


def events_by_time(
    since: datetime | str | None = None,
    until: datetime | str | None = None,
    *,
    node_id: str | None = None,
    limit: int | None = None,
) -> Iterator[dict[str, Any]]:
    """Iterate over the events whose timestamps lie in a span of time, oldest first.

    Args:
        since: The beginning, as a ``datetime`` or ISO 8601 text, in UTC unless it has an offset; None sets no bound.
        until: The end, in the same form; an event of just this time is left out. None sets no bound.
        node_id: Read only events of this node, or of this session that has a node of its own.
        limit: Return at most this many events; None sets no limit.

    Returns:
        An iterator over events in the form of ``kato_tasks.history``. Those of one time come in the order of session
        and position. What only the store holds is looked for when the iteration begins: in every session with events
        that are not archived, and these events are held in memory. Without an archive (``ARCHIVE_URL``) that is the
        whole history, which suits a look at a small store.

    Raises:
        InvalidEvent: An argument is wrong, and ``field`` names it.
        ConfigurationError: A setting cannot work.

    The iterator raises what that of ``kato_tasks.history`` raises.
    """
    span = (_ms_of("since", since), _ms_of("until", until))
    if node_id is not None:
        check_node(node_id)
    _, most = check_range(0, limit)
    rt = runtime()
    return (event for _, event in islice(_events(rt.sessions, rt.archive, span, node_id, most), most))


def _ms_of(field: str, when: Any) -> int | None:
    if when is None:
        return None
    try:
        read = datetime.fromisoformat(when) if isinstance(when, str) else when
    except ValueError:
        read = None
    if not isinstance(read, datetime):
        raise InvalidEvent(field, f"must be a datetime or ISO 8601 text, not {shown(when)}")
    return _ms(read if read.tzinfo is not None else read.replace(tzinfo=UTC))


def _ms(when: datetime) -> int:
    return int(when.timestamp() * 1000)


def _key(event: dict[str, Any]) -> Key:
    return _ms(datetime.fromisoformat(event["timestamp"])), event["session_id"], event["position"]


def _events(
    sessions: Sessions,
    archive: Archive | None,
    span: tuple[int | None, int | None],
    node_id: str | None,
    limit: int | None,
) -> Iterator[tuple[Key, dict[str, Any]]]:
    node = None if node_id is None else node_as_told(sessions, node_id)
    # The store comes first, so that an event which is archived meanwhile is met twice, and not missed.
    found = _only_in_store(sessions, archive, span, node)
    stored = sorted(found, key=_first) if limit is None else heapq.nsmallest(limit, found, key=_first)
    met = {key for key, _ in stored}
    archived = (one for one in _read_archived(archive, span, node) if one[0] not in met)
    yield from heapq.merge(stored, archived, key=_first)


def _first(one: tuple[Key, dict[str, Any]]) -> Key:
    return one[0]


def _only_in_store(
    sessions: Sessions, archive: Archive | None, span: tuple[int | None, int | None], node: str | None
) -> Iterator[tuple[Key, dict[str, Any]]]:
    since, until = span
    looked_at: set[str] = set()
    for page in sessions.pages():
        nodes = {s: n for s, n in page.items() if s not in looked_at and node in (None, n)}
        kept = archive.heads(list(nodes)) if archive is not None else {}
        for (session, its_node), head in zip(nodes.items(), sessions.heads(nodes), strict=True):
            begin = kept.get(session, 0)
            if head <= begin:
                continue
            looked_at.add(session)  # A page may show a session again.
            for entry in read_entries(sessions, archive, session, its_node, begin):
                event = entry.event(session, node_id_of(session, its_node))
                key = _key(event)
                if (since is None or key[0] >= since) and (until is None or key[0] < until):
                    yield key, event


def _read_archived(
    archive: Archive | None, span: tuple[int | None, int | None], node: str | None
) -> Iterator[tuple[Key, dict[str, Any]]]:
    if archive is None:
        return
    for row in archive.of_time(*span, lane=None if node is None else lane_of(node)):
        if node in (None, row.node):
            event = Logged.parse(row.position, row.entry).event(row.session, node_id_of(row.session, row.node))
            yield _key(event), event


__all__ = ["events_by_time"]

"""Read what happened in a session, in its order: from the archive and from the store, as one log.

The archive holds what is applied, the store what is not, and often the same events for a while. Events leave the store
only when the archive has them. So the store is asked first, and what it holds no more is looked up in the archive.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from kato_tasks.api.event_store import check_position
from kato_tasks.bootstrap import runtime
from kato_tasks.domain.events import check_session_id
from kato_tasks.domain.generations import is_shadow_session
from kato_tasks.domain.ids import node_id_of
from kato_tasks.domain.log_entry import Logged
from kato_tasks.errors import HistoryIncomplete, InvalidEvent
from kato_tasks.ports.archive import Archive
from kato_tasks.ports.sessions import Sessions

PAGE = 200
"""How many entries are read in one round trip; the largest ones take 50 MB then."""


def history(session_id: str, after: int = 0, limit: int | None = None) -> Iterator[dict[str, Any]]:
    """Iterate over a session's history: standard events with their positions, in order.

    Args:
        session_id: Your own name for the session (of an event store: the aggregate).
        after: Begin at the position after this one.
        limit: Return at most this many events; None sets no limit.

    Returns:
        An iterator over the events that the session has when the iteration begins. Each is plain JSON in the form of
        the standard event, with its ``position``, and with ``data`` if it was given any. There are none if the session
        is not known. They are read in pages, as the iterator reaches them, from the store and from the archive.

    Raises:
        InvalidEvent: An argument is wrong, and ``field`` names it.
        ConfigurationError: A setting cannot work.

    The iterator raises StoreUnavailable or ArchiveUnavailable if one of them cannot be reached, HistoryIncomplete if
    neither of them holds a position, and UnreadableRow if an entry is broken.
    """
    check_has_history(session_id)
    first, most = check_range(after, limit)
    rt = runtime()
    return session_events(rt.sessions, rt.archive, session_id, first, most)


def check_has_history(session_id: Any) -> str:
    """Return the id of a session that may have a history of its own. Raises InvalidEvent."""
    session = check_session_id(session_id)
    if is_shadow_session(session):
        raise InvalidEvent("session_id", f"{session!r} is a copy that a replay made; ask for the session it copies")
    return session


def check_range(after: Any, limit: Any) -> tuple[int, int | None]:
    """Return where a history begins and how many events it has at most. Raises InvalidEvent."""
    return check_position("after", after) or 0, check_position("limit", limit)


def session_events(
    sessions: Sessions, archive: Archive | None, session: str, after: int = 0, limit: int | None = None
) -> Iterator[dict[str, Any]]:
    """Iterate over a session's events, as ``history`` does."""
    node = sessions.node_of(session)
    if node is not None:
        node_id = node_id_of(session, node)
        for entry in read_entries(sessions, archive, session, node, after, limit):
            yield entry.event(session, node_id)
    elif archive is not None:
        for row in archive.of_session(session, after, limit):
            yield Logged.parse(row.position, row.entry).event(session, node_id_of(session, row.node))


def read_entries(
    sessions: Sessions, archive: Archive | None, session: str, node: str, after: int = 0, limit: int | None = None
) -> Iterator[Logged]:
    """Iterate over the entries of a session's log after a position, up to its head as it is when this begins.

    Every position is there, and comes once, whatever moves from the store to the archive meanwhile. Raises
    HistoryIncomplete otherwise, and what ``Sessions.events`` and the archive raise.
    """
    (head,) = sessions.heads({session: node})
    last = head if limit is None else min(head, after + limit)
    at = after
    while at < last:
        page = sessions.events(session, node, at, min(PAGE, last - at))
        until = min(page[0].position - 1, last) if page else last
        if until > at and archive is not None:
            page = _read_archived(archive, session, at, min(PAGE, until - at))
        if not page or page[0].position != at + 1:
            raise _incomplete(session, at + 1, min(page[0].position - 1, last) if page else until, archive is not None)
        for entry in page:
            if entry.position != at + 1:
                break
            at += 1
            yield entry


def _read_archived(archive: Archive, session: str, after: int, most: int) -> list[Logged]:
    rows = islice(archive.of_session(session, after, most), most)
    return [Logged.parse(row.position, row.entry) for row in rows]


def _incomplete(session: str, first: int, last: int, archived: bool) -> HistoryIncomplete:
    what = f"position {first}" if first == last else f"positions {first} to {last}"
    missing = f"{what} of session {session!r} {'is' if first == last else 'are'}"
    go_on = f"after={last} reads what follows"
    if archived:
        return HistoryIncomplete(f"{missing} neither in the store nor in the archive (any more); {go_on}")
    return HistoryIncomplete(
        f"{missing} not in the store any more, and no archive is set; set ARCHIVE_URL to the archive that this store "
        f"was emptied into, or {go_on}"
    )


__all__ = ["PAGE", "check_range", "history", "read_entries", "session_events"]

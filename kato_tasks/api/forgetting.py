"""Forget one person's session: erase it in KATO, in the archive and in the store, and say what KATO's patterns hold."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from kato_tasks.api.held_patterns import find_session_taught, read_frequencies
from kato_tasks.api.replays.asking import run_programs
from kato_tasks.api.replays.cleaning import empty_node
from kato_tasks.api.session_copies import erase_copies
from kato_tasks.bootstrap import Runtime, runtime
from kato_tasks.domain.events import check_session_id
from kato_tasks.domain.forgotten import Forgotten
from kato_tasks.domain.ids import default_node, lane_of, node_id_of, partition_of, shard_of
from kato_tasks.engine.drain import kato_api
from kato_tasks.engine.store_retry import execute_with_retry, raise_errors
from kato_tasks.errors import LeaseLost, SessionBusy
from kato_tasks.ports.effects import Program
from kato_tasks.ports.forgetting import ForgetCommits, ForgetIds, ForgetNode, ForgetSession, Traces
from kato_tasks.ports.generations import GiveLaneBack, TakeLane
from kato_tasks.ports.lanes import Batch, Lease, Renew
from kato_tasks.ports.log import BindNodes, DropScheduled
from kato_tasks.ports.operating import DropDeadLetter
from kato_tasks.ports.sessions import SessionRow
from kato_tasks.ports.waiting_tasks import DropUnpublished
from kato_tasks.telemetry.log_events import log_event

log = logging.getLogger(__name__)
LANE_MS = 30_000
"""How long the lane is held at most by a process that dies while it forgets a session."""
PATIENCE_SECONDS = 5.0
"""How long a lane, or an archiving task, is waited for."""
IDS_AT_ONCE = 10_000


def forget_session(session_id: str, *, patterns: bool = False) -> Forgotten:
    """Erase one session everywhere, and say what KATO's patterns still hold of it.

    Its KATO session, its rows in the archive and everything of it in the store are erased, in an order in which a call
    that ended in the middle can be repeated. A later event of this id begins a new session at position 1.

    Args:
        session_id: Your own name for the session.
        patterns: Also empty the session's node at KATO of all patterns, if no other session uses that node.

    Returns:
        A ``Forgotten``: what was erased, and the patterns that KATO still holds.

    Raises:
        SessionBusy: The session has something left to do, or its lane is in use; the message says what to do.
        InvalidEvent: ``session_id`` is no text that can name a session.
        ArchiveUnavailable, KatoError, StoreUnavailable: One of them does not answer. Call again to finish.
        ConfigurationError: A setting cannot work.
    """
    rt = runtime()
    check_session_id(session_id)
    node = rt.sessions.node_of(session_id)
    if node is None:
        return _forget_rest(rt, session_id)
    lane = lane_of(node)
    if holders := rt.replays.holders([lane]):
        raise SessionBusy(
            f"replay {holders[lane]} works on node {node_id_of(session_id, node)!r}; wait until it has ended, "
            "or cancel it"
        )
    with _no_archiving(rt, lane), _held(rt, lane, session_id) as lease:
        node = rt.sessions.node_of(session_id)
        if node is None:  # Somebody else has forgotten it meanwhile.
            return _forget_rest(rt, session_id)
        return _forget_known(rt, lease, session_id, node, patterns=patterns)


def _forget_known(rt: Runtime, lease: Lease, session: str, node: str, *, patterns: bool) -> Forgotten:
    lane = lease.lane
    (row,) = rt.sessions.read({session: node})
    traces = rt.traces.of_session(session, lane)
    _refuse_busy(row, traces)
    shared = _is_shared(rt, session, lane)
    held = find_session_taught(rt, session, lane)
    found = read_frequencies(rt, lane, row.generation or node, held)
    # A long history takes long to read. From here on KATO is told something, for which the lane must still be held.
    _renew(rt, lease)
    # The archive comes first and the node last: as long as the node is known, a repeated call finds all that is left.
    emptied = patterns and not shared
    archived = rt.archive.forget(session) if rt.archive is not None else 0
    erase_copies(rt, session, lane)
    _renew(rt, lease)
    if row.binding is not None:
        _run(rt, _delete(row.binding.url, row.binding.kato_session))
    for one in sorted({node, row.generation or node}) if emptied else ():
        _run(rt, empty_node(rt, lane, one))
    _erase(rt, lease, session, traces, whole=not shared)
    _forget_node(rt, session, node, lane)
    if rt.archive is not None:
        archived += rt.archive.forget(session)
    log_event(log, logging.INFO, "session.forgotten", events=row.head, archived=archived)
    return Forgotten(
        session_id=session,
        node_id=row.node_id,
        events=row.head,
        archived=archived,
        dead_letters=len(traces.letters),
        scheduled=len(traces.scheduled),
        kato_session=row.binding.kato_session if row.binding is not None else None,
        patterns=() if emptied else found,
        more_patterns=0 if emptied else len(held.taught.patterns) - len(found),
        unnamed_patterns=0 if emptied else held.taught.unnamed,
        history=emptied or held.is_whole(row.cursor),
        node_is_shared=shared,
    )


def _forget_rest(rt: Runtime, session: str) -> Forgotten:
    """Erase what may be left of a session without a node: rows of the archive, and events that wait for their time."""
    archived = rt.archive.forget(session) if rt.archive is not None else 0
    traces = rt.traces.of_session(session, lane_of(default_node(session)))
    _drop(rt, traces)
    return Forgotten(
        session_id=session,
        known=bool(archived or traces.letters or traces.scheduled or traces.unpublished),
        node_id=session,
        archived=archived,
        dead_letters=len(traces.letters),
        scheduled=len(traces.scheduled),
        history=not archived,
    )


def _refuse_busy(row: SessionRow, traces: Traces) -> None:
    name = repr(row.session)
    if row.head > row.cursor:
        left = row.head - row.cursor
        if row.parked is not None:
            raise SessionBusy(
                f"session {name} is parked and not applied to its end ({left} to go); `kato-tasks sessions resume` "
                "lets it go on, and ON_EXHAUSTED=dead_letter buries what KATO does not take"
            )
        raise SessionBusy(f"session {name} is not applied to its end ({left} to go); wait until it is")
    scheduled = len(traces.scheduled)
    if (waiting := len(traces.waiting)) > scheduled:
        raise SessionBusy(f"{waiting} events of session {name} have tasks that wait for them; wait until they are told")


def _is_shared(rt: Runtime, session: str, lane: str) -> bool:
    """Return whether any other session belongs to the lane, as far as the store or the archive knows."""
    if rt.archive is not None and set(rt.archive.sessions_of_lane(lane)) - {session}:
        return True
    return any(
        other != session and lane_of(node) == lane for page in rt.sessions.pages() for other, node in page.items()
    )


def _erase(rt: Runtime, lease: Lease, session: str, traces: Traces, *, whole: bool) -> None:
    place = 1
    while place:
        (place,) = raise_errors(execute_with_retry(rt.store, [ForgetCommits(lease, session, place)]))
    # What is too much for one step goes before it.
    for start in range(IDS_AT_ONCE, len(traces.ids), IDS_AT_ONCE):
        some = traces.ids[start : start + IDS_AT_ONCE]
        raise_errors(execute_with_retry(rt.store, [ForgetIds(lease.lane, session, some)]))
    here = partition_of(lease.lane)
    erase = ForgetSession(
        lease,
        session,
        traces.ids[:IDS_AT_ONCE],
        sorted({*traces.results, *traces.waiting}),
        [name for where, name in traces.letters if partition_of(where) == here],
        whole,
    )
    (answer,) = raise_errors(execute_with_retry(rt.store, [erase]))
    if answer != "done":
        what = "has new events that are not applied yet" if answer == "unapplied" else "has a call to KATO under way"
        raise SessionBusy(f"session {session!r} {what}; wait until they are applied, and forget it again")
    _drop(rt, traces)


def _drop(rt: Runtime, traces: Traces) -> None:
    """Erase what is kept in the partitions of no particular lane."""
    drops = [DropScheduled(partition, payload) for partition, payload in traces.scheduled]
    unpublished = [DropUnpublished(partition, message) for partition, message in traces.unpublished]
    letters = [DropDeadLetter(lane, name) for lane, name in traces.letters]
    raise_errors(execute_with_retry(rt.store, [*drops, *unpublished, *letters]))


def _forget_node(rt: Runtime, session: str, node: str, lane: str) -> None:
    raise_errors(execute_with_retry(rt.store, [ForgetNode(session)]))
    (row,) = rt.sessions.read({session: node})
    if row.head:
        # A new session of this id has begun on the node that was written down until now, so it stays written down.
        rows = [(session, node, default_node(session))]
        raise_errors(execute_with_retry(rt.store, [BindNodes(partition_of(session), rows)]))
        rt.wake([partition_of(lane)])


def _delete(url: str, kato_session: str) -> Program[bool]:
    return kato_api.delete_session(url, kato_session)


def _run(rt: Runtime, program: Program[object]) -> None:
    (ended,) = run_programs(rt, [("", program)])
    if ended.error is not None:
        raise ended.error


def _renew(rt: Runtime, lease: Lease) -> None:
    """Hold the lane for its full time again. Raises LeaseLost."""
    if not raise_errors(execute_with_retry(rt.store, [Renew(lease)]))[0]:
        raise LeaseLost(f"lane {lease.lane} is held by another process")


@contextmanager
def _held(rt: Runtime, lane: str, session: str) -> Iterator[Lease]:
    """Hold the lane, so that nothing of it is applied meanwhile. Raises SessionBusy if it does not become free."""
    lease = Lease(lane, uuid.uuid4().hex, LANE_MS, Batch(1, 1))
    until = time.monotonic() + PATIENCE_SECONDS
    while not raise_errors(execute_with_retry(rt.store, [TakeLane(lane, lease.token, LANE_MS)]))[0]:
        if time.monotonic() >= until:
            raise SessionBusy(
                f"the node of session {session!r} is being worked on for longer than {PATIENCE_SECONDS:g} s; "
                "try again when less is going on"
            )
        time.sleep(0.01)
    try:
        yield lease
    except LeaseLost:
        raise SessionBusy(f"the node of session {session!r} was taken by a worker meanwhile; forget it again") from None
    finally:
        (due,) = raise_errors(execute_with_retry(rt.store, [GiveLaneBack(lease)]))
        if due is not None and due >= 0:
            rt.wake([partition_of(lane)])


@contextmanager
def _no_archiving(rt: Runtime, lane: str) -> Iterator[None]:
    """Keep archiving tasks of the lane's shard from starting, once the one that is under way has ended."""
    if not rt.settings.archive_url:
        yield
        return
    shard, until = shard_of(partition_of(lane), rt.settings.shards), time.monotonic() + PATIENCE_SECONDS
    while not (mine := rt.marks.set_archiving([shard])) and time.monotonic() < until:
        time.sleep(0.05)
    try:
        yield
    finally:
        if mine:
            rt.marks.clear_archiving(shard)


__all__ = ["forget_session"]

"""Move applied events from the store to the archive. The store then keeps what a rebuild of an STM needs."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from kato_tasks.bootstrap import Runtime
from kato_tasks.domain.ids import lane_of, partition_of
from kato_tasks.domain.refusals import Refusal
from kato_tasks.domain.stm import STM_CAP
from kato_tasks.engine.store_retry import raise_errors
from kato_tasks.ports.archive import Archive, ArchiveConflict, ArchivedEvent
from kato_tasks.ports.archiving import DropArchived, NoteUnarchived, ReadUnarchived, UnarchivedLane
from kato_tasks.ports.operating import ParkByHand
from kato_tasks.telemetry.log_events import log_event

log = logging.getLogger(__name__)
LANES = 200
"""The number of a partition's lanes whose events are read at a time."""
AT_ONCE = 8_000
"""About how many events one write to the archive holds."""


@dataclass(frozen=True, slots=True)
class ArchivedBatch:
    """What a round did: how many events it archived, and whether it ended before there were none left."""

    events: int
    more: bool


def archive_partitions(rt: Runtime, archive: Archive, partitions: Sequence[int], seconds: float) -> ArchivedBatch:
    """Archive what is applied in these partitions, for about ``seconds``.

    Doing this twice, or in two processes at once, is harmless. Raises StoreUnavailable, and ArchiveUnavailable if the
    archive does not answer; nothing has left the store then that is not archived.
    """
    stop, done, left = time.monotonic() + seconds, 0, list(partitions)
    while left:
        reads = [ReadUnarchived(partition, LANES, max(1, AT_ONCE // len(left))) for partition in left]
        found = dict(zip(left, raise_errors(rt.store.execute(reads)), strict=True))
        lanes = [lane for some in found.values() for lane in some]
        if lanes:
            done += _archive_lanes(rt, archive, lanes)
        left = [partition for partition, some in found.items() if some]
        if time.monotonic() >= stop:
            break
    return ArchivedBatch(done, bool(left))


def _archive_lanes(rt: Runtime, archive: Archive, lanes: Sequence[UnarchivedLane]) -> int:
    events = [event for lane in lanes for event in lane.events]
    conflicts = archive.write(events) if events else []
    if conflicts:
        events = _leave_parked(rt, events, conflicts)
    kept = {one.session for one in conflicts}
    rt_operations = []
    for lane in lanes:
        for session in sorted(lane.missing):
            log_event(log, logging.ERROR, "archive.log_incomplete", session=session, lane=lane.lane)
        ends = {event.session: event.position for event in lane.events if event.session not in kept}
        rt_operations.append(DropArchived(lane.lane, lane.first_seq, lane.commits, tuple(ends.items()), STM_CAP))
    raise_errors(rt.store.execute(rt_operations))
    _erase_forgotten(rt, archive, {event.session for event in events})
    return len(events)


def _erase_forgotten(rt: Runtime, archive: Archive, sessions: set[str]) -> None:
    """Erase sessions that were forgotten after their events were read: their nodes are not written down any more."""
    for session in sorted(sessions - rt.sessions.nodes(sessions).keys()):
        archive.forget(session)


def _leave_parked(
    rt: Runtime, events: Sequence[ArchivedEvent], conflicts: Sequence[ArchiveConflict]
) -> list[ArchivedEvent]:
    """Park the sessions of which the archive holds other events, and return the events of the others.

    Their logs stay in the store as they are, for a person to compare. The store may have gone back in time, or another
    store may have the same archive.
    """
    by_session = {one.session: one for one in reversed(conflicts)}
    lanes = {event.session: event.lane for event in events}
    now_ms = rt.figures.now_ms()
    parks = []
    for session, one in by_session.items():
        why = Refusal(
            reason=f"the archive holds another event at position {one.position} ({one.known_id})",
            position=one.position,
            attempts=0,
            first_ms=now_ms,
            last_ms=now_ms,
            last_answer="the store went back in time, or two stores write to one archive",
            event_id=one.event_id,
        )
        parks.append(ParkByHand(lanes[session], session, why.dump()))
        log_event(log, logging.ERROR, "archive.conflict", session=session, position=one.position, event=one.event_id)
    raise_errors(rt.store.execute(parks))
    return [event for event in events if event.session not in by_session]


def note_all_lanes(rt: Runtime) -> int:
    """Note every lane of the store for the archive, and return how many there are.

    Lanes that were drained before there was an archive are not noted otherwise. Raises StoreUnavailable.
    """
    noted: set[str] = set()
    for page in rt.sessions.pages():
        lanes = {lane_of(node) for node in page.values()} - noted
        noted |= lanes
        by_partition = sorted((partition_of(lane), lane) for lane in lanes)
        raise_errors(
            rt.store.execute(
                [
                    NoteUnarchived(partition, tuple(lane for _, lane in some))
                    for partition, some in groupby(by_partition, key=lambda one: one[0])
                ]
            )
        )
    return len(noted)

"""What waits in the store for its time or for the broker: events with a due time, and task messages.

Each is carried out by itself. One that nobody can carry out becomes a dead letter, and holds up none of the others.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import redis
from kombu.exceptions import SerializationError

from kato_tasks.adapters.redis.keys import prefix
from kato_tasks.bootstrap import Runtime
from kato_tasks.celery_app import home
from kato_tasks.domain.entries import TYPES, Entry
from kato_tasks.domain.ids import PARTITIONS, default_node, lane_of, partition_of, queue_of, shard_of
from kato_tasks.engine.patience import raise_errors
from kato_tasks.errors import InvalidEvent, StoreFailed, StoreFull, StoreUnavailable, UnreadableRow
from kato_tasks.instrumentation import say
from kato_tasks.ports import DropLater, DropMessage, DueLater, KeepDeadLetter, KeptMessages, LookSoon
from kato_tasks.waking import wake

log = logging.getLogger(__name__)
AT_ONCE = 200
"""How many of a partition are carried out in one round."""
READ_AT_ONCE = 20
"""How many of a partition are read in one round trip for a person to look at."""

_HOPELESS = (SerializationError, TypeError, ValueError, LookupError, AttributeError)
"""What is wrong with a message itself: no JSON, no such queue (Celery's QueueNotFound is a KeyError) …"""


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


def promote(rt: Runtime, partitions: Sequence[int]) -> int:
    """Append events that were kept for later and are due; returns how many. Raises StoreUnavailable."""
    now = rt.now_ms()
    done = 0
    for partition, payloads in _each(partitions, rt.store.execute([DueLater(p, now, AT_ONCE) for p in partitions])):
        try:
            done += _promoted(rt, partition, payloads)
        except StoreFull as exc:
            # They are late rather than lost; what is drained now makes room for them.
            say(log, logging.WARNING, "later.postponed", partition=partition, error=exc)
            return done
        except StoreFailed as exc:
            say(log, logging.ERROR, "later.postponed", partition=partition, error=exc)
    return done


def _promoted(rt: Runtime, partition: int, payloads: Sequence[str]) -> int:
    due: list[Entry] = []
    for payload in payloads:
        try:
            due.append(read_later(payload))
        except UnreadableRow as exc:
            _bury(rt, "", {"event_id": "", "kept": payload}, str(exc))
    try:
        tell = _appended(rt, due)
    except (InvalidEvent, StoreFailed):
        tell = _promote_singly(rt, due)
    raise_errors(rt.store.execute([*tell, *(DropLater(partition, payload) for payload in payloads)]))
    return len(due)


def _appended(rt: Runtime, due: Sequence[Entry]) -> list[LookSoon]:
    """Append what is due, and wake its lanes; whose tasks are to be told that theirs was not appended.

    Those are the tasks of an entry whose id another event took, and of one that would make a session by itself.
    """
    able = [entry for entry in due if entry.kind == "o" or rt.mailbox.knows(entry.session_id)]
    posted = rt.mailbox.append(able)
    wake(rt, posted.wake)
    refused = [entry for entry, placed in zip(able, posted.placed, strict=True) if placed.conflict]
    refused += [entry for entry, placed in zip(able, posted.placed, strict=True) if placed.too_many]
    refused += [entry for entry in due if entry not in able]
    return [look for entry in refused for look in _looks(rt, entry)]


def _looks(rt: Runtime, entry: Entry) -> list[LookSoon]:
    """A look at whoever waits for this: in its session's lane, or in the one that it would have by itself."""
    lanes = {rt.lane_of_session(entry.session_id), lane_of(entry.node_id or default_node(entry.session_id))}
    return [LookSoon(lane, entry.session_id, entry.event_id) for lane in lanes]


def _promote_singly(rt: Runtime, due: Sequence[Entry]) -> list[LookSoon]:
    """One of these cannot be appended (its session belongs to another node, or its rows are broken): the others are."""
    tell: list[LookSoon] = []
    for entry in due:
        try:
            tell += _appended(rt, [entry])
        except (InvalidEvent, StoreFailed) as exc:
            event = {"event_id": entry.event_id, "session_id": entry.session_id, "kept": entry.text}
            _bury(rt, lane_of(rt.node_of_session(entry.session_id) or ""), event, str(exc))
            tell += _looks(rt, entry)
    return tell


def publish_kept(rt: Runtime, partitions: Sequence[int]) -> int:
    """Publish task messages that could not be published before; returns how many. Raises StoreUnavailable."""
    done = 0
    for partition, messages in _each(partitions, rt.store.execute([KeptMessages(p, AT_ONCE) for p in partitions])):
        for message in messages:
            try:
                _publish(rt, message)
                done += 1
            except _HOPELESS as exc:
                # Its event is in the log and is applied; only its caller is told nothing.
                _bury(rt, "", {"event_id": "", "message": message}, f"a task message cannot be published: {exc!r}")
            except Exception as exc:
                # Errors of a dead connection have many classes. The broker is away for all of them.
                say(log, logging.WARNING, "outbox.postponed", partition=partition, error=exc)
                return done
            raise_errors(rt.store.execute([DropMessage(partition, message)]))
    return done


def _publish(rt: Runtime, message: str) -> None:
    """Publish a message to the queue that serves its lane today: it was kept under another number of shards perhaps."""
    kept = json.loads(message)
    options = dict(kept["options"])
    lane = (options.get("headers") or {}).get("kato", {}).get("lane")
    if lane is not None:
        options["queue"] = queue_of(shard_of(partition_of(lane), rt.settings.shards))
    home().send_task(
        kept["name"],
        (),
        kept["kwargs"],
        task_id=kept["task_id"],
        link=kept["link"],
        link_error=kept["link_error"],
        **options,
    )


def _each(partitions: Sequence[int], answers: Sequence[Any]) -> list[tuple[int, list[str]]]:
    """What each partition has; one that the store refuses is left out."""
    found = []
    for partition, answer in zip(partitions, answers, strict=True):
        if isinstance(answer, StoreUnavailable):
            raise answer
        if isinstance(answer, Exception):
            say(log, logging.ERROR, "partition.unread", partition=partition, error=answer)
        elif answer:
            found.append((partition, answer))
    return found


def _bury(rt: Runtime, lane: str, event: Mapping[str, Any], reason: str) -> None:
    """Keep what nobody can carry out as a dead letter, with all that was kept of it."""
    text = json.dumps(event)
    now = int(time.time() * 1000)
    letter = {
        "session_id": event.get("session_id", ""),
        "node_id": "",
        "lane": lane,
        "position": None,
        "event": event,
        "reason": reason,
        "attempts": 0,
        "first_ms": now,
        "last_ms": now,
    }
    name = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    say(log, logging.ERROR, "kept.buried", id=event["event_id"], reason=reason)
    raise_errors(rt.store.execute([KeepDeadLetter(lane, f"kept {name}", json.dumps(letter))]))

"""Carry out what waits in the store for its time or for the broker: events with a due time, and task messages.

Each is carried out by itself. One that cannot be carried out becomes a dead letter, and does not hold up the others.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from kombu.exceptions import SerializationError

from kato_tasks.api.scheduled import read_later
from kato_tasks.bootstrap import Runtime
from kato_tasks.celery_tasks.app.home import home
from kato_tasks.domain.ids import default_node, lane_of, partition_of, queue_of, shard_of
from kato_tasks.domain.log_entry import Entry
from kato_tasks.domain.refusals import BuriedEvent, Refusal
from kato_tasks.engine.store_retry import raise_errors
from kato_tasks.errors import InvalidEvent, StoreFailed, StoreFull, StoreUnavailable, UnreadableRow
from kato_tasks.ports.log import DropScheduled, DueScheduled
from kato_tasks.ports.operating import KeepDeadLetter
from kato_tasks.ports.waiting_tasks import DropUnpublished, LookSoon, UnpublishedMessages
from kato_tasks.telemetry.log_events import log_event

log = logging.getLogger(__name__)
AT_ONCE = 200
"""How many events, or messages, of a partition are carried out in one round."""
_HOPELESS = (SerializationError, TypeError, ValueError, LookupError, AttributeError)
"""The errors of a message that is wrong itself: it is not JSON, its queue does not exist (Celery's QueueNotFound is a
KeyError), and so on."""


def append_due(rt: Runtime, partitions: Sequence[int]) -> int:
    """Append the events that were kept for later and are due, and return how many. Raises StoreUnavailable."""
    now = rt.figures.now_ms()
    done = 0
    for partition, payloads in _each(partitions, rt.store.execute([DueScheduled(p, now, AT_ONCE) for p in partitions])):
        try:
            done += _append_payloads(rt, partition, payloads)
        except StoreFull as exc:
            # The events are late, not lost: the lanes that are drained now make room for them.
            log_event(log, logging.WARNING, "later.postponed", partition=partition, error=exc)
            return done
        except StoreFailed as exc:
            log_event(log, logging.ERROR, "later.postponed", partition=partition, error=exc)
    return done


def _append_payloads(rt: Runtime, partition: int, payloads: Sequence[str]) -> int:
    due: list[Entry] = []
    for payload in payloads:
        try:
            due.append(read_later(payload))
        except UnreadableRow as exc:
            _bury(rt, "", {"event_id": "", "kept": payload}, str(exc))
    try:
        tell = _append_together(rt, due)
    except (InvalidEvent, StoreFailed):
        tell = _append_singly(rt, due)
    raise_errors(rt.store.execute([*tell, *(DropScheduled(partition, payload) for payload in payloads)]))
    return len(due)


def _append_together(rt: Runtime, due: Sequence[Entry]) -> list[LookSoon]:
    """Append the entries that are due, wake their lanes, and return looks at the tasks whose entry was not appended.

    Those are the tasks of an entry whose id another event took, of a predict that is one too many, and of an entry
    that would make a session by itself.
    """
    able = [entry for entry in due if entry.kind == "o" or rt.mailbox.knows(entry.session_id)]
    posted = rt.mailbox.append(able)
    rt.wake(posted.wake)
    refused = [entry for entry, placed in zip(able, posted.placed, strict=True) if placed.conflict]
    refused += [entry for entry, placed in zip(able, posted.placed, strict=True) if placed.too_many]
    refused += [entry for entry in due if entry not in able]
    return [look for entry in refused for look in _looks(rt, entry)]


def _looks(rt: Runtime, entry: Entry) -> list[LookSoon]:
    """Return looks at the tasks that wait for an entry, in its session's lane or in that of its own or default node."""
    lanes = {rt.sessions.lane_of(entry.session_id), lane_of(entry.node_id or default_node(entry.session_id))}
    return [LookSoon(lane, entry.session_id, entry.event_id) for lane in lanes]


def _append_singly(rt: Runtime, due: Sequence[Entry]) -> list[LookSoon]:
    """Append each entry by itself, since one of them cannot be appended, and return looks as ``_appended`` does.

    An entry that cannot be appended (its session belongs to another node, or its rows are broken) becomes a dead
    letter.
    """
    tell: list[LookSoon] = []
    for entry in due:
        try:
            tell += _append_together(rt, [entry])
        except (InvalidEvent, StoreFailed) as exc:
            event = {"event_id": entry.event_id, "session_id": entry.session_id, "kept": entry.text}
            _bury(rt, lane_of(rt.sessions.node_of(entry.session_id) or ""), event, str(exc))
            tell += _looks(rt, entry)
    return tell


def publish_kept_messages(rt: Runtime, partitions: Sequence[int]) -> int:
    """Publish the task messages that could not be published before, and return how many. Raises StoreUnavailable."""
    done = 0
    for partition, messages in _each(
        partitions, rt.store.execute([UnpublishedMessages(p, AT_ONCE) for p in partitions])
    ):
        for message in messages:
            try:
                _publish(rt, message)
                done += 1
            except _HOPELESS as exc:
                # The task's event is in the log and is applied; only its caller gets no answer.
                _bury(rt, "", {"event_id": "", "message": message}, f"a task message cannot be published: {exc!r}")
            except Exception as exc:
                # Errors of a dead connection have many classes. With each of them the broker is away.
                log_event(log, logging.WARNING, "outbox.postponed", partition=partition, error=exc)
                return done
            raise_errors(rt.store.execute([DropUnpublished(partition, message)]))
    return done


def _publish(rt: Runtime, message: str) -> None:
    """Publish a message to the queue that serves its lane now: the number of shards may have changed since."""
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
    """Return each partition with its answer, without those that have nothing and those that the store cannot read.

    Raises StoreUnavailable.
    """
    found = []
    for partition, answer in zip(partitions, answers, strict=True):
        if isinstance(answer, StoreUnavailable):
            raise answer
        if isinstance(answer, Exception):
            log_event(log, logging.ERROR, "partition.unread", partition=partition, error=answer)
        elif answer:
            found.append((partition, answer))
    return found


def _bury(rt: Runtime, lane: str, event: Mapping[str, Any], reason: str) -> None:
    """Keep an event or message that cannot be carried out as a dead letter, with all that was kept of it."""
    text = json.dumps(event)
    now = int(time.time() * 1000)
    refusal = Refusal(reason, None, attempts=0, first_ms=now, last_ms=now)
    letter = json.dumps(BuriedEvent(event.get("session_id", ""), "", lane, refusal, event).as_letter())
    name = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    log_event(log, logging.ERROR, "kept.buried", id=event["event_id"], reason=reason)
    raise_errors(rt.store.execute([KeepDeadLetter(lane, f"kept {name}", letter)]))

"""Log events whose names dashboards can rely on (``noun.verbed``), written as text or as one JSON object per line.

| event | when | fields |
|---|---|---|
| lane.lost | a lease passed to another worker; nothing more was written | lane, reason |
| lane.failed | a drain ended with an unexpected error | lane, error |
| partition.unleased | the store refused to lease out one partition; the others went on | partition, error |
| partition.unread | the store refused to read one partition in a sweep; the others went on | partition, error |
| kept.buried | an event or message that was kept for later cannot be used; it became a dead letter | id, reason |
| later.postponed | a scheduled event could not be appended when it was due; it is tried again | partition, error |
| outbox.postponed | the broker is away; kept messages are published later | partition, error |
| clock.went_back | lanes were due later than any wait can last; they are due now | lanes |
| session.reordered | a rebuilt STM has symbols of vectors in another order | session, lane, events, first, reason |
| lane.unreadable | the lane's own rows in the store cannot be read; they are read again after a minute | lane |
| session.unreadable | a session's rows in the store cannot be read; the session is parked | session, lane, reason |
| lease.renewal_failed | leases could not be renewed in this round | lanes, error |
| store.volatile | the store keeps nothing over a restart of Redis, or may lose the last writes | meaning |
| store.unavailable | Redis did not answer | error, lane |
| background.failed | the background driver met an unexpected error; the sweep takes up what it left | error |
| background.left | a process ended before KATO answered; the next worker that leases those lanes reconciles | lanes |
| kato.misdirected | something that is not KATO answers at its address; once per process | url, status, mend |
| kato.found | KATO answers there again | url, lasted |
| kato.troubled | a KATO instance fails or does not answer; once for all processes when it begins | url, reason |
| kato.recovered | the KATO instance answers again; once for all processes | url, lasted |
| learn.unknown | the outcome of a learn could not be found out; it is counted | session, lane, pattern or counted |
| sign.not_given | a worker or beat could not write its sign of life; `status` will miss it | error |
| session_config.not_taken | KATO does not accept the session config; its sessions wait | url, mend |
| session_config.taken | KATO accepts the session config now | url |
| session_config.unasked | whether KATO accepts the session config could not be found out in this round | error |
| verdict.unshared | KATO's verdict on the session config could not be written to the store | url, error |
| breaker.opened | calls to a KATO instance are held back | url, reason |
| breaker.closed | calls to it are sent again | url |
| breaker.unshared | the breaker's state could not be written to the store | url, error |
| broker.messages_left | the broker's connection was lost; the visibility timeout brings these back | messages, error |
| wakeup.unsent | the broker is away; the sweep sends it later | shard, error |
| drain.postponed | the store is away; the sweep sends another wake-up | shards, error |
| task.kept | a message could not be published and was kept | id, error |
| task.requeued | the store is away; the message went back to its queue | id, error |
| task.waiting_unseen, task.event_unsent | only Flower or the result backend was not told | id, error |
| task.state_unseen | the result backend did not say how a task stands; the task goes on as if it were new | id, error |
| task.completion_failed | a waiting task could not be completed; the sweep tries again | id, error |
| task.completion_postponed | the store, the broker or the results are away; it is completed later | id, error |
| task.next_refused | the next step of a task's chain cannot be sent at all; the task itself is completed | id, error |
| results.unseen | results are awaited and their backend does not answer; it is asked again | error |
| key.unknown | a source sends an unknown key, which is left out; once per key | key, meaning |
| node.shared | several node ids have the same name in KATO | lane, meaning |
| host.setting | a setting of a host's app that our tasks need to be different | meaning |
| own_queue.unserved | a worker knows an application's tasks and does not serve their queue | queue, tasks, meaning |
| step.elsewhere | the next step of a canvas is on an app with another broker | task, meaning |
| worker.serves | a worker was started for some queues only (`-Q`) | queues, not_served, meaning |
| flower.queues_unknown | the broker did not tell Flower's broker page what waits in its queues | error |
| flower.backlog_unknown | the store did not tell Flower's broker page what waits in the log | error |
| flower.unknown | Flower has changed inside; its pages are shown as Flower has them | error, meaning |
| session.forgotten | a person had a session erased; its id is not written down | events, archived |
| archive.postponed | the archive or the store is away; events stay in the store until then | shard, error |
| archive.unpruned | the archive, the store or the broker is away; beat has it pruned in an hour | error |
| archive.pruned | events were erased from the archive, as ARCHIVE_KEEP_DAYS and ARCHIVE_KEEP_EVENTS say | events |
| archive.conflict | the archive has another event there; the session is parked | session, position, event |
| archive.log_incomplete | a log lacks what was applied, which is not archived then | session, lane |
| replay.postponed | a replay's task goes on later, since something that it needs is away | replay, task, error |
| replay.failed | a replay's task met an error that waiting does not mend; the replay ended | replay, task, error |
| replay.differs | what KATO holds of a replayed lane is not what its history makes | replay, lane, reason |
| replay.node_emptied | a node that no lane uses any more was emptied at KATO | replay, lane, node |
| http.failed | an HTTP request met an unexpected error; its caller was told 500 and nothing else | route, error |
| http.stopped | an HTTP server ended as it was told | |
| http.sessions_unseen | the store did not tell an HTTP server how the sessions of its streams stand | error |
| publisher.postponed | a broker does not take events; they wait and are tried again | to, waiting, reason, error |
| publisher.recovered | a broker takes a publisher's events again | to |
| publisher.refused | a broker never takes this event; the next flush says so, too | to, event, session, reason |
| publisher.left | a process ended before a broker confirmed what was published | to, waiting, reason |
| queue.busy | another reader has the queue; this one asks again every second | source, readers |
| listener.state | a listener begins to read, stands by, is held up, connects again or ends | source, state |
| listener.progress | how far it is; each 10 s | source, read, appended, duplicates, dead_letters, per_second, lag |
| listener.held_up | the store is away or full; the listener reads nothing until it takes events again | source, error |
| listener.interrupted | the broker or the store is away; the listener connects again by itself | source, error |
| listener.ended | a listener ended as it was told | source, read, appended, duplicates, dead_letters |
| message.refused | a message is no valid event; it became a dead letter | place, reason |
| sink.interrupted | a sink's broker or the store is away; its predictions are published later | sink, error |
| prediction.refused | a prediction cannot be published; it became a dead letter | sink, id, error |
| partitions.given, partitions.taken_away | Kafka shared partitions out anew among its readers | source, partitions |
| topic.missing | a topic is not there and could not be made; it is read once somebody has made it | topic, meaning |
| topic.made_again | a topic was deleted and made again; it is read from its beginning | topic |
| offsets.uncommitted | Kafka did not take what was acknowledged; it may come again, and is known | source, error |
| keys.unread | the store did not tell an HTTP server the keys; those read last count for a minute | error |
| subscription.interrupted | the store or archive does not answer a subscription, which tries again | after, error |
| sweep.queue_unseen | whether a shard's wake-up still waits in its queue could not be found out | shard, error |
| sweep.failed | a round of the sweep ended with an error | error |
"""

from __future__ import annotations

import copy
import json
import logging
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from kato_tasks.domain.visible import visible, visible_json

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
KEYS_SAID = 1_000
"""How many keys are logged at most: a source may make them up."""


def log_event(log: logging.Logger, level: int, name: str, *, exc_info: Any = None, **fields: Any) -> None:
    """Log the event ``name`` with its fields. Ids may be fields; payloads and secrets must not be."""
    if log.isEnabledFor(level):
        text = " ".join([name, *(f"{key}={visible(str(value))}" for key, value in fields.items())])
        extra = {"kato_event": name, "kato_fields": fields}
        log.log(level, "%s", text, exc_info=exc_info, extra=extra, stacklevel=2)


def _shown(value: Any) -> Any:
    return visible(value) if isinstance(value, str) else value


_COLOURED = re.compile(r"(\x1b\[[0-9;]*m)?(.*?)(\x1b\[0m)?", re.DOTALL)
"""Matches a record as Celery colours it for a terminal: all of it in one colour."""


class JsonFormatter(logging.Formatter):
    """One JSON object per record: ts, level, logger, event (or message), its fields, and the error if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of JSON."""
        row: dict[str, Any] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        name = getattr(record, "kato_event", None)
        if name is not None:
            row |= {"event": name, **getattr(record, "kato_fields", {})}
        else:
            row["message"] = record.getMessage()
        if record.exc_info:
            row["error"] = self.formatException(record.exc_info)
        return visible_json(json.dumps(row, default=str, ensure_ascii=False))


class UnknownKeys:
    """Logs each unknown key of a source's events once; ``parse_event`` calls it.

    It is thread-safe enough: two threads that meet the same new key at once both log it.
    """

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._said: set[str] = set()

    def __call__(self, key: str, meaning: str) -> None:
        """Log ``key`` with what it means, unless it was logged before."""
        if key not in self._said and len(self._said) < KEYS_SAID:
            self._said.add(key)
            log_event(self._log, logging.WARNING, "key.unknown", key=key, meaning=meaning)


class VisibleFormatter(logging.Formatter):
    """Wraps another formatter so that no record can steer a terminal or look like several records.

    Control characters in a message are written out, and so are line breaks in the values that are put into it. A
    message of several lines (Celery has some) keeps them, indented, so that only a record begins a line; a traceback
    keeps its lines.
    """

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self.inner = inner

    def format(self, record: logging.LogRecord) -> str:
        """Return the inner formatter's text with control characters written out."""
        if not record.exc_info and not record.exc_text:
            text = self.inner.format(record)
            if text.isascii() and text.isprintable():
                return text  # the usual case, and worth a shortcut: a worker logs several lines per task
        shown = copy.copy(record)
        if isinstance(record.args, Mapping):
            shown.args = {name: _shown(value) for name, value in record.args.items()}
        elif record.args:
            shown.args = tuple(map(_shown, record.args))
        shown.msg, shown.args = "\n  ".join(map(visible, shown.getMessage().split("\n"))), None
        if record.exc_info and not record.exc_text:
            shown.exc_text = self.inner.formatException(record.exc_info)
        if shown.exc_text:
            shown.exc_text = "\n".join(map(visible, shown.exc_text.split("\n")))
        colour, text, end = _COLOURED.fullmatch(self.inner.format(shown)).groups(default="")  # type: ignore[union-attr]
        # The inner formatter may add fields of its own, a task's id for instance.
        return colour + "\n".join(map(visible, text.split("\n"))) + end


def log_to_stderr(log_format: str) -> None:
    """Send the log of this process to stderr, as text or (``json``) as one JSON object per line."""
    handler = logging.StreamHandler()
    text = logging.Formatter(FORMAT)
    handler.setFormatter(JsonFormatter() if log_format == "json" else VisibleFormatter(text))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)

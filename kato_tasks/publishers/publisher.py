"""Publishes events to a broker, from which listeners append them."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from kato_tasks.domain.events import Event, parse_event
from kato_tasks.domain.log_entry import entry_of
from kato_tasks.domain.observations import Observation
from kato_tasks.errors import KatoTasksError
from kato_tasks.ports.senders import Outgoing, Sender
from kato_tasks.publishers.buffer import Buffering, SendingBuffer
from kato_tasks.publishers.encoding import Encode
from kato_tasks.settings import settings
from kato_tasks.telemetry.log_events import log_event

log = logging.getLogger(__name__)


class Publisher:
    """What all publishers have in common. Threads may share one, and so may a process and those that it forks.

    Events of one session arrive in the order in which they were published. What the broker does not take is tried
    again in that order, with the same ``event_id``, so that it counts once however often it arrives. ``publish``
    returns at once: what ``flush`` or ``close`` has returned for is at the broker. A ``with`` block closes at its end.
    """

    def __init__(self, sender: Sender, encode: Encode, buffering: Buffering) -> None:
        self._encode = encode
        self._limits = settings().limits
        self._buffer = SendingBuffer(sender, buffering)

    def publish(self, event: Event | Mapping[str, Any]) -> str:
        """Publish an event and return its event_id, by which its session's history shows it.

        ``event`` is a model or a mapping in the form of the standard event. It gets a random ``event_id`` if it has
        none, and the time of this call as its ``timestamp``. Raises InvalidEvent, which names the field; and when the
        buffer has been full for ``block_seconds``, SourceUnavailable: then the event was not taken.
        """
        found = parse_event(event, self._limits)
        given: dict[str, Any] = {}
        if found.event_id is None:
            given["event_id"] = uuid.uuid4().hex
        if found.timestamp is None:
            given["timestamp"] = datetime.now(UTC)
        if given:
            found = found.model_copy(update=given)
        message = self._encode(found)
        self._check_size(found, message)
        self._buffer.put(message)
        return message.message_id

    def publish_observation(
        self,
        session_id: str,
        observation: Observation | Mapping[str, Any],
        *,
        node_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        event_id: str | None = None,
        timestamp: datetime | str | None = None,
    ) -> str:
        """Publish an observation of a session and return its event_id. Raises what ``publish`` raises."""
        event = {
            "session_id": session_id,
            "observation": observation,
            "node_id": node_id,
            "metadata": metadata,
            "event_id": event_id,
            "timestamp": timestamp,
        }
        return self.publish({name: value for name, value in event.items() if value is not None})

    def publish_learn(self, session_id: str, *, event_id: str | None = None) -> str:
        """Publish that a session's observations are to be learnt, and return the event_id. Raises as ``publish``."""
        return self.publish({"event_type": "learn", "session_id": session_id, "event_id": event_id})

    @property
    def pending(self) -> int:
        """How many events the broker has not confirmed yet."""
        return self._buffer.pending

    def flush(self, timeout: float | None = 30.0) -> None:
        """Return when everything that was published is confirmed. Wait ``timeout`` seconds at most (None: for ever).

        Raises SourceUnavailable if something is not confirmed by then; it says how many events, which go on being
        tried. Raises InvalidEvent for events that the broker refused for good since the last flush, for their size,
        say: those are not tried again.
        """
        self._buffer.flush(timeout)

    def close(self, timeout: float | None = 30.0) -> None:
        """Flush and disconnect. Raises what ``flush`` raises; what is not confirmed then must be published again."""
        self._buffer.close(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
            return
        try:
            self.close()
        except KatoTasksError as exc:  # it must not take the place of what ended the block
            left = self._buffer.pending
            log_event(log, logging.ERROR, "publisher.left", to=self._buffer.sender.name, waiting=left, reason=str(exc))

    def _check_size(self, event: Event, message: Outgoing) -> None:
        """Refuse what a listener could not append."""
        size = len(message.value) or sum(map(len, (message.fields or {}).values()))
        if size * 2 > self._limits.max_event_bytes:
            entry_of(event, event_id=message.message_id, limits=self._limits)


__all__ = ["Publisher"]

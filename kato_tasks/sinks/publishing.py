"""Publish predictions from the outbox of a sink: in each session's order, each of them, with an id that stays.

A prediction lies in the store from the commit that answered it until the sink's broker has confirmed it. A publisher
that dies in between leaves it there, and the next one sends it again, under the same id.
"""

from __future__ import annotations

import contextlib
import logging
import random
import threading
from collections.abc import Sequence
from typing import Any

from kato_tasks.api.history import history
from kato_tasks.api.reader_lease import ReaderLease
from kato_tasks.api.refused_messages import letter_of
from kato_tasks.bootstrap import Runtime
from kato_tasks.domain.ids import PARTITIONS
from kato_tasks.engine.store_retry import raise_errors
from kato_tasks.errors import InvalidEvent, KatoTasksError, StoreFailed
from kato_tasks.ports.listening import CountPredictions, DropPredictions, OutgoingPrediction, ReadPredictions
from kato_tasks.ports.senders import MessageRefused, Outgoing, Sender
from kato_tasks.ports.sources import Message
from kato_tasks.sinks.prediction_events import Encoder, original_of, outgoing, prediction_event
from kato_tasks.telemetry.log_events import log_event

log = logging.getLogger(__name__)
AT_ONCE = 500
"""How many predictions are sent with one wait for the broker's confirmation."""
IDLE_SECONDS = 0.1
STAND_BY_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 10.0


class PredictionPublisher:
    """Publishes one sink's predictions until it is told to stop. One publisher of a sink works at a time."""

    def __init__(
        self,
        rt: Runtime,
        sink: str,
        sender: Sender,
        *,
        encoder: Encoder | None = None,
        encoder_name: str = "",
        stop: threading.Event,
    ) -> None:
        self._rt = rt
        self._sink = sink
        self._sender = sender
        self._encoder = encoder
        self._encoder_name = encoder_name
        self._stop = stop
        self._lease = ReaderLease(rt.store, f"sink {sink}")
        self._failed = 0
        self.sent = 0
        self.unsent = 0

    def run(self) -> None:
        """Publish until ``stop`` is set, and try again whatever is away for a while."""
        while not self._stop.is_set():
            try:
                wait = self._publish_waiting() if self._lease.hold() else STAND_BY_SECONDS
                self._failed = 0
            except KatoTasksError as exc:  # also what waiting does not mend: a person reads of it, and nothing is lost
                self._failed += 1
                log_event(log, logging.WARNING, "sink.interrupted", sink=self._sink, error=exc)
                wait = min(LONGEST_WAIT_SECONDS, 0.2 * 2 ** min(self._failed, 10)) * random.uniform(0.5, 1.0)
            if wait:
                self._stop.wait(wait)
        self._sender.close()
        with contextlib.suppress(KatoTasksError):
            self._lease.give_back()

    def _publish_waiting(self) -> float:
        """Publish what waits, and return how many seconds to wait before the next look."""
        counts = raise_errors(self._rt.store.execute([CountPredictions(p, self._sink) for p in range(PARTITIONS)]))
        self.unsent = sum(counts)
        busy = [partition for partition, count in enumerate(counts) if count]
        if not busy:
            return IDLE_SECONDS
        each = max(1, AT_ONCE // len(busy))
        for start in range(0, len(busy), AT_ONCE):
            if self._stop.is_set() or not self._lease.hold():
                return 0.0
            some = busy[start : start + AT_ONCE]
            answers = self._rt.store.execute([ReadPredictions(p, self._sink, each) for p in some])
            self._publish(list(zip(some, raise_errors(answers), strict=True)))
        return 0.0

    def _publish(self, found: Sequence[tuple[int, Sequence[OutgoingPrediction]]]) -> None:
        self._send([message for _, rows in found for row in rows if (message := self._outgoing(row)) is not None])
        drops = [DropPredictions(p, self._sink, rows[0].id, len(rows)) for p, rows in found if rows]
        raise_errors(self._rt.store.execute(drops))
        done = sum(len(rows) for _, rows in found)
        self.sent += done
        self.unsent = max(0, self.unsent - done)

    def _outgoing(self, row: OutgoingPrediction) -> Outgoing | None:
        original: dict[str, Any] | None = None
        with contextlib.suppress(StoreFailed):  # it cannot be read, or is gone: the prediction counts by itself
            original = original_of(row) or _from_history(row)
        try:
            return outgoing(row, prediction_event(row, original), self._encoder, self._encoder_name)
        except (InvalidEvent, ValueError) as exc:
            self._refuse(row.id, row.answer.encode(), exc)
            return None

    def _send(self, messages: Sequence[Outgoing]) -> None:
        """Send all of them. One that the broker refuses for good is logged, and does not keep the others back."""
        left = list(messages)
        while left:
            try:
                self._sender.send(left)
            except MessageRefused as exc:
                refused = left[exc.index]
                self._refuse(refused.message_id, refused.value, exc)
                left = left[exc.index + 1 :]
            else:
                return

    def _refuse(self, message_id: str, value: bytes, exc: Exception) -> None:
        """Keep a prediction that cannot be published as a dead letter."""
        log_event(log, logging.ERROR, "prediction.refused", sink=self._sink, id=message_id, error=exc)
        message = Message(value=value, place=f"{self._sender.name} {message_id}")
        raise_errors(self._rt.store.execute([letter_of(message, f"sink {self._sink}", message_id, str(exc), "")]))


def _from_history(row: OutgoingPrediction) -> dict[str, Any] | None:
    """Return the event at a prediction's position from the archive, where the log does not have it any more."""
    found = history(row.session, after=row.position - 1, limit=1)
    return next((dict(event) for event in found), None)


__all__ = ["PredictionPublisher"]

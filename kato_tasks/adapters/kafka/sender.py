"""Produces messages to a Kafka topic."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakSet

from confluent_kafka import KafkaError, KafkaException, Producer

from kato_tasks.adapters.kafka.trouble import Troubles, clause
from kato_tasks.errors import ConfigurationError, SourceUnavailable
from kato_tasks.ports.senders import MessageRefused, Outgoing

librdkafka = logging.getLogger("kato_tasks.librdkafka")
"""What librdkafka logs."""
PROMISED: Mapping[str, Any] = {
    "acks": "all",
    "enable.idempotence": True,
    # Without it, messages behind a batch that the broker refuses would overtake what is sent again of that batch.
    "enable.gapless.guarantee": True,
    # Nor may one message time out and those behind it not: how long anything may take is counted here.
    "message.timeout.ms": 0,
}
"""Properties of librdkafka that the promises of ``Sender`` stand on."""
USUAL: Mapping[str, Any] = {
    "client.id": "kato_tasks",
    "compression.type": "gzip",  # every client of Kafka can read it without more packages
    "linger.ms": 5,
    # Java's and kafka-python's: a session stays on its partition, whichever of them publishes it.
    "partitioner": "murmur2_random",
    "log.connection.close": False,
    "reconnect.backoff.max.ms": 2_000,
    "socket.keepalive.enable": True,
    "topic.metadata.propagation.max.ms": 10_000,
}
"""Properties that ``config`` may change."""
MESSAGE_ID = "message_id"
"""The header that has a message's id."""
_FOR_GOOD = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE, KafkaError.INVALID_RECORD})
"""Errors of a batch that is refused for good because of some message in it, or because of its size."""
_ROUND_SECONDS = 0.2


class KafkaSender:
    """Produces each message to a topic, with its key, and waits until every replica in sync has it.

    It is a ``ports.senders.Sender``. Beside a message's own headers there is one with its id, ``message_id``.
    ``bootstrap`` names brokers (``host:9092,other:9092``). ``config`` has more
    properties of librdkafka, such as those of TLS and SASL. ``seconds`` is how long nothing may be confirmed before a
    ``send`` fails. What librdkafka logs goes to the logger ``kato_tasks.librdkafka``.

    Raises ConfigurationError for a property that librdkafka does not know, or that must stay as it is.
    """

    def __init__(
        self, bootstrap: str, topic: str, config: Mapping[str, Any] | None = None, *, seconds: float = 10.0
    ) -> None:
        self.name = f"kafka {topic}"
        self._bootstrap = bootstrap
        self._topic = topic
        self._seconds = seconds
        self._troubles = Troubles()
        given = dict(config or {})
        for name in given.keys() & {"bootstrap.servers", *PROMISED}:
            raise ConfigurationError(
                f"the Kafka property {name!r} cannot be set: the order of events and their confirmation depend on it"
                if name in PROMISED
                else "the Kafka property 'bootstrap.servers' is set twice; give the brokers as the address alone"
            )
        self._config = {**USUAL, **given, **PROMISED, "bootstrap.servers": bootstrap, "error_cb": self._troubles.note}
        self._producer: Producer | None = None
        _senders.add(self)

    def send(self, messages: Sequence[Outgoing]) -> None:
        """See ``ports.senders.Sender.send``."""
        self._send(messages, 0)

    def close(self) -> None:
        """See ``ports.senders.Sender.close``."""
        producer, self._producer = self._producer, None
        if producer is not None:
            with contextlib.suppress(Exception):
                producer.purge()
                producer.close()  # now, and not when it is collected, which may be in a process that was forked

    def leave_to_parent(self) -> None:
        """Forget the parent's producer, in a process that was forked just now."""
        producer, self._producer = self._producer, None
        if producer is not None:
            # It must not be freed: that would wait for librdkafka's threads, which a forked process does not have.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(producer))

    def _send(self, messages: Sequence[Outgoing], offset: int) -> None:
        try:
            self._deliver(messages, offset)
        except _Refused as refused:
            self.close()
            if len(messages) == 1:
                raise MessageRefused(offset, self._why_refused(messages[0], refused)) from None
            # A batch may be too large where none of its messages is: a half of it may pass.
            half = len(messages) // 2
            self._send(messages[:half], offset)
            self._send(messages[half:], offset + half)

    def _deliver(self, messages: Sequence[Outgoing], offset: int) -> None:
        reports = _Reports()
        try:
            producer = self._opened()
            with contextlib.suppress(KafkaException):
                producer.poll(0)
            self._troubles.look_anew()  # what was told since the last send may be over
            for index, message in enumerate(messages):
                if not self._produce(producer, message, index, reports):
                    self._wait(producer, index, reports)
                    raise MessageRefused(
                        offset + index,
                        f"takes {len(message.value)} bytes, more than a message to Kafka may take: make it smaller, or "
                        "raise message.max.bytes here and max.message.bytes of the topic",
                    )
            self._wait(producer, len(messages), reports)
            self._troubles.clear()
        except SourceUnavailable:
            self.close()
            raise

    def _opened(self) -> Producer:
        if self._producer is None:
            try:
                self._producer = Producer(self._config, logger=librdkafka)
            except (KafkaException, ValueError, TypeError) as exc:
                said = exc.args[0].str() if isinstance(exc.args[0], KafkaError) else str(exc)
                raise ConfigurationError(f"{self.name}: Kafka's client cannot be made: {said}") from None
        return self._producer

    def _produce(self, producer: Producer, message: Outgoing, due: int, reports: _Reports) -> bool:
        """Hand a message to librdkafka, behind ``due`` others. Return False if it is larger than any may be."""
        headers: list[tuple[str, str | bytes | None]] = [*message.headers.items()]
        if message.message_id:
            headers.append((MESSAGE_ID, message.message_id))
        key = message.key.encode() or None
        while True:
            try:
                producer.produce(self._topic, message.value, key, on_delivery=reports.note, headers=headers)
            except BufferError:
                # librdkafka holds as many messages as it may, so some must be confirmed first.
                self._let_go_on(producer, reports)
            except KafkaException as exc:
                error = exc.args[0]
                if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
                    return False
                reports.fail(error)
                self._wait(producer, due, reports)
            else:
                return True

    def _wait(self, producer: Producer, due: int, reports: _Reports) -> None:
        """Return when ``due`` messages are confirmed. Raises _Refused or SourceUnavailable where one failed."""
        while reports.done + reports.failed < due:
            self._let_go_on(producer, reports)
        if reports.first_error is not None:
            raise _refused_or_unavailable(self._at, reports.first_error, self._topic)

    def _let_go_on(self, producer: Producer, reports: _Reports) -> None:
        """Wait until something more is confirmed. Raises SourceUnavailable when that takes too long."""
        until, done = time.monotonic() + self._seconds, reports.done + reports.failed
        while reports.flush(producer) and reports.done + reports.failed == done:
            if (why := self._troubles.hopeless()) and not reports.done:
                raise SourceUnavailable(f"{self._at} {why}")
            if time.monotonic() > until:
                raise SourceUnavailable(f"{self._at} {self._troubles.told(self._seconds)}")

    @property
    def _at(self) -> str:
        return f"Kafka at {self._bootstrap}"

    def _why_refused(self, message: Outgoing, refused: _Refused) -> str:
        if refused.error.code() == KafkaError.INVALID_RECORD:
            return f"is refused by the topic {self._topic!r}: {refused.error.str()}"
        return (
            f"takes {len(message.value)} bytes, more than the topic {self._topic!r} takes in a message: make it "
            "smaller, or raise max.message.bytes of the topic"
        )


class _Refused(Exception):
    """The broker refused a batch for good."""

    def __init__(self, error: KafkaError) -> None:
        super().__init__(error)
        self.error = error


class _Reports:
    """What became of the messages of one ``send``."""

    def __init__(self) -> None:
        self.done = 0
        self.failed = 0
        self.first_error: KafkaError | None = None

    def note(self, error: KafkaError | None, _message: Any) -> None:
        if error is None:
            self.done += 1
            return
        self.failed += 1
        self.fail(error)

    def fail(self, error: KafkaError) -> None:
        """Keep an error. One that says that a message is refused for good goes before any other."""
        if self.first_error is None or (error.code() in _FOR_GOOD and self.first_error.code() not in _FOR_GOOD):
            self.first_error = error

    def flush(self, producer: Producer) -> int:
        """Wait for a moment, and return how many messages are not reported yet."""
        try:
            return producer.flush(_ROUND_SECONDS)
        except KafkaException as exc:  # fatal for this producer; reports of all its messages follow
            self.fail(exc.args[0])
            return len(producer)


def _refused_or_unavailable(at: str, error: KafkaError, topic: str) -> Exception:
    return _Refused(error) if error.code() in _FOR_GOOD else SourceUnavailable(f"{at} {clause(error, topic)}")


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a record says more than what we know of the gapless guarantee.

    It is called experimental at each connecting, and its end a fatal error, which is what a ``send`` then acts upon.
    """
    said = record.getMessage()
    return "enable.gapless.guarantee is experimental" not in said and "Gap-less ordering" not in said


librdkafka.addFilter(_is_news)

_senders: WeakSet[KafkaSender] = WeakSet()


def _after_fork() -> None:
    for sender in list(_senders):
        sender.leave_to_parent()


os.register_at_fork(after_in_child=_after_fork)

__all__ = ["MESSAGE_ID", "PROMISED", "USUAL", "KafkaSender"]

"""Topics of Kafka as a listener reads them: as a member of a consumer group, on librdkafka."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import Message as Record
from confluent_kafka import TopicPartition as Place

from kato_tasks.adapters.kafka.failing import Talk, kafka_errors, option_errors, telling, unavailable
from kato_tasks.adapters.kafka.options import connection_options, reader_options
from kato_tasks.adapters.kafka.partitions import Held, held_of, listed, receipt_of
from kato_tasks.adapters.kafka.topics import ANSWER_SECONDS, Topics
from kato_tasks.errors import SourceUnavailable
from kato_tasks.ports.sources import Message
from kato_tasks.telemetry.log_events import log_event

log = logging.getLogger(__name__)

GROUP = "kato-processors"
WAITED_FOR = frozenset({
    KafkaError._PARTITION_EOF,
    KafkaError._MAX_POLL_EXCEEDED,
    KafkaError._UNKNOWN_PARTITION,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
})  # fmt: skip
"""What a reader is told that goes by: a topic that is not there yet, a group that is joined again at the next read."""
CLOSE_SECONDS = 5.0
"""How long a close waits. librdkafka goes on behind it, so that the group learns of it when the broker is back."""
LOOK_SECONDS = 2.0
"""How long a reader waits for an answer where librdkafka has reported trouble."""
CHECK_SECONDS = 5.0
"""How often the topics' ids are asked for."""


class KafkaSource:
    """Reads topics as a member of the group ``group``, so that each partition has one reader at a time.

    A topic that is deleted and made again is another run of offsets: it has another mark, its events have other ids,
    and it is read from its beginning. Where its new offsets go on behind the old ones, that shows after some seconds;
    what was read until then is read a second time.

    ``instance`` is a name that a listener keeps over restarts (``group.instance.id``): its partitions stay its own for
    so long as the session lasts. ``options`` are further properties of librdkafka. Raises ConfigurationError for one
    that belongs to this class; ``open`` raises it for one that librdkafka does not know.
    """

    reader_lease = ""

    def __init__(
        self,
        bootstrap: str,
        topics: Sequence[str],
        *,
        group: str = GROUP,
        instance: str = "",
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = f"kafka {', '.join(topics)}"
        self._where = bootstrap
        self._topic_names = list(topics)
        self._asking = connection_options(bootstrap, options or {})
        self._reading = reader_options(bootstrap, group, instance, options or {})
        self._consumer: Consumer | None = None
        self._topics: Topics | None = None
        self._forget()

    def _forget(self) -> None:
        self._held: dict[tuple[str, int], Held] = {}
        self._early: list[Record] = []
        self._paused = False
        self._trouble: KafkaError | None = None
        self._check_at = 0.0

    # ------------------------------------------------------------------ the port

    def open(self) -> None:
        """Make the topics that are missing, and join the group. Raises SourceUnavailable and ConfigurationError."""
        self.close()
        self._topics = Topics(self._asking, self._where)
        self._topics.make_missing(self._topic_names)
        with option_errors():
            config = {**self._reading, "error_cb": self._note, "on_commit": self._committed}
            self._consumer = consumer = Consumer(config, logger=Talk())
        with kafka_errors(self._where):
            consumer.subscribe(
                self._topic_names, on_assign=self._given, on_revoke=self._taken_away, on_lost=self._taken_away
            )

    def read(self, most: int, seconds: float) -> list[Message]:
        """Return the next messages of the partitions that are this reader's; see ``MessageSource.read``."""
        consumer = self._opened()
        with kafka_errors(self._where):
            if self._paused:
                self._paused = False
                consumer.resume([held.place for held in self._held.values()])
            records, self._early = self._early, []
            if not records:
                # librdkafka waits for as many as it is asked for: first for one, and then for no more.
                records = consumer.consume(1, seconds)
            if records and len(records) < most:
                records += consumer.consume(most - len(records), 0)
        messages = self._messages(records)
        if not messages:
            self._look_at_trouble(consumer)
        return messages

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Note that these messages need not come again; librdkafka commits it within a second."""
        consumer = self._opened()
        done: dict[tuple[str, int], Place] = {}
        for message in self.keep(messages):
            held, epoch = receipt_of(message)
            if message.offset >= held.done:
                done[held.key] = held.finished(message.offset, epoch)
        if done:
            with kafka_errors(self._where):
                consumer.store_offsets(offsets=list(done.values()))

    def keep(self, messages: Sequence[Message]) -> list[Message]:
        """Return those of the messages whose partitions were not taken away since they were read."""
        held = set(self._held.values())
        return [message for message in messages if receipt_of(message)[0] in held]

    def idle(self, seconds: float) -> None:
        """Stay in the group for so long without reading."""
        consumer = self._opened()
        until = time.monotonic() + seconds
        with kafka_errors(self._where):
            if not self._paused:
                self._paused = True
                consumer.pause([held.place for held in self._held.values()])
            while (record := consumer.poll(max(0.0, until - time.monotonic()))) is not None:
                self._early.append(record)
        self._look_at_trouble(consumer)

    def lag(self) -> int | None:
        """Return how many messages of its partitions wait to be acknowledged; None while it has no partition.

        The marks that transactions leave in a topic are counted, too, while they are its last entries.
        """
        self._opened()
        topics, held = self._topics, list(self._held.values())
        if topics is None or not held:
            return None
        ends = topics.ends(one.key for one in held)
        begin = topics.beginnings(one.key for one in held if one.done < 0)
        return sum(max(0, ends[one.key] - max(one.done, begin.get(one.key, 0))) for one in held)

    def close(self) -> None:
        """Commit what was acknowledged and leave the group. Where the broker is away, that goes on in a thread."""
        consumer, self._consumer = self._consumer, None
        self._topics = None
        self._forget()
        if consumer is not None:
            closing = threading.Thread(target=_close, args=(consumer,), name="kafka-close", daemon=True)
            closing.start()
            closing.join(CLOSE_SECONDS)

    # ------------------------------------------------------------------ partitions that come and go

    def _given(self, consumer: Consumer, partitions: list[Place]) -> None:
        topics = self._topics
        if consumer is not self._consumer or topics is None:
            return
        ids = topics.ids({one.topic for one in partitions})
        given = []
        for one in consumer.committed(partitions, timeout=ANSWER_SECONDS):
            if one.error is not None:
                raise KafkaException(one.error)
            given.append(held_of(one, ids[one.topic]))
        self._held.update({held.key: held for held in given})
        consumer.incremental_assign([held.start for held in given])
        # One that was paused when it was taken away would still be.
        (consumer.pause if self._paused else consumer.resume)([held.place for held in given])
        if partitions:
            log_event(log, logging.INFO, "partitions.given", source=self.name, partitions=listed(partitions))

    def _taken_away(self, consumer: Consumer, partitions: list[Place]) -> None:
        if consumer is not self._consumer:
            return
        for one in partitions:
            self._held.pop((one.topic, one.partition), None)
        if partitions:
            log_event(log, logging.INFO, "partitions.taken_away", source=self.name, partitions=listed(partitions))

    # ------------------------------------------------------------------ messages

    def _messages(self, records: Sequence[Record]) -> list[Message]:
        messages, is_sure = [], time.monotonic() < self._check_at or not self._held
        for record in records:
            if (error := record.error()) is not None:
                if error.code() not in WAITED_FOR:
                    raise unavailable(self._where, error)
                log.debug("kafka says: %s", error.str())
                continue
            offset = record.offset() or 0
            held = self._held.get((record.topic() or "", record.partition() or 0))
            if held is not None:  # else it was taken away while this call waited
                # A partition's first message, and one that does not rise, may be of a topic that was made again.
                is_sure = is_sure and 0 <= held.last < offset
                messages.append(held.message(record, offset))
        if not is_sure:
            self._check_ids()
        return messages

    def _check_ids(self) -> None:
        if self._topics is None:
            return
        ids = self._topics.known_ids({held.topic for held in self._held.values()})
        for held in self._held.values():
            if ids.get(held.topic, held.topic_id) != held.topic_id:
                log_event(log, logging.WARNING, "topic.made_again", topic=held.topic)
                raise SourceUnavailable(f"the topic {held.topic} was deleted and made again: open the source again")
        self._check_at = time.monotonic() + CHECK_SECONDS

    # ------------------------------------------------------------------ trouble

    def _opened(self) -> Consumer:
        if self._consumer is None:
            raise SourceUnavailable(f"{self.name} is not open: open it first")
        return self._consumer

    def _note(self, error: KafkaError) -> None:
        self._trouble = telling(self._trouble, error)

    def _committed(self, error: KafkaError | None, _partitions: list[Place]) -> None:
        if error is not None:
            log_event(log, logging.WARNING, "offsets.uncommitted", source=self.name, error=error.str())

    def _look_at_trouble(self, consumer: Consumer) -> None:
        """Raise SourceUnavailable if there was trouble and no broker answers: a lost one of several is no news."""
        if (trouble := self._trouble) is None:
            return
        with contextlib.suppress(KafkaException):
            consumer.list_topics(self._topic_names[0], timeout=LOOK_SECONDS)
            self._trouble = None
            return
        raise unavailable(self._where, trouble)


def _close(consumer: Consumer) -> None:
    try:
        consumer.close()
    except (KafkaException, RuntimeError) as exc:
        log.debug("closing: %s", exc)


__all__ = ["KafkaSource"]

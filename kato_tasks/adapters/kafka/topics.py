"""What topics there are: makes those that are missing, and tells their ids and which offsets they hold."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from typing import Any, TypeVar

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

from kato_tasks.adapters.kafka.failing import Talk, error_of, kafka_errors, option_errors, telling, unavailable
from kato_tasks.errors import SourceUnavailable
from kato_tasks.telemetry.log_events import log_event

log = logging.getLogger(__name__)
T = TypeVar("T")

ANSWER_SECONDS = 10.0
"""How long one request may take."""
TROUBLE_SECONDS = 1.0
"""How long it may take where librdkafka reports trouble meanwhile: it would go on trying until the end."""
APPEAR_SECONDS = 3.0
"""How long a topic that was just made may take until every broker knows it."""
BY_DEFAULT = -1
"""How many partitions and copies a topic that is made gets: as the brokers are set to."""
_ABSENT = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC}


class Topics:
    """The topics of one Kafka. Every method raises SourceUnavailable where it does not answer.

    ``where`` is its address, as people know it. Raises ConfigurationError for an option that librdkafka does not take.
    """

    def __init__(self, config: Mapping[str, Any], where: str) -> None:
        self._where = where
        self._trouble: KafkaError | None = None
        with option_errors():
            given: dict[str, Any] = {**config, "error_cb": self._note}
            self._admin = AdminClient(given, logger=Talk())

    def _note(self, error: KafkaError | None) -> None:
        self._trouble = None if error is None else telling(self._trouble, error)

    def make_missing(self, topics: Collection[str]) -> None:
        """Make the topics that are not there, with as many partitions and copies as the brokers make by default.

        Where that is not allowed, log what to do: the topics are read as soon as somebody else has made them.
        """
        known = self._described(topics)
        missing = [NewTopic(topic, BY_DEFAULT, BY_DEFAULT) for topic in topics if topic not in known]
        if not missing:
            return
        with kafka_errors(self._where):
            answers = self._admin.create_topics(missing, request_timeout=ANSWER_SECONDS)
        for topic, answer in answers.items():
            try:
                self._answer(answer)
            except KafkaException as exc:
                error = error_of(exc)
                if error is None or error.code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    meaning = f"make the topic; it is read as soon as it is there ({error.str() if error else exc})"
                    log_event(log, logging.WARNING, "topic.missing", topic=topic, meaning=meaning)

    def ids(self, topics: Collection[str]) -> dict[str, str]:
        """Return the id of each topic, which changes when it is deleted and made again; '' where brokers give none.

        A topic that is not there is waited for a little, and raises SourceUnavailable then.
        """
        until = time.monotonic() + APPEAR_SECONDS
        while missing := set(topics) - (known := self._described(topics)).keys():
            if time.monotonic() > until:
                raise SourceUnavailable(
                    f"Kafka at {self._where} has no topic {', '.join(sorted(missing))}: make it, or correct its name"
                )
            time.sleep(0.05)
        return known

    def known_ids(self, topics: Collection[str]) -> dict[str, str]:
        """Return the ids of those of the topics that are there."""
        return self._described(topics)

    def _described(self, topics: Collection[str]) -> dict[str, str]:
        with kafka_errors(self._where):
            answers = self._admin.describe_topics(TopicCollection(list(topics)), request_timeout=ANSWER_SECONDS)
        found = {}
        for topic, answer in answers.items():
            try:
                found[topic] = _text(self._answer(answer).topic_id)
            except KafkaException as exc:
                error = error_of(exc)
                if error is None or error.code() not in _ABSENT:
                    raise unavailable(self._where, error) from exc
        return found

    def ends(self, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """Return the offset behind the last message of each partition that may be read."""
        return self._offsets(partitions, OffsetSpec.latest())  # type: ignore[no-untyped-call]

    def beginnings(self, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """Return the offset of the first message that each partition still has."""
        return self._offsets(partitions, OffsetSpec.earliest())  # type: ignore[no-untyped-call]

    def _offsets(self, partitions: Iterable[tuple[str, int]], spec: OffsetSpec) -> dict[tuple[str, int], int]:
        asked = {TopicPartition(*partition): spec for partition in partitions}
        if not asked:
            return {}
        with kafka_errors(self._where):
            answers = self._admin.list_offsets(
                asked, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=ANSWER_SECONDS
            )
            return {(one.topic, one.partition): self._answer(answer).offset for one, answer in answers.items()}

    def _answer(self, future: Future[T]) -> T:
        """Wait for an answer. Raises KafkaException, and SourceUnavailable before its time where all brokers are away.

        librdkafka itself would try on until the request's time is over.
        """
        started = time.monotonic()
        self._note(None)
        while True:
            try:
                return future.result(0.1)
            except NotYet:
                self._admin.poll(0)  # it is told of trouble here
                took = time.monotonic() - started
                if took > ANSWER_SECONDS + 1 or (self._trouble is not None and took > TROUBLE_SECONDS):
                    raise unavailable(self._where, self._trouble) from None


def _text(topic_id: Any) -> str:
    """The id as Kafka's own programs write it; '' for none, which is all zeros."""
    text = "" if topic_id is None else str(topic_id).replace("+", "-").replace("/", "_")
    return text if text.strip("A") else ""


__all__ = ["Topics"]

"""A partition while it is a reader's, and how its records become messages."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

from confluent_kafka import OFFSET_BEGINNING, TIMESTAMP_NOT_AVAILABLE
from confluent_kafka import Message as Record
from confluent_kafka import TopicPartition as Place

from kato_tasks.ports.sources import Message

_OF_TOPIC = "kato-tasks topic "
"""What the note beside a committed offset begins with; the id of the topic follows."""


@dataclass(slots=True, eq=False)
class Held:
    """A partition from when it is given to this reader until it is taken away."""

    topic: str
    partition: int
    topic_id: str
    """'' where the brokers give topics no ids"""
    done: int = -1
    """the offset behind the last message that was acknowledged; below 0 where none ever was"""
    last: int = -1
    """the offset of the last message that was handed out"""
    starts_anew: bool = False
    """whether its committed offset is that of an earlier topic of this name"""
    mark: str = field(init=False)
    _event: str = field(init=False)

    def __post_init__(self) -> None:
        run = f"{self.topic_id or self.topic}/{self.topic}/{self.partition}"
        self.mark = f"kafka/{run}"
        self._event = f"kafka:{self.topic}/{self.topic_id}/{self.partition}/"

    @property
    def key(self) -> tuple[str, int]:
        """Its topic and number."""
        return (self.topic, self.partition)

    @property
    def place(self) -> Place:
        """The partition, without an offset."""
        return Place(self.topic, self.partition)

    @property
    def start(self) -> Place:
        """Where it is to be read from: the committed offset, unless that is one of another topic of this name."""
        return Place(self.topic, self.partition, OFFSET_BEGINNING) if self.starts_anew else self.place

    def finished(self, offset: int, epoch: int | None) -> Place:
        """Note that messages up to this one are acknowledged, and return what is to be committed for it.

        The id of the topic is written beside it: brokers take an offset of a topic that is gone for the one after it.
        """
        self.done = offset + 1
        return Place(self.topic, self.partition, self.done, _OF_TOPIC + self.topic_id, epoch)

    def message(self, record: Record, offset: int) -> Message:
        """Return what a listener gets of a record of this partition."""
        kind, published_ms = record.timestamp()
        self.last = offset
        return Message(
            value=record.value() or b"",  # a tombstone has none
            place=f"kafka {self.topic}/{self.partition} offset {offset}",
            key=record.key(),
            headers=_pairs(record),
            mark=self.mark,
            offset=offset,
            event_id=f"{self._event}{offset}",
            source_ms=0 if kind == TIMESTAMP_NOT_AVAILABLE else published_ms,
            receipt=(self, record.leader_epoch()),
        )


def held_of(committed: Place, topic_id: str) -> Held:
    """Return a partition that was given to this reader, from its committed offset and the id of its topic."""
    note = committed.metadata or ""
    anew = note.startswith(_OF_TOPIC) and note != _OF_TOPIC + topic_id
    return Held(committed.topic, committed.partition, topic_id, -1 if anew else committed.offset, starts_anew=anew)


def receipt_of(message: Message) -> tuple[Held, int | None]:
    """Return the partition that a message was read from, and the leader's epoch."""
    return cast("tuple[Held, int | None]", message.receipt)


def listed(partitions: list[Place]) -> str:
    """Return partitions as people read them."""
    return " ".join(f"{one.topic}/{one.partition}" for one in partitions)


def _pairs(record: Record) -> tuple[tuple[str, bytes], ...]:
    headers = cast("list[tuple[str, bytes | None]] | None", record.headers())
    return tuple((name, value or b"") for name, value in headers) if headers else ()


__all__ = ["Held", "held_of", "listed", "receipt_of"]

"""Take a batch of messages into the log: read them, give events their ids, append, and keep letters of the rest."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from kato_tasks.api.append import finish_append
from kato_tasks.api.decoding import decode
from kato_tasks.api.refused_messages import letter_of
from kato_tasks.bootstrap import Runtime
from kato_tasks.domain.events import Event, parse_event
from kato_tasks.domain.log_entry import Entry, entry_of
from kato_tasks.engine.append import CHUNK
from kato_tasks.engine.appended import AppendResult
from kato_tasks.engine.store_retry import raise_errors
from kato_tasks.errors import InvalidEvent, StoreFailed
from kato_tasks.listeners.bodies import Bodies
from kato_tasks.listeners.figures import ListenerFigures
from kato_tasks.listeners.options import ListenOptions
from kato_tasks.ports.listening import LISTENED
from kato_tasks.ports.sources import Message
from kato_tasks.telemetry.log_events import UnknownKeys, log_event

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Taken:
    """One message while it is taken in: its id, and its entries, or why it is refused."""

    message: Message
    event_id: str
    entries: list[Entry] = field(default_factory=list)
    refused: str = ""
    is_fresh: bool = False
    """its id was made here, because the source gives none"""


class Intake:
    """Takes in what one source hands out."""

    def __init__(self, rt: Runtime, source: str, options: ListenOptions, figures: ListenerFigures) -> None:
        self._rt = rt
        self._source = source
        self._options = options
        self._figures = figures
        self._limits = rt.settings.limits
        self._unknown_keys = UnknownKeys(log)
        self.bodies = Bodies(rt.store, source)

    def read(self, messages: Sequence[Message]) -> list[Taken]:
        """Return what the messages hold. An id that is made here stays with its message, however often it is tried."""
        return [self._read_one(message) for message in messages]

    def _read_one(self, message: Message) -> Taken:
        taken = Taken(message, message.event_id)
        try:
            events = self._events(message)
        except InvalidEvent as exc:
            self._name(taken, timed=False)
            taken.refused = str(exc)
            return taken
        self._name(taken, timed=bool(events) and all(event.timestamp is not None for event in events))
        try:
            taken.entries = list(self._entries(taken.event_id, events))
        except InvalidEvent as exc:
            taken.refused = str(exc)
        return taken

    def _events(self, message: Message) -> list[Event]:
        options = self._options
        if message.size > options.message_bytes:
            raise InvalidEvent("message", f"takes {message.size} bytes, at most {options.message_bytes} are read")
        found = decode(message, options.decoder, options.decoder_name)
        if len(found) > CHUNK:
            raise InvalidEvent("message", f"holds {len(found)} events, at most {CHUNK} are taken from one")
        return [parse_event(raw, self._limits, self._unknown_keys) for raw in found]

    def _name(self, taken: Taken, *, timed: bool) -> None:
        """Give a message an id if its source has none: of its body, if that says when it happened, else a new one."""
        if taken.event_id:
            return
        if timed:
            taken.event_id = f"body:{hashlib.sha256(taken.message.value).hexdigest()[:40]}"
        else:
            taken.event_id = self.bodies.identify(taken.message)
            taken.is_fresh = True

    def _entries(self, event_id: str, events: Sequence[Event]) -> Iterator[Entry]:
        for index, event in enumerate(events):
            its_id = event.event_id or (f"{event_id}/{index}" if index else event_id)
            also = ""
            if event.event_type == "observation":
                asked = event.metadata.get("predict") is True
                also = self._options.also(own_id=event.event_id is not None, asked=asked)
            elif event.event_id is not None:
                also = "id"
            yield entry_of(event, event_id=its_id, limits=self._limits, also=also)

    def append(self, batch: Sequence[Taken]) -> None:
        """Append the batch's events, and keep dead letters of what is no valid event.

        When this returns the store has all of it. It may be called again with the same batch after StoreUnavailable or
        StoreFull, which it raises. What the store refuses of one message becomes a dead letter.
        """
        self.bodies.keep([(one.event_id, one.message) for one in batch if one.is_fresh])
        appended = duplicates = 0
        for mark, group in _groups(batch):
            try:
                done = self._append_group(mark, group)
            except StoreFailed:
                done = self._append_each(mark, group)
            appended += done[0]
            duplicates += done[1]
        refused = [one for one in batch if one.refused]
        if refused:
            name = self._options.decoder_name
            raise_errors(
                self._rt.store.execute(
                    [letter_of(one.message, self._source, one.event_id, one.refused, name) for one in refused]
                )
            )
            for one in refused[:5]:
                reason = one.refused
                log_event(log, logging.WARNING, "message.refused", place=one.message.place, reason=reason)
        passed_over = sum(not one.entries and not one.refused for one in batch)
        self._figures.count(len(batch), appended, duplicates, len(refused), passed_over)

    def _append_group(self, mark: str, group: Sequence[Taken]) -> tuple[int, int]:
        """Append messages of one mark; return how many events are new and how many were known."""
        owners = [one for one in group for _ in one.entries]
        entries = [entry for one in group for entry in one.entries]
        if not entries:
            return 0, 0
        source = f"{LISTENED}{mark}" if mark else ""
        offsets = [one.message.offset for one in owners] if mark else ()
        posted = self._rt.mailbox.append_each(entries, source=source, offsets=offsets, sink=self._options.sink)
        finish_append(self._rt, posted)
        return self._count(owners, posted)

    def _append_each(self, mark: str, group: Sequence[Taken]) -> tuple[int, int]:
        """Append messages one by one, because the store refuses one of them: it must not keep the others back."""
        appended = duplicates = 0
        for one in group:
            try:
                new, known = self._append_group(mark, [one])
            except StoreFailed as exc:
                one.refused = f"the store refuses it: {exc}"
            else:
                appended += new
                duplicates += known
        return appended, duplicates

    @staticmethod
    def _count(owners: Sequence[Taken], posted: AppendResult) -> tuple[int, int]:
        appended = duplicates = 0
        for one, placed in zip(owners, posted.placed, strict=True):
            if placed.other_node is not None:
                one.refused = str(placed.other_node)
            elif placed.appended.error is None:  # an id with another body was kept as a dead letter by the append
                appended += not placed.appended.duplicate
                duplicates += placed.appended.duplicate
        return appended, duplicates


def _groups(batch: Sequence[Taken]) -> Iterator[tuple[str, list[Taken]]]:
    """Yield the messages of each mark in their order, with no more events in a group than one script call takes.

    Events of one message have one offset. In two calls, those in the second would be at the mark already, and be taken
    for known. A session's messages have one mark, or none of them has one, so the order between groups does not matter.
    """
    by_mark: dict[str, list[Taken]] = {}
    for one in batch:
        by_mark.setdefault(one.message.mark, []).append(one)
    for mark, taken in by_mark.items():
        group: list[Taken] = []
        events = 0
        for one in taken:
            if events + len(one.entries) > CHUNK:
                yield mark, group
                group, events = [], 0
            group.append(one)
            events += len(one.entries)
        yield mark, group


__all__ = ["Intake", "Taken"]

"""Tell messages that come again from new ones with the same body, where the source gives nothing to know them by.

Two equal readings of a sensor are two facts. So a message that carries no id, and no timestamp, gets a random one. That
is remembered with the body's digest before it is appended, until the broker has its acknowledgement. A message that the
broker marks as redelivered is looked for there, and gets the same id again.

What remains: where a reader dies between the broker's taking of an acknowledgement and the forgetting here, and a
message with the same body, handed out to that reader and not appended yet, is the next to come, that one is taken for
the acknowledged one. Only an id or a timestamp in the message rules that out.
"""

from __future__ import annotations

import hashlib
import uuid
from collections import defaultdict, deque
from collections.abc import Sequence

from kato_tasks.engine.store_retry import raise_errors
from kato_tasks.ports.listening import DropBodies, KeepBodies, ReadBodies
from kato_tasks.ports.sources import Message
from kato_tasks.ports.store import Store


class Bodies:
    """Gives ids to a source's messages that have none. Every method that asks the store raises StoreUnavailable."""

    def __init__(self, store: Store, source: str) -> None:
        self._store = store
        self._source = source
        self._before: dict[str, deque[str]] = {}
        self._kept: set[str] = set()

    def load(self) -> None:
        """Read what the reader before had not acknowledged, when the source was opened."""
        (rows,) = raise_errors(self._store.execute([ReadBodies(self._source)]))
        before: dict[str, deque[str]] = defaultdict(deque)
        for event_id, digest in rows.items():
            before[digest].append(event_id)
        self._before = dict(before)
        self._kept = set(rows)

    def identify(self, message: Message) -> str:
        """Return the id of a message, the one that it had before if it comes again."""
        if message.redelivered and self._before:
            waiting = self._before.get(_digest(message))
            if waiting:
                return waiting.popleft()
        return uuid.uuid4().hex

    def keep(self, messages: Sequence[tuple[str, Message]]) -> None:
        """Remember messages, each with its id, before they are appended."""
        rows = [(event_id, _digest(message)) for event_id, message in messages if event_id not in self._kept]
        if rows:
            raise_errors(self._store.execute([KeepBodies(self._source, rows)]))
            self._kept.update(event_id for event_id, _ in rows)

    def drop(self, event_ids: Sequence[str], *, all_new: bool) -> None:
        """Forget messages that are acknowledged.

        ``all_new``: none of them was marked as redelivered. Those come first, so whatever is left of the reader before
        was acknowledged, and is forgotten, too.
        """
        gone = [event_id for event_id in event_ids if event_id in self._kept]
        if all_new and self._before:
            left = [event_id for waiting in self._before.values() for event_id in waiting]
            gone += [event_id for event_id in left if event_id in self._kept and event_id not in gone]
            self._before = {}
        if gone:
            raise_errors(self._store.execute([DropBodies(self._source, gone)]))
            self._kept.difference_update(gone)


def _digest(message: Message) -> str:
    return hashlib.blake2b(message.value, digest_size=12).hexdigest()

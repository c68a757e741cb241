"""A store whose logs go on in the archive: what was trimmed from a log is read from there.

A drain asks for such entries only where it rebuilds an STM of more than a thousand events with old emotives or
metadata.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kato_tasks.domain.log_entry import Logged
from kato_tasks.errors import ArchiveUnavailable, ConfigurationError, LogArchived, StoreUnavailable, UnreadableRow
from kato_tasks.ports.archive import Archive
from kato_tasks.ports.effects import Effect
from kato_tasks.ports.log import ReadLog
from kato_tasks.ports.store import Store


class ArchivedLogStore:
    """Carries out the operations of ``store``. ``archive`` returns the archive, which is opened when it is needed."""

    def __init__(self, store: Store, archive: Callable[[], Archive | None]) -> None:
        self._store = store
        self._archive = archive

    def run(self) -> str:
        """See ``ports.Store.run``."""
        return self._store.run()

    def execute(self, operations: Sequence[Effect[Any]]) -> list[Any]:
        """See ``ports.Store.execute``. A log whose first part is archived only is read from both."""
        answers = self._store.execute(operations)
        for i, answer in enumerate(answers):
            operation = operations[i]
            if isinstance(answer, LogArchived) and isinstance(operation, ReadLog):
                answers[i] = self._complete(operation, answer)
        return answers

    def _complete(self, read: ReadLog, found: LogArchived) -> list[Logged] | Exception:
        """Return the entries of both, or the error that is the operation's answer."""
        wanted = found.up_to - read.first + 1
        try:
            archive = self._archive()
            kept = list(archive.of_session(read.session, read.first - 1, wanted)) if archive is not None else []
        except (ArchiveUnavailable, ConfigurationError) as exc:
            return StoreUnavailable(f"the archive, which holds the beginning of session {read.session!r}: {exc}")
        if [event.position for event in kept] != list(range(read.first, found.up_to + 1)):
            return UnreadableRow(
                f"positions {read.first} to {found.up_to} of session {read.session!r} are neither in the store nor "
                "all in the archive"
            )
        return [Logged.parse(event.position, event.entry) for event in kept] + found.entries

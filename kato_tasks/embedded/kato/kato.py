"""Hold what the routes work on: the sessions, and the processing that changes them."""

from __future__ import annotations

import time
from typing import NamedTuple
from urllib.parse import parse_qs

from kato_tasks.embedded.kato.changes import Changes
from kato_tasks.embedded.kato.observing import Brain
from kato_tasks.embedded.kato.options import Options
from kato_tasks.embedded.kato.sessions import Sessions


class Request(NamedTuple):
    """Holds one whole HTTP request. ``path`` is percent-decoded."""

    method: str
    path: str
    query: bytes
    body: bytes
    content_type: bytes = b"application/json"

    def asked(self, name: str) -> str | None:
        """Return the last value of ``name`` in the query, or None."""
        values = parse_qs(self.query.decode("latin-1"), keep_blank_values=True, encoding="utf-8").get(name)
        return values[-1] if values else None


class Kato:
    """Represents one KATO without its HTTP. It notes in ``changes``, if given, what must be written down."""

    def __init__(self, options: Options, changes: Changes | None = None) -> None:
        self.started = time.time()
        self.sessions = Sessions(journal=options.journal, history=options.history, changes=changes)
        self.brain = Brain(options.visible_after, options.rank_sort_algo, changes)

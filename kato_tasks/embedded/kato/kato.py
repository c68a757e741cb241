"""What the routes work on: sessions, and the processing that changes them."""

from __future__ import annotations

from typing import NamedTuple

from kato_tasks.embedded.kato.observing import Brain
from kato_tasks.embedded.kato.options import Options
from kato_tasks.embedded.kato.sessions import Sessions


class Request(NamedTuple):
    """One HTTP request, whole; `path` is percent-decoded."""

    method: str
    path: str
    query: bytes
    body: bytes


class Kato:
    """One KATO without its HTTP."""

    def __init__(self, options: Options) -> None:
        self.sessions = Sessions(journal=options.journal, history=options.history)
        self.brain = Brain(options.visible_after, options.rank_sort_algo)

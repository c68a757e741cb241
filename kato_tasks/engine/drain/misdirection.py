"""Logs, once when it begins, that what answers at an address is not KATO, and once that KATO answers there again."""

from __future__ import annotations

import logging
import os
import threading
import time
from dataclasses import dataclass, field

from kato_tasks.engine.drain.kato_answers import describe_remedy, strip_address
from kato_tasks.ports.kato import KatoReply
from kato_tasks.telemetry.log_events import log_event

log = logging.getLogger(__name__)
FORGET_SECONDS = 300.0
"""An episode ends after this many seconds without a wrong answer; the next one is logged again."""
AGAIN_SECONDS = 30.0
"""Where right and wrong answers alternate, each status is logged once in this many seconds."""


@dataclass(slots=True)
class _Episode:
    began: float
    last: float
    told: str = ""
    statuses: set[int] = field(default_factory=set)
    routes: set[str] = field(default_factory=set)


class Misdirections:
    """What this process has seen of answers that are not KATO's. Thread-safe.

    A gateway may treat routes differently, so an episode ends when KATO has answered on each route that it began with.
    """

    def __init__(self) -> None:
        self._episodes: dict[str, _Episode] = {}
        self._told_at: dict[tuple[str, int], float] = {}
        self._lock = threading.Lock()

    def record_wrong_answer(self, url: str, route: str, reply: KatoReply) -> str:
        """Record an answer that is not KATO's. Returns the sentence that says what to mend, and logs it if new."""
        told, now = f"{route}: {describe_remedy(url, reply)}", time.monotonic()
        with self._lock:
            episode = self._episodes.get(url)
            if episode is None or now - episode.last > FORGET_SECONDS:
                episode = self._episodes[url] = _Episode(now, now)
            episode.last, episode.told = now, told
            episode.routes.add(route)
            key = url, reply.status
            new = reply.status not in episode.statuses and now - self._told_at.get(key, -AGAIN_SECONDS) >= AGAIN_SECONDS
            if new:
                episode.statuses.add(reply.status)
                self._told_at[key] = now
        if new:
            log_event(log, logging.ERROR, "kato.misdirected", url=strip_address(url), status=reply.status, mend=told)
        return told

    def record_katos_answer(self, url: str, route: str) -> None:
        """Record that KATO itself answered on this route."""
        if url not in self._episodes:
            return
        with self._lock:
            episode = self._episodes.get(url)
            if episode is None:
                return
            episode.routes.discard(route)
            if episode.routes:
                return
            del self._episodes[url]
        if not episode.statuses:
            return
        lasted = f"{time.monotonic() - episode.began:.1f}s"
        log_event(log, logging.INFO, "kato.found", url=strip_address(url), lasted=lasted)

    def forget(self) -> None:
        """Forget everything. A child of a fork has seen nothing, and another thread of its parent may hold the lock."""
        self._episodes, self._told_at, self._lock = {}, {}, threading.Lock()

    def describe(self, url: str) -> str:
        """Return what was logged last of wrong answers at this address while they last, else ''."""
        episode = self._episodes.get(url)
        return episode.told if episode is not None else ""


MISDIRECTIONS = Misdirections()
"""The one of this process."""
os.register_at_fork(after_in_child=MISDIRECTIONS.forget)

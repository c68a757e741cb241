"""KATO sessions that this process made, and of which every call had a known outcome.

To know one saves calls. When its STM is empty, it can serve the lane's next session. And an STM that one call made a
moment ago need not be read back before a learn: either KATO saved that call, or it saved nothing of it, and then it
refuses to learn an empty STM.

What is known is compared with the store before it is used. Where a session's binding is another by now, another process
used its KATO session, and nothing is known of it any more.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from kato_tasks.domain.kato_session import Binding
from kato_tasks.domain.log_entry import Logged, count_events, have_vectors
from kato_tasks.domain.stm import STM_CAP
from kato_tasks.ports.lanes import Work

_NOTHING_MORE = ',"emotives":{},"metadata":{},"unique_id":'
LANES = 1_000
"""The number of lanes whose KATO session a process remembers."""
JUST_NOW_SECONDS = 1.0
"""Within this time after an answer only this process can have changed its session: KATO's store cannot go back in time
and answer again so quickly."""
EXPIRES_SOON_MS = 10_000
"""A KATO session that expires within this many ms is not passed on."""


@dataclass(frozen=True, slots=True)
class KnownSession:
    """A KATO session as it was left: the session that it serves, and the binding as it was committed.

    ``since_ms`` is a time by the store's clock since when KATO has had it, and so has not lost its store. ``made_of``
    is everything that its STM is made of, where one call made that from an empty STM, and ``at`` is when that call was
    answered, in monotonic seconds.
    """

    session: str
    binding: Binding
    since_ms: int
    made_of: tuple[Logged, ...] = ()
    at: float = 0.0

    def fits(self, work: Work, run: str) -> bool:
        """Return whether it serves this session, and has not been used since, under this run of the store."""
        return self.session == work.session and self.binding == work.binding and self.binding.run == run

    def whole_stm(self, work: Work, run: str) -> tuple[Logged, ...]:
        """Return the observations behind the session's STM where KATO holds just these or nothing, else ()."""
        made = self.made_of
        if not made or not self.fits(work, run) or time.monotonic() - self.at > JUST_NOW_SECONDS:
            return ()
        return made if (made[0].position, made[-1].position) == (work.stm_start + 1, work.cursor) else ()

    def lent_to(self, work: Work, url: str, run: str) -> Binding | None:
        """Return the binding with which it can serve ``work``'s session, which has no KATO session; None: it cannot."""
        old = self.binding
        if work.binding is not None or work.cursor > work.stm_start or self.session == work.session:
            return None
        if not old.shared or old.stm_length or (old.url, old.node, old.run) != (url, work.kato_node, run):
            return None
        if old.config != work.config_digest:
            return None
        if work.now_ms + EXPIRES_SOON_MS >= old.expires_ms:
            return None
        return replace(old, epoch=1)


class KnownSessions:
    """What a process knows: of each lane the KATO session that it used last. Thread-safe."""

    def __init__(self) -> None:
        self._known: dict[str, KnownSession] = {}
        self._lock = threading.Lock()

    def take(self, lane: str) -> KnownSession | None:
        """Return what is known of the lane's KATO session, and forget it until the next call has a known outcome."""
        with self._lock:
            return self._known.pop(lane, None)

    def note(self, lane: str, known: KnownSession) -> None:
        """Remember what is known of the lane's KATO session, now that its last call was committed."""
        with self._lock:
            self._known[lane] = known
            while len(self._known) > LANES:
                del self._known[next(iter(self._known))]


def whole_stm_of_one_call(entries: Sequence[Logged], binding: Binding) -> tuple[Logged, ...]:
    """Return these observations where they are all that the STM is made of after a call on ``binding``, else ()."""
    events = count_events(entries)
    if binding.stm_length or not 0 < events < STM_CAP or have_vectors(entries):
        return ()
    return tuple(entries)


def leaves_nothing(entries: Sequence[Logged]) -> bool:
    """Return whether a learn of these leaves nothing behind. KATO keeps emotives and metadata for the next pattern."""
    return not any(_has_more(e.body) for e in entries if e.kind == "o")


def _has_more(body: str) -> bool:
    if _NOTHING_MORE in body and body.count("{") == 3:
        return False  # Its only objects are these two, which are empty. To parse it would take ten times as long.
    seen = json.loads(body)
    return bool(seen["emotives"] or seen["metadata"])

"""KATO sessions that this process made and every call to which had a known outcome.

What is known of one is worth calls: when its STM is empty it can serve the lane's next session, and an STM that one
call made, just now, need not be read back before a learn: KATO saved that call, or it saved nothing of it and refuses
to learn an empty STM.

All of it is a belief, held against the store before it is used: a session whose binding is another by now was used by
somebody else, and nothing is known of it any more.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from kato_tasks.domain.kato_session import Binding
from kato_tasks.domain.log_entry import Logged
from kato_tasks.domain.stm import STM_CAP
from kato_tasks.ports.lanes import Work

LANES = 1_000
JUST_NOW_SECONDS = 1.0
"""For so long after an answer nothing but this process can have changed its session: KATO's store does not go back in
time and answer again within it."""
EXPIRES_SOON_MS = 10_000


@dataclass(frozen=True, slots=True)
class Known:
    """A KATO session as it was left: whose it is, and its binding as it was committed.

    ``since_ms``: KATO has had it, and so its store, at least since then. ``made_of``: everything that its STM is made
    of, where one call made it from an empty one; ``at``: when that was answered (monotonic seconds).
    """

    session: str
    binding: Binding
    since_ms: int
    made_of: tuple[Logged, ...] = ()
    at: float = 0.0

    def fits(self, work: Work, run: str) -> bool:
        """Whether it is this session's, and nobody has used it since; under this run of the store."""
        return self.session == work.session and self.binding == work.binding and self.binding.run == run

    def whole_stm(self, work: Work, run: str) -> tuple[Logged, ...]:
        """The observations behind the session's STM, if KATO holds just these or nothing; else none."""
        made = self.made_of
        if not made or not self.fits(work, run) or time.monotonic() - self.at > JUST_NOW_SECONDS:
            return ()
        return made if (made[0].position, made[-1].position) == (work.mark + 1, work.cursor) else ()

    def lent_to(self, work: Work, url: str, run: str) -> Binding | None:
        """The binding that would let it serve another session of the lane, which has none; None: it cannot."""
        old = self.binding
        if work.binding is not None or work.cursor > work.mark or self.session == work.session:
            return None
        if not old.shared or old.stm_length or (old.url, old.node, old.run) != (url, work.node, run):
            return None
        if work.now_ms + EXPIRES_SOON_MS >= old.expires_ms:
            return None
        return replace(old, epoch=1)


class Familiar:
    """What a process knows, one KATO session for each lane. Thread-safe."""

    def __init__(self) -> None:
        self._known: dict[str, Known] = {}
        self._lock = threading.Lock()

    def take(self, lane: str) -> Known | None:
        """What is known of the lane's KATO session; forgotten by this, until what comes next has gone well."""
        with self._lock:
            return self._known.pop(lane, None)

    def note(self, lane: str, known: Known) -> None:
        with self._lock:
            self._known[lane] = known
            while len(self._known) > LANES:
                del self._known[next(iter(self._known))]


def in_one_call(entries: Sequence[Logged], binding: Binding) -> tuple[Logged, ...]:
    """These observations, if they are all that the STM is made of after a call on ``binding``."""
    events = sum(e.counts for e in entries)
    if binding.stm_length or not 0 < events < STM_CAP or any(e.has_vectors for e in entries):
        return ()
    return tuple(entries)


def leaves_nothing(entries: Sequence[Logged]) -> bool:
    """Whether a learn of these leaves nothing in the session: it keeps emotives and metadata for the next pattern."""
    return not any(
        body["emotives"] or body["metadata"] for body in (json.loads(e.body) for e in entries if e.kind == "o")
    )

"""Keeps the process's leases alive while calls to KATO are under way."""

from __future__ import annotations

import logging
import threading
import time

from kato_tasks.ports.lanes import Held, Renew
from kato_tasks.ports.store import Store
from kato_tasks.telemetry.log_events import say

log = logging.getLogger(__name__)


class LeaseKeeper:
    """Renews every held lane at an interval, in one thread that starts with the first lane.

    A lease that is lost needs no signal: the holder's next write is refused. But a process that was stopped and
    continued could still ask KATO something before that write, so ``sure`` tells by the monotonic clock (which
    runs on while a process is stopped) whether the lease can have run out.
    """

    def __init__(self, store: Store, interval_seconds: float) -> None:
        self._store = store
        self._interval = interval_seconds
        self._held: dict[tuple[str, str], Held] = {}
        self._sure_until: dict[tuple[str, str], float] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    def hold(self, held: Held, since: float) -> None:
        """A lane was leased by a call that began at ``since`` (monotonic seconds)."""
        with self._lock:
            self._held[held.lane, held.token] = held
            self._sure_until[held.lane, held.token] = since + held.lease_ms / 1000
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="kato-lease-keeper", daemon=True)
                self._thread.start()

    def confirm(self, held: Held, since: float) -> None:
        """A write under the token that began at ``since`` went through, so the lease began anew."""
        key = held.lane, held.token
        with self._lock:
            if key in self._sure_until:
                self._sure_until[key] = max(self._sure_until[key], since + held.lease_ms / 1000)

    def sure(self, held: Held) -> bool:
        """Whether the lease cannot have run out yet."""
        return time.monotonic() < self._sure_until.get((held.lane, held.token), 0.0)

    def let_go(self, held: Held) -> None:
        with self._lock:
            self._held.pop((held.lane, held.token), None)
            self._sure_until.pop((held.lane, held.token), None)

    def close(self) -> None:
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.wait(self._interval):
            with self._lock:
                held = list(self._held.values())
            if not held:
                continue
            since = time.monotonic()
            try:
                answers = self._store.execute([Renew(h) for h in held])
            except Exception as exc:
                # Whatever it was: a thread that ended here would let every lease of the process run out.
                say(log, logging.WARNING, "lease.renewal_failed", lanes=len(held), error=exc)
                continue
            for h, renewed in zip(held, answers, strict=True):
                if renewed is True:
                    self.confirm(h, since)
                elif renewed is False:
                    self.let_go(h)
                else:
                    say(log, logging.WARNING, "lease.renewal_failed", lanes=1, error=renewed)
